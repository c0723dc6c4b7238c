// Signs in to the console with an identity provider, as people do: link, choice of an account, the page that was wanted;
// confirms the identity once more; signs a proposal; cancels; and chooses an account without a role.
//
// `given.address`: the environment. `given.admin`, `given.other`: names of accounts. `given.proposal`: the path of a proposal.
// Returns what was seen; nothing here judges.

import { Visitor, axe, given, overflow, withBrowser } from "./browser.mjs";

const pathOf = (page) => new URL(page.url()).pathname;

await withBrowser(async (browser) => {
  const result = {};
  // The provider's certificate is of an authority of the test.
  const visitor = await Visitor.open(browser, { ignoreHTTPSErrors: true });
  const page = await visitor.context.newPage();
  const at = (path) => page.waitForURL((url) => url.origin + url.pathname === given.address + path);
  const begin = async (path) => {
    await page.goto(given.address + path);
    result.form ??= pathOf(page);
    await page.locator("a.button.primary").click();
    await page.waitForURL(/\/oauth2\/v2\.0\/authorize/);
  };
  await begin("/console/profiles?q=a");
  result.accounts = [await page.locator("h1").textContent(), await page.locator("li a").allTextContents()];
  await page.getByRole("link", { name: given.admin }).click();
  await at("/console/profiles");
  result.arrived = page.url().slice(given.address.length);
  result.user = (await page.locator(".account bdi").textContent()).trim();
  const session = async () => {
    const cookies = (await visitor.context.cookies(given.address)).filter((cookie) => cookie.name.startsWith("__Host-") && !cookie.name.includes("passkey"));
    return cookies.map(({ name, path, httpOnly, secure, sameSite, value }) => ({ name, path, httpOnly, secure, sameSite, value }));
  };
  const before = await session();
  result.cookies = before.map(({ value, ...cookie }) => cookie);

  // Step-up: the provider asks for the password, and the session has another secret afterwards.
  await page.goto(`${given.address}/console/confirm/identity?next=/console/sessions`);
  result.password = await page.locator("h1").textContent();
  await page.getByRole("link", { name: given.admin }).click();
  await at("/console/sessions");
  result.confirmed = page.url().slice(given.address.length);
  const after = await session();
  result.renewed = after.length === 1 && after[0].value !== before[0].value;
  // A signature: the page shows the text, and the provider asks for the password once more.
  await page.goto(given.address + given.proposal);
  await page.locator("#sign-reason").fill("Ticket 4711");
  await page.locator("form[action$='/sign'] button").click();
  await page.locator("details summary").click();
  result.signText = await page.locator("details pre").textContent();
  result.signAccessible = await axe(page);
  result.signWide = await overflow(page);
  await page.locator("a.button.primary").click();
  await page.waitForURL(/\/oauth2\/v2\.0\/authorize/);
  result.signPassword = await page.locator("h1").textContent();
  await page.getByRole("link", { name: given.admin }).click();
  await at(given.proposal);
  result.signed = page.url().slice(given.address.length);
  result.signature = await page.locator("section[aria-labelledby='signatures'] li").first().textContent();
  // Another account confirms nothing.
  await page.goto(`${given.address}/console/confirm/identity?next=/console/sessions`);
  await page.getByRole("link", { name: given.other }).click();
  await at("/console/sign-in/callback");
  result.otherAccount = await page.locator(".notice.error").textContent();

  const second = await Visitor.open(browser, { ignoreHTTPSErrors: true });
  const other = await second.context.newPage();
  result.refused = [];
  for (const choice of ["Cancel", given.other]) {
    await other.goto(`${given.address}/console/sign-in`);
    await other.locator("a.button.primary").click();
    await other.getByRole("link", { name: choice }).click();
    await other.waitForURL((url) => url.pathname.endsWith("/console/sign-in/callback"));
    result.refused.push(await other.locator(".notice.error").textContent());
  }
  result.cookiesOfRefused = (await second.context.cookies(given.address)).map(({ name }) => name).filter((name) => !name.includes("passkey"));
  result.violations = [...visitor.violations, ...second.violations];
  await second.close();
  await visitor.close();
  return result;
});
