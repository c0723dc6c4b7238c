//! Actions on accepted messages: retry, cancel, replay, and setting the outcome of an unknown one.
//!
//! The pure functions at the end decide what an action does; the methods of [`Service`] apply it and record it in the audit log,
//! in one transaction (`Service::store_change`, which `delegates` uses as well). A status that does not allow the action is
//! refused with 409, and nothing is recorded. A cancelled message that an earlier attempt may have sent becomes unknown. A retry
//! also ends a pause of the mailbox and makes the probe of a suspended profile due. A message that a person sends is never queued
//! by a replay: it waits for the person again.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Service, access,
    caller::Caller,
    http::{HttpProblem, extract::check_reason},
};
use crate::{
    api::messages::{Action, ActionOptions, MessageDetail, Resolved, ResolvedOutcome},
    model::{
        AuditOutcome, Code, Message, Status, WaitReason, Waiting,
        access::{Activity, Area, Extent, Question},
        delivery::EventKind,
        message::{Recipient, RecipientStatus},
    },
    store::{
        AuditEvent, StoreError,
        outbox::{Event, NewEvent, Settled},
    },
    sync::Mutex,
    time::steady_clock::later,
};

impl Service {
    /// Returns a message that the caller may see, with its attempts.
    pub(crate) async fn message_detail(&self, caller: &Caller, id: Uuid) -> Result<MessageDetail, HttpProblem> {
        let found = self.store.message_with_attempts(id).await?;
        let (message, history) =
            found.filter(|(message, _)| is_visible(caller, message)).ok_or_else(|| self.message_not_found())?;
        let mut waiting = (message.status == Status::Queued).then(|| self.delivery.why_waiting(&message));
        // The reply to a whole profile may be to another sender's or another company's message, and quote its recipient. Of a
        // scheduled message, it is the reply to its own last attempt.
        let is_foreign = |waiting: &&mut Waiting| waiting.reason != WaitReason::Scheduled;
        if let Some(waiting) = waiting.as_mut().filter(|_| !caller.sees_all(Area::Outbox)).filter(is_foreign) {
            waiting.last_reply.clear();
        }
        Ok(MessageDetail { message, history, waiting })
    }

    /// Returns a message that the caller may see. A sender sees the messages of its own token.
    pub(super) async fn visible_message(&self, caller: &Caller, id: Uuid) -> Result<Message, HttpProblem> {
        let message = self.store.message(id).await?;
        message.filter(|message| is_visible(caller, message)).ok_or_else(|| self.message_not_found())
    }

    /// Returns a message that the caller may see, and do something with. A refusal is recorded.
    pub(super) async fn permitted_message(
        &self,
        caller: &Caller,
        id: Uuid,
        activity: Activity,
    ) -> Result<Message, HttpProblem> {
        let message = self.visible_message(caller, id).await?;
        if caller.may_with_message(activity, &message.owner, &message.company, message.function) {
            return Ok(message);
        }
        let question =
            Question::any(Area::Outbox, activity).at(Extent::One(&message.company), Extent::One(message.function));
        let path = format!("/v1/messages/{id}/{activity}");
        Err(access::refuse(self, caller, &question, &axum::http::Method::POST, &path).await)
    }

    /// Returns the problem of a message that does not exist for the caller.
    pub(super) fn message_not_found(&self) -> HttpProblem {
        HttpProblem::not_found("the message does not exist")
            .remedy(format!("`mailwright outbox list {}` lists the messages.", self.store.environment()))
    }

    /// Retries, cancels or replays a message that is not being sent.
    pub(crate) async fn apply_action(
        &self,
        caller: &Caller,
        id: Uuid,
        action: Action,
        options: ActionOptions,
    ) -> Result<Message, HttpProblem> {
        let (now, by) = (self.delivery.now(), caller.name.clone());
        let expiry = later(now, self.state().settings.delivery.sender_lifetime().duration());
        let message = self
            .change_message(caller, id, activity_of(action), move |message| {
                apply_action(message, action, options, now, expiry, &by)
            })
            .await?;
        if action == Action::Retry {
            // A retry does not wait for a pause that the server requested, nor for the next probe of a suspended profile.
            self.delivery.end_pause(&message.company, message.function);
        }
        Ok(message)
    }

    /// Sets the outcome of a message that is `unknown`, as an operator found it.
    pub(crate) async fn resolve_message(
        &self,
        caller: &Caller,
        id: Uuid,
        resolved: Resolved,
    ) -> Result<Message, HttpProblem> {
        let reason = check_reason(&resolved.reason)?.to_owned();
        let (now, by) = (self.delivery.now(), caller.name.clone());
        self.change_message(caller, id, Activity::Resolve, move |message| {
            resolve(message, resolved.outcome, &reason, now, &by)
        })
        .await
    }

    /// Changes a message that is not being sent, and records that in the audit log in the same transaction.
    async fn change_message(
        &self,
        caller: &Caller,
        id: Uuid,
        activity: Activity,
        change: impl FnOnce(Message) -> Result<MessageChange, RefusedTransition> + Send + 'static,
    ) -> Result<Message, HttpProblem> {
        let visible = self.permitted_message(caller, id, activity).await?;
        let moment = self.delivery.moment().await;
        let now = moment.now;
        // The scheduler may have claimed it for a later attempt.
        let taken_out = self.delivery.remove_ready(id);
        let changed = self.store_change(id, taken_out, caller.name.clone(), change).await;
        drop(moment);
        if taken_out {
            // Schedules it again if it is still queued.
            self.delivery.message_due(visible.company, visible.function, now);
        }
        match changed? {
            None => Err(self.message_not_found()),
            Some(Err(RefusedTransition { code, reason })) => {
                let environment = self.store.environment();
                let remedy = if code == Code::MessageAlreadySent {
                    format!(
                        "To send it again to all recipients: mailwright outbox replay {environment} {id} --all-recipients (API: `allRecipients: true`)."
                    )
                } else {
                    format!("`mailwright outbox show {environment} {id}` shows its status and every attempt.")
                };
                Err(HttpProblem::new(code, reason).remedy(remedy))
            }
            Some(Ok((message, events))) => {
                self.delivery.publish(events);
                if message.status == Status::Queued {
                    self.delivery.message_due(message.company.clone(), message.function, now);
                }
                if message.sender.is_some() {
                    self.sender_changes.notify_one();
                }
                Ok(message)
            }
        }
    }

    /// Changes a message, and records that in the audit log in the same transaction. `change` gets the message as it is then.
    /// None if the message does not exist. The caller holds the moment of delivery, and publishes the events.
    pub(super) async fn store_change(
        &self,
        id: Uuid,
        is_claimed: bool,
        actor: String,
        change: impl FnOnce(Message) -> Result<MessageChange, RefusedTransition> + Send + 'static,
    ) -> Result<Option<Result<(Message, Vec<Event>), RefusedTransition>>, StoreError> {
        let at = self.clock.now();
        let code = Arc::new(Mutex::new(Code::InvalidTransition));
        let refused_as = Arc::clone(&code);
        let change = move |message: Message| match change(message) {
            Ok(MessageChange { settled, action, detail }) => {
                Ok((settled, AuditEvent { at, actor, action, outcome: AuditOutcome::Accepted, detail }))
            }
            Err(RefusedTransition { code, reason }) => {
                *refused_as.lock() = code;
                Err(reason)
            }
        };
        let changed = self.store.change(id, is_claimed, Box::new(change)).await?;
        Ok(changed.map(|result| result.map_err(|reason| RefusedTransition { code: *code.lock(), reason })))
    }

    /// Records an action on a message that does not change it.
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

/// Returns the activity that an action is.
pub(super) fn activity_of(action: Action) -> Activity {
    match action {
        Action::Retry => Activity::Retry,
        Action::Cancel => Activity::Cancel,
        Action::Replay => Activity::Replay,
    }
}

/// Returns true if the caller may see a message. A sender sees the messages of its own token.
fn is_visible(caller: &Caller, message: &Message) -> bool {
    caller.may_see(&message.owner, &message.company, message.function)
}

/// A changed message, and its audit entry.
pub(super) struct MessageChange {
    pub(super) settled: Settled,
    pub(super) action: &'static str,
    pub(super) detail: serde_json::Value,
}

/// The reason why a message cannot be changed.
pub(super) struct RefusedTransition {
    pub(super) code: Code,
    pub(super) reason: String,
}

/// Returns the audit details of every action: the message, and its status before and after.
fn audit_detail(message: &Message, was: Status) -> serde_json::Value {
    serde_json::json!({
        "message": message.id, "company": message.company, "function": message.function,
        "document": message.document, "was": was, "becomes": message.status,
    })
}

/// Returns true if it is not known whether an earlier attempt sent a queued message, to all or to some.
fn may_be_sent(message: &Message) -> bool {
    let is_unknown = |recipient: &Recipient| recipient.status == RecipientStatus::Unknown;
    message.search_first || message.possible_duplicate || message.recipients.iter().any(is_unknown)
}

/// Cancels a message that waits. One that an earlier attempt may have sent becomes unknown.
pub(super) fn apply_cancel(mut message: Message, now: Timestamp, by: &str) -> MessageChange {
    let was = message.status;
    message.reason = format!("cancelled by {by}");
    let kind = if may_be_sent(&message) {
        message.reason.push_str("; an earlier attempt may have sent it");
        let waiting = message.recipients.iter_mut().filter(|one| one.status == RecipientStatus::Waiting);
        for recipient in waiting {
            recipient.status = RecipientStatus::Unknown;
            recipient.reply.clone_from(&message.reason);
        }
        message.status = Status::Unknown;
        message.search_first = false;
        EventKind::Unknown
    } else {
        message.status = Status::Cancelled;
        EventKind::Cancelled
    };
    message.next_attempt_at = None;
    message.finished_at = Some(now);
    let detail = audit_detail(&message, was);
    let events = vec![NewEvent::about(kind, &message, now)];
    MessageChange { settled: Settled { message, attempt: None, events }, action: "message.cancel", detail }
}

/// Applies an action to a message. `expiry` is the new end of the lifetime of a message that a person sends.
fn apply_action(
    mut message: Message,
    action: Action,
    options: ActionOptions,
    now: Timestamp,
    expiry: Timestamp,
    by: &str,
) -> Result<MessageChange, RefusedTransition> {
    let was = message.status;
    let mut requeued_recipients = 0;
    let name = match (action, was) {
        (Action::Retry, Status::Queued) => {
            message.next_attempt_at = Some(now);
            message.reason = format!("retried by {by}");
            "message.retry"
        }
        (Action::Cancel, Status::Queued | Status::AwaitingSender) => return Ok(apply_cancel(message, now, by)),
        (Action::Replay, Status::Delivered | Status::Cancelled) if !options.all_recipients => {
            return Err(RefusedTransition {
                code: Code::MessageAlreadySent,
                reason: format!("cannot replay the message: its status is `{}`", was.id()),
            });
        }
        (Action::Replay, Status::Failed | Status::Unknown | Status::Delivered | Status::Cancelled) => {
            for recipient in &mut message.recipients {
                match recipient.status {
                    RecipientStatus::Delivered if !options.all_recipients => continue,
                    RecipientStatus::Delivered => message.sent_again = true,
                    RecipientStatus::Unknown => message.possible_duplicate = true,
                    RecipientStatus::Waiting | RecipientStatus::Failed => {}
                }
                recipient.status = RecipientStatus::Waiting;
                recipient.reply.clear();
                requeued_recipients += 1;
            }
            message.requeued_at = Some(now);
            if let Some(sender) = &mut message.sender {
                // The service never sends it: it waits for the person again.
                sender.expires_at = expiry;
                sender.lease_ends_at = None;
                sender.replayed_epoch = sender.epoch;
                message.status = Status::AwaitingSender;
                message.next_attempt_at = None;
            } else {
                message.status = Status::Queued;
                message.next_attempt_at = Some(now);
            }
            message.finished_at = None;
            message.reason = format!("queued again by {by}; it was {}", was.id());
            "message.replay"
        }
        (action, status) => {
            return Err(RefusedTransition {
                code: Code::InvalidTransition,
                reason: format!("cannot {} the message: its status is `{}`", action.id(), status.id()),
            });
        }
    };
    let mut detail = audit_detail(&message, was);
    if action == Action::Replay {
        detail["recipients"] = requeued_recipients.into();
        detail["allRecipients"] = options.all_recipients.into();
    }
    Ok(MessageChange { settled: Settled { message, attempt: None, events: Vec::new() }, action: name, detail })
}

/// Sets the outcome of a message that is `unknown`.
fn resolve(
    mut message: Message,
    outcome: ResolvedOutcome,
    reason: &str,
    now: Timestamp,
    by: &str,
) -> Result<MessageChange, RefusedTransition> {
    let was = message.status;
    if was != Status::Unknown {
        let reason = format!("cannot resolve the message: its status is `{}`, not `unknown`", was.id());
        return Err(RefusedTransition { code: Code::InvalidTransition, reason });
    }
    let found = match outcome {
        ResolvedOutcome::Delivered => RecipientStatus::Delivered,
        ResolvedOutcome::Failed => RecipientStatus::Failed,
    };
    let reply = format!("resolved as {} by {by}: {reason}", outcome.id());
    let mut resolved = 0;
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.status == RecipientStatus::Unknown) {
        recipient.status = found;
        recipient.reply.clone_from(&reply);
        resolved += 1;
    }
    // Another recipient may have been refused before: then the message has failed, whatever the outcome for the others.
    let failed = message.recipients.iter().any(|recipient| recipient.status == RecipientStatus::Failed);
    let (status, kind) =
        if failed { (Status::Failed, EventKind::Failed) } else { (Status::Delivered, EventKind::Delivered) };
    message.status = status;
    message.reason = reply;
    message.finished_at = Some(now);
    let mut detail = audit_detail(&message, was);
    detail["recipients"] = resolved.into();
    detail["resolved"] = outcome.id().into();
    detail["reason"] = reason.into();
    let events = vec![NewEvent::about(kind, &message, now)];
    Ok(MessageChange { settled: Settled { message, attempt: None, events }, action: "message.resolve", detail })
}
