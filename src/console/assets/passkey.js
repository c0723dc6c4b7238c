// Answers requests for passkeys: a form with `data-passkey` is posted with what the person's device answered.
//
// `docs/console-passkeys.md` has the attributes of a form. The options come from the service (src/passkey), which verifies the
// answer. Nothing is kept here.

/** Every reason why a form is not posted; the page has a text for each. */
export const REASONS = ["unavailable", "cancelled", "registered", "failed"];

const encode = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

const withBytes = (descriptors) => descriptors?.map((descriptor) => ({ ...descriptor, id: decode(descriptor.id) }));

/** Creates a passkey. Returns the answer as a JSON document. */
async function create(options) {
  const credential = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: decode(options.challenge),
      user: { ...options.user, id: decode(options.user.id) },
      excludeCredentials: withBytes(options.excludeCredentials),
    },
  });
  const { clientDataJSON, attestationObject } = credential.response;
  const response = { clientDataJSON: encode(clientDataJSON), attestationObject: encode(attestationObject), transports: credential.response.getTransports?.() ?? [] };
  return { id: credential.id, type: credential.type, response };
}

/** Asks for a signature by a passkey. */
async function get(options) {
  const credential = await navigator.credentials.get({
    publicKey: { ...options, challenge: decode(options.challenge), allowCredentials: withBytes(options.allowCredentials) },
  });
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  const response = { clientDataJSON: encode(clientDataJSON), authenticatorData: encode(authenticatorData), signature: encode(signature) };
  if (userHandle) response.userHandle = encode(userHandle);
  return { id: credential.id, type: credential.type, response };
}

function show(form, reason) {
  const place = form.querySelector("[data-passkey-problem]");
  const text = [...form.querySelectorAll("[data-passkey-texts] [data-reason]")].find((text) => text.dataset.reason === reason);
  place.textContent = reason ? (text?.textContent ?? reason) : "";
  place.hidden = !reason;
}

async function submit(event) {
  const form = event.target;
  if (!form.matches?.("form[data-passkey]")) return;
  const answer = form.querySelector("input[data-passkey-answer]");
  if (answer.value !== "") return;
  // Before htmx or the browser sees the event.
  event.preventDefault();
  event.stopImmediatePropagation();
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  try {
    show(form, null);
    const options = JSON.parse(form.dataset.passkeyOptions);
    answer.value = JSON.stringify(await (form.dataset.passkey === "create" ? create(options) : get(options)));
  } catch (error) {
    show(form, { NotAllowedError: "cancelled", InvalidStateError: "registered" }[error.name] ?? "failed");
    return;
  } finally {
    form.ariaBusy = null;
  }
  form.requestSubmit(event.submitter);
  // The answer serves once: "Back" and another press ask again.
  queueMicrotask(() => (answer.value = ""));
}

/** Offers the buttons of a form, which are hidden in the page, or says that this browser has no passkeys for the address. */
function offer(form) {
  const isAvailable = typeof PublicKeyCredential === "function";
  for (const part of form.querySelectorAll("[data-passkey-field]")) part.hidden = !isAvailable;
  if (!isAvailable) show(form, "unavailable");
}

for (const form of document.querySelectorAll("form[data-passkey]")) offer(form);
document.addEventListener("submit", submit, { capture: true });

// The code of an enrolment link is behind the `#`, which browsers send to no server. It leaves the address, and so the history.
for (const field of document.querySelectorAll("input[data-passkey-code]")) {
  const code = location.hash.slice(1);
  if (code === "") continue;
  field.value = code;
  history.replaceState(null, "", location.pathname + location.search);
}
