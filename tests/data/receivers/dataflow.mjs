// The Node sample of DataFlow's page: behind express.json(), so the body is serialised again, and the
// header is read by position.

import crypto from 'node:crypto';

function verifyWebhookSignature(payload, signature, secret) {
  const parts = signature.split(',');
  const timestamp = parts[0].split('=')[1];
  const hash = parts[1].split('=')[1];

  const signedPayload = `${timestamp}.${payload}`;
  const expectedHash = crypto.createHmac('sha256', secret).update(signedPayload).digest('hex');

  return crypto.timingSafeEqual(Buffer.from(hash), Buffer.from(expectedHash));
}

export function accepts({ headers, raw }, secret) {
  const req = { headers, body: JSON.parse(raw.toString('utf8')) };
  const signature = req.headers['x-dataflow-signature'];
  const payload = JSON.stringify(req.body);
  return verifyWebhookSignature(payload, signature, secret);
}
