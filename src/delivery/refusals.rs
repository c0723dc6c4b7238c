//! Refusals of one profile's messages: whether a reply is about the profile or about a message, where it does not say.
//!
//! A server that refuses all recipients of several messages in a row in the same words has nothing against these
//! messages, but against whoever sends them: the profile is suspended before all that waits has failed. A server that
//! does not relay says so for the profile, until another message passes: then it was about the recipients.
//!
//! Kept in memory, with the profile as it is; nothing here grows with the messages that wait.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{classify::About, smtp::Failure};
use crate::model::message::Class;

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
    /// Messages that were not relayed, and how many had been accepted then.
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

    /// Counts a refusal of a whole message. Returns true if it is about the profile.
    pub(super) fn is_about_profile(&mut self, message: Uuid, failure: &Failure) -> bool {
        match (failure.class, failure.about) {
            (Class::Auth, About::Relay) => {
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

/// The words of a reply without what differs between two messages: addresses, numbers, names of queues and machines.
fn words(reply: &str) -> String {
    let (code, text) = reply.split_once(' ').unwrap_or((reply, ""));
    let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit() || c == '@');
    let text: Vec<&str> = text.split_whitespace().filter(is_word).take(12).collect();
    format!("{code} {}", text.join(" ")).to_lowercase()
}
