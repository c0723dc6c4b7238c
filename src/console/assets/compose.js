// View "Compose" of `delegate.js`: submits the message of the form to the service, and sends it from the person's mailbox.
//
// The service accepts the message before it is sent, so that it is kept if sending does not succeed: then it is among the
// messages that wait. The form is one message, however often it is submitted, until its contents change.

/** Offers the form. */
export async function start(session, page) {
  const form = page.part("form");
  form.hidden = false;
  const composition = { key: crypto.randomUUID() };
  // Another text is another message.
  form.addEventListener("input", () => (composition.key = crypto.randomUUID()));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    page.run(session, () => submit(session, page, form, composition));
  });
}

async function submit(session, page, form, composition) {
  const { ask, send, show, text } = page;
  show(text("submitting"));
  const submission = await read(form);
  const accepted = await post(session, page, submission, composition.key);
  const message = await ask(session, "GET", `/v1/delegate/messages/${accepted.id}`);
  const done = page.part("done");
  done.hidden = false;
  page.part("done-link").href = `${page.given.base}/console/waiting/${accepted.id}`;
  if (message.status !== "awaiting-sender") {
    show(text(`status-${message.status}`), { problem: message.status !== "delivered" });
    return;
  }
  const { outcome, shown } = await send(session, message);
  show(shown, { problem: outcome !== "sent" });
  if (outcome === "sent") {
    form.reset();
    composition.key = crypto.randomUUID();
  }
}

/** Posts a message to the console. Its answer is that of `POST /v1/messages`. */
async function post(session, { given, text }, submission, key) {
  const headers = { "content-type": "application/json", "idempotency-key": key, "mailwright-sender-token": await session.identify() };
  const response = await fetch(`${given.base}/console/compose`, { method: "POST", headers, body: JSON.stringify(submission), redirect: "manual" });
  if (response.ok) return response.json();
  // The console sends a browser without a session to its sign-in.
  if (response.type === "opaqueredirect") throw new Error(text("session-ended"));
  const problem = await response.json().catch(() => ({ code: `HTTP ${response.status}`, detail: "", remedy: "" }));
  throw new Error(`${problem.code} ${problem.detail} ${problem.remedy}`.trim());
}

/** Returns the message of the form, as the API takes it. */
async function read(form) {
  const fields = new FormData(form);
  const attachments = [];
  for (const file of fields.getAll("attachments")) {
    if (file.name) attachments.push({ name: file.name, mediaType: file.type || "application/octet-stream", content: await base64(file) });
  }
  const list = (name) => addresses(fields.get(name));
  return {
    company: fields.get("company"), function: "user-interface", client: "spa",
    to: list("to"), cc: list("cc"), bcc: list("bcc"),
    subject: fields.get("subject"), text: fields.get("text").replace(/\r\n/g, "\n"), attachments,
  };
}

/** Splits addresses at commas and semicolons, but not within the quotes of a name. */
function addresses(text) {
  return (text.match(/(?:"(?:[^"\\]|\\.)*"|[^,;"])+/g) ?? []).map((address) => address.trim()).filter((address) => address !== "");
}

function base64(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
}
