//! The mails in Sent Items that are a message: from which time on a mail with its `Message-ID` proves that it was sent.
//!
//! [`Service::sent_items_since`] decides it for the client of the person, which alone can read Sent Items. The rules are those of
//! `delivery::sent_items`, except that a mail of an attempt before a replay counts: the person sees it, and a second one would be
//! a duplicate. Nothing here changes a message.

use jiff::{SignedDuration, Timestamp};

use crate::{
    delivery::may_be_sent,
    model::{Message, Status},
    service::{Service, http::HttpProblem},
    store::outbox::Search,
};

/// The permitted difference between the clocks of this machine and of Exchange.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_mins(10);
/// The number of messages with the same `Message-ID` that are compared.
const SAME_ID: u32 = 100;

impl Service {
    /// Returns the time from which a mail with the `Message-ID` of a message is the message. None if no attempt can have sent it,
    /// and if another message with the same `Message-ID` can have left the mail.
    pub(super) async fn sent_items_since(&self, message: &Message) -> Result<Option<Timestamp>, HttpProblem> {
        let in_doubt = matches!(message.status, Status::Sending | Status::Unknown) || message.possible_duplicate;
        if !in_doubt {
            return Ok(None);
        }
        let search = Search { message_id: Some(message.message_id.clone()), ..Search::default() };
        let found = self.store.search(search, SAME_ID).await?;
        let is_shared = found.iter().any(|(_, other)| other.id != message.id && may_be_sent(other));
        // Messages beyond the limit were not compared.
        if is_shared || found.len() >= SAME_ID as usize {
            return Ok(None);
        }
        Ok(Some(earliest(message)))
    }
}

/// Returns the earliest time of a mail of the message. One that was delivered, and is to be sent again, was in Sent Items before;
/// of another one, the mail of every attempt counts.
fn earliest(message: &Message) -> Timestamp {
    match message.requeued_at.filter(|_| message.sent_again) {
        Some(requeued_at) => requeued_at,
        None => message.accepted_at.checked_sub(CLOCK_DIFFERENCE).unwrap_or(message.accepted_at),
    }
}
