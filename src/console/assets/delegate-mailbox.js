// The mailbox of the signed-in person at Microsoft Graph: one message is sent once, or the reason is told why it was not.
//
// `delegate.js` has the sign-in and the lease; it gets a `GraphFailure` with the outcome to report. The access token stays here
// and in MSAL. Outcomes are those of the service (`src/api/delegates.rs`), and follow its table of Graph's replies.

/** The largest message of one request, in bytes. Graph accepts 4 MB, and base64 adds a third. */
const ONE_REQUEST = 2_900_000;
/** The size from which an attachment needs an upload session. */
const SESSION_FROM = 2_900_000;
/** The size of an uploaded piece: a multiple of 320 KiB, and less than 4 MB. */
const PIECE = 10 * 320 * 1024;
/** Timeout of a request, in milliseconds. It ends before the lease does. */
const TIMEOUT = 90_000;
/** Statuses that leave open if a message was accepted. */
const DOUBTFUL = [408, 500, 502, 504];
/** Codes of a 400 that concern the account or pass, and not the message. */
const NOT_THE_MESSAGE = /Denied|Authenticat|Impersonat|NotAllowedByPolicy|Account|License|InvalidUser|Mailbox|Throttled|TooMany|Busy|Exceeded(Message|Connection)|LimitExceeded|Unavailable|Resources|SubmissionBlocked|QuotaExceeded|NotFound/;
/** Codes of a message that is too large for Graph. */
const TOO_LARGE = ["ErrorMessageSizeExceeded", "ErrorAttachmentSizeLimitExceeded", "RequestEntityTooLarge"];

/** A refusal of Graph, or a request without an answer. */
export class GraphFailure extends Error {
  constructor(text, { outcome, status = 0, claims = null, sends = false, reason = null, name = "" }) {
    super(text);
    /** The outcome to report: `failed`, `released` or `unknown`. */
    this.outcome = outcome;
    this.status = status;
    /** The claims that Graph asks for, as JSON. */
    this.claims = claims;
    /** True for the request after which the message may have been sent. */
    this.sends = sends;
    /** `upload` if the browser may not upload an attachment, and its name. */
    this.reason = reason;
    this.name = name;
  }
}

/** Returns the claims of a challenge (`error="insufficient_claims"`). Of several headers the first with claims counts. */
function challengeOf(response) {
  const found = /claims="([^"]+)"/.exec(response.headers.get("www-authenticate") ?? "");
  if (!found) return null;
  try {
    const claims = atob(found[1].replace(/-/g, "+").replace(/_/g, "/"));
    JSON.parse(claims);
    return claims;
  } catch {
    return null;
  }
}

/** Returns the outcome of a refusal. `sends` is true for the request after which the message may have been sent. */
function outcomeOf(response, code, sends) {
  const { status } = response;
  const isGateways = status === 503 && !code && !response.headers.has("retry-after");
  if (DOUBTFUL.includes(status) || isGateways || response.ok) return sends ? "unknown" : "released";
  if (status === 413 || TOO_LARGE.includes(code)) return "failed";
  return status === 400 && !NOT_THE_MESSAGE.test(code ?? "") ? "failed" : "released";
}

/** Returns bytes in base64. */
function base64(bytes) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(new Blob([bytes]));
  });
}

/** Returns the bytes of a text in base64. */
const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export class Mailbox {
  /** `graph`: the origin of Graph. `token`: an access token. `requestId`: the id of the requests, for Microsoft's support. */
  constructor(graph, token, requestId) {
    Object.assign(this, { graph, token, requestId });
  }

  /** Makes a request, and returns the response if it has one of these statuses. */
  async request(method, path, { body, type = "application/json", accepted = [200, 201, 202, 204], sends = false } = {}) {
    const headers = { authorization: `Bearer ${this.token}`, "client-request-id": this.requestId };
    if (body !== undefined) headers["content-type"] = type;
    let response;
    try {
      const signal = AbortSignal.timeout(TIMEOUT);
      response = await fetch(`${this.graph}/v1.0/me${path}`, { method, body, headers, signal, credentials: "omit", referrerPolicy: "no-referrer" });
    } catch (error) {
      throw new GraphFailure(`no answer of Graph: ${error.message}`, { outcome: sends ? "unknown" : "released" });
    }
    if (accepted.includes(response.status)) return response;
    const { error = {} } = await response.json().catch(() => ({}));
    const text = `HTTP ${response.status} ${error.code ?? ""}: ${String(error.message ?? "").slice(0, 200)}`;
    const claims = response.status === 401 ? challengeOf(response) : null;
    throw new GraphFailure(text, { outcome: outcomeOf(response, error.code, sends), status: response.status, claims, sends });
  }

  /** Returns the object id and the address of the signed-in person. */
  async me() {
    const found = await (await this.request("GET", "?$select=id,mail,userPrincipalName")).json();
    return { id: String(found.id), address: found.mail || found.userPrincipalName };
  }

  /**
   * Sends a message once, and returns Graph's id of the request. `contents(format)` returns the contents as `mime` (bytes) or as
   * `graph` (a document). `mayBegin` is asked before the request after which the message may have been sent.
   */
  async send(contents, mayBegin) {
    const mime = await contents("mime");
    if (mime.byteLength > ONE_REQUEST) return this.#sendDraft((await contents("graph")).message, mayBegin);
    const body = await base64(mime);
    this.#check(mayBegin);
    return this.#sendOnce("/sendMail", { body, type: "text/plain" });
  }

  #check(mayBegin) {
    if (!mayBegin()) throw new GraphFailure("the lease would end before the answer", { outcome: "released" });
  }

  async #sendOnce(path, options) {
    const response = await this.request("POST", path, { ...options, accepted: [202], sends: true });
    return response.headers.get("request-id") ?? "";
  }

  async #sendDraft({ attachments = [], ...message }, mayBegin) {
    const { id } = await (await this.request("POST", "/messages", { body: JSON.stringify(message) })).json();
    const path = `/messages/${encodeURIComponent(id)}`;
    try {
      for (const attachment of attachments) await this.#attach(path, attachment);
      this.#check(mayBegin);
      return await this.#sendOnce(`${path}/send`, {});
    } catch (error) {
      // A browser repeats a request whose connection broke: the draft may be gone because the first one sent it.
      if (error.sends && [404, 410].includes(error.status)) error.outcome = "unknown";
      // A draft that may have been sent is kept: if it is still in Drafts, it was not.
      if (error.outcome !== "unknown") await this.request("DELETE", path).catch(() => {});
      throw error;
    }
  }

  async #attach(path, attachment) {
    if (attachment.contentBytes.length * 0.75 < SESSION_FROM) {
      await this.request("POST", `${path}/attachments`, { body: JSON.stringify(attachment) });
      return;
    }
    const { contentBytes, name, contentType, isInline, contentId } = attachment;
    const bytes = fromBase64(contentBytes);
    const AttachmentItem = { attachmentType: "file", name, contentType, size: bytes.length, isInline, contentId };
    const session = await this.request("POST", `${path}/attachments/createUploadSession`, { body: JSON.stringify({ AttachmentItem }) });
    await this.#upload((await session.json()).uploadUrl, bytes, name);
  }

  /** Uploads an attachment. The address carries its own authorisation; a browser may use it only if its host allows that. */
  async #upload(address, bytes, name) {
    const refused = (why) => new GraphFailure(`the upload of an attachment: ${why}`, { outcome: "released", reason: "upload", name });
    if (new URL(address).origin !== this.graph) throw refused("its host is not the one of Graph, to which this page may connect");
    for (let first = 0; first < bytes.length; first += PIECE) {
      const end = Math.min(first + PIECE, bytes.length);
      const headers = { "content-range": `bytes ${first}-${end - 1}/${bytes.length}` };
      const body = bytes.subarray(first, end);
      const response = await fetch(address, { method: "PUT", body, headers, credentials: "omit", signal: AbortSignal.timeout(TIMEOUT) }).catch((error) => {
        throw refused(error.message);
      });
      if (!response.ok) throw refused(`HTTP ${response.status}`);
    }
  }

  /** Returns true if a mail with this Message-ID, sent at this time or later, is in Sent Items. */
  async isSent(messageId, since) {
    const filter = encodeURIComponent(`internetMessageId eq '${messageId.replace(/'/g, "''")}'`);
    const found = await this.request("GET", `/mailFolders/sentitems/messages?$filter=${filter}&$select=sentDateTime&$top=10`);
    return (await found.json()).value.some((mail) => Date.parse(mail.sentDateTime) >= Date.parse(since));
  }
}
