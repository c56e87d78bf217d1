// The published package standardwebhooks, from HOOKWHEEL_NODE_PACKAGES (a directory with node_modules).

import { createRequire } from 'node:module';

let Webhook = null;
export let version = null;
export let why = null;
try {
  const require = createRequire(`${process.env.HOOKWHEEL_NODE_PACKAGES ?? process.cwd()}/`);
  ({ Webhook } = require('standardwebhooks'));
  ({ version } = require('standardwebhooks/package.json'));
} catch (error) {
  why = String(error.message).split('\n')[0];
}

export function accepts({ headers, raw }, secret) {
  new Webhook(secret).verify(raw, headers); // throws if it does not verify
  return true;
}
