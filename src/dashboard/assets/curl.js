// A delivery's request as a curl command, for a POSIX shell.

// In single quotes nothing is special but the quote itself.
export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// What the attempt sent. The webhook's own headers are named with a place for their values, which no answer shows.
export function curlCommand(webhook, attempt, body) {
  const sent = attempt?.request_headers ?? [];
  const lower = new Set(sent.map(([name]) => name.toLowerCase()));
  const own = Object.keys(webhook.headers ?? {}).filter((name) => !lower.has(name.toLowerCase()));
  const type = webhook.contract?.headers?.["Content-Type"];
  const lines = ["curl --globoff --include --request POST"];
  const header = (name, value) => lines.push(`--header ${quoted(value === "" ? `${name};` : `${name}: ${value}`)}`);
  if (type && !lower.has("content-type") && !own.some((name) => name.toLowerCase() === "content-type"))
    header("Content-Type", type);
  for (const [name, value] of sent) header(name, value);
  for (const name of own) header(name, "<fill in>");
  if (webhook.oauth2 && !lower.has("authorization")) header("Authorization", "Bearer <fill in>");
  lines.push(`--data-raw ${quoted(body ?? "")}`, quoted(webhook.url));
  return lines.join(" \\\n  ");
}
