// What people do with the dashboard, done by a real browser against the real daemon. Started by tests/it/browser.rs,
// which says in HOOKWHEEL_BROWSER_SITE where everything is.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";

import { Browser } from "./browser.mjs";
import { Client, HOSTILE, TRACE_ID, fill, until } from "./state.mjs";

const site = JSON.parse(process.env.HOOKWHEEL_BROWSER_SITE);
const browser = await Browser.start(site);
const { page } = browser;
const main = page.locator("main");
const dialog = page.locator("dialog[open]");
const button = (name, within = page) => within.getByRole("button", { name });
const heading = (name) => page.getByRole("heading", { name, exact: true, level: 1 });

async function step(name, act) {
  const begun = Date.now();
  try {
    await act();
  } catch (error) {
    await page.screenshot({ path: `${site.screenshots}/fault.png` }).catch(() => null);
    throw new Error(`${name}: ${error.stack ?? error}\n${browser.faults.join("\n")}`);
  }
  console.log(`${name}: ${Date.now() - begun} ms`);
}

async function signIn(key) {
  await page.getByLabel("API key").fill(key);
  await button("Sign in").click();
}

async function more(item) {
  await page.locator("summary", { hasText: "More" }).first().click();
  await button(item).click();
  await dialog.waitFor();
}

let made;
let client;
await browser.reported();

await step("a wrong key is told so, and the right one lets in", async () => {
  browser.expect(401, "/api/v1/");
  await page.goto(`${site.base}/`);
  await heading("Hookwheel").waitFor();
  assert.equal(new URL(page.url()).pathname, "/ui/");
  await signIn("not-a-key");
  await page.getByText("This key is not known here").first().waitFor();
  assert.equal(await page.getByLabel("API key").getAttribute("aria-invalid"), "true");
  await browser.picture("sign-in");
  await signIn(site.emptyKey);
  await page.getByText("No webhook yet").waitFor();
  await page.getByText("hookwheel listen").waitFor();
  await browser.picture("empty");
  await button("Sign out").click();
  await page.getByText("You are signed out.").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

await step("a state is made", async () => {
  ({ client, made } = await fill(site));
});

await step("the overview shows how all stand, and is walked through by keyboard", async () => {
  await signIn(site.key);
  await page.locator("table.rows").waitFor();
  await main.getByText("Legacy importer").waitFor();
  const legacy = main.locator("tr", { hasText: "Legacy importer" });
  assert.match(await legacy.innerText(), /disabled[\s\S]*exhausted/);
  assert.match(await main.locator("tr", { hasText: "Old format" }).innerText(), /held/);
  assert.match(await main.locator("tr", { hasText: "Warehouse" }).innerText(), /12 held/);
  assert.match(await legacy.locator("svg.strip").getAttribute("aria-label"), /Last 24 hours: .* failed/);
  await browser.picture("overview");
  // By keyboard alone: the filter, a row, its page, back.
  await page.locator("body").press("/");
  await page.keyboard.type("bill");
  assert.equal(await main.locator("tbody tr").count(), 1);
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Delete");
  await main.locator("tr", { hasText: "Billing" }).locator("a[data-row]").focus();
  await page.keyboard.press("ArrowDown");
  assert.match(await page.evaluate(() => document.activeElement.textContent), /CRM sync/);
  await page.keyboard.press("Enter");
  await heading("CRM sync active").waitFor();
  await page.locator("h1:focus").waitFor();
  await page.locator("body").press("?");
  await dialog.getByText("From row to row").waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.locator("summary", { hasText: "More" }).focus();
  await page.keyboard.press("Enter");
  await button("Remove…").waitFor();
  await page.keyboard.press("Escape");
  await button("Remove…").waitFor({ state: "hidden" });
  await page.goBack();
  await page.getByRole("radio", { name: "Disabled 3" }).check();
  assert.equal(await main.locator("tbody tr").count(), 3);
  await page.reload();
  await main.getByText("Legacy importer").waitFor();
});

let fresh;
await step("a webhook is registered after the server's errors are mended", async () => {
  browser.expect(400, "/api/v1/webhooks");
  await button("New webhook").click();
  await heading("New webhook").waitFor();
  await browser.picture("new");
  await page.getByLabel("URL", { exact: true }).fill("http://example.com/hook");
  await page.getByLabel("Event types").fill("no.such.type");
  await page.getByLabel("Name", { exact: true }).fill("Made here");
  await button("Register").click();
  const summary = page.locator(".error-summary");
  await summary.getByText("2 things are to be mended").waitFor();
  const url = page.getByLabel("URL", { exact: true });
  assert.equal(await url.getAttribute("aria-invalid"), "true");
  const described = await url.getAttribute("aria-describedby");
  assert.match(await page.locator(`#${described.split(" ").at(-1)}`).innerText(), /https/i);
  await browser.picture("refused");
  await summary.getByRole("link", { name: "URL" }).click();
  await page.keyboard.press("Control+A");
  await page.keyboard.type(`${site.receivers.good}/made`);
  await button("Remove no.such.type").click();
  await page.getByLabel("Event types").fill("user.*");
  await page.keyboard.press("Enter");
  // A filter that does not fit the example, and then one that does.
  await page.getByText("Which events, in which form").click();
  await page.getByText("Try it out on an event").click();
  await page.getByLabel("Filter", { exact: true }).fill('{"type": ["invoice.paid"]}');
  await button("Try it out").click();
  await main.getByText("It does not fit").waitFor();
  await page.getByLabel("Filter", { exact: true }).fill('{"type": [{"prefix": "user."}]}');
  await button("Try it out").click();
  await main.getByText("It fits").waitFor();
  await page.getByText("Credentials", { exact: true }).click();
  await button("Add a header").click();
  await page.getByLabel("Header name").fill("X-Token");
  await page.getByLabel("Value of the header").fill("top secret");
  await button("Register").click();
  await dialog.getByText("It is shown this once.").waitFor();
  await page.keyboard.press("Escape");
  const secret = await dialog.locator("[data-secret]").innerText();
  assert.match(secret, /^whsec_/);
  await browser.picture("secret");
  await button("Copy the secret").click();
  await dialog.getByText("Copied").waitFor();
  assert.equal(await browser.clipboard(), secret);
  await button("I have stored it").click();
  await heading("Made here active").waitFor();
  await main.getByText("No delivery yet").waitFor();
  fresh = (await client.good("GET", "/api/v1/webhooks?limit=200")).data.find((one) => one.name === "Made here");
  assert.deepEqual(
    [fresh.events, fresh.filter, Object.keys(fresh.headers)],
    [["user.*"], { type: [{ prefix: "user." }] }, ["X-Token"]],
  );
  assert.equal(await page.evaluate((text) => document.documentElement.outerText.includes(text), secret), false);
});

const exotic = {
  id: "live-1",
  quote: 'it\'s \\ "so"',
  at: "@file",
  markup: HOSTILE,
  line: "a\nb",
  dollar: "$(id) `id` !x",
};
await step("a delivery is seen as it happens", async () => {
  await client.post("user.created", exotic, { id: "seen-live" });
  await main.locator("tr", { hasText: "seen-live" }).getByText("delivered").waitFor();
  await main.getByLabel("State").selectOption("failed");
  await main.getByText("No delivery fits the filter").waitFor();
  await main.getByLabel("State").selectOption("delivered");
  await main.locator("tr", { hasText: "seen-live" }).click();
  await heading("user.created delivered").waitFor();
});

await step("an attempt is shown exactly, and its curl command runs", async () => {
  const shown = await client.good("GET", `/api/v1/webhooks/${fresh.id}/deliveries/seen-live`);
  const box = main.getByRole("region", { name: "Request body, text" });
  await button("Pretty", main.locator("section", { hasText: "Request body" }).last()).click();
  assert.equal(await box.locator("code").evaluate((code) => code.textContent), shown.request_body);
  await main.getByText("webhook-signature").first().waitFor();
  assert.equal((await main.locator(".phase").count()) > 1, true);
  await browser.picture("delivery");
  await button("Copy as curl").click();
  await page.getByText("Copied", { exact: true }).first().waitFor();
  const command = await browser.clipboard();
  // A shell reads it as it is meant …
  const words = execFileSync("bash", ["-c", `curl() { printf '%s\\0' "$@"; }\n${command}`], { encoding: "utf8" })
    .split("\0")
    .slice(0, -1);
  assert.equal(words[words.indexOf("--data-raw") + 1], shown.request_body);
  assert.equal(words.at(-1), fresh.url);
  const headers = words.filter((_, index) => words[index - 1] === "--header");
  for (const [name, value] of shown.attempts[0].request_headers) assert.ok(headers.includes(`${name}: ${value}`), name);
  assert.ok(
    headers.includes("X-Token: <fill in>") && headers.includes("Content-Type: application/json"),
    headers.join("\n"),
  );
  // … and the receiver takes it.
  if (site.hasCurl) {
    const said = execFileSync("bash", ["-c", command], {
      encoding: "utf8",
      env: { ...process.env, CURL_CA_BUNDLE: site.ca, no_proxy: "*" },
      stdio: ["ignore", "pipe", "ignore"],
    });
    assert.match(said, /^HTTP\/1\.1 200/);
  }
});

await step("verifiers are copied", async () => {
  for (const language of ["Node", "Python", "Go", "Rust"]) {
    await page.locator("summary", { hasText: "Copy a verifier" }).click();
    await button(language).click();
    await page
      .getByText(/^Copied \S+\.\S+$/)
      .last()
      .waitFor();
    assert.ok((await browser.clipboard()).length > 20);
    await button("Close this message").last().click();
  }
  await browser.go(`/webhooks/${fresh.id}/verify`);
  await main.getByText("Verify what comes").waitFor();
  await page.getByRole("radio", { name: "Python" }).check();
  await main
    .locator(".code-head")
    .getByText(/python|\.py/)
    .waitFor();
  await browser.picture("verify");
});

await step("a webhook is tried out, changed, disabled and enabled", async () => {
  await browser.go(`/webhooks/${fresh.id}`);
  await button("Send test").click();
  await dialog.getByText("The receiver took it").waitFor();
  await browser.picture("test");
  await page.keyboard.press("Escape");
  await button("Edit").click();
  await heading("Edit Made here").waitFor();
  await page.getByLabel("Name", { exact: true }).fill("Renamed");
  await page.getByLabel("Filter", { exact: true }).fill("{ no JSON");
  await button("Save changes").click();
  await page.locator(".error-summary").getByText("is no JSON").waitFor();
  await page.getByLabel("Filter", { exact: true }).fill('{"type": [{"prefx": "u"}]}');
  await button("Save changes").click();
  await page.locator("#main .field-error", { hasText: "prefx" }).waitFor();
  await page.getByLabel("Filter", { exact: true }).fill("");
  await browser.picture("edit");
  await button("Save changes").click();
  await heading("Renamed active").waitFor();
  const changed = await client.good("GET", `/api/v1/webhooks/${fresh.id}`);
  assert.deepEqual([changed.filter, changed.events, Object.keys(changed.headers)], [null, ["user.*"], ["X-Token"]]);
  await button("Disable").click();
  await main.getByText("Somebody disabled it.").waitFor();
  await client.post("user.created", { n: 1 }, { id: "while-held" });
  await main.locator("tr", { hasText: "while-held" }).getByText("held", { exact: true }).waitFor();
  await more("Discard what is held…");
  await browser.picture("discard");
  await button("Discard", dialog).click();
  await page.getByText("1 delivery discarded").waitFor();
  await button("Enable").click();
  await heading("Renamed active").waitFor();
});

await step("a secret is replaced by overlap", async () => {
  await more("Replace the secret…");
  await browser.picture("rotate");
  await button("Replace it now").click();
  await dialog.getByText("Requests carry both signatures").waitFor();
  assert.match(await dialog.locator("[data-secret]").innerText(), /^whsec_/);
  await button("I have stored it").click();
  await main.getByText("The secret was replaced").waitFor();
});

await step("what was disabled says why, is enabled, and a failed delivery is retried", async () => {
  await browser.go(`/webhooks/${made.legacy.id}`);
  await main.getByText("A delivery's schedule ended without success.").waitFor();
  await browser.picture("disabled");
  await button("Enable").click();
  await heading("Legacy importer active").waitFor();
  await browser.go(`/webhooks/${made.legacy.id}/deliveries/failed-invoice`);
  await main.getByText("It failed for good.").waitFor();
  await browser.picture("failed");
  await button("Retry now").click();
  await main.locator("summary", { hasText: "Attempt 4" }).waitFor();
  assert.match(await main.locator("summary", { hasText: "Attempt 4" }).innerText(), /by hand/);
});

await step("what the config holds says so", async () => {
  await browser.go(`/webhooks/${site.heldWebhook}`);
  await main.getByText("Held for the config").waitFor();
  await browser.picture("held");
});

await step("what the config declares is changed there only, and says so", async () => {
  const all = (await client.good("GET", "/api/v1/webhooks?limit=200")).data;
  const [ledger, gone] = ["ledger", "old-ledger"].map((name) => all.find((one) => one.declared === name));
  await browser.go("/webhooks");
  assert.match(await main.locator("tr", { hasText: "ledger" }).first().innerText(), /config/);
  await browser.go(`/webhooks/${ledger.id}`);
  await main.getByText("Declared in the config as").waitFor();
  assert.equal(await button(/^Edit/).isDisabled(), true);
  assert.match(await button(/^Edit/).getAttribute("title"), /\[\[webhooks\]\]/);
  await page.locator("summary", { hasText: "More" }).click();
  assert.equal(await button(/^Remove…/).isDisabled(), true);
  assert.equal(await button(/^Replace the secret…/).isDisabled(), true);
  assert.equal(await button("Replay deliveries…").isDisabled(), false);
  await browser.picture("declared");
  await page.keyboard.press("Escape");
  await browser.go(`/webhooks/${ledger.id}/edit`);
  await main.getByText("It is not changed here").waitFor();
  // What anybody who manages may do, may be done here, too.
  await browser.go(`/webhooks/${ledger.id}`);
  await button("Send test").click();
  await dialog.getByText("The receiver took it").waitFor();
  await page.keyboard.press("Escape");
  await button("Disable").click();
  await main.getByText("Somebody disabled it.").waitFor();
  await button("Enable").click();
  await heading("ledger active").waitFor();
  await browser.go(`/webhooks/${gone.id}`);
  await main.getByText("The config declares it no more.").waitFor();
  assert.equal(await button(/^Enable/).isDisabled(), true);
  await browser.picture("undeclared");
  await more("Remove…");
  await dialog.getByLabel("Type old-ledger to confirm").fill("old-ledger");
  await button("Remove this webhook").click();
  await heading("Webhooks").waitFor();
  assert.equal((await client.call("GET", `/api/v1/webhooks/${gone.id}`)).status, 404);
  // A full disk is not to be had here, so the answer is given what one would add to it.
  const undone = [{ name: "ledger", why: "the disk is full" }];
  await page.route("**/api/v1/declared?*", async (route) => {
    const answer = await (await route.fetch()).json();
    await route.fulfill({ json: { ...answer, undone } });
  });
  await page.reload();
  await main.getByText("One webhook of the config is not as it says").waitFor();
  await main.getByText("The disk is full.").waitFor();
  await browser.picture("undone");
  await page.unroute("**/api/v1/declared?*");
});

await step("a replay is counted, and then begun", async () => {
  await browser.go(`/webhooks/${made.billing.id}`);
  await more("Replay deliveries…");
  await dialog.getByLabel("delivered").check();
  await dialog.getByLabel("Event types").fill("invoice.paid");
  await button("Count first").click();
  await dialog.getByText("12 deliveries would be sent.").waitFor();
  await browser.picture("replay");
  await button("Send 12").click();
  await main.getByText("done", { exact: true }).waitFor();
  await main.locator(".tile", { hasText: "Queued" }).getByText("12").waitFor();
  await browser.picture("job");
  await page.getByRole("link", { name: "Jobs" }).first().click();
  await main.locator("table.rows").getByText("Replay").waitFor();
  await browser.picture("jobs");
  await browser.go("/jobs/rematch");
  await button("Count first").click();
  await main.getByText(/would be sent|Nothing fits/).waitFor();
});

await step("an event is explained, and one is posted by hand", async () => {
  await browser.go("/events");
  await main.locator("table.rows").waitFor();
  await browser.picture("events");
  await browser.go("/events/failed-invoice");
  await main.getByText('the event is "invoice.failed"; the webhook wants "user.*"').first().waitFor();
  await main.getByText(TRACE_ID).waitFor();
  await browser.picture("event");
  await button("Copy the trace's id").click();
  await page.getByText("Copied", { exact: true }).first().waitFor();
  assert.equal(await browser.clipboard(), TRACE_ID);
  await page.getByRole("link", { name: "Post one like it" }).click();
  await heading("Post an event").waitFor();
  await page.getByLabel("Data").fill('{"id": 12345678901234567890, "x": [}');
  await button("Post it").click();
  await page.locator(".error-summary").getByText("is no JSON").waitFor();
  await page.getByLabel("Data").fill('{"id": 9007199254740991, "amount": 0.1}');
  await page.getByLabel("Id", { exact: true }).fill("by-hand");
  await browser.picture("post");
  await button("Post it").click();
  await page.getByText("by-hand").first().waitFor();
  assert.match(await main.getByRole("region", { name: "Data, text" }).innerText(), /9007199254740991/);
});

await step("what came from outside is text, wherever it stands", async () => {
  for (const place of ["", "/figures", "/settings", "/audit", "/deliveries/hostile-event", "/edit"]) {
    await browser.go(`/webhooks/${made.hostile.id}${place}`);
    await main
      .getByText(HOSTILE)
      .or(page.locator(`input[value="${HOSTILE}"]`))
      .first()
      .waitFor();
    assert.equal(await main.locator("img, script, iframe, style").count(), 0, place);
    if (place.startsWith("/deliveries")) {
      await main.getByText("</script>").first().waitFor();
      await browser.picture("hostile");
    }
  }
  await browser.go("/events/hostile-event");
  await main.getByText("</script>").first().waitFor();
  browser.expect(404, "/api/v1/events/%3Cimg");
  await browser.go(`/events/${encodeURIComponent(HOSTILE)}`);
  await heading("Not found").waitFor();
});

await step("figures, contract and audit are shown", async () => {
  await browser.go(`/webhooks/${made.lake.id}/figures`);
  await page.getByRole("heading", { name: "Last hour" }).waitFor();
  await browser.picture("figures");
  await browser.go(`/webhooks/${made.crm.id}/settings`);
  await main.getByText("What its receiver gets").waitFor();
  await browser.picture("settings");
  await browser.go("/audit");
  await main.getByText("secret.rotated", { exact: true }).first().waitFor();
  await browser.picture("audit");
});

await step("a webhook is removed once its name is typed", async () => {
  await browser.go(`/webhooks/${fresh.id}`);
  await more("Remove…");
  assert.equal(await button("Remove this webhook").isDisabled(), true);
  await dialog.getByLabel("Type Renamed to confirm").fill("Renamed");
  await browser.picture("remove");
  await button("Remove this webhook").click();
  await heading("Webhooks").waitFor();
  assert.equal((await client.call("GET", `/api/v1/webhooks/${fresh.id}`)).status, 404);
});

await step("what is not there is told so", async () => {
  browser.expect(404, `/api/v1/webhooks/${fresh.id}`);
  browser.expect(404, "/ui/nothing");
  await browser.go(`/webhooks/${fresh.id}`);
  await heading("Not found").waitFor();
  await browser.go("/no/such/page");
  await main.getByText("There is no page here").waitFor();
  await page.goto(`${site.base}/ui/nothing`);
  await heading("There is no page here").waitFor();
  await browser.picture("missing");
  await page.getByRole("link", { name: "To the dashboard" }).click();
  await main.locator("table.rows").waitFor();
});

await step("the API's reference is found through, and its commands can be run", async () => {
  await page.getByRole("link", { name: "API", exact: true }).click();
  await heading("API reference").waitFor();
  const calls = page.locator("details.call:visible");
  const all = await calls.count();
  assert.ok(all > 40, `${all} calls`);
  await browser.picture("api");
  await page.locator("body").press("/");
  await page.keyboard.type("rotate secret");
  await main.getByText(/^\d+ calls? of \d+$/).waitFor();
  assert.ok((await calls.count()) < all);
  await page.keyboard.press("Control+A");
  await page.keyboard.type("no such thing");
  await main.getByText("No call has all of these words.").waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await calls.count(), all);
  // By keyboard alone: find it, open it, and go on to the next one.
  await page.keyboard.type("POST /api/v1/webhooks register");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  const create = page.locator("#createWebhook[open]");
  await create.getByText("As a command").waitFor();
  assert.match(await create.getByRole("table", { name: "Fields of the body" }).innerText(), /url\s+required/);
  await create.getByText(/^How it is refused/).click();
  await create.getByText("https_required").or(create.getByText("fields_invalid")).first().waitFor();
  assert.equal(new URL(page.url()).hash, "#createWebhook");
  await browser.picture("api-call");
  await page.reload();
  await create.getByText("As a command").waitFor();
  // Each call's command is one that a shell reads; one of them is run.
  const commands = await page.evaluate(() => {
    for (const box of document.querySelectorAll("details.call")) box.open = true;
    return new Promise((done) =>
      setTimeout(() => done([...document.querySelectorAll(".side pre")].map((pre) => pre.textContent)), 100),
    );
  });
  assert.equal(commands.length, all);
  for (const command of commands) {
    const read = execFileSync("bash", ["-c", `curl() { printf '%s\\0' "$@"; }\n${command}`], {
      encoding: "utf8",
      env: { ...process.env, HOOKWHEEL_API_KEY: "k" },
    });
    const url = read.split("\0").find((word) => word.startsWith("http"));
    assert.ok(url?.startsWith(`${site.base}/`) && !/[{}]/.test(url), command);
  }
  if (site.hasCurl) {
    const command = commands.find((one) => /\/api\/v1\/key'/.test(one));
    const env = { ...process.env, HOOKWHEEL_API_KEY: site.readKey, no_proxy: "*" };
    const said = JSON.parse(execFileSync("bash", ["-c", command], { encoding: "utf8", env }));
    assert.deepEqual([said.account, said.scopes], ["shop", ["read"]]);
  }
  await button("Copy the command: Register a webhook").click();
  await page.getByText("Copied", { exact: true }).first().waitFor();
  assert.match(await browser.clipboard(), /^curl -sS \\\n {2}'http/);
  await page.getByRole("link", { name: "Dashboard" }).click();
  await main.locator("table.rows").waitFor();
});

await step("the colours can be chosen, and stay so", async () => {
  await page.getByRole("button", { name: /^Colours: system/ }).click();
  await page.getByRole("button", { name: /^Colours: light/ }).click();
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), "dark");
  await page.reload();
  await main.locator("table.rows").waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.getByRole("button", { name: /^Colours: dark/ }).click();
});

await step("a key that may only read is told what it may not", async () => {
  await button("Sign out").click();
  await signIn(site.readKey);
  await main.locator("table.rows").waitFor();
  const create = page.getByRole("button", { name: /New webhook/ });
  assert.equal(await create.isDisabled(), true);
  assert.match(await create.getAttribute("title"), /scope “admin”/);
  assert.equal(await page.getByRole("link", { name: "Audit" }).count(), 0);
  await browser.go("/webhooks/new");
  await main.getByText("This key may not look here").waitFor();
  await button("Sign out").click();
  await signIn(site.sendKey);
  await heading("Post an event").waitFor();
  await button("Post it").click();
  await main.getByText(/^Posted as /).waitFor();
  await button("Sign out").click();
});

await step("a secret is staged, promoted and taken back", async () => {
  const staged = new Client(site.base, site.stagedKey);
  const webhook = await staged.register({ url: `${site.receivers.good}/staged`, events: ["pass"], name: "Staged" });
  await signIn(site.stagedKey);
  await main.locator("table.rows").waitFor();
  await browser.go(`/webhooks/${webhook.id}`);
  await more("Replace the secret…");
  await button("Stage a new one").click();
  await dialog.getByText("The old secret signs on.").waitFor();
  const secret = await dialog.locator("[data-secret]").innerText();
  assert.notEqual(secret, webhook.secret);
  await button("I have stored it").click();
  await main.getByText("A new secret is staged.").waitFor();
  await browser.picture("staged");
  await button("Promote or drop it…").click();
  await button("Promote it").click();
  await main.getByText("the old one is kept until").waitFor();
  await more("Replace the secret…");
  await button("Take the old one back").click();
  await page.getByText("Rolled back").first().waitFor();
});

await step("the live stream is read in pieces, and news comes by it", async () => {
  const read = await page.evaluate(async () => {
    const { parser } = await import("/ui/live.js");
    const seen = [];
    const take = parser((event, data) => seen.push([event, data]));
    for (const piece of [
      ": hello\n",
      "event: att",
      "empt\r",
      '\ndata: {"a":\ndata: 1}\r\n\r\n',
      "data: 2\n\nevent: x\n\ndata: no JSON\n\n",
      'event: ended\ndata: {"b":"\u20ac"}\n\n',
    ])
      take(piece);
    return seen;
  });
  assert.deepEqual(read, [
    ["attempt", { a: 1 }],
    ["message", 2],
    ["ended", { b: "€" }],
  ]);
  await button("Sign out").click();
  await signIn(site.key);
  await page.locator(".standing.live").waitFor();
  await browser.go(`/webhooks/${made.plain.id}`);
  await client.post("pipeline.run.completed", { n: 1 }, { id: "by-stream" });
  await main.locator("tr", { hasText: "by-stream" }).waitFor();
});

await step("a key that is taken away leads back to the first page", async () => {
  await page.route("**/api/v1/webhooks?*", (route) =>
    route.fulfill({ status: 401, json: { code: "unauthorized", detail: "give a valid key" } }),
  );
  await page.getByRole("link", { name: "Webhooks" }).first().click();
  await page.getByText("The key is not valid any more").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

await until("the last answers have come", async () => browser.requests > 100);
await browser.end();
console.log(`all flows passed, ${browser.requests} requests, screenshots in ${site.screenshots}`);
