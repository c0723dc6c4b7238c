//! Transitions of a message that a person sends from their own client: begin, report, expiry. Pure functions, which the store
//! runs in the transaction that changes the message.
//!
//! [`begin`] gives one lease at a time, with an epoch above that of every lease before. [`report`] accepts the outcome of the
//! newest lease only; after its end, and after the last lease, the message cannot wait again. [`end`] makes a lease without a report `unknown`, because its
//! client may have sent the message. It fails a message that was not sent in its lifetime, unless an earlier attempt may have
//! sent it. Nothing here decides who the person is.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    api::delegates::{DelegateOutcome, DelegateReport, LEASE_SECONDS},
    model::{
        Attempt, Code, Message, Status,
        delivery::EventKind,
        message::{Class, RecipientStatus},
        sender::MessageSender,
    },
    service::message_actions::{MessageChange, RefusedTransition},
    store::outbox::{NewEvent, Settled},
};

/// The largest number of leases of one message. Each has entries in the audit log.
pub(super) const LEASES: u64 = 100;

fn refused(code: Code, reason: impl Into<String>) -> RefusedTransition {
    RefusedTransition { code, reason: reason.into() }
}

/// Returns the person of a message; every message here has one.
fn sender_of(message: &mut Message) -> Result<&mut MessageSender, RefusedTransition> {
    message.sender.as_mut().ok_or_else(|| refused(Code::InvalidTransition, "the service sends the message itself"))
}

/// Returns the audit details of every transition.
fn detail(message: &Message, was: Status) -> Value {
    let sender = message.sender.as_ref();
    json!({
        "message": message.id, "company": message.company, "function": message.function, "document": message.document,
        "was": was, "becomes": message.status, "sender": sender.map(|sender| sender.person),
        "client": sender.map(|sender| sender.client), "application": sender.map(|sender| &sender.application),
        "epoch": sender.map(|sender| sender.epoch),
    })
}

/// Gives a lease for a message that waits.
pub(super) fn begin(mut message: Message, now: Timestamp) -> Result<MessageChange, RefusedTransition> {
    let was = message.status;
    let sender = sender_of(&mut message)?;
    match was {
        Status::AwaitingSender if sender.expires_at <= now => {
            return Err(refused(Code::InvalidTransition, "the message has expired"));
        }
        Status::AwaitingSender | Status::Failed | Status::Unknown if sender.leases() >= LEASES => {
            let reason = format!("the message was begun {LEASES} times, and is not begun again");
            return Err(refused(Code::SenderLeasesUsedUp, reason));
        }
        Status::AwaitingSender => {}
        Status::Sending if sender.lease_ends_at.is_some_and(|end| end > now) => {
            return Err(refused(Code::LeaseHeld, "another client of the person has begun to send the message"));
        }
        status => {
            let reason = format!("cannot begin to send the message: its status is `{}`", status.id());
            return Err(refused(Code::InvalidTransition, reason));
        }
    }
    sender.epoch += 1;
    sender.begun_at = Some(now);
    sender.lease_ends_at = Some(now.saturating_add(SignedDuration::from_secs(LEASE_SECONDS)).unwrap_or(now));
    message.status = Status::Sending;
    message.attempts = message.attempts.saturating_add(1);
    message.next_attempt_at = None;
    let detail = detail(&message, was);
    Ok(MessageChange {
        settled: Settled { message, attempt: None, events: Vec::new() },
        action: "delegate.begin",
        detail,
    })
}

/// Records the outcome of the newest lease. `reply` is the outcome for people.
pub(super) fn report(
    mut message: Message,
    report: &DelegateReport,
    reply: &str,
    now: Timestamp,
) -> Result<MessageChange, RefusedTransition> {
    let was = message.status;
    let sender = sender_of(&mut message)?;
    if sender.epoch != report.epoch || sender.epoch == 0 {
        let reason =
            format!("the lease {} is not the newest one of the message, which is {}", report.epoch, sender.epoch);
        return Err(refused(Code::SenderLeaseEnded, reason));
    }
    let is_current = was == Status::Sending && sender.lease_ends_at.is_some_and(|end| end > now);
    let is_late = matches!(was, Status::Sending | Status::Unknown) && !is_current;
    if !is_current && !is_late {
        let reason = format!("the message has an outcome already: its status is `{}`", was.id());
        return Err(refused(Code::SenderLeaseEnded, reason));
    }
    if is_late && report.outcome == DelegateOutcome::Released {
        // Another copy of the client may still be sending it: only an outcome can resolve the doubt.
        let reason = "the lease has ended, so the message cannot wait again; report `sent` or `failed` after a look into Sent Items";
        return Err(refused(Code::SenderLeaseEnded, reason));
    }
    let begun_at = sender.begun_at.unwrap_or(now);
    let is_last = sender.leases() >= LEASES;
    let used_up =
        format!("{} began it {LEASES} times and could not send it; the last time: {reply}", sender.describe());
    sender.lease_ends_at = None;
    // A message without leases cannot be begun, so it does not wait any more. An attempt before a replay may have sent it.
    let reply = if is_last && report.outcome == DelegateOutcome::Released { used_up.as_str() } else { reply };
    let (class, status, recipients) = match report.outcome {
        DelegateOutcome::Sent => (Class::Delivered, Status::Delivered, Some(RecipientStatus::Delivered)),
        DelegateOutcome::Failed => (Class::Permanent, Status::Failed, Some(RecipientStatus::Failed)),
        DelegateOutcome::Released if is_last && message.possible_duplicate => {
            (Class::Transient, Status::Unknown, Some(RecipientStatus::Unknown))
        }
        DelegateOutcome::Released if is_last => (Class::Permanent, Status::Failed, Some(RecipientStatus::Failed)),
        DelegateOutcome::Released => (Class::Transient, Status::AwaitingSender, None),
        DelegateOutcome::Unknown => (Class::Unknown, Status::Unknown, Some(RecipientStatus::Unknown)),
    };
    let attempt = Attempt {
        number: 0,
        at: begun_at,
        milliseconds: u64::try_from(now.duration_since(begun_at).as_millis()).unwrap_or_default(),
        profile: message.profile.clone(),
        generation: message.generation,
        server: "Microsoft Graph, by the client of the person".to_owned(),
        phase: if was == Status::Unknown { "sent-items" } else { "send" }.to_owned(),
        reply: reply.to_owned(),
        class,
        next_attempt_at: None,
    };
    if let Some(recipients) = recipients {
        let open = |status| matches!(status, RecipientStatus::Waiting | RecipientStatus::Unknown);
        for recipient in message.recipients.iter_mut().filter(|recipient| open(recipient.status)) {
            recipient.status = recipients;
            reply.clone_into(&mut recipient.reply);
        }
    }
    let settled = finish(message, status, reply, Some(attempt), now);
    let mut detail = detail(&settled.message, was);
    detail["outcome"] = report.outcome.id().into();
    detail["reason"] = report.reason.as_str().into();
    detail["requestId"] = report.request_id.as_str().into();
    detail["clientRequestId"] = report.client_request_id.as_str().into();
    detail["at"] = json!(report.at);
    detail["late"] = is_late.into();
    Ok(MessageChange { settled, action: "delegate.report", detail })
}

/// Ends a lease without a report, or the lifetime of a message that waits.
pub(super) fn end(mut message: Message, now: Timestamp) -> Result<MessageChange, RefusedTransition> {
    let was = message.status;
    if message.sender_due().is_none_or(|due| due > now) {
        return Err(refused(Code::InvalidTransition, "neither a lease nor the lifetime of the message has ended"));
    }
    // An earlier lease, or an attempt before a replay, may have sent it.
    let in_doubt = was == Status::Sending || message.possible_duplicate;
    let sender = sender_of(&mut message)?;
    sender.lease_ends_at = None;
    let who = sender.describe();
    let (status, recipients, reason) = match was {
        Status::Sending => (
            Status::Unknown,
            RecipientStatus::Unknown,
            format!("the client of {who} began to send it and did not report the outcome"),
        ),
        _ if in_doubt => (
            Status::Unknown,
            RecipientStatus::Unknown,
            format!("{who} did not send it in time; an earlier attempt may have sent it"),
        ),
        _ => (Status::Failed, RecipientStatus::Failed, format!("{who} did not send it in time")),
    };
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.status == RecipientStatus::Waiting) {
        recipient.status = recipients;
        recipient.reply.clone_from(&reason);
    }
    let settled = finish(message, status, &reason, None, now);
    let detail = detail(&settled.message, was);
    Ok(MessageChange { settled, action: "delegate.end", detail })
}

/// Sets the status of a message, and adds the event of a final one.
fn finish(mut message: Message, status: Status, reason: &str, attempt: Option<Attempt>, now: Timestamp) -> Settled {
    // A recipient of an earlier attempt may have failed: then the message has, whatever the outcome for the others.
    let has_failed = message.recipients.iter().any(|recipient| recipient.status == RecipientStatus::Failed);
    let status = if status == Status::Delivered && has_failed { Status::Failed } else { status };
    message.status = status;
    reason.clone_into(&mut message.reason);
    message.finished_at = status.is_final().then_some(now);
    let kind = match status {
        Status::Delivered => Some(EventKind::Delivered),
        Status::Failed => Some(EventKind::Failed),
        Status::Unknown => Some(EventKind::Unknown),
        _ => None,
    };
    let events = kind.map(|kind| NewEvent::about(kind, &message, now)).into_iter().collect();
    Settled { message, attempt, events }
}
