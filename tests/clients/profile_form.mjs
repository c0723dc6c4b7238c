// Makes a profile with a password in the console, as a person does, and returns what the pages said and what left the browser.
//
// `given.address`, `given.token`: the service. `given.value`: the password. `given.screenshot`: the beginning of the names of
// pictures.

import { readFileSync } from "node:fs";
import { Visitor, axe, given, screenshot, withBrowser } from "./browser.mjs";

await withBrowser(async (browser) => {
  const visitor = await Visitor.open(browser);
  const requests = [];
  visitor.context.on("request", (request) => requests.push(`${request.method()} ${request.url()} ${request.postData() ?? ""}`));
  if (!(await visitor.signIn(given.address, given.token))) throw new Error("cannot sign in");
  requests.length = 0;
  const result = {};
  const { page } = await visitor.go(`${given.address}/console/profiles/new`);
  await page.selectOption("#choose-provider", "smtp");
  await page.click("form.filter button");
  await page.fill("#name", "invoices");
  await page.fill("#description", "Invoices");
  await page.uncheck("[name=enabled]");
  await page.fill("#host", "mail.example.com");
  result.hidden = [await page.locator("#tenant").isVisible(), await page.locator("#value-client-secret").isVisible(), await page.locator("#sign-in").isVisible()];
  result.offered = await page.locator("#value-password").isVisible();
  await page.check("[name=login][value=oauth]");
  result.oauth = [await page.locator("#tenant").isVisible(), await page.locator("#value-client-secret").isVisible(), await page.locator("#value-password").isVisible()];
  await page.check("[name=login][value=password]");
  await page.fill("#username", "erp");
  await page.fill("#value-password", given.value);
  await page.fill("#from-address", "billing@example.com");
  await page.check("[name=applies-to][value=companies]");
  await page.check("[name=company][value=EDU1]");
  await page.check("[name=function][value=documents-accounts-receivable]");
  result.recipients = await page.locator("ul.recipients li").allInnerTexts();
  result.form = await axe(page);
  await page.locator("#sealed-for").scrollIntoViewIfNeeded();
  await screenshot(page, `${given.screenshot}-form-filled-light`);
  await page.click("form.edit button.primary");
  await page.waitForURL("**/console/plan");
  result.plan = await page.locator("main").innerText();
  result.axe = await axe(page);
  await screenshot(page, `${given.screenshot}-plan-light`);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("button[formaction$='/console/plan/patch']")]);
  result.patch = readFileSync(await download.path(), "utf8");
  await page.fill("#reason", "a new branch");
  await page.click("form.plan button.primary");
  await page.waitForURL("**/console/profiles/invoices");
  result.profile = await page.locator("main").innerText();
  await screenshot(page, `${given.screenshot}-changed-light`);
  result.requests = requests;
  result.storage = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  result.violations = visitor.violations;
  result.errors = visitor.errors;
  await visitor.close();
  return result;
});
