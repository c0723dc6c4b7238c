//! Evaluation of Sent Items: decides whether a mail with the `Message-ID` of a message is the message.
//!
//! [`evaluate`] compares the times of the mails that Graph returned with those of the message. The mail of an earlier lease proves
//! that the message was sent. A mail from before the message existed is another one with the same `Message-ID`, and one that was
//! delivered before a replay to all recipients is of that sending. Nothing here asks Graph or the service.

use jiff::Timestamp;

use crate::api::delegates::DelegateMessage;

/// The result of a look into Sent Items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SentItems {
    /// The message was sent, with the description of the mail.
    Sent(String),
    /// There is a mail with its `Message-ID` that is not the message, for this reason.
    OfAnotherMail(String),
    /// There is none, or Sent Items cannot be read.
    Nothing,
}

/// Evaluates the mails with the `Message-ID` of a message: the time at which each was sent, if Graph states it.
pub(super) fn evaluate(items: &[Option<Timestamp>], message: &DelegateMessage) -> SentItems {
    if items.is_empty() {
        return SentItems::Nothing;
    }
    let Some(since) = message.sent_items_since else {
        return SentItems::OfAnotherMail(
            "Sent Items have a mail with this Message-ID, which another message has as well".to_owned(),
        );
    };
    let Some(sent_at) = items.iter().flatten().filter(|sent_at| **sent_at >= since).max() else {
        return SentItems::OfAnotherMail(match items.iter().flatten().max() {
            Some(sent_at) => format!(
                "Sent Items have another mail with this Message-ID, which was sent at {sent_at}: one of this message was sent at {since} or later"
            ),
            None => "Sent Items have a mail with this Message-ID whose time is not known".to_owned(),
        });
    };
    // Exchange states whole seconds.
    let is_earlier = |begun_at: &Timestamp| message.epoch > 1 && sent_at.as_second() < begun_at.as_second();
    SentItems::Sent(match message.begun_at.filter(is_earlier) {
        Some(begun_at) => format!(
            "found in Sent Items: an earlier attempt sent it at {sent_at}, before the lease {} of {begun_at}",
            message.epoch
        ),
        None => format!("found in Sent Items, sent at {sent_at}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message() -> DelegateMessage {
        serde_json::from_value(json!({
            "id": "0c0ffee0-0000-4000-8000-0000000000a1", "status": "unknown", "company": "EDU1",
            "function": "user-interface", "profile": "desktop", "client": "native", "messageId": "<a@example.com>",
            "subject": "Invoice", "recipients": ["a@example.org"], "size": 1000, "by": "erp", "proof": "id-token",
            "acceptedAt": "2026-11-23T12:00:00Z", "expiresAt": "2026-11-24T12:00:00Z", "epoch": 2,
            "begunAt": "2026-11-23T13:00:00Z", "sentItemsSince": "2026-11-23T11:50:00Z",
        }))
        .unwrap()
    }

    fn found(times: &[&str]) -> SentItems {
        let times: Vec<_> = times.iter().map(|time| time.parse().ok()).collect();
        evaluate(&times, &message())
    }

    #[test]
    fn a_mail_is_the_message_if_it_was_sent_since_the_message_exists() {
        assert_eq!(found(&[]), SentItems::Nothing);
        for (times, expected) in [
            (vec!["2026-11-23T13:00:02Z"], "sent at 2026-11-23T13:00:02Z"),
            (vec!["2026-11-23T12:30:00Z"], "an earlier attempt sent it at 2026-11-23T12:30:00Z, before the lease 2"),
            (vec!["2026-11-20T00:00:00Z", "2026-11-23T13:00:02Z"], "sent at 2026-11-23T13:00:02Z"),
        ] {
            let SentItems::Sent(reason) = found(&times) else { panic!("{times:?}: {:?}", found(&times)) };
            assert!(reason.contains(expected), "{reason}");
        }
        for (times, expected) in [
            (vec!["2026-11-20T00:00:00Z"], "another mail with this Message-ID, which was sent at 2026-11-20T00:00:00Z"),
            (vec![""], "time is not known"),
        ] {
            let SentItems::OfAnotherMail(reason) = found(&times) else { panic!("{times:?}: {:?}", found(&times)) };
            assert!(reason.contains(expected), "{reason}");
        }
        let first = DelegateMessage { epoch: 1, ..message() };
        let SentItems::Sent(reason) = evaluate(&["2026-11-23T12:59:59Z".parse().ok()], &first) else { panic!() };
        assert!(reason.ends_with("sent at 2026-11-23T12:59:59Z"), "{reason}");
        let shared = DelegateMessage { sent_items_since: None, ..message() };
        assert!(matches!(evaluate(&["2026-11-23T13:00:02Z".parse().ok()], &shared), SentItems::OfAnotherMail(_)));
    }
}
