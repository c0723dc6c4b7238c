//! Refusals of one profile's messages: whether a reply is about the profile or about a message, where it does not say.
//!
//! A server that refuses all recipients of several messages in a row in the same words has nothing against these
//! messages, but against whoever sends them: the profile is suspended before all that waits has failed. A server that
//! does not relay, or does not accept the sender or this machine, says so for the profile, until another message passes:
//! then it was about the recipients, whose own server it may quote.
//!
//! Kept in memory, with the profile as it is; nothing here grows with the messages that wait.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::smtp::Failure;
use crate::{model::message::Class, replies::About};

/// How many messages in a row are refused in the same words until the profile is suspended.
const IN_A_ROW: usize = 5;
/// How many messages and replies are remembered.
const REMEMBERED: usize = 1000;

/// What the server of a profile has refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The words of the last refusal, and how many messages in a row got it.
    streak: Option<(String, usize)>,
    /// How many messages were accepted.
    accepted: u64,
    /// Messages that were refused as the profile's fault, and how many had been accepted then.
    waiting: HashMap<Uuid, u64>,
    /// Replies that came although other messages passed.
    excused: HashSet<String>,
}

impl Refusals {
    /// A message was accepted for one recipient at least.
    pub(super) fn accept(&mut self, message: Uuid) {
        self.accepted += 1;
        self.streak = None;
        self.waiting.remove(&message);
    }

    /// A recipient was refused in a message that was accepted for another one: the profile can send.
    pub(super) fn excuse(&mut self, failure: &Failure) {
        if failure.class == Class::Auth && self.excused.len() < REMEMBERED {
            self.excused.insert(words(&failure.reply));
        }
    }

    /// Counts a refusal of a whole message. Returns true if it is about the profile.
    pub(super) fn is_about_profile(&mut self, message: Uuid, failure: &Failure) -> bool {
        match (failure.class, failure.about) {
            (Class::Auth, _) if may_be_about_recipient(failure) => {
                let words = words(&failure.reply);
                if self.excused.contains(&words) {
                    return self.counts(words);
                }
                if self.waiting.get(&message).is_some_and(|then| self.accepted > *then) {
                    // Others passed between its two tries.
                    self.waiting.remove(&message);
                    if self.excused.len() < REMEMBERED {
                        self.excused.insert(words);
                    }
                    return false;
                }
                if self.waiting.len() < REMEMBERED {
                    self.waiting.entry(message).or_insert(self.accepted);
                }
                true
            }
            (Class::Auth, _) => true,
            // What begins with no code was found here, and no server said it.
            (Class::Permanent, About::Unstated) if failure.reply.starts_with(|c: char| c.is_ascii_digit()) => {
                self.counts(words(&failure.reply))
            }
            _ => false,
        }
    }

    fn counts(&mut self, words: String) -> bool {
        let before = self.streak.take().filter(|(last, _)| *last == words).map_or(0, |(_, count)| count);
        let count = before.saturating_add(1);
        self.streak = Some((words, count));
        count >= IN_A_ROW
    }
}

/// Returns true if a refusal that the table takes for the profile's fault can be about the recipients or the contents
/// after all: from RCPT on, servers ask and quote the recipient's own server.
pub(super) fn may_be_about_recipient(failure: &Failure) -> bool {
    failure.about == About::Relay || matches!(failure.phase, "rcpt" | "data" | "dot")
}

/// The words of a reply without what differs between two messages: addresses, numbers, names of queues and machines.
fn words(reply: &str) -> String {
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

    #[test]
    fn a_fault_of_the_profile_from_rcpt_on_is_held_against_the_message_once_others_pass() {
        for phase in ["rcpt", "data", "dot"] {
            let mut refusals = Refusals::default();
            let (bad, good) = (Uuid::from_u128(1), Uuid::from_u128(2));
            let failure = refused(phase, "550 5.7.1 Sender rejected by mx.example.org", Class::Auth);
            assert!(refusals.is_about_profile(bad, &failure));
            assert!(refusals.is_about_profile(bad, &failure), "nothing passed in between");
            refusals.accept(good);
            assert!(!refusals.is_about_profile(bad, &failure), "{phase}: another message passed");
            // The same words about another recipient, whose server has another name.
            let other = refused(phase, "550 5.7.1 Sender rejected by mail.example.net", Class::Auth);
            assert!(!refusals.is_about_profile(Uuid::from_u128(3), &other));
        }
    }

    #[test]
    fn a_fault_of_the_profile_at_mail_has_no_excuse() {
        let mut refusals = Refusals::default();
        let failure = refused("mail", "550 5.7.1 not your sender", Class::Auth);
        assert!(refusals.is_about_profile(Uuid::from_u128(1), &failure));
        refusals.accept(Uuid::from_u128(2));
        assert!(refusals.is_about_profile(Uuid::from_u128(1), &failure));
    }

    #[test]
    fn refused_contents_are_never_the_profiles_fault() {
        let mut refusals = Refusals::default();
        let failure = Failure { about: About::Contents, ..refused("dot", "554 5.7.1 virus found", Class::Permanent) };
        for id in 0..20 {
            assert!(!refusals.is_about_profile(Uuid::from_u128(id), &failure));
        }
    }

    #[test]
    fn the_same_unknown_words_five_times_in_a_row_concern_the_profile() {
        for phase in ["rcpt", "dot"] {
            let mut refusals = Refusals::default();
            let reply = |id: u128| refused(phase, &format!("554 transaction {id}: no"), Class::Permanent);
            for id in 1..IN_A_ROW as u128 {
                assert!(!refusals.is_about_profile(Uuid::from_u128(id), &reply(id)), "{phase} {id}");
            }
            assert!(refusals.is_about_profile(Uuid::from_u128(99), &reply(99)), "{phase}");
            refusals.accept(Uuid::from_u128(100));
            assert!(!refusals.is_about_profile(Uuid::from_u128(99), &reply(99)), "{phase}: another message passed");
        }
    }
}
