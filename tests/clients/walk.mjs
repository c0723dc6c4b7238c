// Two persons set up mail for two companies in the console, from the enrolment to the files for Git, as new users do: by what the
// pages show. Each has a browser and a virtual device of its own.
//
// `given.address`: the service at `localhost`. `given.ann`, `given.bob`: enrolment links. `given.smtp`: the port of a mail
// server on localhost, `given.password`: the password of its user `mailer`. `given.entra`: the address of Entra and Graph,
// `given.client`, `given.secret`: an application there. `given.sandbox`: { address, authority, good, bad }: where its scenario
// is set, and two of them: with that password and with another one. `given.patches`: a folder. Returns what was seen; nothing
// here judges.

import { request } from "node:https";
import { join } from "node:path";
import { Visitor, axe, given, screenshot, withBrowser } from "./browser.mjs";

/** The longest time that a page has for what happens in the service. */
const PATIENCE = 60000;
const DEVICE = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };

/** A person with a browser and a device. */
class Person {
  static async enrol(browser, link) {
    const visitor = await Visitor.open(browser);
    const tab = await visitor.context.newPage();
    tab.setDefaultTimeout(PATIENCE);
    const devtools = await visitor.context.newCDPSession(tab);
    await devtools.send("WebAuthn.enable");
    await devtools.send("WebAuthn.addVirtualAuthenticator", { options: DEVICE });
    const person = new Person(visitor, tab);
    await tab.goto(link);
    await person.press("main form button");
    await person.press("main form[data-passkey] button");
    return person;
  }

  constructor(visitor, tab) {
    this.visitor = visitor;
    this.tab = tab;
  }

  /** Presses a button or link that leads to another page. */
  async press(selector) {
    await Promise.all([this.tab.waitForNavigation(), this.tab.click(selector)]);
  }

  /** Opens a page by its entry in the navigation. */
  async open(title) {
    await this.press(`nav a:text-is("${title}")`);
  }

  async text(selector = "main") {
    return this.tab.locator(selector).first().innerText();
  }

  at() {
    return new URL(this.tab.url()).pathname;
  }
}

function setScenario(scenario) {
  return new Promise((done, failed) => {
    const options = { method: "PUT", ca: given.sandbox.authority, headers: { "content-type": "application/json" } };
    const sent = request(`${given.sandbox.address}/sandbox/scenario`, options, (answer) => {
      answer.resume();
      answer.on("end", () => (answer.statusCode === 204 ? done() : failed(new Error(`the scenario: ${answer.statusCode}`))));
    });
    sent.on("error", failed);
    sent.end(JSON.stringify(scenario));
  });
}

/** Chooses the provider of a new profile, from the list of profiles. */
async function begin(ann, provider) {
  await ann.open("Profiles");
  await ann.press("main a:text-is('New profile')");
  await ann.tab.selectOption("#choose-provider", provider);
  await ann.press("form.filter button");
}

/** Fills in what both providers have, shows the plan, and proposes it. Returns what the plan says of the verification. */
async function propose(ann, company) {
  const { tab } = ann;
  await tab.fill("#from-address", "documents@contoso.example");
  await tab.check("[name=applies-to][value=companies]");
  await tab.check(`[name=company][value=${company}]`);
  await tab.check("[name=function][value=default]");
  await ann.press("form.edit button.primary");
  const verification = await ann.text("section[aria-labelledby=verification]");
  await tab.fill("#reason", "Ticket 4711: new branch");
  await ann.press("button:text-is('Propose')");
  return verification;
}

/** Lets bob find the proposal on the overview, and sign it; and ann apply it. */
async function approve(ann, bob, name) {
  const seen = {};
  await bob.open("Overview");
  await bob.press(`main a:text-is("Proposal for ${name}")`);
  seen.before = await bob.text();
  await screenshot(bob.tab, `walk-proposal-${name}`);
  await bob.tab.fill("#sign-reason", "Checked against the order of the branch");
  await bob.press("button:text-is('Continue to sign')");
  seen.signed = await bob.text("main dl.values");
  await bob.press("main form[data-passkey] button");
  seen.after = await bob.text();
  await ann.tab.reload();
  await ann.press("button:text-is('Apply')");
  await ann.press(`main a:text-is("Open the profile ${name}")`);
  return seen;
}

/** Sends a test message from the page of a profile, and returns what its page says. */
async function sendTest(ann, name) {
  await ann.open("Profiles");
  await ann.press(`main a:text-is("${name}")`);
  await ann.tab.fill("#test-to", "ann@contoso.example");
  await ann.press("button:text-is('Send a test message')");
  // Lost if the page is loaded again: what comes later, comes by itself.
  await ann.tab.evaluate(() => { window.__first = true; });
  return ann.text();
}

/** Waits until the page of a message shows a status or a text, without loading it again. */
async function waitFor(ann, selector) {
  await ann.tab.locator(selector).first().waitFor();
  return { page: await ann.text(), isUpdated: await ann.tab.evaluate(() => window.__first === true) };
}

await withBrowser(async (browser) => {
  const result = { accessible: {} };
  const ann = await Person.enrol(browser, given.ann);
  const bob = await Person.enrol(browser, given.bob);
  const check = async (person, name) => {
    await screenshot(person.tab, `walk-${name}`);
    result.accessible[name] = await axe(person.tab);
  };

  result.first = await ann.text();
  await begin(ann, "smtp");
  await ann.tab.fill("#name", "acme-relay");
  await ann.tab.fill("#host", "localhost");
  await ann.tab.fill("#port", String(given.smtp));
  await ann.tab.check("[name=login][value=password]");
  await ann.tab.fill("#username", "mailer");
  await ann.tab.fill("#value-password", given.password);
  result.smtpVerification = await propose(ann, "ACME");
  result.own = await ann.text();
  result.smtp = await approve(ann, bob, "acme-relay");

  await begin(ann, "microsoft-graph-direct");
  await ann.tab.fill("#name", "glob-graph");
  await ann.tab.selectOption("#cloud", "custom");
  await ann.tab.fill("#sign-in", given.entra);
  await ann.tab.fill("#graph", given.entra);
  await ann.tab.fill("#tenant", "contoso.example");
  await ann.tab.fill("#client", given.client);
  await ann.tab.check("[name=credential][value=client-secret]");
  await ann.tab.fill("#value-client-secret", given.secret);
  result.graphVerification = await propose(ann, "GLOB");
  result.graph = await approve(ann, bob, "glob-graph");

  // The progress of a verification.
  await ann.press("button:text-is('Verify now')");
  await ann.tab.locator("main :text('complete')").first().waitFor();
  result.verified = await ann.text();

  // The first message arrives.
  await sendTest(ann, "glob-graph");
  result.delivered = await waitFor(ann, "h1 .status-delivered");
  await check(ann, "delivered");

  // The second one waits: the server has another password now.
  await setScenario(given.sandbox.bad);
  await sendTest(ann, "acme-relay");
  result.suspended = await waitFor(ann, "main :text('refuses what this profile')");
  result.links = await ann.tab.locator("main .notice a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
  await check(ann, "suspended");
  await setScenario(given.sandbox.good);
  await ann.press("button:text-is('Send now')");
  await ann.tab.evaluate(() => { window.__first = true; });
  result.resumed = await waitFor(ann, "h1 .status-delivered");

  // The third one waits, because bob holds the mail of the company.
  await bob.tab.goto(`${given.address}/console/holds`);
  await bob.tab.fill("#company", "GLOB");
  await bob.tab.fill("#reason", "The branch moves");
  await bob.press("button:text-is('Hold mail')");
  await sendTest(ann, "glob-graph");
  result.held = await waitFor(ann, "main :text('An operator lets this mail wait')");
  await check(ann, "held");
  await bob.press("button:text-is('Release')");
  result.released = await waitFor(ann, "h1 .status-delivered");

  // The files for Git.
  for (const name of ["acme-relay", "glob-graph"]) {
    await ann.open("Profiles");
    await ann.press(`main a:text-is("${name}")`);
    const [download] = await Promise.all([ann.tab.waitForEvent("download"), ann.tab.click("main a[download]")]);
    await download.saveAs(join(given.patches, download.suggestedFilename()));
  }
  result.profile = await ann.text();
  await check(ann, "profile");
  result.problems = [ann, bob].flatMap(({ visitor }) => [...visitor.violations, ...visitor.errors]);
  await ann.visitor.close();
  await bob.visitor.close();
  return result;
});
