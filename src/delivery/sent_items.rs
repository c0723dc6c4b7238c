//! Sent Items: decides whether a message was sent whose attempt has an unknown outcome.
//!
//! [`search_sent_items`] searches and compares; it does not send and does not change a message. Only profiles of
//! `microsoft-graph-direct` have Sent Items that the service can search. A message with the same Message-ID proves nothing if
//! another attempt may have left it there; then, and if the application may not read the mailbox, the result is unclear and an
//! operator decides. If Graph or the store cannot be reached, the failure is returned and the search is repeated at the next
//! attempt.

use jiff::SignedDuration;

use super::{
    failure::Failure, outcome::has_reached_some, recorder::Recorder, sending_profile::SendingProfile,
    transport::Transports,
};
use crate::{
    model::{Attempt, Message, Status, message::Class},
    store::{StoreError, outbox::Search},
};

/// The permitted difference between the clocks of this machine and of Exchange.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_mins(10);
/// The number of messages with the same Message-ID that are compared.
const SAME_ID: u32 = 100;

/// The result of a search in Sent Items.
pub(super) enum SentItemsResult {
    /// The message is there, and no other sending can have left it.
    Sent,
    /// The message is not there.
    NotSent,
    /// The search proves nothing, for this reason.
    Unclear(String),
}

/// Searches Sent Items for a message. A failure says nothing about the message; the search can be repeated.
pub(super) async fn search_sent_items(
    recorder: &Recorder,
    transports: &Transports,
    profile: &SendingProfile,
    message: &Message,
) -> Result<SentItemsResult, Failure> {
    let unclear = |reason: String| Ok(SentItemsResult::Unclear(reason));
    let Some(host) = Transports::graph_host(profile) else {
        return unclear(format!("`{}` has no Sent Items", profile.name));
    };
    let read_failure = |error: StoreError| Failure::new("sent-items", error.to_string(), Class::Transient);
    let found = recorder.store().message_with_attempts(message.id).await.map_err(read_failure)?;
    let history = found.map(|(_, history)| history).unwrap_or_default();
    if let Some(other) = attempt_elsewhere(&history, profile, &host) {
        return unclear(format!(
            "attempt {other} was made by another route, which does not leave mail in Sent Items of `{}`",
            profile.name
        ));
    }
    match transports.sent_items(profile, message).await {
        Ok(items) if items.is_empty() => Ok(SentItemsResult::NotSent),
        Ok(items) => {
            if let Some(earlier) = earlier_sending(recorder, message).await.map_err(read_failure)? {
                return unclear(format!("Sent Items have a message with this Message-ID, and {earlier}"));
            }
            let earliest = message.accepted_at.checked_sub(CLOCK_DIFFERENCE).unwrap_or(message.accepted_at);
            if items.into_iter().flatten().any(|sent_at| sent_at >= earliest) {
                return Ok(SentItemsResult::Sent);
            }
            unclear("the message with this Message-ID in Sent Items was sent before this one was accepted".to_owned())
        }
        Err(failure) if failure.reply.starts_with("HTTP 401") => Err(failure),
        // A missing consent for reading does not concern sending: the profile is not suspended.
        Err(failure) if failure.reply.starts_with("HTTP 403") => unclear(format!(
            "{}; reading Sent Items needs the application permission Mail.ReadBasic.All",
            failure.reply
        )),
        Err(failure) if matches!(failure.class, Class::Transient | Class::Throttled | Class::Auth) => Err(failure),
        Err(failure) => unclear(failure.reply),
    }
}

/// Returns the number of an attempt that may have sent the message without leaving it in Sent Items of a profile. An attempt
/// that ended with the process names no server.
fn attempt_elsewhere(history: &[Attempt], profile: &SendingProfile, host: &str) -> Option<u32> {
    let mut possible = history.iter().filter(|made| matches!(made.class, Class::Unknown | Class::Delivered));
    let is_elsewhere =
        |made: &&Attempt| made.profile != profile.name || !(made.server.is_empty() || made.server == host);
    possible.find(is_elsewhere).map(|made| made.number)
}

/// Describes a sending that may have left a message with the same Message-ID in Sent Items without reaching the recipients that
/// wait now: of another message, before a replay, or for some of the recipients.
async fn earlier_sending(recorder: &Recorder, message: &Message) -> Result<Option<String>, StoreError> {
    if let Some(reason) = own_earlier_sending(message) {
        return Ok(Some(reason.to_owned()));
    }
    let search = Search { message_id: Some(message.message_id.clone()), ..Search::default() };
    let found = recorder.store().search(search, SAME_ID).await?;
    let sent = found.iter().map(|(_, other)| other).find(|other| other.id != message.id && may_be_sent(other));
    if let Some(other) = sent {
        return Ok(Some(format!("the message {} has the same", other.id)));
    }
    // Messages beyond the limit were not compared.
    Ok((found.len() >= SAME_ID as usize).then(|| "many messages have the same".to_owned()))
}

/// Describes an earlier sending of the message itself.
fn own_earlier_sending(message: &Message) -> Option<&'static str> {
    if message.sent_again || message.requeued_at.is_some() && message.possible_duplicate {
        return Some("this one may have been sent before it was put back into the queue");
    }
    has_reached_some(message).then_some("this one may have been sent to others of its recipients before")
}

/// Returns true if a message was sent, or may have been.
pub(crate) fn may_be_sent(message: &Message) -> bool {
    matches!(message.status, Status::Sending | Status::Delivered | Status::Unknown)
        || message.search_first
        || message.possible_duplicate
        || message.sent_again
        || has_reached_some(message)
}
