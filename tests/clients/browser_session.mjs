// Uses the console as a person does: signs in, goes over a list by keys, signs out; and as other sites do, which must not reach it.
//
// `given.address` and `given.token`: the service. Returns what was seen; nothing here judges.

import { Visitor, given, serve, withBrowser } from "./browser.mjs";

const attack = (target) => `<!doctype html><title>Another site</title><form method="post" action="${given.address}${target}"><button>Win a prize</button></form>
  <iframe src="${given.address}/console/profiles" title="Frame"></iframe>`;

await withBrowser(async (browser) => {
  const result = {};
  const visitor = await Visitor.open(browser, { timezoneId: "Asia/Tokyo" });
  const requests = [];
  visitor.context.on("request", (request) => requests.push([request.method(), request.url(), JSON.stringify(request.headers()), request.postData() ?? ""].join(" ")));
  result.signedIn = await visitor.signIn(given.address, given.token, "/console/profiles?q=re");
  // The form itself carries the token, and no other request does.
  result.requestsWithToken = requests.filter((request) => request.includes(given.token)).map((request) => request.split(" ").slice(0, 2).join(" "));
  result.cookies = (await visitor.context.cookies()).map(({ name, path, httpOnly, secure, sameSite, expires }) => ({ name, path, httpOnly, secure, sameSite, expires }));

  const { page } = await visitor.go(`${given.address}/console/profiles`);
  result.stored = await page.evaluate(() => ({ ...localStorage, ...sessionStorage, cookies: document.cookie }));
  result.tokenInPage = (await page.content()).includes(given.token);
  const focus = () => page.evaluate(() => document.activeElement.closest("[data-row]")?.querySelector("a")?.textContent.trim() ?? document.activeElement.tagName);
  const press = async (key) => {
    await page.keyboard.press(key);
    return focus();
  };
  result.rows = await page.locator("[data-row] a").allTextContents();
  result.keys = [];
  for (const key of ["j", "j", "k", "/", "Escape", "k"]) result.keys.push([key, await press(key)]);
  await page.keyboard.press("?");
  result.dialog = [await page.locator("dialog[open]").count()];
  await page.keyboard.press("Escape");
  result.dialog.push(await page.locator("dialog[open]").count());
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL(/profiles\/./);
  result.opened = new URL(page.url()).pathname;
  // Local time, with UTC in the title.
  const time = page.locator("main time[title]").first();
  result.time = [await time.getAttribute("datetime"), await time.getAttribute("title"), await time.textContent()];
  await page.close();

  // Other sites: a page of another origin, and one without an origin.
  const free = "default-src * 'unsafe-inline'; frame-src *; form-action *";
  const server = await serve({ "/attack": { body: attack("/console/sign-out-everywhere"), policy: free } });
  result.attacks = [];
  for (const address of [`${server.address}/attack`, `data:text/html,${encodeURIComponent(attack("/console/sign-out-everywhere"))}`]) {
    const at = (await visitor.go(address)).page;
    // A page that may not be framed leaves an error in its place, of another origin than everything.
    const frames = at.frames().filter((frame) => frame !== at.mainFrame());
    const framed = await Promise.all(frames.map((frame) => frame.locator("h1").count().catch(() => 0)));
    const [response] = await Promise.all([at.waitForResponse((response) => response.request().method() === "POST"), at.click("button")]);
    result.attacks.push({ status: response.status(), framed });
    await at.close();
  }
  server.close();
  const after = (await visitor.go(`${given.address}/console/profiles`)).page;
  result.stillSignedIn = new URL(after.url()).pathname;

  // Signing out, and the way back.
  const other = await Visitor.open(browser);
  await other.signIn(given.address, given.token);
  await after.locator("header form button").click();
  await after.waitForLoadState();
  result.signedOut = new URL(after.url()).pathname;
  await after.goBack();
  result.back = [new URL(after.url()).pathname, await after.locator("[data-row]").count()];
  result.cookiesAfter = (await visitor.context.cookies()).map(({ name }) => name);
  const elsewhere = (await other.go(`${given.address}/console/sessions`)).page;
  result.otherSession = new URL(elsewhere.url()).pathname;
  await elsewhere.locator("form[action$='/sign-out-everywhere'] button").click();
  await elsewhere.waitForLoadState();
  const ended = (await other.go(`${given.address}/console/profiles`)).page;
  result.everywhere = [new URL(ended.url()).pathname, await ended.locator("[data-row]").count()];
  result.violations = [...visitor.violations, ...other.violations];
  await other.close();
  await visitor.close();
  return result;
});
