//! Taking mail: everything that can be known at once is refused at once, and what is accepted is durable.

use uuid::Uuid;

use super::{Service, access::Caller, http::HttpProblem};
use crate::{
    api::messages::{Action, ActionOptions, File, KEY_LIMIT, MessageDetail, Resolved, ResolvedOutcome, Submission},
    delivery::content::{self, Attached, Kept, Malformed, Parts},
    mime::base64,
    model::{
        Address, AuditOutcome, Client, Code, CompanyId, Digest, Function, Message, Provider, Status,
        delivery::EventKind,
        message::{Document, Notify, Recipient, RecipientStatus},
        resolution::Cell,
    },
    store::{
        AuditEvent,
        outbox::{Accepted, IdempotencyKey, NewEvent, NewMessage, Settled},
    },
};

/// What a submission holds.
pub(super) enum Held {
    /// In parts.
    Parts(Box<Submission>),
    /// As it is, with the recipients of the envelope where they are not those of the header.
    Raw { bytes: Vec<u8>, recipients: Vec<String>, notify: Option<Notify> },
}

/// Whose mail it is, and what kind.
pub(super) struct Purpose {
    pub(super) company: CompanyId,
    pub(super) function: Function,
    /// The client that the user works in.
    pub(super) client: Option<Client>,
    /// The document that it carries.
    pub(super) document: Option<Document>,
    /// Whether that may be sent again.
    pub(super) again: bool,
}

/// What became of a submission.
pub(super) struct Taken {
    pub(super) id: Uuid,
    /// The message, in JSON.
    pub(super) document: String,
    /// Whether it was taken before, under the same key.
    pub(super) before: bool,
}

impl Taken {
    fn before(message: &Message) -> Result<Self, HttpProblem> {
        let document = serde_json::to_string(message).map_err(HttpProblem::internal)?;
        Ok(Self { id: message.id, document, before: true })
    }
}

impl Service {
    /// What was taken under a key before; so a repeated submission costs next to nothing.
    pub(super) async fn taken_before(
        &self,
        caller: &Caller,
        key: Option<&IdempotencyKey>,
    ) -> Result<Option<Taken>, HttpProblem> {
        let Some(key) = key else { return Ok(None) };
        match self.store.replayed(&caller.owner, key).await? {
            Some(Accepted::Before(message)) => Taken::before(&message).map(Some),
            Some(Accepted::KeyReused) => Err(key_reused()),
            _ => Ok(None),
        }
    }

    /// Takes a message, or says why not.
    pub(super) async fn submit(
        &self,
        caller: &Caller,
        purpose: Purpose,
        held: Held,
        key: Option<IdempotencyKey>,
    ) -> Result<Taken, HttpProblem> {
        if let Some(restored) = self.restored() {
            return Err(HttpProblem::new(
                Code::RestoreUnconfirmed,
                format!("no mail is accepted: the store was restored from a backup ({}), and nobody has confirmed that", restored.why),
            )
            .remedy(format!(
                "Submit it again later, under the same key. An administrator confirms: mailwright outbox {} confirm-restore",
                self.store.environment()
            )));
        }
        let Purpose { company, function, client, document, again } = purpose;
        if !caller.scope.covers(&company, function) {
            return Err(HttpProblem::new(
                Code::OutOfScope,
                format!("the token `{}` may not send {} for {company}", caller.name, function.id()),
            )
            .remedy("Use the token of that company and function; `mailwright token list` shows what each may."));
        }
        let cell = Cell { company: company.clone(), function, client };
        let (routes, resolution) = self.delivery.resolve(&cell);
        let settings = &routes.state().settings;
        if !settings.companies.contains(&company) {
            return Err(HttpProblem::new(Code::UnknownCompany, format!("the environment has no company `{company}`"))
                .remedy("Correct `company`, or add it to the environment's file and apply."));
        }
        let Some((name, stored)) = resolution.profile.as_ref().and_then(|name| Some((name, routes.stored(name)?)))
        else {
            return Err(HttpProblem::new(Code::NoRoute, format!("nobody sends {} for {company}", function.id()))
                .remedy(format!(
                    "`mailwright resolve {} {company} {}` shows what was tried.",
                    self.store.environment(),
                    function.id()
                )));
        };
        if matches!(stored.profile.provider, Provider::MicrosoftGraphDelegate(_)) {
            return Err(HttpProblem::new(
                Code::NoRoute,
                format!("`{name}` sends as the user who is signed in, and the service cannot sign in as a user"),
            )
            .remedy(format!(
                "Let the user's client send it with `{name}`, or let `microsoft-graph-direct` or `smtp` serve the function."
            )));
        }
        // Without the client nobody knows whether the user's own mailbox should send, and another must not do so in its
        // place.
        if let Some(delegate) = resolution.delegate_without_client() {
            return Err(HttpProblem::new(
                Code::ClientMissing,
                format!("`{delegate}` sends {} as the user who is signed in, and no client is named", function.id()),
            )
            .remedy(
                "Name the client that the user works in: `client` (`--client`), `native` or `spa`. Mail of no user belongs \
                 to another function.",
            ));
        }
        let moment = self.delivery.moment().await;
        let now = moment.now;
        let id = Uuid::now_v7();
        let from = stored.profile.from_address().unwrap_or_default();
        let domain = from.rsplit_once('@').map_or("mailwright.invalid", |(_, domain)| domain);
        let message_id = format!("<{}@{domain}>", id.simple());
        let delivery = &settings.delivery;
        let (kept, sender_name, notify) = match held {
            Held::Parts(submission) => {
                let (parts, sender_name, notify) = parts(*submission)?;
                (parts.compose(&message_id, now, &delivery.attachments).map_err(malformed)?, sender_name, notify)
            }
            Held::Raw { bytes, recipients, notify } => {
                let kept =
                    content::raw(&bytes, &recipients, &message_id, now, &delivery.attachments).map_err(malformed)?;
                let sender_name = own_name(&kept, from)?;
                (kept, sender_name, notify)
            }
        };
        if sender_name.as_ref().is_some_and(|name| name.chars().count() > 100 || name.chars().any(char::is_control)) {
            return Err(malformed(Malformed::new("`senderName` has control characters or more than 100 characters")));
        }
        let limit = stored.profile.limits().message_size;
        let size = kept.content.len() as u64;
        if size > limit {
            return Err(HttpProblem::new(
                Code::MessageTooLarge,
                format!("the message has {size} bytes, and `{name}` sends up to {limit}"),
            )
            .remedy("Send less, or a link to it; `limits.messageSize` of the profile states the limit."));
        }
        let guard = &delivery.recipients;
        let refused =
            kept.recipients.iter().filter(|address| guard.rewrite_to.is_none() && !guard.allows(address)).count();
        if refused > 0 {
            return Err(HttpProblem::new(
                Code::RecipientNotAllowed,
                format!("the environment may not write to {refused} of the {} recipients", kept.recipients.len()),
            )
            .remedy("`delivery.recipients` of the environment says whom it may write to."));
        }
        let message = Message {
            id,
            status: Status::Queued,
            company: company.clone(),
            function,
            message_id: kept.message_id,
            subject: kept.subject,
            size,
            recipients: kept
                .recipients
                .into_iter()
                .map(|address| Recipient { address, status: RecipientStatus::Waiting, reply: String::new() })
                .collect(),
            document,
            by: caller.name.clone(),
            owner: caller.owner.clone(),
            accepted_at: now,
            requeued_at: None,
            generation: routes.state().generation,
            profile: name.clone(),
            resolution: resolution.clone(),
            attempts: 0,
            next_attempt_at: Some(now),
            finished_at: None,
            possible_duplicate: false,
            sent_again: false,
            look_first: false,
            reason: String::new(),
            notify,
            sender_name,
        };
        let new = NewMessage { message, content: kept.content, key, again };
        let accepted = self.store.accept(new).await;
        drop(moment);
        match accepted? {
            Accepted::Now(document) => {
                metrics::counter!("mailwright_messages_accepted_total").increment(1);
                self.delivery.submitted(company, function, now);
                Ok(Taken { id, document, before: false })
            }
            Accepted::Before(message) => Taken::before(&message),
            Accepted::KeyReused => Err(key_reused()),
            Accepted::DocumentSent(before) => Err(HttpProblem::new(
                Code::DocumentAlreadySent,
                format!("the document was sent before to one of the recipients, by message {before}"),
            )
            .remedy(
                "If it is meant to go again: `again: true` (`mailwright send`: `--again`). An `Idempotency-Key` makes a submission safe to repeat.",
            )),
        }
    }

    /// A message that the caller may see, with its attempts.
    pub(super) async fn follow(&self, caller: &Caller, id: Uuid) -> Result<MessageDetail, HttpProblem> {
        let message = self.seen(caller, id).await?;
        let history = self.store.attempts(id).await?;
        let waits =
            (message.status == Status::Queued).then(|| self.delivery.blocked(&message.company, message.function));
        Ok(MessageDetail { message, history, waits_for: waits.flatten() })
    }

    /// A message that the caller may see: a sender, what its own token submitted.
    pub(super) async fn seen(&self, caller: &Caller, id: Uuid) -> Result<Message, HttpProblem> {
        let message = self.store.message(id).await?;
        let own = |message: &Message| caller.may_see(&message.owner, &message.company, message.function);
        message.filter(own).ok_or_else(|| HttpProblem::not_found("there is no such message"))
    }

    /// Retries, cancels or replays a message that nobody works on.
    pub(super) async fn act(
        &self,
        caller: &Caller,
        id: Uuid,
        action: Action,
        options: ActionOptions,
    ) -> Result<Message, HttpProblem> {
        let (now, by) = (self.delivery.now(), caller.name.clone());
        self.change(caller, id, move |message| acted(message, action, options, now, &by)).await
    }

    /// Settles a message that is `unknown` as a person found it.
    pub(super) async fn resolve(&self, caller: &Caller, id: Uuid, resolved: Resolved) -> Result<Message, HttpProblem> {
        let reason = resolved.reason.trim().to_owned();
        if reason.is_empty() || reason.chars().count() > 200 || reason.chars().any(char::is_control) {
            return Err(HttpProblem::malformed("`reason` has 1 to 200 characters and no control characters"));
        }
        let (now, by) = (self.delivery.now(), caller.name.clone());
        self.change(caller, id, move |message| resolve(message, resolved.outcome, &reason, now, &by)).await
    }

    /// Changes a message that nobody works on, and writes that into the audit log in the same transaction.
    async fn change(
        &self,
        caller: &Caller,
        id: Uuid,
        change: impl FnOnce(Message) -> Result<Acted, Refused> + Send + 'static,
    ) -> Result<Message, HttpProblem> {
        let seen = self.seen(caller, id).await?;
        let moment = self.delivery.moment().await;
        let now = moment.now;
        let (at, actor) = (self.clock.now(), caller.name.clone());
        let code = std::sync::Arc::new(std::sync::Mutex::new(Code::InvalidTransition));
        let refused_as = std::sync::Arc::clone(&code);
        // It may have been read ahead: that is no attempt yet.
        let taken_out = self.delivery.take_out(id);
        let change = move |message: Message| match change(message) {
            Ok(Acted { settled, action, detail }) => {
                Ok((settled, AuditEvent { at, actor, action, outcome: AuditOutcome::Accepted, detail }))
            }
            Err(Refused { code, why }) => {
                *refused_as.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = code;
                Err(why)
            }
        };
        let changed = self.store.change(id, taken_out, Box::new(change)).await;
        drop(moment);
        if taken_out {
            // Whatever the outcome, it waits again, if it waits.
            self.delivery.submitted(seen.company, seen.function, now);
        }
        match changed? {
            None => Err(HttpProblem::not_found("there is no such message")),
            Some(Err(why)) => {
                let code = *code.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let environment = self.store.environment();
                let remedy = if code == Code::MessageAlreadySent {
                    format!(
                        "To send it again to everybody: mailwright outbox {environment} replay {id} --again (API: `again: true`)."
                    )
                } else {
                    format!("`mailwright outbox {environment} show {id}` shows its status and every attempt.")
                };
                Err(HttpProblem::new(code, why).remedy(remedy))
            }
            Some(Ok((message, events))) => {
                self.delivery.tell(events);
                if message.status == Status::Queued {
                    self.delivery.submitted(message.company.clone(), message.function, now);
                }
                Ok(message)
            }
        }
    }

    /// Writes down what somebody did about a message.
    pub(super) async fn record_action(
        &self,
        caller: &Caller,
        action: &'static str,
        message: &Message,
    ) -> Result<(), HttpProblem> {
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action,
            outcome: AuditOutcome::Accepted,
            detail: serde_json::json!({ "message": message.id, "company": message.company, "function": message.function }),
        };
        self.store.record(event).await?;
        Ok(())
    }
}

pub(super) fn malformed(error: Malformed) -> HttpProblem {
    let remedy = error.remedy.clone().unwrap_or_else(|| "Correct it, and submit the message again.".to_owned());
    HttpProblem::new(Code::MessageMalformed, error.reason).remedy(remedy)
}

fn key_reused() -> HttpProblem {
    HttpProblem::new(Code::IdempotencyKeyReused, "the idempotency key was used before, for another message")
        .remedy("Use a new key for a new message; repeat a submission with exactly the same body.")
}

fn parts(submission: Submission) -> Result<(Parts, Option<String>, Option<Notify>), HttpProblem> {
    let mut attachments = Vec::new();
    for (index, file) in submission.attachments.into_iter().enumerate() {
        let File { name, media_type, content, content_id } = file;
        let bytes = base64::decode(&content).map_err(|error| {
            let reason = format!("`attachments/{index}/content` is not base64: {error}");
            malformed(Malformed::new(reason).remedy(error.remedy))
        })?;
        attachments.push(Attached { name, media_type, bytes, content_id });
    }
    let parts = Parts {
        to: submission.to,
        cc: submission.cc,
        bcc: submission.bcc,
        reply_to: submission.reply_to,
        subject: submission.subject,
        text: submission.text,
        html: submission.html,
        calendar: submission.calendar,
        attachments,
        headers: submission.headers.into_iter().collect(),
    };
    Ok((parts, submission.sender_name, submission.notify))
}

/// The name beside the sender of a raw message. Its address must be the profile's: nobody chooses another's.
fn own_name(kept: &Kept, profile: &str) -> Result<Option<String>, HttpProblem> {
    let Some((address, name)) = &kept.from else { return Ok(None) };
    if Address::parse(profile).is_ok_and(|own| Address::parse(address).is_ok_and(|address| address == own)) {
        return Ok(name.clone());
    }
    Err(malformed(
        Malformed::new(format!("`From` names another sender than the profile, which is {profile}"))
            .remedy(format!("Send it from {profile}, or leave `From` out.")),
    ))
}

/// A message that was changed by a person, and what the audit log says of it.
struct Acted {
    settled: Settled,
    action: &'static str,
    detail: serde_json::Value,
}

/// Why a person cannot change a message so.
struct Refused {
    code: Code,
    why: String,
}

/// What the audit log says of every action: which message it was about, and how it stood.
fn detail(message: &Message, was: Status) -> serde_json::Value {
    serde_json::json!({
        "message": message.id, "company": message.company, "function": message.function,
        "document": message.document, "was": was, "becomes": message.status,
    })
}

fn acted(
    mut message: Message,
    action: Action,
    options: ActionOptions,
    now: jiff::Timestamp,
    by: &str,
) -> Result<Acted, Refused> {
    let was = message.status;
    let mut events = Vec::new();
    let mut reached_again = 0;
    let name = match (action, was) {
        (Action::Retry, Status::Queued) => {
            message.next_attempt_at = Some(now);
            message.reason = format!("tried early, by {by}");
            "message.retry"
        }
        (Action::Cancel, Status::Queued) => {
            message.status = Status::Cancelled;
            message.next_attempt_at = None;
            message.finished_at = Some(now);
            message.reason = format!("called back by {by}");
            events.push(NewEvent::about(EventKind::Cancelled, &message, now));
            "message.cancel"
        }
        (Action::Replay, Status::Delivered | Status::Cancelled) if !options.again => {
            return Err(Refused {
                code: Code::MessageAlreadySent,
                why: format!("the message is {}, and replay does not send such a message again", was.id()),
            });
        }
        (Action::Replay, Status::Failed | Status::Unknown | Status::Delivered | Status::Cancelled) => {
            for recipient in &mut message.recipients {
                match recipient.status {
                    RecipientStatus::Delivered if !options.again => continue,
                    RecipientStatus::Delivered => message.sent_again = true,
                    RecipientStatus::Unknown => message.possible_duplicate = true,
                    RecipientStatus::Waiting | RecipientStatus::Failed => {}
                }
                recipient.status = RecipientStatus::Waiting;
                recipient.reply.clear();
                reached_again += 1;
            }
            message.status = Status::Queued;
            message.requeued_at = Some(now);
            message.next_attempt_at = Some(now);
            message.finished_at = None;
            message.reason = format!("put back into the queue by {by}; it was {}", was.id());
            "message.replay"
        }
        (action, status) => {
            return Err(Refused {
                code: Code::InvalidTransition,
                why: format!("cannot {} a message that is {}", action.id(), status.id()),
            });
        }
    };
    let mut detail = detail(&message, was);
    if action == Action::Replay {
        detail["recipients"] = reached_again.into();
        detail["again"] = options.again.into();
    }
    Ok(Acted { settled: Settled { message, attempt: None, events }, action: name, detail })
}

/// A message that is `unknown` becomes what a person found.
fn resolve(
    mut message: Message,
    outcome: ResolvedOutcome,
    reason: &str,
    now: jiff::Timestamp,
    by: &str,
) -> Result<Acted, Refused> {
    let was = message.status;
    if was != Status::Unknown {
        let why = format!("cannot resolve a message that is {}; only one that is unknown", was.id());
        return Err(Refused { code: Code::InvalidTransition, why });
    }
    let found = match outcome {
        ResolvedOutcome::Delivered => RecipientStatus::Delivered,
        ResolvedOutcome::Failed => RecipientStatus::Failed,
    };
    let words = format!("resolved as {} by {by}: {reason}", outcome.id());
    let mut resolved = 0;
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.status == RecipientStatus::Unknown) {
        recipient.status = found;
        recipient.reply.clone_from(&words);
        resolved += 1;
    }
    // Another recipient may have been refused before: then the message failed, whatever became of the others.
    let failed = message.recipients.iter().any(|recipient| recipient.status == RecipientStatus::Failed);
    let (status, kind) =
        if failed { (Status::Failed, EventKind::Failed) } else { (Status::Delivered, EventKind::Delivered) };
    message.status = status;
    message.reason = words;
    message.finished_at = Some(now);
    let mut detail = detail(&message, was);
    detail["recipients"] = resolved.into();
    detail["resolved"] = outcome.id().into();
    detail["reason"] = reason.into();
    let events = vec![NewEvent::about(kind, &message, now)];
    Ok(Acted { settled: Settled { message, attempt: None, events }, action: "message.resolve", detail })
}

/// The key of a submission and the digest of what was submitted.
pub(super) fn idempotency_key(
    key: Option<&axum::http::HeaderValue>,
    query: &str,
    body: &[u8],
) -> Result<Option<IdempotencyKey>, HttpProblem> {
    let Some(key) = key else { return Ok(None) };
    let key = key
        .to_str()
        .ok()
        .map(str::trim)
        .filter(|key| (1..=KEY_LIMIT).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let Some(key) = key else {
        return Err(HttpProblem::malformed("`Idempotency-Key` has 1 to 200 printable characters without spaces"));
    };
    let digest = Digest::of_document(&(query, Digest::of_bytes(body)));
    Ok(Some(IdempotencyKey { key: key.to_owned(), digest }))
}
