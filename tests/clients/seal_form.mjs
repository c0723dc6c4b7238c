// Types secrets into forms as docs/console-sealing.md describes them, and returns what left the page.
//
// `given.recipients`, `given.environment`, `given.value`, `given.certificate`: what is sealed.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Visitor, axe, given, serve, withBrowser } from "./browser.mjs";

const asset = (name) => ({ type: "text/javascript", body: readFileSync(join(given.assets, name)) });
const escape = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

const form = (recipients, more = "") => `<form method="post" action="/posted" data-seal data-seal-library="/age.js"
    data-seal-environment="${given.environment}" data-seal-recipients="${escape(recipients)}" ${more}>
  <label>Host <input name="host" data-seal-part="host" value="Mail.Example.com"></label>
  <fieldset><legend>Encryption</legend>
    <label><input type="radio" name="encryption" value="starttls" data-seal-part="encryption" checked> STARTTLS</label>
    <label><input type="radio" name="encryption" value="none" data-seal-part="encryption"> none</label>
  </fieldset>
  <fieldset disabled><legend>Another provider</legend><label>Host <input name="other" data-seal-part="host" value="other.example"></label></fieldset>
  <div data-seal-field hidden>
    <label for="password">Password</label>
    <input id="password" type="password" autocomplete="new-password" data-seal-kind="password" data-seal-destination="smtp" data-seal-as="sealed-password" data-seal-required aria-describedby="help problem">
    <p id="help">It is encrypted here.</p><p id="problem" data-seal-problem role="alert" hidden></p>
  </div>
  <p id="insecure" data-seal-obstacle="insecure" hidden>Only with https.</p>
  <p id="recipient" data-seal-obstacle="recipient" hidden>A recipient needs the command line.</p>
  <noscript><p id="plain">Secrets are encrypted by a script.</p></noscript>
  <button name="action" value="save">Save</button>
  <ul hidden data-seal-texts><li data-reason="empty">Type the password.</li><li data-reason="masked">This is a mask.</li><li data-reason="private-key">This is a key.</li></ul>
</form>`;

const certificateForm = `<form method="post" action="/posted" data-seal data-seal-library="/age.js" data-seal-environment="${given.environment}" data-seal-recipients="${escape(given.recipients)}">
  <input type="hidden" data-seal-part="cloud" value="global"><label>Tenant <input name="tenant" data-seal-part="tenant" value="contoso.example"></label>
  <label>Client <input name="client" data-seal-part="client" value="0c0f5a3b-1d2e-4f60-8a7b-9c8d7e6f5a4b"></label>
  <div data-seal-field hidden><label for="file">Certificate</label>
  <input id="file" type="file" data-seal-kind="certificate" data-seal-destination="entra" data-seal-as="sealed-certificate" aria-describedby="file-problem">
  <label for="pem">or its text</label><textarea id="pem" data-seal-kind="certificate" data-seal-destination="entra" data-seal-as="sealed-certificate" data-seal-required aria-describedby="file-problem"></textarea>
  <p id="file-problem" data-seal-problem role="alert" hidden></p></div><button>Save</button></form>`;

const page = (body) => ({
  body: `<!doctype html><html lang="en"><head><title>A form</title><script type="module" src="/seal.js"></script>
    <script src="/htmx.min.js" defer></script></head><body><main><h1>A form</h1><div id="place">${body}</div></main></body></html>`,
});

const texts = {
  "/seal.js": asset("seal.js"),
  "/age.js": asset("age.js"),
  "/htmx.min.js": asset("htmx.min.js"),
  "/form": page(form(given.recipients)),
  "/swapped": page(`<button hx-get="/part" hx-target="#place" hx-swap="innerHTML">Show</button>`),
  "/part": { body: form(given.recipients, 'hx-post="/answer" hx-target="#place" hx-swap="innerHTML"') },
  "/answer": { body: "<p id=done>Saved.</p>" },
  "/plugin": page(form(`${given.recipients}\nage1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt`)),
  "/certificate": page(certificateForm),
  "/broken": page(form(given.recipients).replace("/age.js", "/no-such.js")),
  "/posted": { body: "<!doctype html><title>Saved</title><p id=done>Saved.</p>" },
};

await withBrowser(async (browser) => {
  const server = await serve(texts);
  const visitor = await Visitor.open(browser);
  const requests = [];
  visitor.context.on("request", (request) => requests.push(`${request.method()} ${request.url()} ${request.postData() ?? ""}`));
  const take = () => server.posted.splice(0).map(({ body }) => Object.fromEntries(new URLSearchParams(body)));
  const result = {};
  const open = async (path) => (await visitor.go(server.address + path)).page;

  let at = await open("/form");
  result.accessible = await axe(at);
  result.offered = await at.locator("#password").isVisible();
  const problem = async (value) => {
    await at.fill("#password", value);
    await at.click("button");
    await at.locator("#problem:not([hidden])").waitFor();
    return [await at.locator("#problem").textContent(), await at.evaluate(() => document.activeElement.id)];
  };
  result.problems = [await problem(""), await problem("*****"), await problem("-----BEGIN PRIVATE KEY-----"), await problem("PASSWORD=x")];
  result.postedWithProblems = take();
  await at.fill("#password", given.value);
  await at.click("button");
  await at.locator("#done").waitFor();
  result.form = take();
  await at.goBack();
  result.afterBack = await at.evaluate(() => [...document.querySelectorAll("input")].map((input) => input.value));
  await at.close();

  // The other radio button, and the Enter key in place of the button.
  at = await open("/form");
  await at.check("input[value=none]");
  await at.fill("#password", given.value);
  await at.press("#password", "Enter");
  await at.locator("#done").waitFor();
  result.inClear = take();
  await at.close();

  at = await open("/swapped");
  await at.click("button");
  await at.fill("#password", given.value);
  await at.click("[data-seal] button");
  await at.locator("#done").waitFor();
  result.swapped = take();
  result.swappedStays = new URL(at.url()).pathname;
  await at.close();

  at = await open("/certificate");
  await at.click("button");
  await at.locator("#file-problem:not([hidden])").waitFor();
  result.certificateMissing = await at.locator("#file-problem").textContent();
  await at.setInputFiles("#file", { name: "both.pem", mimeType: "application/x-pem-file", buffer: Buffer.from("no certificate") });
  await at.click("button");
  await at.locator("#file-problem", { hasText: "no-certificate" }).waitFor();
  result.certificateProblem = await at.locator("#file-problem").textContent();
  await at.setInputFiles("#file", { name: "both.pem", mimeType: "application/x-pem-file", buffer: Buffer.from(given.certificate) });
  await at.click("button");
  await at.locator("#done").waitFor();
  result.certificate = take();
  await at.goto(`${server.address}/certificate`);
  await at.fill("#pem", given.certificate);
  await at.click("button");
  await at.locator("#done").waitFor();
  result.certificateText = take();
  await at.close();

  at = await open("/plugin");
  result.plugin = [await at.locator("#password").isVisible(), await at.locator("#recipient").isVisible(), await at.locator("#insecure").isVisible()];
  await at.close();
  result.violations = visitor.violations.splice(0);
  result.errors = visitor.errors.splice(0);

  // The script is not there: the reason is shown, and nothing is posted.
  at = await open("/broken");
  result.broken = await problem(given.value);
  result.postedWithoutLibrary = take();
  await at.close();

  // A name without TLS, other than localhost: browsers have no cryptography for it.
  const insecure = await Visitor.open(browser);
  await insecure.context.route("http://mail.example/**", async (route) => {
    const { pathname } = new URL(route.request().url());
    await route.fulfill({ contentType: texts[pathname].type ?? "text/html", body: texts[pathname].body });
  });
  at = (await insecure.go("http://mail.example/form")).page;
  result.insecure = [await at.locator("#password").isVisible(), await at.locator("#recipient").isVisible(), await at.locator("#insecure").isVisible()];
  await insecure.close();

  const plain = await Visitor.open(browser, { javaScriptEnabled: false });
  at = (await plain.go(server.address + "/form")).page;
  result.plain = [await at.locator("#password").isVisible(), await at.locator("#plain").isVisible()];
  await at.locator("#password").evaluate((input, value) => (input.value = value), given.value);
  await at.click("button");
  result.postedPlain = take();
  await plain.close();

  result.requests = requests;
  await visitor.close();
  server.close();
  return result;
});
