// View "Waiting for me" of `delegate.js`: lists the person's messages, and sends, cancels or looks for one of them.
//
// With `given.message` it is about that message only. Each action takes the message as the service has it then, so that another
// tab that was faster is seen.

/** Shows the messages, and continues with what began before a redirect. */
export async function start(session, page) {
  const view = new View(session, page);
  page.part("reload").addEventListener("click", () => page.run(session, () => view.load()));
  await view.load();
  const { send, look } = session.next;
  const found = view.messages.find((message) => message.id === (send ?? look));
  if (found && send) await view.send(found);
  if (found && look) await view.lookUp(found);
}

class View {
  constructor(session, page) {
    Object.assign(this, { session, page, messages: [] });
  }

  async load() {
    const { part, show, text } = this.page;
    show(text("loading"));
    this.messages = await this.#read();
    const list = part("list");
    list.replaceChildren(...this.messages.map((message) => this.#row(message)));
    part("messages").hidden = false;
    part("empty").hidden = this.messages.length > 0;
    show("");
  }

  async #read() {
    const { ask, given } = this.page;
    if (given.message) return [await ask(this.session, "GET", `/v1/delegate/messages/${given.message}`)];
    const all = [];
    for (let before = ""; ; ) {
      const found = await ask(this.session, "GET", `/v1/delegate/messages${before}`);
      all.push(...found.messages);
      if (!found.nextBefore || all.length >= 500) return all;
      before = `?before=${found.nextBefore}`;
    }
  }

  #row(message) {
    const { part, run, text } = this.page;
    const row = part("row").content.cloneNode(true);
    const put = (name, value) => (part(name, row).textContent = value);
    const local = (time) => new Date(time).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
    put("subject", message.subject || text("no-subject"));
    put("recipients", message.recipients.join(", "));
    put("facts", text("facts", { company: message.company, by: message.by, at: local(message.acceptedAt) }));
    const state = message.possibleDuplicate && message.status === "awaiting-sender" ? "possible-duplicate" : `status-${message.status}`;
    put("state", text(state, { until: local(message.leaseEndsAt ?? message.expiresAt) }));
    put("named", message.proof === "named" ? text("named", { by: message.by }) : "");
    part("row-element", row).dataset.id = message.id;
    const action = (name, isOffered, task) => {
      const button = part(name, row);
      button.hidden = !isOffered;
      button.setAttribute("aria-label", `${button.textContent}: ${message.subject}`);
      button.addEventListener("click", () => run(this.session, task));
    };
    action("send", message.status === "awaiting-sender", () => this.send(message));
    action("cancel", message.status === "awaiting-sender", () => this.#cancel(message));
    action("look", message.status === "unknown" && message.epoch > 0, () => this.lookUp(message));
    return row;
  }

  async send(message) {
    const { outcome, shown } = await this.page.send(this.session, message);
    await this.#done(shown, outcome !== "sent");
  }

  async lookUp(message) {
    await this.#done(await this.page.lookUp(this.session, message), false);
  }

  async #cancel(message) {
    await this.page.ask(this.session, "POST", `/v1/delegate/messages/${message.id}/cancel`);
    await this.#done(this.page.text("cancelled", { subject: message.subject }), false);
  }

  /** Shows an outcome above the list as it is then. */
  async #done(shown, problem) {
    await this.load();
    this.page.show(shown, { problem });
  }
}
