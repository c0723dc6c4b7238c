// A browser for tests: starts Chromium from target/tools, signs in, and checks pages. The scripts next to this file use it.
//
// A script gets one JSON file as its argument and writes one JSON document to standard output. `tests/support/browser.rs`
// starts it. Nothing here judges: a check returns what it found, and the test in Rust decides.

import { createRequire } from "node:module";
import { createServer } from "node:http";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What the test says to the script. */
export const given = JSON.parse(readFileSync(process.argv[2], "utf8"));

const require = createRequire(join(given.tools, "clients", "package.json"));
const { chromium } = require("playwright-core");
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** The rules of accessibility that pages keep: WCAG 2.2, levels A and AA. */
const AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

/** The policy of the console's pages, for pages that a test serves itself. */
export const STRICT_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
  "form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/** Runs `main` with a browser, and prints its result. The browser and its folder are gone afterwards. */
export async function withBrowser(main) {
  const home = mkdtempSync(join(tmpdir(), "mailwright-browser-"));
  let browser;
  try {
    browser = await chromium.launch({
      executablePath: join(given.tools, "usr/lib/chromium/chromium-headless-shell"),
      // Chromium refuses its sandbox to root, and containers have no namespaces for it. It sees pages of the tests alone.
      args: ["--no-sandbox"],
      env: { PATH: process.env.PATH, HOME: home, LD_LIBRARY_PATH: given.libraries, FONTCONFIG_FILE: fonts(home), TZ: "UTC" },
    });
    const result = await main(browser);
    process.stdout.write(JSON.stringify(result));
  } finally {
    await browser?.close();
    rmSync(home, { recursive: true, force: true });
  }
}

/** Writes a configuration of fonts that knows those of target/tools alone: screenshots do not depend on the machine. */
function fonts(home) {
  const file = join(home, "fonts.conf");
  const folder = join(given.tools, "usr/share/fonts");
  writeFileSync(file, `<fontconfig><dir>${folder}</dir><cachedir>${join(home, "fonts")}</cachedir></fontconfig>`);
  return file;
}

/** Serves texts on a free port, as `{ path: { type, body, policy } }`, and records what is posted. */
export async function serve(texts) {
  const posted = [];
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const path = request.url.split("?")[0];
      if (request.method === "POST") posted.push({ path, body: Buffer.concat(chunks).toString("utf8") });
      const found = texts[path];
      response.writeHead(found ? 200 : 404, {
        "content-type": found?.type ?? "text/html; charset=utf-8",
        "content-security-policy": found?.policy ?? STRICT_POLICY,
        "cache-control": "no-store",
      });
      response.end(found?.body ?? "");
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  // A browser counts `localhost` as secure, and as a name that passkeys can be bound to.
  return { address: `http://localhost:${server.address().port}`, posted, close: () => server.close() };
}

/** A visitor: cookies of its own, and a record of what went wrong on its pages. */
export class Visitor {
  /** `options`: those of Playwright's `newContext`, such as `colorScheme` and `javaScriptEnabled`. */
  static async open(browser, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options });
    const visitor = new Visitor(context);
    // Both run outside of the page's policy. A violation is recorded at once: the page may be left before it is asked.
    await context.exposeBinding("__violation", (_, text) => visitor.violations.push(text));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        window.__violation(`${event.violatedDirective}: ${event.blockedURI || "inline"} on ${location.pathname}`);
      });
    });
    context.on("console", (message) => {
      if (message.type() === "error") visitor.errors.push(`${message.text()} (${message.location().url})`);
    });
    context.on("weberror", (error) => visitor.errors.push(String(error.error())));
    return visitor;
  }

  constructor(context) {
    this.context = context;
    /** Violations of the security policy. */
    this.violations = [];
    /** What the console of the browser showed as an error: exceptions, and files that could not be loaded. */
    this.errors = [];
  }

  /** Signs in with a token, by the form, as an operator does. Returns true if the page that follows is not the form. */
  async signIn(address, token, path = "/console") {
    const page = await this.context.newPage();
    try {
      await page.goto(address + path);
      await page.locator("input[name=token]").fill(token);
      await page.locator("form:has(input[name=token]) :is(button, [type=submit])").click();
      await page.waitForLoadState();
      return (await page.locator("input[name=token]").count()) === 0;
    } finally {
      await page.close();
    }
  }

  /** Opens an address, and returns the page and its status. */
  async go(url) {
    const page = await this.context.newPage();
    const response = await page.goto(url);
    return { page, status: response?.status() ?? 0 };
  }

  async close() {
    await this.context.close();
  }
}

/** Runs axe. Returns a line for each element that breaks a rule. */
export async function axe(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate((tags) => window.axe.run(document, { runOnly: tags, resultTypes: ["violations"] }), AXE_TAGS);
  return found.violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary.replace(/\s+/g, " ")}`),
  );
}

/** Returns the elements that are wider than the page, if it has to be scrolled sideways. Elements that scroll within themselves are left out. */
export async function overflow(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const name = (element) => element.tagName.toLowerCase() + (element.id ? `#${element.id}` : "") + (element.className ? `.${[...element.classList].join(".")}` : "");
    // What is positioned absolutely is not held by an element that scrolls, unless that one is positioned as well.
    const above = (element) => (getComputedStyle(element).position === "absolute" ? element.offsetParent : element.parentElement);
    const isHeld = (element) => {
      for (let at = above(element); at && at !== document.body; at = above(at)) if (getComputedStyle(at).overflowX !== "visible") return true;
      return false;
    };
    const wide = [...document.body.querySelectorAll("*")].filter((element) => element.getBoundingClientRect().right > width + 1 && !isHeld(element));
    return [`the page is ${document.documentElement.scrollWidth} wide in ${width}`, ...wide.slice(0, 5).map(name)];
  });
}

/** Goes through a page by the Tab key alone. Returns what cannot be reached, where focus is not seen, and where it stays. */
export async function keyboard(page) {
  const count = await page.evaluate(() => {
    const selector = "a[href], button, input, select, textarea, summary, audio[controls], video[controls], [tabindex], [contenteditable=true]";
    const look = (element) => {
      const style = getComputedStyle(element);
      return [style.outlineStyle, style.outlineWidth, style.outlineColor, style.boxShadow, style.borderColor, style.backgroundColor, style.textDecorationLine].join(" ");
    };
    const isStop = (element) => {
      if (element.disabled || element.tabIndex < 0 || element.closest("[inert]")) return false;
      if (element.type === "radio" && !element.checked && element.name) {
        const group = [...document.getElementsByName(element.name)].filter((other) => other.form === element.form);
        // The arrow keys reach the others of a group.
        if (group.some((other) => other.checked) || group[0] !== element) return false;
      }
      return element.checkVisibility({ visibilityProperty: true });
    };
    const name = (element) => `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""} "${(element.getAttribute("aria-label") ?? element.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 40) || element.name || element.type || ""}"`;
    // The Tab key starts where the focus was last, even if that element is gone: before everything else.
    const start = document.createElement("span");
    start.tabIndex = -1;
    document.body.prepend(start);
    start.focus();
    start.remove();
    const elements = [...document.querySelectorAll(selector)].filter(isStop);
    window.__walk = { elements, name, look, before: elements.map(look), seen: new Set() };
    return elements.length;
  });
  /** The most stops within one field: the parts of a date with time, and its button. */
  const PARTS = 8;
  const problems = [];
  let repeated = 0;
  let first = null;
  let last = -2;
  for (let step = 0; step < PARTS * count + 3; step += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const { elements, name, look, before, seen } = window.__walk;
      const element = document.activeElement;
      if (!element || element === document.body || element === document.documentElement) return { index: -1 };
      let index = elements.indexOf(element);
      if (index < 0 && element.type === "radio") index = elements.findIndex((other) => other.type === "radio" && other.name === element.name);
      const box = element.getBoundingClientRect();
      const onScreen = box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
      const isMarked = index < 0 || look(element) !== before[index];
      seen.add(index);
      const hasParts = /^(date|time|month|week|datetime-local)$/.test(element.type);
      return { index, hasParts, name: name(element), href: element.getAttribute("href"), onScreen, isMarked };
    });
    if (at.index === -1) break;
    first ??= at;
    repeated = at.index === last ? repeated + 1 : 0;
    if (repeated > (at.hasParts ? PARTS : 0)) {
      problems.push(`focus stays on ${at.name}`);
      break;
    }
    last = at.index;
    if (repeated > 0) continue;
    if (!at.isMarked) problems.push(`focus is not seen on ${at.name}`);
    if (!at.onScreen) problems.push(`${at.name} is not on the screen while it has the focus`);
  }
  const missed = await page.evaluate(() => {
    const { elements, name, seen } = window.__walk;
    return elements.filter((_, index) => !seen.has(index)).map(name);
  });
  problems.push(...missed.map((name) => `the Tab key does not reach ${name}`));
  if (count > 0 && !first?.href?.startsWith("#")) problems.push("the first link does not lead to the contents");
  return problems;
}

/** Returns what does not work on a page without JavaScript: elements that only a script answers. */
export async function withoutScript(page) {
  return page.evaluate(() => {
    const name = (element) => element.outerHTML.slice(0, 120);
    const problems = [];
    if (!document.querySelector("main h1")?.checkVisibility()) problems.push("no heading is seen");
    for (const form of document.querySelectorAll("form")) {
      const hasButton = [...form.elements].some((element) => element.type === "submit" || element.type === "image");
      if (!hasButton) problems.push(`a form without a button: ${name(form)}`);
    }
    for (const element of document.querySelectorAll("[hx-get], [hx-post], [hx-put], [hx-patch], [hx-delete]")) {
      const works = element.matches("a[href], form[action]") || element.form;
      // An element that only refreshes itself needs no answer to a person.
      const trigger = element.getAttribute("hx-trigger") ?? "";
      if (!works && !/^(every|load|sse:)/.test(trigger)) problems.push(`only a script answers: ${name(element)}`);
    }
    for (const button of document.querySelectorAll("button")) {
      if (button.checkVisibility() && !button.form && !button.popoverTargetElement && !button.commandForElement) problems.push(`a button without a form: ${name(button)}`);
    }
    return problems;
  });
}

/** Puts a picture of the whole page into the folder of screenshots. */
export async function screenshot(page, name) {
  mkdirSync(given.screenshots, { recursive: true });
  await page.screenshot({ path: join(given.screenshots, `${name}.png`), fullPage: true });
}

/** The narrowest screen: 1280 pixels at 400 %. */
const NARROW = { width: 320, height: 640 };

/**
 * The ways in which each page is opened. axe runs once with the colours of each scheme: the narrow page has the same elements, in
 * the colours of one of them. German words are long, so what they fit in is wide enough for English ones.
 */
const WAYS = [
  { name: "light", options: { colorScheme: "light" }, checks: [axe, keyboard] },
  { name: "dark", options: { colorScheme: "dark" }, checks: [axe] },
  { name: "narrow", options: { colorScheme: "light", viewport: NARROW, locale: "de-DE" }, checks: [overflow] },
  { name: "plain", options: { colorScheme: "light", javaScriptEnabled: false }, checks: [withoutScript] },
];

/** Opens each page, a name and a path, in every way that pages must withstand. Returns the problems by page. */
export async function checkPages(browser, address, pages, token) {
  if (pages.length === 0) return {};
  const byWay = await Promise.all(WAYS.map((way) => checkWay(browser, way, address, pages, token)));
  return Object.fromEntries(
    pages.map(({ name }, index) => [name, byWay.flatMap((found, way) => found[index].map((text) => `${WAYS[way].name}: ${text}`))]),
  );
}

async function checkWay(browser, way, address, pages, token) {
  const visitor = await Visitor.open(browser, way.options);
  if (token && !(await visitor.signIn(address, token))) throw new Error(`cannot sign in: ${way.name}`);
  const byPage = [];
  // One tab for all: a new one costs as much as a page.
  const page = await visitor.context.newPage();
  for (const { name, path } of pages) {
    const status = (await page.goto(address + path))?.status() ?? 0;
    const found = status === 200 ? [] : [`the status is ${status}`];
    for (const check of way.checks) found.push(...(await check(page)));
    if (way.name !== "plain") {
      await scrollToStart(page);
      await screenshot(page, `${name}-${way.name}`);
    }
    found.push(...visitor.violations.splice(0).map((text) => `policy: ${text}`), ...visitor.errors.splice(0).map((text) => `console: ${text}`));
    byPage.push(found);
  }
  await visitor.close();
  return byPage;
}

/** Undoes what the walk by keyboard left: the focus, and what was scrolled to it. */
async function scrollToStart(page) {
  await page.evaluate(() => {
    document.activeElement?.blur?.();
    scrollTo(0, 0);
    for (const element of document.querySelectorAll(".scroll, .choices")) element.scrollTo(0, 0);
  });
}
