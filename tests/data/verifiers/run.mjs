// Asks generated verifiers what they say of requests: the directory's `cases.json` in, one JSON line for each case out.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const directory = process.argv[2];
for (const { name, file, cases } of JSON.parse(readFileSync(join(directory, "cases.json"), "utf8"))) {
  const { verify } = await import(pathToFileURL(join(directory, file)));
  for (const [at, { headers, body, keys, now }] of cases.entries()) {
    const given = Object.fromEntries(Object.entries(headers).map(([key, value]) => [key.toLowerCase(), value]));
    // As both kinds of server have them.
    for (const form of [given, new Headers(headers)]) {
      let why = null;
      try {
        verify(Buffer.from(body, "base64"), form, keys, now);
      } catch (error) {
        why = error.message;
      }
      console.log(JSON.stringify({ name, at, why }));
    }
  }
}
