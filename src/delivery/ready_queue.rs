//! Ready queue: the messages of one profile that were claimed from the store and wait for a worker.
//!
//! The scheduler owns one [`ReadyQueue`] per profile. It also knows the tickets of its workers, whether its server is unavailable,
//! how the profile is shared among companies, and what its server refused. Workers hold its [`SendingProfile`]. When the server
//! fails, the scheduler calls `back_off` (1 to 60 seconds, then varied by a quarter) and drains the queue; `worker_ended` of the
//! last worker returns what is left; callers give the messages back to the store. A worker belongs to the queue that it was started
//! for: of a queue that replaces it, it takes and ends nothing. Nothing here connects or reads the store.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    REPLY_LENGTH, back_off::doubled, fair_share::FairShare, refusals::RefusalHistory, sending_profile::SendingProfile,
};
use crate::{model::message::RecipientStatus, store::outbox::Claimed, text::shortened};

/// The longest back-off of a profile whose server is unavailable.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Returns how many recipients of a claimed message still wait.
pub(super) fn count_waiting(claimed: &Claimed) -> u64 {
    claimed.message.recipients.iter().filter(|recipient| recipient.status == RecipientStatus::Waiting).count() as u64
}

/// The claimed messages of a profile.
pub(super) struct ReadyQueue {
    profile: Arc<SendingProfile>,
    messages: VecDeque<Claimed>,
    /// The tickets of the workers.
    workers: HashSet<u64>,
    /// The refusals since the profile was last changed.
    pub(super) refusals: RefusalHistory,
    /// The division of room among companies and functions.
    pub(super) shares: FairShare,
    backs_off_until: Option<Instant>,
    failures: u32,
    /// The outage of the server, while there is one.
    outage: Option<Outage>,
}

/// The outage of a server.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// When the first attempt failed for it.
    pub(super) since: Instant,
    /// The last reply, or the error that ended the connection.
    pub(super) reply: String,
}

impl ReadyQueue {
    /// Creates an empty queue.
    pub(super) fn new(profile: SendingProfile) -> Self {
        Self {
            profile: Arc::new(profile),
            messages: VecDeque::new(),
            workers: HashSet::new(),
            refusals: RefusalHistory::default(),
            shares: FairShare::default(),
            backs_off_until: None,
            failures: 0,
            outage: None,
        }
    }

    /// Returns the profile.
    pub(super) fn profile(&self) -> &Arc<SendingProfile> {
        &self.profile
    }

    /// Returns how many messages wait for a worker.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Adds claimed messages.
    pub(super) fn extend(&mut self, messages: Vec<Claimed>) {
        self.messages.extend(messages);
    }

    /// Removes the first message.
    pub(super) fn pop(&mut self) -> Option<Claimed> {
        self.messages.pop_front()
    }

    /// Removes a message, if it is here.
    pub(super) fn remove(&mut self, id: Uuid) -> Option<Claimed> {
        let at = self.messages.iter().position(|claimed| claimed.message.id == id)?;
        self.messages.remove(at)
    }

    /// Removes all messages.
    pub(super) fn drain(&mut self) -> Vec<Claimed> {
        self.messages.drain(..).collect()
    }

    /// Removes the messages that `stays` rejects.
    pub(super) fn drain_unless(&mut self, stays: impl Fn(&Claimed) -> bool) -> Vec<Claimed> {
        let (stay, go): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.messages).into_iter().partition(stays);
        self.messages = stay;
        go.into()
    }

    /// Returns how many workers the profile has.
    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Returns true if a worker was started for this queue.
    pub(super) fn has_worker(&self, ticket: u64) -> bool {
        self.workers.contains(&ticket)
    }

    /// Counts a new worker.
    pub(super) fn worker_started(&mut self, ticket: u64) {
        self.workers.insert(ticket);
    }

    /// Counts a worker off. The last one returns the messages that would wait for nothing; a worker of another queue does not.
    pub(super) fn worker_ended(&mut self, ticket: u64) -> Vec<Claimed> {
        if self.workers.remove(&ticket) && self.workers.is_empty() { self.drain() } else { Vec::new() }
    }

    /// Returns true if a claim would be welcome: there is less than two messages per worker.
    pub(super) fn is_low(&self) -> bool {
        self.messages.len() < 2 * self.workers.len()
    }

    /// Backs off, because the server is unavailable: 1 to 60 seconds, doubled with each failure in a row and varied by a
    /// quarter; `random` is between 0 and 1. Failures during a back-off do not lengthen it.
    pub(super) fn back_off(&mut self, now: Instant, random: f64, reply: &str) {
        let outage = self.outage.get_or_insert_with(|| Outage { since: now, reply: String::new() });
        outage.reply = shortened(reply, REPLY_LENGTH).into_owned();
        if self.backs_off_until.is_none_or(|until| until <= now) {
            let wait = doubled(Duration::from_secs(1), self.failures, LONGEST_BACK_OFF);
            self.backs_off_until = Some(now + wait.mul_f64(0.75 + random / 2.0));
            self.failures += 1;
        }
    }

    /// Ends the back-off, because the server answered.
    pub(super) fn server_answered(&mut self) {
        (self.backs_off_until, self.failures, self.outage) = (None, 0, None);
    }

    /// Returns until when the profile backs off, if that is in the future.
    pub(super) fn backs_off_until(&self, now: Instant) -> Option<Instant> {
        self.backs_off_until.filter(|until| *until > now)
    }

    /// Returns the outage of the server; none if it answered at the last attempt.
    pub(super) fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// Returns true if the server was unavailable at the last attempt.
    pub(super) fn is_down(&self) -> bool {
        self.failures > 0
    }

    /// Closes all connections, and makes new workers log in again.
    pub(super) fn renew_connections(&mut self) {
        self.profile.pool.close_idle(true);
        self.profile = Arc::new(self.profile.without_connections());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::model::StoredProfile;

    fn queue() -> ReadyQueue {
        let profile = serde_json::from_value(json!({
            "provider": { "smtp": { "host": "Mail.Example.com", "username": "Mailer", "password": { "secret": "a/b" } } },
            "from": { "address": "erp@example.com" }, "functions": ["default"], "appliesTo": "system-wide",
        }));
        let stored = StoredProfile { profile: profile.unwrap(), secrets: BTreeMap::new(), next: BTreeMap::new() };
        ReadyQueue::new(SendingProfile::new("relay".parse().unwrap(), stored, 1))
    }

    #[test]
    fn the_mailbox_is_the_login_at_the_server() {
        let queue = queue();
        assert!(queue.profile().mailbox.starts_with("smtp:mail.example.com:"), "{}", queue.profile().mailbox);
        assert!(queue.profile().mailbox.ends_with(":mailer"), "{}", queue.profile().mailbox);
    }

    #[test]
    fn the_back_off_doubles_up_to_a_minute_and_ends_with_an_answer() {
        let (mut queue, start) = (queue(), Instant::now());
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..8 {
            queue.back_off(now, 0.5, "421 closing");
            queue.back_off(now, 0.5, "421 busy");
            let until = queue.backs_off_until(now).unwrap();
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(queue.is_down());
        let outage = queue.outage().unwrap();
        assert_eq!((outage.since, outage.reply.as_str()), (start, "421 busy"));
        queue.server_answered();
        assert!(!queue.is_down() && queue.outage().is_none() && queue.backs_off_until(start).is_none());
    }

    #[test]
    fn renewed_connections_keep_the_memory_of_the_profile() {
        let mut queue = queue();
        let before = Arc::clone(queue.profile());
        queue.renew_connections();
        assert!(!Arc::ptr_eq(&before, queue.profile()));
        assert!(Arc::ptr_eq(&before.large, &queue.profile().large));
    }
}
