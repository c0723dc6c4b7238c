// Signs in to the sandbox's Entra with MSAL.js in Chromium, as a page of another origin, and calls Graph from there. CORS is
// enforced: the sandbox answers every preflight but that of the last call.
//
// `given.sandbox`: the address. `given.tenant`, `given.client`, `given.other`: the tenant, a registration with the page as
// `spa`, and one that has it as `web`. `given.user`: who signs in. Returns what was seen; nothing here judges.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Visitor, given, serve, withBrowser } from "./browser.mjs";

const msal = readFileSync(join(given.tools, "clients/node_modules/@azure/msal-browser/lib/msal-browser.min.js"), "utf8");

/** What the page does: signs in, unless it has come back from that, and shows the result of one task. */
function script() {
  const { sandbox, tenant, client, other, user } = window.given;
  const scopes = [`${sandbox}/User.Read`, `${sandbox}/User.ReadBasic.All`, `${sandbox}/Mail.Send`];
  const run = async () => {
    const task = sessionStorage.getItem("task") ?? new URLSearchParams(location.search).get("task");
    sessionStorage.setItem("task", task);
    const application = new window.msal.PublicClientApplication({
      auth: {
        clientId: task === "other" ? other : client,
        authority: `${sandbox}/${tenant}`,
        knownAuthorities: [new URL(sandbox).host],
        redirectUri: `${location.origin}/page`,
      },
      cache: { cacheLocation: "sessionStorage" },
    });
    await application.initialize();
    const answer = await application.handleRedirectPromise();
    if (!answer) {
      await application.loginRedirect({ scopes, loginHint: user });
      return undefined;
    }
    const silent = await application.acquireTokenSilent({ scopes, account: answer.account, forceRefresh: true });
    const call = async (path, options = {}, headers = {}) => {
      const response = await fetch(`${sandbox}/v1.0${path}`, {
        ...options,
        headers: { authorization: `Bearer ${silent.accessToken}`, ...headers },
      });
      const text = await response.text();
      return { status: response.status, id: response.headers.get("request-id"), after: response.headers.get("retry-after"), body: text ? JSON.parse(text) : null };
    };
    const message = {
      subject: "From a page", body: { contentType: "Text", content: "x" },
      toRecipients: [{ emailAddress: { address: "customer@elsewhere.example" } }],
    };
    const json = { method: "POST", body: JSON.stringify({ message }) };
    return {
      account: answer.account.username,
      renewed: silent.accessToken !== answer.accessToken,
      sent: await call("/me/sendMail", json, { "content-type": "application/json", "client-request-id": crypto.randomUUID() }),
      found: await call('/users?$search="displayName:alice"&$select=mail', {}, { consistencylevel: "eventual" }),
      refused: await call("/users/nobody@contoso.example"),
      throttled: (await window.throttleNext(), await call("/me")),
    };
  };
  const show = (result) => {
    const element = document.createElement("pre");
    element.id = "result";
    element.textContent = JSON.stringify(result);
    document.body.append(element);
  };
  run().then((result) => result && show(result), (error) => show({ error: error.errorCode, text: String(error.message) }));
}

await withBrowser(async (browser) => {
  const policy =
    `default-src 'none'; script-src 'self'; connect-src 'self' ${given.sandbox}; frame-ancestors 'none'; base-uri 'none'`;
  const settings = JSON.stringify({ sandbox: given.sandbox, tenant: given.tenant, client: given.client, other: given.other, user: given.user });
  const page = { type: "text/html; charset=utf-8", policy, body: "<!DOCTYPE html><title>Page</title><body><script src=/msal.js></script><script src=/own.js></script></body>" };
  const served = await serve({
    "/page": page,
    "/msal.js": { type: "text/javascript", body: msal },
    "/own.js": { type: "text/javascript", body: `window.given = ${settings}; (${script})();` },
  });
  const result = {};
  for (const task of ["own", "other"]) {
    // The certificate is of an authority of the test. Everything else that a browser checks stays on.
    const visitor = await Visitor.open(browser, { ignoreHTTPSErrors: true });
    const page = await visitor.context.newPage();
    await page.exposeFunction("throttleNext", async () => {
      // The fault would apply to the preflight. Once a page has a route, Playwright answers preflights itself.
      await page.route("**/unused", (route) => route.continue());
      await visitor.context.request.post(`${given.sandbox}/sandbox/faults`, { data: { at: "/v1.0/me", times: 1, status: 429, retryAfter: 7 } });
    });
    await page.goto(`${served.address}/page?task=${task}`);
    await page.locator("#result").waitFor();
    result[task] = JSON.parse(await page.locator("#result").textContent());
    result[task].violations = visitor.violations;
    await visitor.close();
  }
  served.close();
  return result;
});
