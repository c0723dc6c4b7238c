// Registers a passkey with Chromium's virtual device and signs with it, on pages as docs/console-passkeys.md describes them.
//
// `given.creation`, `given.signIn`, `given.signature`: options, as the service makes them. Returns what was posted.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Visitor, axe, given, serve, withBrowser } from "./browser.mjs";

const escape = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
const page = (kind, options) => ({
  body: `<!doctype html><html lang="en"><head><title>A passkey</title><script type="module" src="/passkey.js"></script></head><body><main><h1>A passkey</h1>
    <form method="post" action="/posted" data-passkey="${kind}" data-passkey-options="${escape(JSON.stringify(options))}">
    <input type="hidden" name="answer" data-passkey-answer><button data-passkey-field hidden name="do" value="it">Go on</button>
    <p data-passkey-problem role="alert" hidden></p><ul hidden data-passkey-texts><li data-reason="cancelled">You cancelled it.</li></ul></form></main></body></html>`,
});

await withBrowser(async (browser) => {
  const texts = {
    "/passkey.js": { type: "text/javascript", body: readFileSync(join(given.assets, "passkey.js")) },
    "/create": page("create", given.creation),
    "/sign-in": page("get", given.signIn),
    "/sign": page("get", given.signature),
    "/posted": { body: "<!doctype html><title>Done</title><p id=done>Done.</p>" },
  };
  const server = await serve(texts);
  const visitor = await Visitor.open(browser);
  const tab = await visitor.context.newPage();
  const devtools = await visitor.context.newCDPSession(tab);
  await devtools.send("WebAuthn.enable");
  const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
  const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options });
  const press = async (path) => {
    await tab.goto(server.address + path);
    await tab.click("button");
    await tab.locator("#done, [data-passkey-problem]:not([hidden])").first().waitFor();
    const arrived = await tab.locator("#done").isVisible();
    const problem = arrived ? null : await tab.locator("[data-passkey-problem]").textContent();
    return { problem, posted: server.posted.splice(0).map(({ body }) => Object.fromEntries(new URLSearchParams(body))) };
  };
  const result = { address: server.address };
  await tab.goto(`${server.address}/sign-in`);
  result.accessible = await axe(tab);
  result.none = await press("/sign-in");
  result.created = await press("/create");
  result.credentials = (await devtools.send("WebAuthn.getCredentials", { authenticatorId })).credentials.map(({ rpId, isResidentCredential }) => ({ rpId, isResidentCredential }));
  const { id } = JSON.parse(result.created.posted[0].answer);
  texts["/again"] = page("create", { ...given.creation, excludeCredentials: [{ type: "public-key", id, transports: ["internal"] }] });
  result.again = await press("/again");
  result.signedIn = await press("/sign-in");
  result.signed = await press("/sign");
  // "Back": the form asks again, and does not post the old answer.
  await tab.goBack();
  result.left = await tab.locator("[data-passkey-answer]").inputValue();
  // The device does not recognise the person.
  await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
  result.unverified = await press("/sign");
  result.violations = visitor.violations;
  result.errors = visitor.errors;
  const plain = await Visitor.open(browser, { javaScriptEnabled: false });
  result.plain = await (await plain.go(`${server.address}/sign-in`)).page.locator("button").isVisible();
  await plain.close();
  await visitor.close();
  server.close();
  return result;
});
