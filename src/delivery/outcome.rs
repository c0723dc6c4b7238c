//! Outcomes: how the result of an attempt changes a message.
//!
//! Pure functions from a message and a result to a [`Settled`] message: delivered, failed, unknown, or queued for the next
//! attempt. They do not connect, read the clock or write to the store.
//!
//! Each recipient has its own result. A message is queued while a recipient waits; then it is unknown if one is unknown,
//! otherwise failed if one has failed, and delivered only if all are. Which function applies to a failure, and when a message is
//! too old, is decided in `delivery::attempt`.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    back_off::doubled,
    failure::{Failure, Refusal},
    transport::RecipientResults,
};
use crate::{
    model::{
        Attempt, Message, ProfileName, Status,
        delivery::{EventKind, Retry},
        message::{Class, Recipient, RecipientStatus},
    },
    store::outbox::{NewEvent, Settled},
    time::steady_clock::later,
};

/// Returns the back-off after so many attempts: doubled with each attempt and varied by 15 %; `random` is between 0 and 1.
pub(super) fn back_off(retry: &Retry, attempts: u32, random: f64) -> Duration {
    let wait = doubled(retry.first.duration(), attempts.saturating_sub(1), retry.longest.duration());
    wait.mul_f64(0.85 + random * 0.3)
}

/// Returns the recipients that still wait.
pub(super) fn waiting_recipients(message: &Message) -> Vec<String> {
    let waiting = message.recipients.iter().filter(|recipient| recipient.status == RecipientStatus::Waiting);
    waiting.map(|recipient| recipient.address.clone()).collect()
}

/// Returns true if a message was delivered to a recipient, or may have been.
pub(super) fn has_reached_some(message: &Message) -> bool {
    let is_reached = |status| matches!(status, RecipientStatus::Delivered | RecipientStatus::Unknown);
    message.recipients.iter().any(|recipient| is_reached(recipient.status))
}

/// Prepares the record of a message whose handover begins: recipients that were refused have their result; those that were
/// refused for now keep the reply.
pub(super) fn begin(message: &Message, refused: &[Refusal]) -> Message {
    let mut begun = message.clone();
    begun.recipients.iter_mut().filter(|recipient| is_waiting(recipient)).for_each(|recipient| recipient.reply.clear());
    apply_refusals(&mut begun, refused);
    begun.status = Status::Sending;
    begun.attempts = begun.attempts.saturating_add(1);
    begun.next_attempt_at = None;
    begun
}

/// Returns the temporary refusals that [`begin`] kept in the record of a message.
pub(super) fn refusals_at_begin(begun: &Message) -> Vec<Refusal> {
    let refused = begun.recipients.iter().filter(|recipient| is_waiting(recipient) && !recipient.reply.is_empty());
    let failure = |recipient: &Recipient| Failure::new("rcpt", recipient.reply.clone(), Class::Transient);
    refused.map(|recipient| (recipient.address.clone(), failure(recipient))).collect()
}

/// Sets the replies of recipients that were refused. Temporarily refused recipients go on waiting.
pub(super) fn apply_refusals(message: &mut Message, refused: &[Refusal]) {
    for recipient in message.recipients.iter_mut().filter(|recipient| is_waiting(recipient)) {
        let Some((_, failure)) = refused.iter().find(|(address, _)| *address == recipient.address) else { continue };
        recipient.reply.clone_from(&failure.reply);
        let is_temporary = matches!(failure.class, Class::Transient | Class::Throttled)
            || failure.class == Class::Auth && failure.reply.starts_with('4');
        if !is_temporary {
            recipient.status = RecipientStatus::Failed;
        }
    }
}

/// Queues a message for another attempt.
pub(super) fn retry(mut message: Message, attempt: Attempt, due: Timestamp) -> Settled {
    message.status = Status::Queued;
    message.attempts = message.attempts.saturating_add(1);
    message.next_attempt_at = Some(due);
    Settled { attempt: Some(Attempt { next_attempt_at: Some(due), ..attempt }), message, events: Vec::new() }
}

/// Settles a message that the server accepted for at least one recipient, or refused for each on its own. `wait` is the
/// back-off for recipients that were refused for now.
pub(super) fn after_results(
    mut message: Message,
    attempt: Attempt,
    results: RecipientResults,
    now: Timestamp,
    wait: Duration,
) -> Settled {
    let RecipientResults { refused, reply } = results;
    let reply = reply.unwrap_or_default();
    apply_refusals(&mut message, &refused);
    for recipient in accepted_recipients(&mut message, &refused) {
        recipient.status = RecipientStatus::Delivered;
        recipient.reply.clone_from(&reply);
    }
    if let Some(waiting) = message.recipients.iter().find(|recipient| is_waiting(recipient)) {
        message.reason = format!("rcpt: {}", waiting.reply);
        let due = later(now, longest_wait(&refused).max(wait));
        return retry(message, attempt, due);
    }
    message.attempts = message.attempts.saturating_add(1);
    let (status, kind) = final_status(&message);
    let decisive = match status {
        Status::Unknown => RecipientStatus::Unknown,
        _ => RecipientStatus::Failed,
    };
    let decisive = message.recipients.iter().find(|recipient| recipient.status == decisive);
    message.reason = decisive.map_or(reply, |recipient| format!("{}: {}", recipient.address, recipient.reply));
    finish(message, status, kind, Some(attempt), now)
}

/// Settles a message for which a reply refused all recipients that were accepted until then.
pub(super) fn after_refusal(
    mut message: Message,
    attempt: Attempt,
    failure: &Failure,
    refused: &[Refusal],
    now: Timestamp,
    wait: Duration,
) -> Settled {
    for recipient in accepted_recipients(&mut message, refused) {
        recipient.status = RecipientStatus::Failed;
        recipient.reply.clone_from(&failure.reply);
    }
    if let Some(waiting) = message.recipients.iter().find(|recipient| is_waiting(recipient)) {
        message.reason = format!("rcpt: {}", waiting.reply);
        let due = later(now, longest_wait(refused).max(wait));
        return retry(message, attempt, due);
    }
    message.attempts = message.attempts.saturating_add(1);
    Settled { attempt: Some(attempt), ..give_up(message, failure.reply.clone(), now) }
}

/// Settles a message that is not attempted again: the recipients that wait have failed. A recipient of an earlier attempt may
/// still be unknown; then the message is.
pub(super) fn give_up(mut message: Message, reason: String, now: Timestamp) -> Settled {
    for recipient in message.recipients.iter_mut().filter(|recipient| is_waiting(recipient)) {
        recipient.status = RecipientStatus::Failed;
        if recipient.reply.is_empty() {
            recipient.reply.clone_from(&reason);
        }
    }
    let (status, kind) = match final_status(&message) {
        (Status::Unknown, kind) => (Status::Unknown, kind),
        _ => (Status::Failed, EventKind::Failed),
    };
    message.reason = reason;
    finish(message, status, kind, None, now)
}

/// Settles a message that was found in Sent Items of a profile.
pub(super) fn found_in_sent_items(mut message: Message, profile: &ProfileName, now: Timestamp) -> Settled {
    for recipient in message.recipients.iter_mut().filter(|recipient| is_waiting(recipient)) {
        recipient.status = RecipientStatus::Delivered;
        "found in Sent Items".clone_into(&mut recipient.reply);
    }
    let (status, kind) = final_status(&message);
    message.search_first = false;
    message.reason = format!("found in Sent Items of `{profile}`");
    finish(message, status, kind, None, now)
}

/// Settles a message of which it is unknown whether the server accepted it, until an operator decides. `refused` are the
/// recipients that it was certainly not accepted for; those that were refused for now are attempted after `wait`.
pub(super) fn leave_unknown(
    mut message: Message,
    reason: &str,
    attempt: Option<Attempt>,
    refused: &[Refusal],
    now: Timestamp,
    wait: Duration,
) -> Settled {
    message.search_first = false;
    for recipient in accepted_recipients(&mut message, refused) {
        recipient.status = RecipientStatus::Unknown;
        reason.clone_into(&mut recipient.reply);
    }
    if let Some(waiting) = message.recipients.iter().find(|recipient| is_waiting(recipient)) {
        // The others are attempted again; the message is unknown when they have their results.
        message.reason = format!("unknown for some: {reason}; rcpt: {}", waiting.reply);
        let due = later(now, longest_wait(refused).max(wait));
        message.status = Status::Queued;
        message.next_attempt_at = Some(due);
        let attempt = attempt.map(|attempt| Attempt { next_attempt_at: Some(due), ..attempt });
        return Settled { message, attempt, events: Vec::new() };
    }
    reason.clone_into(&mut message.reason);
    finish(message, Status::Unknown, EventKind::Unknown, attempt, now)
}

/// Returns the phase and the class by which an attempt with recipient results is recorded.
pub(super) fn summarize(results: &RecipientResults) -> (&'static str, Class) {
    match (&results.reply, results.refused.first()) {
        (Some(_), _) => ("dot", Class::Delivered),
        (None, Some((_, failure))) => ("rcpt", failure.class),
        (None, None) => ("rcpt", Class::Permanent),
    }
}

/// Sets the final status of a message, and adds its event.
fn finish(mut message: Message, status: Status, kind: EventKind, attempt: Option<Attempt>, now: Timestamp) -> Settled {
    message.status = status;
    message.finished_at = Some(now);
    message.next_attempt_at = None;
    let mut event = NewEvent::about(kind, &message, now);
    if let Some(attempt) = &attempt {
        event.profile = Some(attempt.profile.clone());
    }
    Settled { message, attempt, events: vec![event] }
}

fn is_waiting(recipient: &Recipient) -> bool {
    recipient.status == RecipientStatus::Waiting
}

/// Returns the waiting recipients that were not refused on their own: the outcome of the attempt is theirs.
fn accepted_recipients<'a>(
    message: &'a mut Message,
    refused: &'a [Refusal],
) -> impl Iterator<Item = &'a mut Recipient> {
    let is_refused = |recipient: &Recipient| refused.iter().any(|(address, _)| *address == recipient.address);
    message.recipients.iter_mut().filter(move |recipient| is_waiting(recipient) && !is_refused(recipient))
}

/// Returns the longest wait that the replies to refused recipients ask for.
fn longest_wait(refused: &[Refusal]) -> Duration {
    refused.iter().filter_map(|(_, failure)| failure.retry_after).max().unwrap_or_default()
}

/// Returns the final status of a message without waiting recipients, and its event. Unknown takes precedence over failed, and
/// failed over delivered.
fn final_status(message: &Message) -> (Status, EventKind) {
    let has = |status| message.recipients.iter().any(|recipient| recipient.status == status);
    if has(RecipientStatus::Unknown) {
        (Status::Unknown, EventKind::Unknown)
    } else if has(RecipientStatus::Failed) {
        (Status::Failed, EventKind::Failed)
    } else {
        (Status::Delivered, EventKind::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const WAIT: Duration = Duration::from_secs(60);

    fn message(recipients: &[&str]) -> Message {
        let recipients: Vec<_> =
            recipients.iter().map(|address| json!({ "address": address, "status": "waiting" })).collect();
        serde_json::from_value(json!({
            "id": uuid::Uuid::from_u128(1), "status": "queued", "company": "A", "function": "default",
            "messageId": "<1@example.com>", "subject": "s", "size": 4, "recipients": recipients,
            "by": "sender", "acceptedAt": NOW, "generation": 1, "profile": "relay",
            "resolution": { "cell": { "company": "A", "function": "default" }, "profile": "relay", "steps": [] },
            "attempts": 0, "nextAttemptAt": NOW,
        }))
        .unwrap()
    }

    fn attempt() -> Attempt {
        serde_json::from_value(json!({
            "number": 1, "at": NOW, "milliseconds": 1, "profile": "relay", "generation": 1, "server": "mail.example.com",
            "phase": "dot", "reply": "250 ok", "class": "delivered",
        }))
        .unwrap()
    }

    fn refused(address: &str, reply: &str, class: Class) -> Refusal {
        (address.to_owned(), Failure::new("rcpt", reply, class))
    }

    fn statuses(message: &Message) -> Vec<RecipientStatus> {
        message.recipients.iter().map(|recipient| recipient.status).collect()
    }

    #[test]
    fn each_recipient_has_its_own_result() {
        let refusals = vec![
            refused("b@example.org", "550 no", Class::Permanent),
            refused("c@example.org", "450 later", Class::Transient),
        ];
        let results = RecipientResults { refused: refusals, reply: Some("250 ok".to_owned()) };
        let message = message(&["a@example.org", "b@example.org", "c@example.org"]);
        let settled = after_results(message, attempt(), results, NOW, WAIT);
        assert_eq!(
            statuses(&settled.message),
            [RecipientStatus::Delivered, RecipientStatus::Failed, RecipientStatus::Waiting]
        );
        assert_eq!(settled.message.status, Status::Queued);
        assert_eq!(settled.message.next_attempt_at, Some(later(NOW, WAIT)));
        // The last one is accepted: the message has failed for one.
        let results = RecipientResults { refused: Vec::new(), reply: Some("250 ok".to_owned()) };
        let settled = after_results(settled.message, attempt(), results, NOW, WAIT);
        assert_eq!((settled.message.status, settled.message.attempts), (Status::Failed, 2));
        assert_eq!(settled.message.reason, "b@example.org: 550 no");
        assert_eq!(settled.events.len(), 1);
    }

    #[test]
    fn what_was_refused_before_the_end_of_the_process_is_not_unknown() {
        let refusals = [
            refused("b@example.org", "550 no", Class::Permanent),
            refused("c@example.org", "450 later", Class::Transient),
        ];
        let mut before = message(&["a@example.org", "b@example.org", "c@example.org"]);
        before.recipients[0].reply = "451 of an earlier attempt".to_owned();
        let begun = begin(&before, &refusals);
        let kept = refusals_at_begin(&begun);
        assert_eq!(kept.len(), 1, "{kept:?}");
        let settled = leave_unknown(begun, "the service ended", None, &kept, NOW, WAIT);
        assert_eq!(
            statuses(&settled.message),
            [RecipientStatus::Unknown, RecipientStatus::Failed, RecipientStatus::Waiting]
        );
        assert_eq!(settled.message.status, Status::Queued);
        // When the last one has its result, the message is unknown.
        let settled = give_up(settled.message, "too old".to_owned(), NOW);
        assert_eq!(settled.message.status, Status::Unknown);
    }

    #[test]
    fn a_refused_message_fails_for_those_that_had_been_accepted() {
        let refusals = [refused("b@example.org", "450 later", Class::Transient)];
        let failure = Failure::new("dot", "554 virus", Class::Permanent);
        let mut message = message(&["a@example.org", "b@example.org"]);
        apply_refusals(&mut message, &refusals);
        let settled = after_refusal(message, attempt(), &failure, &refusals, NOW, WAIT);
        assert_eq!(statuses(&settled.message), [RecipientStatus::Failed, RecipientStatus::Waiting]);
        assert_eq!(settled.message.recipients[0].reply, "554 virus");
        assert_eq!(settled.message.status, Status::Queued);
    }

    #[test]
    fn the_back_off_doubles_within_its_limits() {
        let retry: Retry = serde_json::from_value(json!({ "first": "1m", "longest": "1h" })).unwrap();
        let waits: Vec<u64> = (0..9).map(|attempts| back_off(&retry, attempts, 0.5).as_secs()).collect();
        assert_eq!(waits, [60, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert!(back_off(&retry, u32::MAX, 1.0) <= Duration::from_secs(4140));
    }
}
