// The Node sample of Driftlock's page: the framework has parsed the body, and it is serialised again.

import crypto from 'node:crypto';

function verifySignature(req, secret) {
  const signature = req.headers['x-driftlock-signature'];
  const body = JSON.stringify(req.body);

  const expectedSignature = crypto.createHmac('sha256', secret).update(body).digest('hex');

  return signature === expectedSignature;
}

export function accepts({ headers, raw }, secret) {
  return verifySignature({ headers, body: JSON.parse(raw.toString('utf8')) }, secret);
}
