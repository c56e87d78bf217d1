// A real browser, watched: whatever it asks for elsewhere, says on its console or reports against the page's policy is
// kept, and a run in which there is any of it fails.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

// How long a thing on the page is waited for; these machines are slow at times.
export const PATIENCE_MS = 30_000;

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// A package of those that were installed for the tests.
export function load(name) {
  const from = process.env.HOOKWHEEL_NODE_PACKAGES;
  const place = from ? path.join(path.resolve(from), "node_modules", "x.js") : import.meta.url;
  return createRequire(place)(name);
}

export class Browser {
  static async start(site) {
    const { chromium } = load("playwright-core");
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), "hookwheel-browser-"));
    const context = await chromium.launchPersistentContext(directory, {
      executablePath: process.env.HOOKWHEEL_CHROMIUM || "/usr/bin/chromium",
      headless: true,
      args: FLAGS,
      ignoreDefaultArgs: ["--headless=new"],
      viewport: { width: 1280, height: 860 },
      timezoneId: "UTC",
      locale: "en-GB",
      colorScheme: "light",
    });
    await context.grantPermissions(["clipboard-write"], { origin: new URL(site.base).origin });
    const page = context.pages()[0] ?? (await context.newPage());
    return new Browser(site, directory, context, page);
  }

  constructor(site, directory, context, page) {
    Object.assign(this, { site, directory, context, page, faults: [], expected: new Set(), requests: 0 });
    page.setDefaultTimeout(PATIENCE_MS);
    const origin = new URL(site.base).origin;
    page.on("request", (request) => {
      this.requests += 1;
      const url = new URL(request.url());
      if (url.protocol !== "data:" && url.origin !== origin) this.faults.push(`asked for ${url}`);
    });
    page.on("pageerror", (error) => this.faults.push(`an error of the page: ${error.stack ?? error}`));
    page.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      // The browser tells of each answer that is no success; which ones are meant, the flows say.
      const status = /^Failed to load resource: the server responded with a status of (\d+)/.exec(message.text())?.[1];
      const where = message.location().url.replace(origin, "");
      if (status && this.isExpected(Number(status), where)) return;
      this.faults.push(`${message.type()} on the console: ${message.text()} (${where})`);
    });
    page.on("dialog", (dialog) => {
      this.faults.push(`a script of somebody else's ran: ${dialog.message()}`);
      dialog.dismiss();
    });
  }

  // From here on answers of this status are meant, where the path has `part` in it.
  expect(status, part) {
    this.expected.add(`${status} ${part}`);
  }

  isExpected(status, where) {
    return [...this.expected].some((one) => {
      const [of, part] = one.split(" ");
      return Number(of) === status && where.includes(part);
    });
  }

  async reported() {
    await this.page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        console.error(`the policy was violated: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
      });
    });
  }

  // Goes to a place of the dashboard and waits until it is shown.
  async go(hash) {
    await this.page.goto(`${this.site.base}/ui/#${hash}`);
    await this.settled();
  }

  async settled() {
    await this.page.locator("main h1").first().waitFor();
    await this.page.locator(".loading").waitFor({ state: "detached" });
  }

  // What a person would paste: the page itself may not read the clipboard, and is not to.
  async clipboard() {
    await this.page.evaluate(() => {
      const area = document.createElement("textarea");
      area.id = "pasted";
      (document.querySelector("dialog[open]") ?? document.body).append(area);
      area.focus();
    });
    await this.page.keyboard.press("Control+V");
    return this.page.evaluate(() => {
      const area = document.getElementById("pasted");
      area.remove();
      return area.value;
    });
  }

  // A picture of the page as it is, in both schemes and at the width of a phone.
  async picture(name) {
    const directory = this.site.screenshots;
    fs.mkdirSync(directory, { recursive: true });
    for (const [suffix, width, scheme] of [
      ["light", 1280, "light"],
      ["dark", 1280, "dark"],
      ["phone", 390, "light"],
      ["phone-dark", 390, "dark"],
    ]) {
      await this.page.setViewportSize({ width, height: width === 390 ? 844 : 860 });
      await this.page.emulateMedia({ colorScheme: scheme });
      // A header that stays in sight would lie across the middle.
      await this.page.evaluate(() => scrollTo(0, 0));
      const over = await this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${name} is ${over} pixels wider than a screen of ${width}`);
      await this.page.screenshot({
        path: path.join(directory, `${name}-${suffix}.png`),
        fullPage: !(await this.page.locator("dialog[open]").count()),
      });
      await this.readable(`${name}-${suffix}`, suffix === "light");
    }
    await this.page.setViewportSize({ width: 1280, height: 860 });
    await this.page.emulateMedia({ colorScheme: "light" });
  }

  // Names, labels, roles, headings and contrast, by axe-core and by our own look.
  async readable(name, byAxe) {
    for (const fault of await this.page.evaluate(look)) this.faults.push(`${name}: ${fault}`);
    // The other pictures differ by what our own look holds: colours and width.
    if (!byAxe) return;
    this.axe ??= fs.readFileSync(load.resolve("axe-core/axe.min.js"), "utf8");
    const session = (this.cdp ??= await this.context.newCDPSession(this.page));
    await session.send("Runtime.evaluate", { expression: `globalThis.axe ?? (() => { ${this.axe} })()` });
    const ask = `(async () => {
      const found = await axe.run(document, { resultTypes: ["violations"] });
      const place = (node) => node.target.join(" ") + " (" + (node.any[0]?.message ?? "") + ")";
      const told = (one) => one.id + ": " + one.help + " at " + one.nodes.slice(0, 4).map(place).join("; ");
      return JSON.stringify(found.violations.map(told));
    })()`;
    const answer = await session.send("Runtime.evaluate", { expression: ask, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(`axe did not run: ${JSON.stringify(answer.exceptionDetails)}`);
    for (const fault of JSON.parse(answer.result.value)) this.faults.push(`${name}: ${fault}`);
  }

  async end() {
    await this.context.close();
    fs.rmSync(this.directory, { recursive: true, force: true });
    assert.deepEqual(this.faults, [], "what the browser complained of");
  }
}

load.resolve = (name) =>
  createRequire(path.join(path.resolve(process.env.HOOKWHEEL_NODE_PACKAGES ?? "."), "node_modules", "x.js")).resolve(
    name,
  );

// What axe does not hold, or only advises: contrast as computed, one h1, no heading left out, a name for each control.
function look() {
  const faults = [];
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(
    document.querySelector("dialog[open]") ?? document.body,
    NodeFilter.SHOW_TEXT,
  );
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (
      !node.textContent.trim() ||
      element.closest(".offscreen, title, option, datalist, noscript, .skip, :disabled") ||
      !element.checkVisibility({ opacityProperty: true })
    )
      continue;
    const ground = behind(element);
    const ink = over(rgba(getComputedStyle(element).color), ground);
    const [high, low] = [light(ink), light(ground)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5)
      faults.push(
        `contrast ${ratio.toFixed(2)} of "${node.textContent.trim().slice(0, 40)}" in ${element.outerHTML.slice(0, 80)}`,
      );
  }
  if (document.querySelectorAll("h1").length !== 1)
    faults.push(`${document.querySelectorAll("h1").length} headings of the first order`);
  let before = 1;
  for (const heading of document.querySelectorAll("main :is(h1, h2, h3)")) {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) faults.push(`"${heading.textContent}" is an h${level} below an h${before}`);
    before = level;
  }
  for (const control of document.querySelectorAll("button, input, select, textarea, summary, a[href]")) {
    const words =
      control.getAttribute("aria-label") ||
      control.textContent.trim() ||
      [...(control.labels ?? [])].map((label) => label.textContent.trim()).join(" ");
    if (!words) faults.push(`a ${control.tagName} has no name: ${control.outerHTML.slice(0, 120)}`);
  }
  return [...new Set(faults)];
}
