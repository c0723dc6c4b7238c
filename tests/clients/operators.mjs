// Enrols a person with Chromium's virtual device, signs in, confirms the identity, signs a proposal, and checks the pages that
// ask for a passkey.
//
// `given.address`: the service at `localhost`. `given.link`: an enrolment link. `given.proposal`: the path of a proposal.
// Returns what was seen; nothing here judges.

import { join } from "node:path";
import { mkdirSync } from "node:fs";
import { Visitor, axe, given, overflow, withBrowser } from "./browser.mjs";

await withBrowser(async (browser) => {
  const result = { accessible: {}, wide: {} };
  const visitor = await Visitor.open(browser);
  const requests = [];
  visitor.context.on("request", (request) => requests.push([request.method(), request.url(), JSON.stringify(request.headers())].join(" ")));
  const tab = await visitor.context.newPage();
  const devtools = await visitor.context.newCDPSession(tab);
  await devtools.send("WebAuthn.enable");
  const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
  await devtools.send("WebAuthn.addVirtualAuthenticator", { options });
  mkdirSync(given.screenshots, { recursive: true });
  const look = async (name) => {
    for (const colorScheme of ["light", "dark"]) {
      await tab.emulateMedia({ colorScheme });
      await tab.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
      result.accessible[`${name} ${colorScheme}`] = await axe(tab);
      await tab.screenshot({ path: join(given.screenshots, `${name}-${colorScheme}.png`), fullPage: true });
    }
    await tab.setViewportSize({ width: 320, height: 800 });
    result.wide[name] = await overflow(tab);
    await tab.setViewportSize({ width: 1280, height: 800 });
  };
  const at = () => new URL(tab.url()).pathname;
  const press = (selector) => Promise.all([tab.waitForNavigation(), tab.click(selector)]);

  await tab.goto(given.link);
  result.code = await tab.locator("#code").inputValue();
  result.hash = new URL(tab.url()).hash;
  await press("main form button");
  await look("enroll-passkey");
  await tab.locator("#label").fill("Test device");
  await press("main form[data-passkey] button");
  result.enrolled = at();
  await tab.goto(`${given.address}/console/account`);
  await look("account-operator");
  result.account = await tab.locator("main tbody th bdi").allTextContents();

  // A page that needs a recent confirmation leads to it, and back.
  await tab.goto(`${given.address}/console/confirm?next=/console/account`);
  await look("confirm-operator");
  const before = (await visitor.context.cookies()).find(({ name }) => name === "__Host-mw").value;
  await press("main form[data-passkey] button");
  result.confirmed = at();
  result.isNewSecret = (await visitor.context.cookies()).find(({ name }) => name === "__Host-mw").value !== before;

  await press("header form button");
  await tab.goto(`${given.address}/console/sign-in?next=/console/profiles`);
  await look("sign-in-passkey");
  await press("main form[data-passkey] button");
  result.signedIn = at();

  // What is signed is shown, and then signed.
  await tab.goto(given.address + given.proposal);
  await look("proposal-to-sign");
  await tab.locator("#sign-reason").fill("Ticket 4711");
  await press("form[action$='/sign'] button");
  await look("sign");
  await press("main form[data-passkey] button");
  result.signed = at();
  result.signature = await tab.locator("section[aria-labelledby=signatures] li").allTextContents();
  result.sentCode = requests.filter((request) => request.includes(result.code)).length;
  result.violations = visitor.violations;
  result.errors = visitor.errors;

  const plain = await Visitor.open(browser, { javaScriptEnabled: false });
  const { page } = await plain.go(`${given.address}/console/sign-in`);
  result.plain = [await page.locator("form[data-passkey] button").isVisible(), await page.locator("noscript").first().textContent()];
  await plain.close();
  await visitor.close();
  return result;
});
