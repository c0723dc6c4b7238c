//! Submissions: accepts mail for delivery.
//!
//! [`Service::submit`] takes an [`Addressing`] (company, function, client, sender, document) and a [`SubmissionBody`], and
//! returns a [`SubmissionReceipt`] when the message is durable. Scope, company, sender, size, contents and recipients are checked
//! before that: `admission` has the checks, `content` composes the message. A refusal by a mail server is seen at delivery. A
//! refused submission is not stored. The same idempotency key of a caller with the same request returns the earlier message as it
//! is now, with another request it is refused; so is a document that was sent to one of the recipients before, unless duplicates
//! are allowed. Where a delegate profile serves the mail, the message is not queued: it waits for its person (`delegates`).
//! Nothing here sends.

mod admission;
mod content;

use uuid::Uuid;

use super::{Service, caller::Caller, delegates::WantedSender, http::HttpProblem};
use crate::{
    api::messages::{KEY_LIMIT, Submission},
    model::{
        Client, Code, CompanyId, Digest, Function, Lane, Message, ProfileName, Provider, Status,
        message::{Document, Notify, Recipient, RecipientStatus},
        resolution::Cell,
    },
    store::{
        StoreError,
        outbox::{IdempotencyKey, NewMessage, SubmissionOutcome},
    },
};
pub(super) use content::malformed;

/// Contents of a submission.
pub(super) enum SubmissionBody {
    /// A message in parts.
    Parts(Box<Submission>),
    /// A raw message (RFC 5322). `recipients` is the envelope; empty if the header has the recipients.
    Raw { bytes: Vec<u8>, recipients: Vec<String>, notify: Option<Notify> },
}

/// The company, function, client, sender and document of a submission.
pub(super) struct Addressing {
    pub(super) company: CompanyId,
    pub(super) function: Function,
    /// The client that the user works in.
    pub(super) client: Option<Client>,
    /// The person who sends the message from their own client.
    pub(super) sender: WantedSender,
    /// The document that the message carries.
    pub(super) document: Option<Document>,
    /// True if the document may be sent although it was sent before.
    pub(super) allow_duplicate: bool,
    /// The only profile that may send it; none if any may.
    pub(super) only_by: Option<ProfileName>,
}

/// An accepted submission.
pub(super) struct SubmissionReceipt {
    pub(super) id: Uuid,
    /// The message as JSON.
    pub(super) document: String,
    /// True if the message was accepted by an earlier submission with the same key.
    pub(super) is_replayed: bool,
}

impl SubmissionReceipt {
    fn replayed(message: &Message) -> Result<Self, HttpProblem> {
        let document = serde_json::to_string(message).map_err(HttpProblem::internal)?;
        Ok(Self { id: message.id, document, is_replayed: true })
    }
}

impl Service {
    /// Returns true if a profile sends for a company and a function, and the service can send by it.
    pub(super) fn can_send(&self, cell: &Cell) -> bool {
        let (routes, resolution) = self.delivery.resolve(cell);
        let found = admission::find_sender(&routes, &resolution, cell, self.store.environment());
        found.is_ok_and(|(_, stored)| !matches!(stored.profile.provider, Provider::MicrosoftGraphDelegate(_)))
    }

    /// Returns true if this profile sends for a company and a function.
    pub(super) fn sends_for(&self, profile: &ProfileName, cell: &Cell) -> bool {
        let (routes, resolution) = self.delivery.resolve(cell);
        let sender = admission::find_sender(&routes, &resolution, cell, self.store.environment());
        sender.is_ok_and(|(name, _)| name == profile)
    }

    /// Returns the receipt of an earlier submission with the same key, so that a repetition is cheap.
    pub(super) async fn find_receipt(
        &self,
        caller: &Caller,
        key: Option<&IdempotencyKey>,
    ) -> Result<Option<SubmissionReceipt>, HttpProblem> {
        let Some(key) = key else { return Ok(None) };
        match self.store.replayed(&caller.owner, key).await? {
            Some(SubmissionOutcome::Before(message)) => SubmissionReceipt::replayed(&message).map(Some),
            Some(SubmissionOutcome::KeyReused) => Err(key_reused()),
            _ => Ok(None),
        }
    }

    /// Accepts a message, or says why not. `size` is that of the request in bytes.
    pub(super) async fn submit(
        &self,
        caller: &Caller,
        addressing: Addressing,
        body: SubmissionBody,
        size: usize,
        key: Option<IdempotencyKey>,
    ) -> Result<SubmissionReceipt, HttpProblem> {
        self.check_accepts_mail()?;
        admission::check_scope(caller, &addressing, self.store.environment())?;
        let Addressing { company, function, client, sender: wanted, document, allow_duplicate, only_by } = addressing;
        let cell = Cell { company: company.clone(), function, client };
        let (routes, resolution) = self.delivery.resolve(&cell);
        let settings = &routes.state().settings;
        admission::check_company(settings, &company, self.store.environment())?;
        let (name, stored) = admission::find_sender(&routes, &resolution, &cell, self.store.environment())?;
        admission::check_profile(name, only_by.as_ref(), &cell)?;
        let sender = match &stored.profile.provider {
            Provider::MicrosoftGraphDelegate(delegate) => {
                let lane = Lane { company: company.clone(), function };
                Some(self.choose_sender(caller, wanted, name, delegate, &lane).await?)
            }
            Provider::Smtp(_) | Provider::MicrosoftGraphDirect(_) => {
                admission::check_no_sender(&wanted, name)?;
                None
            }
        };

        let id = Uuid::now_v7();
        let compose = {
            let from = stored.profile.from_address().unwrap_or_default().to_owned();
            let (now, attachments) = (self.delivery.now(), settings.delivery.attachments.clone());
            move || content::compose(body, id, &from, now, &attachments)
        };
        let composed = self.limits.parsing.run(size, compose).await?;
        if sender.is_some() {
            admission::check_no_sender_name(composed.sender_name.as_deref(), name)?;
        }
        let size = admission::check_size(&composed.content, name, &stored.profile)?;
        admission::check_recipients(&composed.recipients, &settings.delivery.recipients)?;

        let recipients = composed.recipients.len();
        let moment = self.delivery.moment().await;
        let now = moment.now;
        let waiting = |address| Recipient { address, status: RecipientStatus::Waiting, reply: String::new() };
        let message = Message {
            id,
            status: if sender.is_some() { Status::AwaitingSender } else { Status::Queued },
            company: company.clone(),
            function,
            message_id: composed.message_id,
            subject: composed.subject,
            size,
            recipients: composed.recipients.into_iter().map(waiting).collect(),
            document,
            by: caller.name.clone(),
            owner: caller.owner.clone(),
            accepted_at: now,
            requeued_at: None,
            generation: routes.state().generation,
            profile: name.clone(),
            resolution: resolution.clone(),
            attempts: 0,
            next_attempt_at: sender.is_none().then_some(now),
            finished_at: None,
            possible_duplicate: false,
            sent_again: false,
            search_first: false,
            reason: String::new(),
            notify: composed.notify,
            sender_name: composed.sender_name,
            sender,
        };
        let waits_for_person = message.sender.is_some();
        let new = NewMessage { message, content: composed.content, key, allow_duplicate };
        let accepted = self.store.accept(vec![new]).await;
        drop(moment);
        match accepted?.pop() {
            Some(SubmissionOutcome::Now(document)) => {
                let labels = [("profile", self.delivery.labels().label(name))];
                metrics::counter!("mailwright_messages_accepted_total", &labels).increment(1);
                tracing::info!(message_id = %id, company = %company, function = %function, profile = %name, by = caller.name, size, recipients, "message accepted");
                if waits_for_person {
                    self.sender_changes.notify_one();
                } else {
                    self.delivery.message_due(company, function, now);
                }
                Ok(SubmissionReceipt { id, document, is_replayed: false })
            }
            Some(SubmissionOutcome::Before(message)) => SubmissionReceipt::replayed(&message),
            Some(SubmissionOutcome::KeyReused) => Err(key_reused()),
            Some(SubmissionOutcome::DocumentSent(earlier)) => {
                // A sender must not learn the id of another sender's message.
                let is_visible = self.visible_message(caller, earlier).await.is_ok();
                Err(document_already_sent(is_visible.then_some(earlier)))
            }
            None => Err(StoreError::Database("the store gave no outcome for the message".to_owned()).into()),
        }
    }
}

fn key_reused() -> HttpProblem {
    HttpProblem::new(Code::IdempotencyKeyReused, "the idempotency key was used before, for another message")
        .remedy("Use a new key for a new message. Repeat a submission with exactly the same body.")
}

fn document_already_sent(earlier: Option<Uuid>) -> HttpProblem {
    let by = earlier.map_or("another sender".to_owned(), |earlier| format!("message {earlier}"));
    HttpProblem::new(
        Code::DocumentAlreadySent,
        format!("the document was already sent to one of the recipients, by {by}"),
    )
    .remedy(
        "To send it again, set `allowDuplicate: true` (`mailwright send`: `--allow-duplicate`). To make a submission safe to repeat, use an `Idempotency-Key`.",
    )
}

/// Reads the idempotency key of a submission and adds the digest of its contents.
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
        return Err(HttpProblem::malformed("`Idempotency-Key` must have 1 to 200 printable characters without spaces"));
    };
    let digest = Digest::of_document(&(query, Digest::of_bytes(body)));
    Ok(Some(IdempotencyKey { key: key.to_owned(), digest }))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_digest_of_a_key_covers_query_and_body() {
        let header = HeaderValue::from_static(" key-1 ");
        let key = |query: &str, body: &[u8]| idempotency_key(Some(&header), query, body).unwrap().unwrap();
        assert_eq!(key("a=1", b"x").key, "key-1");
        assert_eq!(key("a=1", b"x").digest, key("a=1", b"x").digest);
        assert_ne!(key("a=1", b"x").digest, key("a=2", b"x").digest);
        assert_ne!(key("a=1", b"x").digest, key("a=1", b"y").digest);
        assert!(idempotency_key(Some(&HeaderValue::from_static("two words")), "", b"").is_err());
        assert!(idempotency_key(None, "", b"").unwrap().is_none());
    }
}
