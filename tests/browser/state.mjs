// A state as a product has it after some days, made by the public API: webhooks that do well, badly, not at all, and
// some whose every text is an attack.

import assert from "node:assert/strict";

export const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
export const HOSTILE = "<img src=x onerror=alert(1)>";
const SCRIPT = "</script><script>alert(2)</script>";

export class Client {
  constructor(base, key) {
    Object.assign(this, { base, key });
  }

  async call(method, path, body, more = {}) {
    const headers = { "X-API-Key": this.key, ...more };
    const response = await fetch(this.base + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : null };
  }

  async good(method, path, body, more) {
    const answer = await this.call(method, path, body, more);
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  register(body) {
    return this.good("POST", "/api/v1/webhooks", body);
  }

  post(type, data, more = {}, headers = {}) {
    return this.good("POST", "/api/v1/events", { type, data, ...more }, headers);
  }
}

// Asks until `check` gives something.
export async function until(what, check) {
  const end = Date.now() + 60_000;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < end, `waited in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export async function fill(site) {
  const client = new Client(site.base, site.key);
  const { good, bad, flaky, slow } = site.receivers;
  const made = {};
  made.billing = await client.register({
    url: `${good}/billing/events`,
    events: ["invoice.paid", "invoice.failed"],
    name: "Billing",
    description: "Books what customers pay.",
  });
  made.crm = await client.register({
    url: `${slow}/crm`,
    events: ["user.*"],
    name: "CRM sync",
    filter: { data: { plan: ["pro", "team"] } },
    order: { key: "/id" },
  });
  made.lake = await client.register({ url: `${flaky}/lake/ingest`, name: "Data lake", headers: { "X-Team": "data" } });
  made.hostile = await client.register({
    url: `${good}/?q=${encodeURIComponent(HOSTILE)}`,
    name: HOSTILE,
    description: `${SCRIPT} in a description`,
    events: ["user.removed"],
    headers: { "X-Quote": "it's" },
  });
  made.legacy = await client.register({ url: `${bad}/legacy`, events: ["invoice.failed"], name: "Legacy importer" });
  made.plain = await client.register({ url: `${good}/plain`, events: ["pipeline.run.completed"] });
  made.resting = await client.register({
    url: `${good}/resting`,
    events: ["invoice.paid"],
    name: "Warehouse (resting)",
    active: false,
  });
  for (let n = 1; n <= 12; n += 1) {
    await client.post("invoice.paid", {
      invoice: `in_${1000 + n}`,
      amount: n * 1250,
      currency: "eur",
      customer: { id: 70 + n, name: n === 3 ? HOSTILE : `Customer ${n}` },
    });
    await client.post("user.created", { id: n, plan: n % 3 === 0 ? "free" : "pro", email: `user${n}@example.com` });
  }
  made.failed = await client.post(
    "invoice.failed",
    { invoice: "in_2000", reason: SCRIPT },
    { id: "failed-invoice" },
    { traceparent: `00-${TRACE_ID}-00f067aa0ba902b7-01` },
  );
  made.exotic = await client.post(
    "user.removed",
    { id: 12345678901234567890n.toString(), note: `${HOSTILE}${SCRIPT}`, quote: "it's", at: "@file", line: "a\nb" },
    { id: "hostile-event" },
  );
  await until(
    "the legacy webhook is disabled",
    async () => (await client.good("GET", `/api/v1/webhooks/${made.legacy.id}`)).inactive,
  );
  await until(
    "the hostile event is delivered",
    async () =>
      (await client.good("GET", `/api/v1/webhooks/${made.hostile.id}/deliveries/hostile-event`)).state === "delivered",
  );
  return { client, made };
}
