// Asks receivers' code what it says of requests. One JSON line in, one JSON line out; bodies in base64.
//
//   {"op": "versions"}                                        -> {"runtime", "standardwebhooks", "why"}
//   {"op": "verify", "receiver", "secret", "headers", "body"} -> {"accepted", "why"}
//   {"op": "stringify", "body"}                               -> {"body"} or {"why"}

import { createInterface } from 'node:readline';
import * as dataflow from './dataflow.mjs';
import * as driftlock from './driftlock.mjs';
import * as flock from './flock.mjs';
import * as standard from './standard.mjs';

const receivers = { dataflow, driftlock, flock, standard };

function answer(question) {
  const raw = Buffer.from(question.body ?? '', 'base64');
  switch (question.op) {
    case 'versions':
      return { runtime: process.version, standardwebhooks: standard.version, why: standard.why };
    case 'verify': {
      const request = { headers: question.headers, raw };
      return { accepted: receivers[question.receiver].accepts(request, question.secret) === true };
    }
    case 'stringify': {
      const text = JSON.stringify(JSON.parse(raw.toString('utf8')));
      return { body: Buffer.from(text, 'utf8').toString('base64') };
    }
    default:
      throw new Error(`no such question: ${question.op}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = answer(JSON.parse(line));
  } catch (error) {
    // A receiver that throws answers 500: the request is not accepted.
    said = { accepted: false, why: String(error) };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
