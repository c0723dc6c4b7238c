//! Messages that a signed-in person sends from their own client (provider `microsoft-graph-delegate`): the person of a
//! submission, the messages that wait for a person, and the lease, the contents and the outcome of one message.
//!
//! The client begins a message under a lease; without a report the outcome is unknown. `caller` identifies the person of a
//! request, `lease` has the transitions, `report` the texts of an outcome, `sent_items` the mails that count, and `expiry`
//! ends leases and lifetimes. A person
//! reaches their own messages only, by tenant, object id and application. Whether a message may leave is decided when it is begun
//! (live profile, holds, allowed recipients, a restore) and when its contents are read (the same without a restore). Every transition is
//! made in one transaction with its audit entry. The service never sends such a message, and never has a token for Microsoft
//! Graph: `foreign_tokens` refuses what looks like one.

mod caller;
mod expiry;
mod foreign_tokens;
mod lease;
mod report;
mod sent_items;

use jiff::Timestamp;
use uuid::Uuid;

pub(super) use caller::{DelegateBody, DelegateUser};
use report::{check_report, describe_report, is_reported};

use super::{
    Service, access,
    caller::Caller,
    caller_limit::CallerPermit,
    http::HttpProblem,
    message_actions::{MessageChange, RefusedTransition, apply_cancel},
    oidc::VerifiedSender,
    submissions::malformed,
};
use crate::{
    api::delegates::{DelegateLease, DelegateMessage, DelegatePage, DelegateReport},
    delivery::{
        outgoing::{OutgoingMessage, SendOptions},
        transport::graph_draft::{Attachment, Draft},
    },
    model::{
        Address, AuditOutcome, Code, Lane, Message, Profile, ProfileName, Provider, Status,
        access::{Activity, Area, Extent, Question},
        delivery::RecipientGuard,
        message::RecipientStatus,
        provider::GraphDelegate,
        sender::{MessageSender, PersonId, SenderProof},
    },
    store::AuditEvent,
    text::{printable, shortened},
    time::steady_clock::later,
};

/// The largest number of messages on a page.
const PAGE: u32 = 100;
/// The longest reason of a report or a hold that is shown, in characters.
const REASON: usize = 300;

/// The person of a submission: by an ID token, or named.
#[derive(Default)]
pub(super) struct WantedSender {
    /// The person of the ID token.
    pub(super) verified: Option<VerifiedSender>,
    /// The person that the request names.
    pub(super) named: Option<PersonId>,
}

impl WantedSender {
    /// Returns true if the submission has a person.
    pub(super) fn is_given(&self) -> bool {
        self.verified.is_some() || self.named.is_some()
    }
}

/// The contents of a message, as its client sends them.
pub(super) enum DelegateContent {
    /// MIME, with `From`, and with `Bcc` because Graph has no envelope.
    Mime(bytes::Bytes),
    /// The body of Graph's `sendMail`, as JSON.
    Graph(String),
}

impl Service {
    /// Returns the person who is to send a message by a delegate profile, or the reason why it is not known.
    pub(super) async fn choose_sender(
        &self,
        caller: &Caller,
        wanted: WantedSender,
        name: &ProfileName,
        delegate: &GraphDelegate,
        lane: &Lane,
    ) -> Result<MessageSender, HttpProblem> {
        let lifetime = self.state().settings.delivery.sender_lifetime().duration();
        let (person, shown, proof) = match (wanted.verified, wanted.named) {
            (Some(verified), named) => {
                if named.is_some_and(|named| named != verified.person) {
                    return Err(HttpProblem::new(
                        Code::SenderMismatch,
                        "`sender` names another person than the ID token of the submission",
                    )
                    .remedy("Omit `sender`, or pass the ID token of that person."));
                }
                if !verified.application.eq_ignore_ascii_case(&delegate.client) {
                    return Err(HttpProblem::new(
                        Code::SenderTokenRefused,
                        format!(
                            "the ID token of the sender is not for the application of `{name}`, {}",
                            delegate.client
                        ),
                    )
                    .remedy("Sign in to the application of that profile."));
                }
                (verified.person, verified.name, SenderProof::IdToken)
            }
            (None, Some(person)) => {
                let question = Question::any(Area::Mail, Activity::NameSender)
                    .at(Extent::One(&lane.company), Extent::One(lane.function));
                access::check(self, caller, &question, &axum::http::Method::POST, "/v1/messages").await?;
                (person, String::new(), SenderProof::Named)
            }
            (None, None) => {
                return Err(HttpProblem::new(
                    Code::SenderMissing,
                    format!(
                        "`{name}` sends {} as the signed-in user, and the submission does not say who that is",
                        lane.function.id()
                    ),
                )
                .remedy("Pass the ID token of the user in the header `Mailwright-Sender-Token`, or use `mailwright delegate send`. Use another function for mail without a user."));
            }
        };
        if delegate.tenant.parse::<Uuid>().is_ok_and(|tenant| tenant != person.tenant) {
            return Err(HttpProblem::new(
                Code::SenderMismatch,
                format!("the sender is of the tenant {}, and `{name}` of {}", person.tenant, delegate.tenant),
            )
            .remedy(
                "Name the person by the ids in the tenant of the profile, or sign in with an account of that tenant.",
            ));
        }
        Ok(MessageSender {
            person,
            name: shown,
            client: delegate.platform,
            application: delegate.client.to_ascii_lowercase(),
            proof,
            expires_at: later(self.delivery.now(), lifetime),
            epoch: 0,
            replayed_epoch: 0,
            lease_ends_at: None,
            begun_at: None,
        })
    }

    /// Returns a page of the messages that wait for a person, are leased to it, or have an unknown outcome.
    pub(super) async fn delegate_messages(
        &self,
        user: &DelegateUser,
        before: Option<u64>,
        limit: u32,
    ) -> Result<DelegatePage, HttpProblem> {
        let limit = limit.clamp(1, PAGE);
        let find = || self.store.messages_of_sender(user.person(), user.sender.application.clone(), before, limit);
        let mut found = find().await?;
        let now = self.delivery.now();
        if found.iter().any(|(_, message)| message.sender_due().is_some_and(|due| due <= now)) {
            self.end_due_of_senders().await;
            found = find().await?;
        }
        let is_full = found.len() >= limit as usize;
        let next_before = found.last().map(|(number, _)| *number).filter(|_| is_full);
        let mut messages = Vec::with_capacity(found.len());
        for (_, message) in &found {
            messages.extend(describe(message, self.sent_items_since(message).await?));
        }
        Ok(DelegatePage { person: user.person(), messages, next_before })
    }

    /// Returns a message of the person, in any status.
    pub(super) async fn delegate_message(&self, user: &DelegateUser, id: Uuid) -> Result<DelegateMessage, HttpProblem> {
        let message = self.own_delegate_message(user, id, "delegate.see").await?;
        describe(&message, self.sent_items_since(&message).await?).ok_or_else(|| self.message_not_found())
    }

    /// Gives the person's client a lease to send a message.
    pub(super) async fn begin_delegate(&self, user: &DelegateUser, id: Uuid) -> Result<DelegateLease, HttpProblem> {
        self.check_accepts_mail()?;
        let message = self.own_delegate_message(user, id, "delegate.begin").await?;
        let from = self.check_may_leave(&message)?;
        // Before the lease: a message that cannot leave would use it up.
        self.check_recipients(&message)?;
        let message = self.change_of_sender(user, id, lease::begin).await?;
        let lease = message.sender.as_ref().map(|sender| (sender.epoch, sender.lease_ends_at));
        let since = self.sent_items_since(&message).await?;
        match (lease, describe(&message, since)) {
            (Some((epoch, Some(ends_at))), Some(message)) => Ok(DelegateLease { epoch, ends_at, message, from }),
            _ => Err(HttpProblem::internal("a message was begun without a lease")),
        }
    }

    /// Counts the contents of a message that are sent to a person.
    pub(super) fn contents_permit(&self, user: &DelegateUser) -> Result<CallerPermit, HttpProblem> {
        self.delegate_contents.acquire_as(&user.person().to_string(), "the person")
    }

    /// Returns the contents of a message to the holder of its lease. `from` is the address of the signed-in person.
    pub(super) async fn delegate_content(
        &self,
        user: &DelegateUser,
        id: Uuid,
        epoch: u64,
        from: &str,
        as_graph: bool,
    ) -> Result<DelegateContent, HttpProblem> {
        let message = self.own_delegate_message(user, id, "delegate.content").await?;
        let now = self.delivery.now();
        let is_leased = message.sender.as_ref().is_some_and(|sender| {
            message.status == Status::Sending
                && sender.epoch == epoch
                && sender.lease_ends_at.is_some_and(|end| end > now)
        });
        if !is_leased {
            return Err(lease_ended(format!("the lease {epoch} of the message does not exist, or has ended")));
        }
        let address = self.check_may_leave(&message)?.unwrap_or_else(|| from.to_owned());
        if Address::parse(&address).is_err() {
            return Err(HttpProblem::malformed("`from` is not an e-mail address"));
        }
        let content = self.store.content(id).await?;
        let content =
            content.ok_or_else(|| HttpProblem::not_found("the contents of the message are not kept any more"))?;
        let (guard, recipients) = self.check_recipients(&message)?;
        let build = move || -> Result<DelegateContent, HttpProblem> {
            let options = SendOptions { address: &address, name: None, guard: &guard, header_is_envelope: true };
            let outgoing = OutgoingMessage::build(content, &recipients, &options).map_err(malformed)?;
            if !as_graph {
                return Ok(DelegateContent::Mime(outgoing.bytes));
            }
            let Draft { mut document, attachments } = Draft::read(&outgoing.bytes).map_err(malformed)?;
            let files = attachments.iter().map(Attachment::describe_with_bytes);
            document["attachments"] = files.collect::<Vec<_>>().into();
            let body = serde_json::json!({ "message": document, "saveToSentItems": true });
            Ok(DelegateContent::Graph(body.to_string()))
        };
        let size = usize::try_from(message.size).unwrap_or(usize::MAX);
        self.limits.parsing.run(size, build).await
    }

    /// Records the outcome of a lease. The same report of the same lease is accepted again.
    pub(super) async fn report_delegate(
        &self,
        user: &DelegateUser,
        id: Uuid,
        report: DelegateReport,
    ) -> Result<Message, HttpProblem> {
        let report = check_report(report)?;
        let message = self.own_delegate_message(user, id, "delegate.report").await?;
        if is_reported(&message, &report) {
            return Ok(message);
        }
        let reply = describe_report(&report);
        let change = move |message, now| lease::report(message, &report, &reply, now);
        self.change_of_sender(user, id, change).await
    }

    /// Cancels a message that waits for the person.
    pub(super) async fn cancel_delegate(&self, user: &DelegateUser, id: Uuid) -> Result<Message, HttpProblem> {
        self.own_delegate_message(user, id, "message.cancel").await?;
        let by = user.actor();
        let change = move |message: Message, now| {
            let was = message.status;
            if was != Status::AwaitingSender {
                let reason = format!("cannot cancel the message: its status is `{}`", was.id());
                return Err(RefusedTransition { code: Code::InvalidTransition, reason });
            }
            Ok(apply_cancel(message, now, &by))
        };
        self.change_of_sender(user, id, change).await
    }

    /// Returns a message of the person. One of another account of the tenant is refused; one of another tenant or application
    /// does not exist for the person. `action` is the name of the request in the audit log.
    async fn own_delegate_message(
        &self,
        user: &DelegateUser,
        id: Uuid,
        action: &'static str,
    ) -> Result<Message, HttpProblem> {
        let message = self.store.message(id).await?;
        let not_found = || self.message_not_found();
        let message = message.filter(|message| is_of_application(message, user)).ok_or_else(not_found)?;
        let Some(person) = message.sender.as_ref().map(|sender| sender.person) else { return Err(not_found()) };
        if person == user.person() {
            return Ok(message);
        }
        if person.tenant != user.person().tenant {
            return Err(not_found());
        }
        let event = AuditEvent {
            at: self.clock.now(),
            actor: user.actor(),
            action,
            outcome: AuditOutcome::Refused,
            detail: serde_json::json!({ "message": id, "sender": user.person(), "code": Code::SenderMismatch }),
        };
        self.record_bounded(event).await?;
        Err(HttpProblem::new(
            Code::SenderMismatch,
            format!("the message waits for another account than `{}`", user.sender.name),
        )
        .remedy("Sign in with the account of the person who submitted it (`prompt=select_account`)."))
    }

    /// Checks that a message may leave now: its profile serves it as it did at acceptance, and no hold covers it. Returns the
    /// address of the profile, if it has one.
    fn check_may_leave(&self, message: &Message) -> Result<Option<String>, HttpProblem> {
        let (routes, resolution) = self.delivery.resolve(&message.resolution.cell);
        // Another profile never sends in its place: it can have another address.
        let same = resolution.profile.as_ref().filter(|name| **name == message.profile);
        let profile = same.and_then(|name| routes.live_profile(name));
        let sender = message.sender.as_ref();
        let Some((profile, _)) = profile.and_then(|stored| {
            let own = delegate_of(&stored.profile)?;
            let is_same = sender.is_some_and(|sender| {
                own.client.eq_ignore_ascii_case(&sender.application)
                    && own.platform == sender.client
                    && own.tenant.parse::<Uuid>().map_or(true, |tenant| tenant == sender.person.tenant)
            });
            is_same.then_some((&stored.profile, own))
        }) else {
            return Err(HttpProblem::new(
                Code::DelegateChanged,
                format!("`{}` does not serve the message any more as it did when it was accepted", message.profile),
            )
            .remedy("Cancel the message, and submit it again."));
        };
        let lane = Lane { company: message.company.clone(), function: message.function };
        let now = self.delivery.now();
        let holds = self.delivery.holds();
        if let Some(hold) = holds.iter().find(|hold| hold.covers(&lane, resolution.profile.as_ref(), now)) {
            let reason = shortened(&printable(&hold.reason), REASON).into_owned();
            return Err(HttpProblem::new(Code::MessageHeld, format!("an operator holds the message: {reason}"))
                .remedy(format!(
                    "It waits. `mailwright outbox status {}` lists the holds.",
                    self.store.environment()
                )));
        }
        Ok(profile.from_address().map(str::to_owned))
    }

    /// Checks that the environment may send to every recipient that waits. Returns the restriction and these recipients.
    fn check_recipients(&self, message: &Message) -> Result<(RecipientGuard, Vec<String>), HttpProblem> {
        let guard = self.state().settings.delivery.recipients.clone();
        let waiting = message.recipients.iter().filter(|recipient| recipient.status == RecipientStatus::Waiting);
        let recipients: Vec<String> = waiting.map(|recipient| recipient.address.clone()).collect();
        let refused = recipients.iter().filter(|address| !guard.allows(address)).count();
        if guard.rewrite_to.is_none() && refused > 0 {
            return Err(HttpProblem::new(
                Code::RecipientNotAllowed,
                format!("the environment may not send to {refused} of the {} recipients", recipients.len()),
            )
            .remedy("An administrator allows them in `delivery.recipients` of the environment, or the message is cancelled. A lease that exists is released."));
        }
        Ok((guard, recipients))
    }

    /// Changes a message of a person, and records that in the audit log in the same transaction. `change` gets the message as it
    /// is then, so that of two clients one succeeds.
    async fn change_of_sender(
        &self,
        user: &DelegateUser,
        id: Uuid,
        change: impl FnOnce(Message, Timestamp) -> Result<MessageChange, RefusedTransition> + Send + 'static,
    ) -> Result<Message, HttpProblem> {
        let (person, application) = (user.person(), user.sender.application.clone());
        let change_own = move |message: Message, now: Timestamp| {
            let sender = message.sender.as_ref();
            if sender.is_some_and(|own| own.person == person && own.application == application) {
                change(message, now)
            } else {
                Err(RefusedTransition { code: Code::NotFound, reason: "the message does not exist".to_owned() })
            }
        };
        match self.change_sender_message(id, user.actor(), change_own).await? {
            Some(Ok(message)) => Ok(message),
            Some(Err(RefusedTransition { code: Code::SenderLeaseEnded, reason })) => Err(lease_ended(reason)),
            Some(Err(RefusedTransition { code: code @ Code::SenderLeasesUsedUp, reason })) => {
                let environment = self.store.environment();
                Err(HttpProblem::new(code, reason).remedy(format!(
                    "The reason of the last try: mailwright outbox show {environment} {id}. A replay gives it new leases: mailwright outbox replay {environment} {id}."
                )))
            }
            Some(Err(RefusedTransition { code, reason })) => {
                Err(HttpProblem::new(code, reason).remedy("Read the message again: GET /v1/delegate/messages."))
            }
            None => Err(self.message_not_found()),
        }
    }

    /// Changes a message that has a person. None if the message does not exist.
    async fn change_sender_message(
        &self,
        id: Uuid,
        actor: String,
        change: impl FnOnce(Message, Timestamp) -> Result<MessageChange, RefusedTransition> + Send + 'static,
    ) -> Result<Option<Result<Message, RefusedTransition>>, HttpProblem> {
        let moment = self.delivery.moment().await;
        let now = moment.now;
        let changed = self.store_change(id, false, actor, move |message| change(message, now)).await;
        drop(moment);
        let changed = changed?.map(|result| {
            result.map(|(message, events)| {
                self.delivery.publish(events);
                self.sender_changes.notify_one();
                message
            })
        });
        Ok(changed)
    }
}

/// Returns the settings of a delegate profile; none if it is another one.
fn delegate_of(profile: &Profile) -> Option<&GraphDelegate> {
    match &profile.provider {
        Provider::MicrosoftGraphDelegate(delegate) => Some(delegate),
        Provider::Smtp(_) | Provider::MicrosoftGraphDirect(_) => None,
    }
}

/// Returns true if the message is for the application that the person signed in to.
fn is_of_application(message: &Message, user: &DelegateUser) -> bool {
    message.sender.as_ref().is_some_and(|sender| sender.application == user.sender.application)
}

fn lease_ended(reason: String) -> HttpProblem {
    HttpProblem::new(Code::SenderLeaseEnded, reason)
        .remedy("Read the message again, and begin again if it waits: GET /v1/delegate/messages.")
}

/// Describes a message for its person.
fn describe(message: &Message, sent_items_since: Option<Timestamp>) -> Option<DelegateMessage> {
    let sender = message.sender.as_ref()?;
    Some(DelegateMessage {
        id: message.id,
        status: message.status,
        company: message.company.clone(),
        function: message.function,
        profile: message.profile.clone(),
        client: sender.client,
        message_id: message.message_id.clone(),
        subject: message.subject.clone(),
        recipients: message.recipients.iter().map(|recipient| recipient.address.clone()).collect(),
        size: message.size,
        document: message.document.clone(),
        by: message.by.clone(),
        proof: sender.proof,
        accepted_at: message.accepted_at,
        expires_at: sender.expires_at,
        epoch: sender.epoch,
        lease_ends_at: sender.lease_ends_at,
        begun_at: sender.begun_at,
        sent_items_since,
        possible_duplicate: message.possible_duplicate,
    })
}
