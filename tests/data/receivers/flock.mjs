// The Node sample of Flock's page: the raw body.

import crypto from 'node:crypto';

function verifyWebhook(body, signature, secret) {
  const expected = 'sha256=' + crypto.createHmac('sha256', secret).update(body).digest('hex');

  return crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(expected));
}

export function accepts({ headers, raw }, secret) {
  return verifyWebhook(raw, headers['x-flock-signature'], secret);
}
