// Pages "Compose" and "Waiting for me": signs the person in to Microsoft with MSAL.js, and sends messages from their mailbox.
//
// A message is sent under a lease of the service: begin, contents, Graph, report (`docs/delegate.md`). The service gets the ID
// token only. Access tokens stay in MSAL, which keeps them in the sessionStorage of this tab, and go to Graph alone
// (`delegate-mailbox.js`). If Microsoft asks for consent or for another sign-in, the tab goes there once and comes back; the
// message waits meanwhile. The texts are in the page.

const root = document.querySelector("[data-delegate]");
/** What the service says about the profile: see `DelegateView` in `src/console/pages/delegate.rs`. */
const given = JSON.parse(root.dataset.delegate);
const { Mailbox } = await import(root.dataset.mailbox);

/** The permissions of a sign-in, of every message, and of drafts and Sent Items. */
const IDENTITY = ["openid", "profile"];
const permissions = (...names) => names.map((name) => `${given.graph}/${name}`);
const SEND = permissions("Mail.Send", "User.Read");
const WRITE = permissions("Mail.ReadWrite");
/** The size of an accepted message from which it may need a draft. */
const LARGE = 2_800_000;
/** The time after the begin in which sending may start, in milliseconds: the lease without the timeout of a request and a margin. */
const SENDING_TIME = 190_000;
/** The waits between the tries of a report, and between the looks into Sent Items, in milliseconds. */
const REPORT_WAITS = [0, 1_000, 3_000, 10_000, 30_000];
const SENT_ITEMS_WAITS = [1_000, 4_000, 10_000];
/** The key in sessionStorage of what follows a redirect: the page, the message, and the account. */
const NEXT = "mailwright.delegate";

const part = (name, within = root) => within.querySelector(`[data-part="${name}"]`);
const pause = (time) => new Promise((done) => setTimeout(done, time));

/** Returns a text of the page, with its values. */
function text(key, values = {}) {
  const found = root.querySelector(`[data-text="${key}"]`)?.textContent ?? key;
  return Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`%${name}%`, () => value), found);
}

/** Shows how far something is; `problem` is read out at once. */
function show(message, { problem = false } = {}) {
  part("problem").textContent = problem ? message : "";
  part("problem").hidden = !problem;
  part("progress").textContent = problem ? "" : message;
}

/** An answer of the service that is not a success. */
class ServiceProblem extends Error {
  constructor(status, { code = "", detail = "", remedy = "" }) {
    super(`${detail}. ${remedy}`.trim());
    Object.assign(this, { status, code });
  }
}

/** The redirect to Microsoft has begun: nothing follows on this page. */
class Leaving extends Error {}

/** The signed-in person. */
class Session {
  static async open() {
    const msal = await import(root.dataset.msal);
    const application = new msal.PublicClientApplication({
      auth: {
        clientId: given.client,
        authority: given.authority,
        knownAuthorities: [new URL(given.authority).host],
        redirectUri: given.redirect,
        clientCapabilities: ["CP1"],
      },
      cache: { cacheLocation: "sessionStorage" },
    });
    await application.initialize();
    const next = JSON.parse(sessionStorage.getItem(NEXT) ?? "{}");
    const session = new Session(msal, application, next);
    try {
      session.answer = await application.handleRedirectPromise({ navigateToLoginRequestUrl: false });
    } catch (error) {
      session.refusal = error;
    }
    // What followed a redirect follows it once.
    sessionStorage.removeItem(NEXT);
    if (session.answer) application.setActiveAccount(session.answer.account);
    session.account = application.getActiveAccount();
    return session;
  }

  constructor(msal, application, next) {
    Object.assign(this, { msal, application, next, answer: null, refusal: null, account: null, idToken: null });
  }

  /** Goes to Microsoft. `next` is what follows when the person is back. */
  async leave(request, next) {
    const here = next.send || next.look ? `${given.base}/console/waiting/${next.send ?? next.look}` : location.pathname + location.search;
    sessionStorage.setItem(NEXT, JSON.stringify({ ...next, page: here, account: this.account?.homeAccountId ?? null }));
    show(text("leaving"));
    await this.application.acquireTokenRedirect(request);
    throw new Leaving();
  }

  async signIn() {
    this.account = null;
    await this.leave({ scopes: IDENTITY, prompt: "select_account" }, {});
  }

  /** Forgets the accounts and tokens of this tab. */
  async signOut() {
    await this.application.clearCache();
    location.reload();
  }

  /** Returns tokens without a question, also of a refresh token; hidden frames are not used. */
  async #silent(scopes, isFresh) {
    const { AccessTokenAndRefreshToken, RefreshToken } = this.msal.CacheLookupPolicy;
    const cacheLookupPolicy = isFresh ? RefreshToken : AccessTokenAndRefreshToken;
    return this.application.acquireTokenSilent({ scopes, account: this.account, cacheLookupPolicy, forceRefresh: isFresh });
  }

  /** Returns tokens with these permissions; if Microsoft wants to see the person, the tab goes there, unless it just came back. */
  async tokens(scopes, next, isFresh = false) {
    if (!isFresh && this.answer && hasScopes(this.answer, scopes)) return this.answer;
    try {
      const found = await this.#silent(scopes, isFresh);
      if (hasScopes(found, scopes)) return found;
    } catch (error) {
      if (isNetwork(error)) throw error;
      if (this.next.redirected && next.send === this.next.send && next.look === this.next.look) throw error;
    }
    return this.leave({ scopes, account: this.account }, { ...next, redirected: true });
  }

  /** Returns an ID token that is valid for longer than a lease. */
  async identify(isFresh = false) {
    const isValid = (found) => found && found.idTokenClaims.exp * 1000 > Date.now() + 400_000;
    if (!isFresh && isValid(this.idToken)) return this.idToken.idToken;
    if (!isFresh && isValid(this.answer)) this.idToken = this.answer;
    else this.idToken = await this.tokens(IDENTITY, this.next, isFresh);
    if (!isValid(this.idToken)) this.idToken = await this.tokens(IDENTITY, this.next, true);
    return this.idToken.idToken;
  }
}

/** Returns true if tokens have all permissions: a sign-in with fewer ones succeeds. */
function hasScopes({ scopes, accessToken, expiresOn }, wanted) {
  const short = (scope) => scope.slice(scope.lastIndexOf("/") + 1).toLowerCase();
  const granted = new Set(scopes.map(short));
  const isCurrent = !accessToken || !expiresOn || expiresOn.getTime() > Date.now() + 60_000;
  return isCurrent && wanted.every((scope) => IDENTITY.includes(scope) || granted.has(short(scope)));
}

const isNetwork = (error) => /network|endpoints_resolution|request_failed|timed_out/.test(error.errorCode ?? "");

/** Makes a request to the service as the signed-in person. */
async function ask(session, method, path, document, { headers = {}, isAgain = false, as = "json" } = {}) {
  const all = { authorization: `Bearer ${await session.identify(isAgain)}`, ...headers };
  if (document !== undefined) all["content-type"] = "application/json";
  const body = document === undefined ? undefined : JSON.stringify(document);
  const response = await fetch(given.base + path, { method, body, headers: all, credentials: "omit" });
  if (response.ok) return as === "bytes" ? response.arrayBuffer() : response.json();
  const problem = new ServiceProblem(response.status, await response.json().catch(() => ({})));
  // The ID token may have ended by the clock of the service.
  if (problem.code === "MW0431" && !isAgain) return ask(session, method, path, document, { headers, isAgain: true, as });
  throw problem;
}

/** Sends one message that waits. Returns the outcome, and the text about it. */
async function send(session, message) {
  const { id } = message;
  const scopes = message.size >= LARGE ? [...SEND, ...WRITE] : SEND;
  // Before the lease: consent and a sign-in can take minutes.
  const tokens = await session.tokens(scopes, { send: id });
  const mailbox = new Mailbox(given.graph, tokens.accessToken, crypto.randomUUID());
  const me = await refusedBefore(session, id, tokens, () => mailbox.me());
  if (me.id !== session.account.idTokenClaims.oid) return { outcome: "released", shown: text("mixed-accounts") };
  root.dataset.sending = "true";
  try {
    return await sendUnderLease(session, message, scopes, tokens, mailbox, me.address);
  } finally {
    root.dataset.sending = "false";
  }
}

/** Begins a message, sends it once, and reports the outcome. */
async function sendUnderLease(session, message, scopes, tokens, mailbox, address) {
  const { id } = message;
  show(text("sending"));
  const begun = Date.now();
  const { epoch, message: leased } = await ask(session, "POST", `/v1/delegate/messages/${id}/begin`);
  const contents = (format) => {
    const query = new URLSearchParams({ epoch, from: address, format });
    return ask(session, "GET", `/v1/delegate/messages/${id}/content?${query}`, undefined, { as: format === "mime" ? "bytes" : "json" });
  };
  // A computer can sleep between two steps.
  const mayBegin = () => Date.now() >= begun && Date.now() - begun < SENDING_TIME;
  let failure = null;
  let report = { epoch, outcome: "sent", reason: "HTTP 202", clientRequestId: mailbox.requestId };
  try {
    // The mail of an earlier attempt, before a second one is sent.
    if (leased.possibleDuplicate && (await isSent(mailbox, tokens, leased, [0]))) report.reason = "found in Sent Items";
    else report.requestId = await mailbox.send(contents, mayBegin);
  } catch (error) {
    failure = error;
    report = { ...report, outcome: error.outcome ?? "released", reason: String(error.message).slice(0, 300) };
    if (report.outcome === "unknown" && (await isSent(mailbox, tokens, leased))) report.outcome = "sent";
  }
  await record(session, id, report);
  if (failure && report.outcome === "released") {
    root.dataset.sending = "false";
    await answerChallenge(session, id, scopes, failure);
  }
  return { outcome: report.outcome, shown: describe(report.outcome, message, failure) };
}

/** Does something of Graph before the lease. A demand for another sign-in is followed once. */
async function refusedBefore(session, id, tokens, request) {
  try {
    return await request();
  } catch (error) {
    await answerChallenge(session, id, tokens.scopes, error);
    throw error;
  }
}

/** Signs in again if Graph asks for that (401, also with claims), once for a message. */
async function answerChallenge(session, id, scopes, failure) {
  if (failure.status !== 401 || session.next.challenged === id) return;
  const wanted = scopes.filter((scope) => scope.includes("/"));
  const request = { scopes: wanted.length > 0 ? wanted : SEND, account: session.account, ...(failure.claims ? { claims: failure.claims } : {}) };
  await session.leave(request, { send: id, redirected: true, challenged: id });
}

/**
 * Returns true if a message is in Sent Items; false if it is not, or if that may not be looked at. Without `sentItemsSince`, a mail with
 * its Message-ID can be of another message.
 */
async function isSent(mailbox, tokens, message, waits = SENT_ITEMS_WAITS) {
  if (!hasScopes(tokens, WRITE) || !message.sentItemsSince) return false;
  for (const wait of waits) {
    await pause(wait);
    const found = await mailbox.isSent(message.messageId, message.sentItemsSince).catch(() => null);
    if (found !== false) return found === true;
  }
  return false;
}

/** Reports an outcome, and repeats that while the service does not answer. */
async function record(session, id, report) {
  for (const wait of REPORT_WAITS) {
    await pause(wait);
    try {
      return await ask(session, "POST", `/v1/delegate/messages/${id}/report`, report);
    } catch (error) {
      if (error instanceof ServiceProblem && error.status < 500) throw error;
    }
  }
  throw new Error(text("not-reported", { outcome: report.outcome }));
}

/** Looks for a message with an unknown outcome in Sent Items, and reports that it was sent if it is there. */
async function lookUp(session, message) {
  const tokens = await session.tokens([...SEND, ...WRITE], { look: message.id });
  const mailbox = new Mailbox(given.graph, tokens.accessToken, crypto.randomUUID());
  if (!(await isSent(mailbox, tokens, message, [0]))) return text("not-found", { subject: message.subject });
  await record(session, message.id, { epoch: message.epoch, outcome: "sent", reason: "found in Sent Items" });
  return text("sent", { subject: message.subject });
}

/** Describes an outcome for the person. */
function describe(outcome, message, failure) {
  const values = { subject: message.subject, reason: failure?.message ?? "", name: failure?.name ?? "", environment: given.environment, tenant: given.tenant, client: given.client };
  if (outcome !== "released") return text(outcome, values);
  if (failure.reason === "upload") return text("upload-refused", values);
  part("consent").hidden = failure.status !== 403;
  return text("released", values);
}

/** Describes an error for the person. */
function explain(session, error) {
  if (error instanceof ServiceProblem) {
    const account = session.account?.username ?? "";
    const known = { MW0280: "leased", MW0433: "other-account" }[error.code];
    return known ? text(known, { account }) : `${error.code} ${error.message}`;
  }
  const isConsent = error.errorCode === "consent_required" || error.errorCode === "access_denied" || /AADSTS(65001|65004|90094|90095)/.test(error.message);
  if (isConsent) part("consent").hidden = false;
  if (error instanceof session.msal.InteractionRequiredAuthError && !isConsent) return text("again");
  return text("problem", { reason: error.message });
}

/** Begins the page: its accounts, and then the view, which is `waiting.js` or `compose.js`. */
async function start() {
  const expected = `${location.origin}${given.base}/console/delegate`;
  if (given.redirect !== expected) {
    show(text("other-redirect", { redirect: given.redirect, expected }), { problem: true });
    return;
  }
  const session = await Session.open();
  part("sign-in").addEventListener("click", () => run(session, () => session.signIn()));
  part("other-account").addEventListener("click", () => run(session, () => session.signIn()));
  part("sign-out").addEventListener("click", () => run(session, () => session.signOut()));
  part("signed-out").hidden = session.account !== null;
  part("signed-in").hidden = session.account === null;
  part("account").textContent = session.account?.username ?? "";
  show("");
  // Another account than the one that began: nothing is sent, and the person sees whose page this is now.
  const isOther = session.answer && session.next.account && session.next.account !== session.answer.account.homeAccountId;
  if (isOther || session.refusal) session.next = {};
  if (session.account) {
    const view = await import(root.dataset.view);
    await run(session, () => view.start(session, { given, part, text, show, run, ask, send, lookUp }));
  }
  // What the person does from now on may lead to Microsoft again.
  session.next = {};
  if (isOther) show(text("changed-account", { account: session.account.username }), { problem: true });
  if (session.refusal) show(explain(session, session.refusal), { problem: true });
}

/** Does something for the person, one thing at a time, and shows why it failed. Returns its result, or null. */
async function run(session, task) {
  if (root.ariaBusy === "true") return null;
  root.ariaBusy = "true";
  part("consent").hidden = true;
  try {
    return await task();
  } catch (error) {
    if (!(error instanceof Leaving)) show(explain(session, error), { problem: true });
    return null;
  } finally {
    root.ariaBusy = null;
  }
}

// A tab that is closed while it sends leaves the outcome unknown.
addEventListener("beforeunload", (event) => {
  if (root.dataset.sending === "true") event.preventDefault();
});
// "Back" after the way to Microsoft shows this page as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
await start().catch((error) => show(text("problem", { reason: error.message }), { problem: true }));
