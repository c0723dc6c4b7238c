// Sends from the mailbox of a signed-in person in Chromium: by the pages of the console, and by the sample pages of `examples`.
//
// `given.task`: one of the tasks below. `given.service`: the address of the service, `given.port`: the port of the proxy with TLS in
// front of it, whose certificate and key are `given.certificate` and `given.key`; browsers use the proxy, as people do.
// `given.token`: a token of the service. `given.sandbox`: the address of Entra and Graph. `given.scenario`: the scenario without
// consent to send. Returns what was seen; nothing here judges.

import { createServer as createPlain, request as forward } from "node:http";
import { createServer } from "node:https";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Visitor, axe, given, overflow, screenshot, withBrowser } from "./browser.mjs";

const PATIENCE = 60_000;
const home = `https://localhost:${given.port}`;
const ALICE = "alice@contoso.example";
const OTHER = "documents@contoso.example";

/** What the service was sent, headers and bodies. */
const sentToService = [];

/** A proxy with TLS in front of the service, as it passes `Host` and `Origin` on unchanged. */
function startProxy() {
  const { hostname, port } = new URL(given.service);
  const server = createServer({ cert: given.certificate, key: given.key }, (request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      sentToService.push(`${request.method} ${request.url}\n${JSON.stringify(request.rawHeaders)}\n${body.toString("latin1")}`);
      const passed = forward({ hostname, port, method: request.method, path: request.url, headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.rawHeaders);
        answer.pipe(response);
      });
      passed.on("error", () => response.destroy());
      response.on("close", () => passed.destroy());
      passed.end(body);
    });
  });
  return new Promise((done) => server.listen(given.port, "127.0.0.1", () => done(server)));
}

/** A person at a browser. */
class Person {
  static async open(browser, { faults = false, options = {} } = {}) {
    const person = new Person(await Visitor.open(browser, { ignoreHTTPSErrors: true, ...options }));
    const { context } = person.visitor;
    context.setDefaultTimeout(PATIENCE);
    // With a route Playwright answers preflights itself, so that a fault is for the request after it.
    if (faults) await context.route("**/unused", (route) => route.continue());
    context.on("request", (request) => {
      const url = new URL(request.url());
      if (url.pathname.endsWith("/authorize")) person.authorized.push(`${url.searchParams.get("scope")} ${url.searchParams.get("claims") ?? ""}`);
      const token = /^Bearer (.+)/.exec(request.headers().authorization ?? "")?.[1];
      if (url.origin === given.sandbox && token) person.tokens.add(token);
    });
    await person.visitor.signIn(home, given.token);
    return person;
  }

  constructor(visitor) {
    Object.assign(this, { visitor, authorized: [], tokens: new Set() });
  }

  /** Opens a page of the console in a tab. */
  async go(path) {
    const tab = await this.visitor.context.newPage();
    await tab.goto(home + path);
    return tab;
  }

  /** Signs in to Microsoft, on a page that offers it. */
  async signIn(tab, account = ALICE, button = "sign-in") {
    await tab.locator(`[data-part=${button}]`).click();
    await tab.waitForURL(/\/authorize/);
    await tab.getByRole("link", { name: account }).click();
    await tab.waitForURL((url) => url.origin === home && url.pathname !== "/console/delegate");
    await tab.locator("[data-part=signed-in]").waitFor();
  }

  /** Returns the access tokens that Graph was sent, and the refresh tokens that MSAL.js has kept in the tabs. */
  async allTokens() {
    for (const tab of this.visitor.context.pages()) {
      const kept = await tab.evaluate(() => Object.values(sessionStorage));
      for (const { 1: secret } of kept.join().matchAll(/"secret":"([^"]+)"/g)) if (!isIdToken(secret)) this.tokens.add(secret);
    }
    return [...this.tokens];
  }

  async open(path, account) {
    const tab = await this.go(path);
    await this.signIn(tab, account);
    return tab;
  }
}

/** Returns true for a JWT that says who someone is, and not what may be done. */
function isIdToken(token) {
  const claims = token.startsWith("eyJ") ? JSON.parse(Buffer.from(token.split(".")[1], "base64url")) : { scp: true };
  return claims.scp === undefined;
}

const row = (tab, id) => tab.locator(`[data-id="${id}"]`);
const send = (tab, id) => row(tab, id).locator("[data-part=send]").click();
const progress = (tab) => tab.locator("[data-part=progress]");
const problem = (tab) => tab.locator("[data-part=problem]:not([hidden])");
const contains = (locator, text) => locator.filter({ hasText: text }).waitFor();

/** Asks the service, as a program with its token. */
async function api(method, path, body) {
  const headers = { authorization: `Bearer ${given.token}`, "content-type": "application/json" };
  const answer = await fetch(given.service + path, { method, headers, body: body && JSON.stringify(body) });
  return answer.json();
}

async function submit(more = {}) {
  const message = { company: "EDU1", function: "user-interface", client: "spa", sender: given.alice, to: ["customer@example.org"], subject: "Invoice", text: "Attached." };
  const accepted = await api("POST", "/v1/messages", { ...message, ...more });
  if (!accepted.id) throw new Error(JSON.stringify(accepted));
  return accepted.id;
}

const status = async (id) => (await api("GET", `/v1/messages/${id}`)).status;

/** Waits until something of the service or the sandbox is as wanted. */
async function until(what, check) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
    if (await check()) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`waited for ${what}`);
}

const control = (person, path, data, method = "post") => person.visitor.context.request[method](`${given.sandbox}/sandbox/${path}`, data && { data });
const mails = async (person) => (await control(person, "mail", null, "get")).json();

/** Composes an invoice with an attachment of 2 MB, in the console. Consent to send comes when it is needed. */
async function compose(browser) {
  const person = await Person.open(browser);
  const tab = await person.open("/console/compose");
  const result = { identified: [...person.authorized], policy: (await tab.request.get(`${home}/console/compose`)).headers()["content-security-policy"] };
  await tab.locator("[data-part=form]").waitFor();
  result.accessible = await axe(tab);
  await screenshot(tab, "compose-form");
  await tab.fill("#to", '"Customer, Ann" <customer@example.org>, second@example.org');
  await tab.fill("#bcc", "quiet@example.org");
  await tab.fill("#subject", "Invoice 4711");
  await tab.fill("#text", "Please find it attached.");
  const buffer = Buffer.from(Array.from({ length: 2_000_000 }, (_, index) => (index * 7919 + (index >> 8)) & 255));
  await tab.setInputFiles("#attachments", { name: "invoice.pdf", mimeType: "application/pdf", buffer });
  await tab.locator("[data-part=form] button").click();
  // Microsoft refuses without consent: the tab comes back, and the message waits on its page.
  await tab.locator("[data-part=consent]:not([hidden]) a").waitFor();
  result.withoutConsent = { consent: await tab.locator("[data-part=consent] a").getAttribute("href"), path: new URL(tab.url()).pathname, mails: (await mails(person)).length };
  result.asked = person.authorized.slice(result.identified.length);
  const id = result.withoutConsent.path.split("/").pop();
  result.waiting = await status(id);
  await control(person, "scenario", given.consented, "put");
  await send(tab, id);
  await contains(progress(tab), "Sent: Invoice 4711");
  result.mails = await mails(person);
  result.message = await api("GET", `/v1/messages/${id}`);
  result.page = await (await person.go(`/console/outbox/${id}`)).locator("main").innerText();
  // Signed in already, and with consent: one press.
  await tab.goto(`${home}/console/compose`);
  await tab.locator("[data-part=form]:not([hidden])").waitFor();
  await tab.fill("#to", "customer@example.org");
  await tab.fill("#subject", "Second");
  await tab.locator("[data-part=form] button").click();
  await contains(progress(tab), "Sent: Second");
  result.composed = (await mails(person)).length;
  // A message that the service refuses, with the reason.
  await tab.fill("#to", "not an address");
  await tab.locator("[data-part=form] button").click();
  await contains(problem(tab), "MW0");
  result.refused = await problem(tab).innerText();
  result.stored = await tab.evaluate(() => Object.keys(localStorage).length);
  return { ...result, violations: person.visitor.violations, tokens: await person.allTokens() };
}

/** What can go wrong: each message is sent once, or waits. */
async function refusals(browser) {
  const person = await Person.open(browser, { faults: true, options: { colorScheme: "dark" } });
  const result = {};
  // Another account of the tenant sees nothing of the message.
  const first = await submit({ subject: "For Alice alone" });
  const tab = await person.open(`/console/waiting/${first}`, OTHER);
  await contains(problem(tab), "another account");
  result.mismatch = { problem: await problem(tab).innerText(), page: await tab.locator("main").innerText() };
  await person.signIn(tab, ALICE, "other-account");
  await row(tab, first).waitFor();
  result.listed = await row(tab, first).innerText();
  result.accessible = await axe(tab);
  await tab.setViewportSize({ width: 320, height: 640 });
  result.wide = await overflow(tab);
  await tab.setViewportSize({ width: 1280, height: 800 });
  await screenshot(tab, "waiting-message");

  // Graph demands other claims: one redirect, and the message is sent after it.
  const claims = { access_token: { nbf: { essential: true, value: "1700000000" } } };
  await control(person, "faults", { at: "/me/sendMail", claims, times: 1 });
  let before = person.authorized.length;
  await send(tab, first);
  await contains(progress(tab), "Sent: For Alice alone");
  result.challenge = { redirects: person.authorized.slice(before), message: await api("GET", `/v1/messages/${first}`), mails: (await mails(person)).length };

  // A second demand is not followed: the message waits, and the person decides.
  const second = await submit({ subject: "Asked twice" });
  await tab.goto(`${home}/console/waiting`);
  await row(tab, second).waitFor();
  await control(person, "faults", { at: "/me/sendMail", claims, times: 2 });
  before = person.authorized.length;
  await send(tab, second);
  await contains(problem(tab), "the message waits");
  result.twice = { redirects: person.authorized.length - before, status: await status(second) };
  await send(tab, second);
  await contains(progress(tab), "Sent: Asked twice");

  // The refresh token has ended after 24 hours.
  const third = await submit({ subject: "A day later" });
  await tab.goto(`${home}/console/waiting`);
  await row(tab, third).waitFor();
  await control(person, "faults", { at: "/oauth2/v2.0/token", status: 400, aadsts: 700084, times: 1 });
  before = person.authorized.length;
  await tab.evaluate(() => {
    for (const key of Object.keys(sessionStorage)) if (key.includes("accesstoken")) sessionStorage.removeItem(key);
  });
  await send(tab, third);
  await contains(progress(tab), "Sent: A day later");
  result.day = person.authorized.length - before;

  // Two tabs send one message: one of them does.
  const fourth = await submit({ subject: "Two tabs" });
  await tab.goto(`${home}/console/waiting`);
  const other = await person.open("/console/waiting");
  await Promise.all([tab, other].map((one) => row(one, fourth).waitFor()));
  await control(person, "faults", { at: "/me/sendMail", delay: 2000, times: 1 });
  await Promise.all([send(tab, fourth), send(other, fourth)]);
  await until("the message", async () => (await status(fourth)) === "delivered");
  await Promise.all([tab, other].map((one) => one.locator("[data-delegate]:not([aria-busy])").waitFor()));
  const outcomes = await Promise.all([tab, other].map(async (one) => `${await progress(one).innerText()}${await one.locator("[data-part=problem]").innerText()}`));
  result.tabs = { outcomes, mails: (await mails(person)).filter((mail) => JSON.stringify(mail).includes("Two tabs")).length };

  // A refusal of the message itself ends it.
  const fifth = await submit({ subject: "Refused" });
  await tab.goto(`${home}/console/waiting`);
  await row(tab, fifth).waitFor();
  await control(person, "faults", { at: "/me/sendMail", status: 400, code: "ErrorInvalidRecipients", times: 1 });
  await send(tab, fifth);
  await contains(problem(tab), "for good");
  result.failed = await status(fifth);

  // An answer that is lost is looked for in Sent Items, once the person permits that.
  const sixth = await submit({ subject: "Lost answer" });
  await tab.goto(`${home}/console/waiting`);
  await row(tab, sixth).waitFor();
  await control(person, "faults", { at: "/me/sendMail", status: 504, after: true, times: 1 });
  await send(tab, sixth);
  await contains(problem(tab), "not known");
  result.lost = await status(sixth);
  person.authorized.length = 0;
  await row(tab, sixth).locator("[data-part=look]").click();
  await contains(progress(tab), "Sent: Lost answer");
  result.found = await status(sixth);

  // Attachments: several small ones go by a draft, a large one needs an upload that browsers may not make.
  const file = (name, size) => ({ name, content: Buffer.alloc(size, name).toString("base64") });
  const seventh = await submit({ subject: "Several files", attachments: [file("a.bin", 1_800_000), file("b.bin", 1_800_000)] });
  const eighth = await submit({ subject: "A large file", attachments: [file("large.bin", 5_000_000)] });
  await tab.goto(`${home}/console/waiting`);
  await row(tab, seventh).waitFor();
  await send(tab, seventh);
  await contains(progress(tab), "Sent: Several files");
  await send(tab, eighth);
  await contains(problem(tab), "mailwright delegate run");
  result.large = { problem: await problem(tab).innerText(), status: await status(eighth) };
  result.attachments = (await mails(person)).filter((mail) => JSON.stringify(mail).includes("Several files")).map((mail) => mail.mail.attachments.length);
  await row(tab, eighth).locator("[data-part=cancel]").click();
  await contains(progress(tab), "Cancelled: A large file");
  result.cancelled = await status(eighth);

  // A tab that is closed while it sends: another one does not send the message meanwhile.
  const ninth = await submit({ subject: "Closed tab" });
  await tab.goto(`${home}/console/waiting`);
  await row(tab, ninth).waitFor();
  await other.goto(`${home}/console/waiting`);
  await row(other, ninth).waitFor();
  await control(person, "faults", { at: "/me/sendMail", delay: 600_000, times: 1 });
  await send(tab, ninth);
  await until("the lease", async () => (await status(ninth)) === "sending");
  await tab.close();
  await send(other, ninth);
  await contains(problem(other), "Another window");
  result.closed = { status: await status(ninth), mails: (await mails(person)).filter((mail) => JSON.stringify(mail).includes("Closed tab")).length };
  return { ...result, violations: person.visitor.violations, tokens: await person.allTokens() };
}

/** The sample pages of `examples`, as the web client of an ERP system has them, unchanged but for their settings. */
async function samples(browser) {
  const pageOf = (file, settings) => {
    const html = readFileSync(join(given.examples, file), "utf8");
    return html.replace(/(<script type="application\/json" id="settings">)[^<]*/, (_, tag) => tag + JSON.stringify(settings));
  };
  const message = await submit({ subject: "By the console" });
  const own = { service: home, user: ALICE, client: given.client, msal: "/msal.js", authority: `${given.sandbox}/contoso.example`, graph: given.sandbox };
  const served = {
    "/open": pageOf("delegate-open-console.html", { service: home, message }),
    "/erp": pageOf("delegate-own-sign-in.html", own),
    "/msal.js": readFileSync(join(given.assets, "msal.js"), "utf8"),
  };
  const server = createPlain((request, response) => {
    const path = request.url.split("?")[0];
    response.writeHead(served[path] ? 200 : 404, { "content-type": path.endsWith(".js") ? "text/javascript" : "text/html; charset=utf-8" });
    response.end(served[path] ?? "");
  });
  await new Promise((done) => server.listen(given.erp, "127.0.0.1", done));
  const person = await Person.open(browser);
  const { context } = person.visitor;

  const opener = await context.newPage();
  await opener.goto(`http://localhost:${given.erp}/open`);
  const [tab] = await Promise.all([context.waitForEvent("page"), opener.click("#send")]);
  await person.signIn(tab);
  await send(tab, message);
  await contains(progress(tab), "Sent: By the console");
  const result = { byConsole: await status(message) };

  const another = await submit({ subject: "By the ERP" });
  const page = await context.newPage();
  await page.goto(`http://localhost:${given.erp}/erp`);
  await page.click("#send");
  await contains(page.locator("#log"), "done");
  result.log = await page.locator("#log").innerText();
  result.byErp = await status(another);
  // The lease API is open to this origin, and to no other page; the rest of the API is open to none.
  const reach = (path) => fetch(path).then((answer) => answer.status, () => "blocked");
  result.reach = [await page.evaluate(reach, `${home}/v1/delegate/messages`), await page.evaluate(reach, `${home}/v1/messages`)];
  await page.goto(`http://127.0.0.1:${given.erp}/open`);
  result.reach.push(await page.evaluate(reach, `${home}/v1/delegate/messages`));
  result.mails = (await mails(person)).length;
  server.close();
  return { ...result, violations: person.visitor.violations, tokens: await person.allTokens() };
}

/** Returns what the tabs show, for a test that failed. */
async function tabsOf(browser) {
  const tabs = browser.contexts().flatMap((context) => context.pages());
  const shown = tabs.map(async (tab) => `${tab.url()}\n${await tab.locator("body").innerText({ timeout: 1000 }).catch(String)}`);
  return (await Promise.all(shown)).join("\n\n");
}

const proxy = await startProxy();
await withBrowser(async (browser) => {
  const result = await { compose, refusals, samples }[given.task](browser).catch(async (error) => {
    throw new Error(`${error.message}\n${await tabsOf(browser)}`, { cause: error });
  });
  const isSent = (token) => sentToService.some((request) => request.includes(token));
  return { ...result, requests: sentToService.length, disclosed: result.tokens.filter(isSent).length };
});
proxy.close();
proxy.closeAllConnections();
