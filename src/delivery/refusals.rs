//! Refusal history of a profile: decides whether a refusal concerns the profile or one message, if the reply does not say.
//!
//! [`RefusalHistory`] is kept in memory for each profile, for at most 1,000 messages and replies; further ones are not remembered. A
//! restart or a change of the profile empties it. Words are compared without addresses, numbers and names of machines.
//!
//! - A server that refuses five messages in a row for good in the same words, which the table of replies does not attribute, refuses
//!   the sender: the profile is suspended. The messages before the fifth have failed.
//! - A server that does not accept the sender or this machine before RCPT refuses the profile. One that does so later, or does not
//!   relay, refuses the profile until another message passes: then the reply was about the recipients, whose own server it may quote,
//!   and the same words are excused for a time.
//! - Excused words do not prove anything while no message passes. A message refused in such words waits until another one
//!   passes, and is then refused; or until several messages in a row have got the same words, which suspends the profile.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::failure::Failure;
use crate::{model::message::Class, replies::RefusalScope};

/// The number of successive messages refused in the same words that suspends the profile.
const IN_A_ROW: usize = 5;
/// The number of messages and of replies that are remembered.
const REMEMBERED: usize = 1000;
/// The time for which a reply is excused after it came although other messages passed.
const EXCUSED_FOR: Duration = Duration::from_secs(15 * 60);

/// The subject of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribution {
    /// The profile: its messages wait.
    Profile,
    /// The message: the refusal counts against it alone.
    Message,
    /// Not known until another message passes: this one waits.
    Undecided,
}

/// The refusals of the messages of a profile.
#[derive(Debug, Default)]
pub(super) struct RefusalHistory {
    /// The words of the last refusal, and the messages in a row that got it.
    streak: Option<(String, Vec<Uuid>)>,
    /// Number of messages that were accepted.
    accepted: u64,
    /// Messages that were refused as the profile's fault or wait for a decision, and how many had been accepted then.
    waiting: HashMap<Uuid, u64>,
    /// Replies that came although other messages passed, and when.
    excused: HashMap<String, Instant>,
}

impl RefusalHistory {
    /// Records that a message was accepted for one recipient at least.
    pub(super) fn message_accepted(&mut self, message: Uuid) {
        self.accepted += 1;
        self.streak = None;
        self.waiting.remove(&message);
    }

    /// Records that a recipient was refused in a message that was accepted for another one: the profile can send.
    pub(super) fn recipient_refused(&mut self, failure: &Failure, now: Instant) {
        if failure.class == Class::Auth {
            self.excuse_words(normalize_reply(&failure.reply), now);
        }
    }

    /// Records a refusal of a whole message, and returns its subject.
    pub(super) fn message_refused(&mut self, message: Uuid, failure: &Failure, now: Instant) -> Attribution {
        match (failure.class, failure.scope) {
            (Class::Auth, _) if may_concern_message(failure) => {
                let words = normalize_reply(&failure.reply);
                if self.waiting.get(&message).is_some_and(|then| self.accepted > *then) {
                    // Others passed between its two tries.
                    self.waiting.remove(&message);
                    self.excuse_words(words, now);
                    return Attribution::Message;
                }
                if self.waiting.len() < REMEMBERED {
                    self.waiting.entry(message).or_insert(self.accepted);
                }
                if !self.is_excused(&words, now) {
                    return Attribution::Profile;
                }
                if self.extend_streak(message, words.clone()) {
                    self.excused.remove(&words);
                    return Attribution::Profile;
                }
                Attribution::Undecided
            }
            (Class::Auth, _) => Attribution::Profile,
            // A reply without a code is an error of this machine, not of the server.
            (Class::Permanent, RefusalScope::Unstated) if failure.reply.starts_with(|c: char| c.is_ascii_digit()) => {
                if self.extend_streak(message, normalize_reply(&failure.reply)) {
                    Attribution::Profile
                } else {
                    Attribution::Message
                }
            }
            _ => Attribution::Message,
        }
    }

    fn excuse_words(&mut self, words: String, now: Instant) {
        if self.excused.len() >= REMEMBERED {
            self.excused.retain(|_, since| now.duration_since(*since) < EXCUSED_FOR);
        }
        if self.excused.len() < REMEMBERED {
            self.excused.insert(words, now);
        }
    }

    fn is_excused(&self, words: &str, now: Instant) -> bool {
        self.excused.get(words).is_some_and(|since| now.duration_since(*since) < EXCUSED_FOR)
    }

    /// Adds a message to those that were refused in the same words in a row. Returns true if they are enough.
    fn extend_streak(&mut self, message: Uuid, words: String) -> bool {
        let mut messages =
            self.streak.take().filter(|(last, _)| *last == words).map(|(_, messages)| messages).unwrap_or_default();
        if messages.len() < IN_A_ROW && !messages.contains(&message) {
            messages.push(message);
        }
        let is_enough = messages.len() >= IN_A_ROW;
        self.streak = Some((words, messages));
        is_enough
    }
}

/// Returns true if a refusal that the table takes for the profile's fault can be about the recipients or the contents
/// after all: from RCPT on, servers ask and quote the recipient's own server.
pub(super) fn may_concern_message(failure: &Failure) -> bool {
    failure.scope == RefusalScope::Relay || matches!(failure.phase, "rcpt" | "data" | "dot")
}

/// Returns the words of a reply without the parts that differ between two messages: addresses, numbers, names of queues and machines.
fn normalize_reply(reply: &str) -> String {
    let (code, text) = reply.split_once(' ').unwrap_or((reply, ""));
    let is_word = |word: &&str| {
        let inner = word.trim_end_matches(['.', ':', ',', ';']);
        !inner.contains(|c: char| c.is_ascii_digit() || matches!(c, '@' | '.'))
    };
    let text: Vec<&str> = text.split_whitespace().filter(is_word).take(12).collect();
    format!("{code} {}", text.join(" ")).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(phase: &'static str, reply: &str, class: Class) -> Failure {
        Failure::new(phase, reply, class)
    }

    const REPLY: &str = "550 5.7.1 Sender rejected by mx.example.org";

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_fault_of_the_profile_from_rcpt_on_is_held_against_the_message_once_others_pass() {
        let now = Instant::now();
        for phase in ["rcpt", "data", "dot"] {
            let mut refusals = RefusalHistory::default();
            let failure = refused(phase, REPLY, Class::Auth);
            assert_eq!(refusals.message_refused(id(1), &failure, now), Attribution::Profile);
            assert_eq!(
                refusals.message_refused(id(1), &failure, now),
                Attribution::Profile,
                "nothing passed in between"
            );
            refusals.message_accepted(id(2));
            assert_eq!(
                refusals.message_refused(id(1), &failure, now),
                Attribution::Message,
                "{phase}: another one passed"
            );
            // The same words about another recipient, whose server has another name.
            let other = refused(phase, "550 5.7.1 Sender rejected by mail.example.net", Class::Auth);
            assert_eq!(refusals.message_refused(id(3), &other, now), Attribution::Undecided);
            refusals.message_accepted(id(4));
            assert_eq!(refusals.message_refused(id(3), &other, now), Attribution::Message, "{phase}");
        }
    }

    #[test]
    fn an_excuse_fails_no_message_of_a_later_outage() {
        let now = Instant::now();
        let mut refusals = RefusalHistory::default();
        let failure = refused("rcpt", REPLY, Class::Auth);
        refusals.recipient_refused(&failure, now);
        for number in 1..IN_A_ROW as u128 {
            assert_eq!(refusals.message_refused(id(number), &failure, now), Attribution::Undecided, "{number}");
            assert_eq!(refusals.message_refused(id(number), &failure, now), Attribution::Undecided, "tried again");
        }
        for number in [90, 1, 91] {
            assert_eq!(refusals.message_refused(id(number), &failure, now), Attribution::Profile, "{number}");
        }
    }

    #[test]
    fn an_excuse_is_forgotten_after_a_time() {
        let now = Instant::now();
        let mut refusals = RefusalHistory::default();
        let failure = refused("rcpt", REPLY, Class::Auth);
        refusals.recipient_refused(&failure, now);
        assert_eq!(refusals.message_refused(id(1), &failure, now), Attribution::Undecided);
        assert_eq!(refusals.message_refused(id(2), &failure, now + EXCUSED_FOR), Attribution::Profile);
    }

    #[test]
    fn a_fault_of_the_profile_at_mail_has_no_excuse() {
        let now = Instant::now();
        let mut refusals = RefusalHistory::default();
        let failure = refused("mail", "550 5.7.1 not your sender", Class::Auth);
        assert_eq!(refusals.message_refused(id(1), &failure, now), Attribution::Profile);
        refusals.message_accepted(id(2));
        assert_eq!(refusals.message_refused(id(1), &failure, now), Attribution::Profile);
    }

    #[test]
    fn refused_contents_are_never_the_profiles_fault() {
        let mut refusals = RefusalHistory::default();
        let failure =
            Failure { scope: RefusalScope::Contents, ..refused("dot", "554 5.7.1 virus found", Class::Permanent) };
        for number in 0..20 {
            assert_eq!(refusals.message_refused(id(number), &failure, Instant::now()), Attribution::Message);
        }
    }

    #[test]
    fn the_same_unknown_words_five_times_in_a_row_concern_the_profile() {
        let now = Instant::now();
        for phase in ["rcpt", "dot"] {
            let mut refusals = RefusalHistory::default();
            let reply = |id: u128| refused(phase, &format!("554 transaction {id}: no"), Class::Permanent);
            for number in 1..IN_A_ROW as u128 {
                assert_eq!(
                    refusals.message_refused(id(number), &reply(number), now),
                    Attribution::Message,
                    "{phase} {number}"
                );
            }
            assert_eq!(refusals.message_refused(id(99), &reply(99), now), Attribution::Profile, "{phase}");
            refusals.message_accepted(id(100));
            assert_eq!(
                refusals.message_refused(id(99), &reply(99), now),
                Attribution::Message,
                "{phase}: another one passed"
            );
        }
    }
}
