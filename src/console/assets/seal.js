// Seals secrets in the browser: what is typed into a form leaves the page as an age file, and only so.
//
// `docs/console-sealing.md` has the attributes of a form. The file is the one that `mailwright secrets set` makes: a stanza
// `mailwright-v2` with the id of the value, the digest of its destination and the fingerprints of the recipients, which the
// header of the file authenticates (src/secrets, src/model/secret.rs). A name is not given to the field that is typed into,
// so no browser posts it, whether this script runs or not. Nothing here keeps, prints or stores a value.

const encoder = new TextEncoder();

/** The largest secret, in bytes. */
const VALUE_LIMIT = 16 * 1024;

/** The reason why a value is not sealed: the page has a text for each. */
export class Refused extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** Every reason, in the order of the checks. */
export const REASONS = [
  "insecure", "recipient", "mixed", "library", "failed", "destination",
  "empty", "too-long", "utf-16", "keystore", "der", "not-text", "age-file", "merge-markers", "pointer", "control", "blank",
  "mark", "encrypted", "pem-in-base64", "kubernetes", "web-key", "base64", "masked",
  "private-key", "json", "secret-id", "line-breaks", "invisible-end", "blank-end", "assignment",
  "no-certificate", "no-key", "encrypted-key", "openssh-key",
];

// --- destination

const lower = (text) => text.trim().replace(/[A-Z]/g, (letter) => letter.toLowerCase());
const address = (text) => lower(text).replace(/\/+$/, "");

/** Returns the canonical form of a destination, whose digest a file carries. `parts`: what the form says. */
export function canonicalDestination(environment, kind, places, parts) {
  const part = (name) => {
    const text = (parts[name] ?? "").trim();
    if (text === "") throw new Refused("destination");
    return text;
  };
  const document = {};
  if (places.includes("entra")) {
    const name = (parts.cloud ?? "").trim() || "global";
    const cloud = name === "custom" ? { graph: address(part("graph")), signIn: address(part("sign-in")) } : name;
    document.entra = { client: lower(part("client")), cloud, tenant: lower(part("tenant")) };
  }
  document.environment = environment;
  document.kind = kind;
  if (places.includes("smtp")) {
    document.smtp = {
      encryption: part("encryption") === "none" ? "none" : "required",
      host: lower(part("host")).replace(/\.$/, ""),
    };
  }
  if (!document.entra && !document.smtp) throw new Refused("destination");
  return JSON.stringify(document);
}

// --- recipients

/** Returns the lines of a recipients file that name one, without repetition. */
export function parseRecipients(text) {
  const lines = text.replace(/^\uFEFF/, "").split("\n").map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  const bare = (line) => {
    const [first, key] = line.split(/\s+/);
    return first.startsWith("ssh-") && key ? `${first} ${key}` : lower(first);
  };
  return [...new Set(lines.map(bare))];
}

/** Returns the kind of a recipient. A plugin, and SSH keys of other kinds, need the command line. */
function kindOf(recipient) {
  if (/^ssh-ed25519 \S+$/.test(recipient) || /^ssh-rsa \S+$/.test(recipient)) return recipient.split(" ")[0];
  if (/^age1(tagpq|pq)1[02-9ac-hj-np-z]+$/.test(recipient)) return "post-quantum";
  if (/^age1(tag1)?[02-9ac-hj-np-z]{58,60}$/.test(recipient)) return "age";
  throw new Refused("recipient");
}

/** Fails unless all recipients can be used, and together. */
function checkRecipients(recipients) {
  if (recipients.length === 0) throw new Refused("recipient");
  const quantum = recipients.filter((recipient) => kindOf(recipient) === "post-quantum");
  if (quantum.length > 0 && quantum.length < recipients.length) throw new Refused("mixed");
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const base64 = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/=+$/, "");
const base64url = (bytes) => base64(bytes).replace(/\+/g, "-").replace(/\//g, "_");

function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    throw new Refused("recipient");
  }
}

function concat(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

/** Splits the body of an SSH public key into its strings (RFC 4253, section 6.6). */
function sshStrings(wire) {
  const view = new DataView(wire.buffer, wire.byteOffset, wire.length);
  const found = [];
  for (let at = 0; at < wire.length; ) {
    if (at + 4 > wire.length || at + 4 + view.getUint32(at) > wire.length) throw new Refused("recipient");
    const length = view.getUint32(at);
    found.push(wire.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

/** A recipient that is an SSH key, as age defines it (C2SP age.md, "ssh-ed25519 and ssh-rsa"). */
function sshRecipient(age, text) {
  const [kind, body] = text.split(" ");
  const wire = fromBase64(body);
  const [name, ...numbers] = sshStrings(wire);
  if (new TextDecoder().decode(name) !== kind) throw new Refused("recipient");
  const tag = base64(age.sha256(wire).subarray(0, 4));
  const label = encoder.encode(`age-encryption.org/v1/${kind}`);
  if (kind === "ssh-rsa") {
    const [exponent, modulus] = numbers.map((number) => (number[0] === 0 ? number.subarray(1) : number));
    if (numbers.length !== 2 || modulus.length < 256 || modulus.length > 2048) throw new Refused("recipient");
    return {
      async wrapFileKey(fileKey) {
        const jwk = { kty: "RSA", n: base64url(modulus), e: base64url(exponent) };
        const key = await crypto.subtle.importKey("jwk", jwk, { name: "RSA-OAEP", hash: "SHA-256" }, false, ["encrypt"]);
        const sealed = await crypto.subtle.encrypt({ name: "RSA-OAEP", label }, key, fileKey);
        return [new age.Stanza([kind, tag], new Uint8Array(sealed))];
      },
    };
  }
  if (numbers.length !== 1 || numbers[0].length !== 32) throw new Refused("recipient");
  const point = age.ed25519.utils.toMontgomery(numbers[0]);
  return {
    wrapFileKey(fileKey) {
      const ephemeral = crypto.getRandomValues(new Uint8Array(32));
      const share = age.x25519.getPublicKey(ephemeral);
      const tweak = age.hkdf(age.sha256, new Uint8Array(0), wire, label, 32);
      const shared = age.x25519.getSharedSecret(tweak, age.x25519.getSharedSecret(ephemeral, point));
      const key = age.hkdf(age.sha256, shared, concat(share, point), label, 32);
      const sealed = age.chacha20poly1305(key, new Uint8Array(12)).encrypt(fileKey);
      return [new age.Stanza([kind, tag, base64(share)], sealed)];
    },
  };
}

// --- values

/** Removes a byte order mark and one line end, which programs add. */
function trim(bytes) {
  let [start, end] = [0, bytes.length];
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) start = 3;
  if (end > start && bytes[end - 1] === 10) end -= end - 1 > start && bytes[end - 2] === 13 ? 2 : 1;
  return bytes.subarray(start, end);
}

function isUtf16(bytes) {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) return true;
  const pairs = Math.floor(bytes.length / 2);
  const all = (offset) => Array.from({ length: pairs }).every((_, pair) => bytes[2 * pair + offset] === 0);
  return pairs >= 2 && (all(0) || all(1));
}

/** Returns true for a mask that a screen shows in place of a value. */
function isMasked(text) {
  const dots = /^[*•●∙·⁎∗○◦■█▪⬤]+$/u;
  const value = text.trim();
  if (value === "**SOPS**" || ([...value].length >= 3 && dots.test(value)) || /^(x{3,}|X{3,})$/.test(value)) return true;
  const inner = value.replace(/^[*•●∙·⁎∗○◦■█▪⬤[\]()<>{}]+|[*•●∙·⁎∗○◦■█▪⬤[\]()<>{}]+$/gu, "");
  return inner.length < value.length && /^(masked|redacted|hidden|sensitive|sensitive value|secret value)$/i.test(inner.trim());
}

/** Characters without a width, as src/text has them. */
const INVISIBLE =
  "\\u0080-\\u009F\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u2028-\\u202E\\u2060-\\u206F" +
  "\\u2800\\u3164\\uFE00-\\uFE0D\\uFEFF\\uFFA0\\uFFF0-\\uFFFB\\u{1BCA0}-\\u{1BCA3}\\u{1D173}-\\u{1D17A}\\u{E0000}-\\u{E0FFF}";
const BLANK = new RegExp(`^[\\s${INVISIBLE}]*$`, "u");
const ADDED = `[${INVISIBLE}\\u00A0\\u1680\\u2000-\\u200A\\u202F\\u205F\\u3000]`;
const ADDED_AT_END = new RegExp(`^${ADDED}|${ADDED}$`, "u");
const CONTROL = /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]/;

function parseJson(text) {
  try {
    const document = JSON.parse(text);
    return document !== null && typeof document === "object" && !Array.isArray(document) ? document : null;
  } catch {
    return null;
  }
}

/** Returns the reason why a text cannot be any secret. */
function findDocument(text) {
  const start = text.trimStart();
  const lines = text.split(/\r?\n/);
  if (start.startsWith("age-encryption.org/") || start.startsWith("-----BEGIN AGE ENCRYPTED FILE-----")) return "age-file";
  if (lines.some((line) => line.startsWith("<<<<<<< ") || line.startsWith(">>>>>>> "))) return "merge-markers";
  if (text.startsWith("version https://git-lfs.github.com/spec/") || text.startsWith("/annex/objects/")) return "pointer";
  if (CONTROL.test(text)) return "control";
  if (BLANK.test(text)) return "blank";
  if (text.includes("\uFEFF")) return "mark";
  if (start.startsWith("$ANSIBLE_VAULT;") || text.includes("ENC[AES256_GCM,data:") || start.startsWith("-----BEGIN PGP MESSAGE-----")) return "encrypted";
  if (start.startsWith("LS0tLS1CRUdJTi")) return "pem-in-base64";
  const isSecret = (kind) => kind === "Secret" || kind === "SealedSecret";
  if (lines.some((line) => line.startsWith("apiVersion:")) && lines.some((line) => isSecret(line.trimEnd().replace(/^kind: /, "")))) return "kubernetes";
  const json = start.startsWith("{") ? parseJson(start) : null;
  if (json) {
    if (typeof json.kty === "string" || (Array.isArray(json.keys) && json.keys.some((key) => typeof key?.kty === "string"))) return "web-key";
    if ("apiVersion" in json && isSecret(json.kind)) return "kubernetes";
  }
  // DER that begins with a long length is `MI...` in base64.
  if (text.length >= 200 && !text.includes("-----BEGIN ") && /^(data:[^,]*,)?MI[A-Za-z0-9+/_=\s-]+$/.test(start)) return "base64";
  return isMasked(text) ? "masked" : null;
}

/** Returns the reason why a text is not the one line that a password or client secret is. */
function findLine(kind, text) {
  if (text.includes("-----BEGIN ") || text.startsWith("AGE-SECRET-KEY-") || text.startsWith("PuTTY-User-Key")) return "private-key";
  if (kind === "client-secret") {
    if (text.trimStart().startsWith("{") && parseJson(text)) return "json";
    const hyphenated = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
    if (new RegExp(`^([0-9a-fA-F]{32}|(urn:uuid:)?${hyphenated}|\\{${hyphenated}\\})$`).test(text.trim())) return "secret-id";
  }
  if (/[\r\n]/.test(text)) return "line-breaks";
  if (ADDED_AT_END.test(text)) return "invisible-end";
  if (kind === "client-secret" && /^[ \t]|[ \t]$/.test(text)) return "blank-end";
  const [, name, value] = /^(?:export )?([A-Z0-9_]*)=(.*)$/s.exec(text) ?? [];
  return name && /PASSWORD|PASSWD|SECRET/.test(name) && value.replace(/=/g, "") !== "" ? "assignment" : null;
}

/** Returns the reason why a text is not a certificate with its key. The service checks the rest when it is applied. */
function findCertificate(text) {
  const labels = Array.from(text.matchAll(/-----BEGIN ([A-Z0-9 #]+)-----/g), (match) => match[1]);
  if (!labels.some((label) => label === "CERTIFICATE" || label === "X509 CERTIFICATE")) return "no-certificate";
  const key = labels.find((label) => label.endsWith("PRIVATE KEY"));
  if (!key) return "no-key";
  if (key === "OPENSSH PRIVATE KEY") return "openssh-key";
  return key === "ENCRYPTED PRIVATE KEY" || /Proc-Type:[^\n]*ENCRYPTED/.test(text) ? "encrypted-key" : null;
}

/** Returns the bytes to seal. Fails with a reason if they cannot be a credential of this kind. */
export function checkValue(kind, given) {
  const value = trim(given);
  const refuse = (reason) => {
    if (reason) throw new Refused(reason);
  };
  refuse(value.length === 0 && "empty");
  refuse(value.length > VALUE_LIMIT && "too-long");
  refuse(isUtf16(value) && "utf-16");
  const starts = (...bytes) => bytes.every((byte, index) => value[index] === byte);
  refuse((starts(0xfe, 0xed, 0xfe, 0xed) || starts(0xce, 0xce, 0xce, 0xce)) && "keystore");
  refuse(value[0] === 0x30 && value[1] >= 0x80 && value[1] <= 0x84 && "der");
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    refuse("not-text");
  }
  refuse(findDocument(text));
  refuse(kind === "certificate" ? findCertificate(text) : findLine(kind, text));
  return value;
}

// --- sealing

/** Seals a value, and returns an armored age file. `age`: the module age.js. `destination`: the canonical form. */
export async function seal(age, value, recipients, destination) {
  checkRecipients(recipients);
  const encrypter = new age.Encrypter();
  for (const recipient of recipients) {
    try {
      encrypter.addRecipient(recipient.startsWith("ssh-") ? sshRecipient(age, recipient) : recipient);
    } catch {
      throw new Refused("recipient");
    }
  }
  const digest = (text) => hex(age.sha256(encoder.encode(text)));
  const id = base64url(crypto.getRandomValues(new Uint8Array(16)));
  const fingerprints = recipients.map((recipient) => digest(recipient).slice(0, 16));
  const stanza = new age.Stanza(["mailwright-v2", id, `sha256:${digest(destination)}`, ...fingerprints], new Uint8Array(0));
  encrypter.addRecipient({ wrapFileKey: () => [stanza] });
  return `${age.armor.encode(await encrypter.encrypt(value)).trimEnd()}\n`;
}

// --- forms

const libraries = new Map();

/** Loads age once. It is large, so a page without a secret does not load it. */
async function library(form) {
  const path = form.dataset.sealLibrary;
  if (!libraries.has(path)) libraries.set(path, import(path));
  try {
    return await libraries.get(path);
  } catch {
    libraries.delete(path);
    throw new Refused("library");
  }
}

/** Returns what the form says about the destination: the enabled parts, of radio buttons the chosen one. */
function partsOf(form) {
  const fields = [...form.querySelectorAll("[data-seal-part]")];
  const isUsed = (field) => !field.matches(":disabled") && (field.type !== "radio" || field.checked);
  return Object.fromEntries(fields.filter(isUsed).map((field) => [field.dataset.sealPart, field.value]));
}

const secretsOf = (form) => [...form.querySelectorAll("[data-seal-kind]")].filter((field) => !field.matches(":disabled"));

/** Returns the field that is posted: with the age file, if there is one. */
function postedOf(form, field) {
  const name = field.dataset.sealAs;
  let posted = [...form.elements].find((element) => element.name === name && element.type === "hidden");
  if (!posted) {
    posted = Object.assign(document.createElement("input"), { type: "hidden", name });
    form.append(posted);
  }
  return posted;
}

async function bytesOf(field) {
  if (field.type !== "file") return encoder.encode(field.value);
  const [file] = field.files;
  // With a byte order mark and a line end, it may be longer than what is sealed.
  if (file.size > VALUE_LIMIT + 6) throw new Refused("too-long");
  return new Uint8Array(await file.arrayBuffer());
}

function show(form, field, reason) {
  const place = document.getElementById(field.getAttribute("aria-describedby")?.split(" ").find((id) => document.getElementById(id)?.matches("[data-seal-problem]")));
  if (!place) return;
  const text = [...form.querySelectorAll("[data-seal-texts] [data-reason]")].find((text) => text.dataset.reason === reason);
  place.textContent = reason ? (text?.textContent ?? reason) : "";
  place.hidden = !reason;
  if (reason) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

async function sealField(form, field) {
  const value = checkValue(field.dataset.sealKind, await bytesOf(field));
  const places = (field.dataset.sealDestination ?? "").split(" ");
  const destination = canonicalDestination(form.dataset.sealEnvironment, field.dataset.sealKind, places, partsOf(form));
  const file = await seal(await library(form), value, parseRecipients(form.dataset.sealRecipients), destination);
  value.fill(0);
  return file;
}

/** Seals every secret of a form. Nothing is posted before all of them are sealed. */
async function sealForm(form, fields) {
  const sealed = [];
  for (const field of fields) {
    try {
      if (isEmpty(field)) throw new Refused("empty");
      sealed.push(await sealField(form, field));
      show(form, field, null);
    } catch (error) {
      show(form, field, error instanceof Refused ? error.reason : "failed");
      field.focus();
      return false;
    }
  }
  fields.forEach((field, index) => {
    postedOf(form, field).value = sealed[index];
    field.value = "";
  });
  return true;
}

const isEmpty = (field) => (field.type === "file" ? field.files.length === 0 : field.value === "");

/** Secrets that must be sealed before the form is posted: those that were typed, and those that must be and were not. Two
 * fields can be ways to give one secret: a file, and its text. */
function openOf(form) {
  const fields = secretsOf(form);
  const typed = fields.filter((field) => !isEmpty(field));
  const isGiven = (field) => typed.some((other) => other.dataset.sealAs === field.dataset.sealAs) || postedOf(form, field).value !== "";
  return fields.filter((field) => typed.includes(field) || ("sealRequired" in field.dataset && !isGiven(field)));
}

async function submit(event) {
  const form = event.target;
  if (!form.matches?.("form[data-seal]")) return;
  const fields = openOf(form);
  if (fields.length === 0 && form.ariaBusy !== "true") return;
  // Before htmx or the browser sees the event.
  event.preventDefault();
  event.stopImmediatePropagation();
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  const isDone = await sealForm(form, fields).finally(() => (form.ariaBusy = null));
  // What was typed in the meantime is sealed by the next event.
  if (isDone) form.requestSubmit(event.submitter);
}

/** Offers the fields of a form, or says why not. They are hidden in the page, so they are not offered without this script. */
function offer(form) {
  let obstacle = null;
  try {
    if (!window.isSecureContext) throw new Refused("insecure");
    checkRecipients(parseRecipients(form.dataset.sealRecipients ?? ""));
  } catch (error) {
    obstacle = error.reason ?? "library";
  }
  for (const part of form.querySelectorAll("[data-seal-field]")) part.hidden = obstacle !== null;
  for (const text of form.querySelectorAll("[data-seal-obstacle]")) text.hidden = text.dataset.sealObstacle !== obstacle;
}

if (typeof document !== "undefined") {
  const offerAll = (root) => {
    if (root.matches?.("form[data-seal]")) offer(root);
    for (const form of root.querySelectorAll("form[data-seal]")) offer(form);
  };
  offerAll(document);
  // Forms that come later, with a part of the page.
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const node of addedNodes) if (node.nodeType === Node.ELEMENT_NODE) offerAll(node);
  }).observe(document.documentElement, { childList: true, subtree: true });
  document.addEventListener("submit", submit, { capture: true });
  document.addEventListener("focusin", (event) => {
    const form = event.target.closest("form[data-seal]");
    // It is there when it is needed; a failure is reported then.
    if (form && event.target.matches("[data-seal-kind]")) library(form).catch(() => {});
  });
}
