//! Scheduled queue: the messages of one company and function that wait in the store.
//!
//! [`ScheduledQueue`] knows when the first of them is due, which profile sends them, and for how long their lifetime was
//! paused by a hold, a suspension or a throttle. It does not hold messages and does not read the clock.

use crate::{
    model::{Lane, ProfileName},
    store::outbox::LaneState,
};

/// The queue of a company and a function. All times are in milliseconds since 1970.
#[derive(Clone, Debug)]
pub(super) struct ScheduledQueue {
    next_due: Option<i64>,
    profile: Option<ProfileName>,
    paused_since: Option<i64>,
    paused_total: i64,
}

impl ScheduledQueue {
    /// Creates a queue whose first message is due at `due`.
    pub(super) fn new(due: i64, profile: Option<ProfileName>) -> Self {
        Self { next_due: Some(due), profile, paused_since: None, paused_total: 0 }
    }

    /// Creates the queue that the store describes.
    pub(super) fn restore(state: &LaneState, profile: Option<ProfileName>) -> Self {
        let LaneState { next_due, paused_since, paused_total, .. } = *state;
        Self { next_due, profile, paused_since, paused_total }
    }

    /// Returns the profile that sends the messages; none if no profile does.
    pub(super) fn profile(&self) -> Option<&ProfileName> {
        self.profile.as_ref()
    }

    /// Sets the profile that sends the messages.
    pub(super) fn set_profile(&mut self, profile: Option<ProfileName>) {
        self.profile = profile;
    }

    /// Returns when the first message is due, as far as it is known.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.next_due
    }

    /// Returns true if a message is due at `now`.
    pub(super) fn is_due(&self, now: i64) -> bool {
        self.next_due.is_some_and(|due| due <= now)
    }

    /// Returns since when the lifetime of the messages is paused.
    pub(super) fn paused_since(&self) -> Option<i64> {
        self.paused_since
    }

    /// Notes that a message is due at `due`.
    pub(super) fn add_due(&mut self, due: i64) {
        self.next_due = Some(self.next_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Forgets what is due, because the store is about to be asked for it.
    pub(super) fn clear_due(&mut self) {
        self.next_due = None;
    }

    /// Pauses or resumes the lifetime of the messages. Returns true if that is a change.
    pub(super) fn set_paused(&mut self, is_paused: bool, now: i64) -> bool {
        match (is_paused, self.paused_since) {
            (true, None) => self.paused_since = Some(now),
            (false, Some(since)) => {
                self.paused_total = self.paused_total.saturating_add((now - since).max(0));
                self.paused_since = None;
            }
            _ => return false,
        }
        true
    }

    /// Returns for how long the lifetime was paused since it had been paused for `before` in total.
    pub(super) fn paused_for(&self, before: i64, now: i64) -> i64 {
        let current = self.paused_since.map_or(0, |since| (now - since).max(0));
        self.paused_total.saturating_add(current).saturating_sub(before)
    }

    /// Moves everything by `by`, because the system clock was set. The lifetime does not advance for it.
    pub(super) fn shift(&mut self, by: i64) {
        self.next_due = self.next_due.map(|due| due.saturating_add(by));
        self.paused_since = self.paused_since.map(|since| since.saturating_add(by));
        self.paused_total = self.paused_total.saturating_add(by);
    }

    /// Returns the state that the store keeps.
    pub(super) fn state(&self, lane: Lane) -> LaneState {
        let Self { next_due, paused_since, paused_total, .. } = *self;
        LaneState { lane, next_due, paused_since, paused_total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_message_decides_when_the_queue_is_due() {
        let mut queue = ScheduledQueue::new(500, None);
        queue.add_due(700);
        assert_eq!(queue.next_due(), Some(500));
        queue.add_due(300);
        assert!(!queue.is_due(299) && queue.is_due(300));
        queue.clear_due();
        assert!(!queue.is_due(i64::MAX));
    }

    #[test]
    fn pauses_add_up_and_count_from_acceptance() {
        let mut queue = ScheduledQueue::new(0, None);
        assert!(queue.set_paused(true, 1000) && !queue.set_paused(true, 1500), "it is paused already");
        assert_eq!(queue.paused_for(0, 1600), 600);
        assert!(queue.set_paused(false, 2000) && !queue.set_paused(false, 2500));
        assert!(queue.set_paused(true, 5000));
        assert_eq!(queue.paused_for(0, 5100), 1100);
        assert_eq!(queue.paused_for(1000, 5100), 100, "accepted after the first pause");
    }

    #[test]
    fn a_clock_that_was_set_neither_ages_messages_nor_moves_them_apart() {
        let mut queue = ScheduledQueue::new(1000, None);
        queue.set_paused(true, 200);
        let age = |queue: &ScheduledQueue, now: i64| now - queue.paused_for(0, now);
        let before = age(&queue, 900);
        queue.shift(3_600_000);
        assert_eq!(age(&queue, 3_600_900), before);
        assert_eq!(queue.next_due(), Some(3_601_000));
    }
}
