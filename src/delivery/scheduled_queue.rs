//! Scheduled queue: the messages of one lane that wait in the store.
//!
//! [`ScheduledQueue`] knows which profile sends them, for how long their lifetime was paused (hold, suspension, throttle, or no
//! profile that can send), and when the first is due: none while the store is queried, and while nothing waits. Changes of the
//! system clock are added to the pauses, whose total can be negative. It holds no messages and does not read the clock.

use jiff::{SignedDuration, Timestamp};

use crate::{
    model::{Lane, ProfileName},
    store::outbox::LaneState,
    time::steady_clock::moved,
};

/// The scheduled queue of a lane.
#[derive(Clone, Debug)]
pub(super) struct ScheduledQueue {
    next_due: Option<Timestamp>,
    profile: Option<ProfileName>,
    paused_since: Option<Timestamp>,
    paused_total: SignedDuration,
}

impl ScheduledQueue {
    /// Creates a queue whose first message is due at `due`.
    pub(super) fn new(due: Timestamp, profile: Option<ProfileName>) -> Self {
        Self { next_due: Some(due), profile, paused_since: None, paused_total: SignedDuration::ZERO }
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
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    /// Returns true if a message is due at `now`.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.next_due.is_some_and(|due| due <= now)
    }

    /// Returns since when the lifetime of the messages is paused.
    pub(super) fn paused_since(&self) -> Option<Timestamp> {
        self.paused_since
    }

    /// Notes that a message is due at `due`.
    pub(super) fn add_due(&mut self, due: Timestamp) {
        self.next_due = Some(self.next_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Forgets what is due, because the store is about to be queried for it.
    pub(super) fn clear_due(&mut self) {
        self.next_due = None;
    }

    /// Pauses or resumes the lifetime of the messages. Returns true if that is a change.
    pub(super) fn set_paused(&mut self, is_paused: bool, now: Timestamp) -> bool {
        match (is_paused, self.paused_since) {
            (true, None) => self.paused_since = Some(now),
            (false, Some(since)) => {
                self.paused_total = self.paused_total.saturating_add(passed(since, now));
                self.paused_since = None;
            }
            _ => return false,
        }
        true
    }

    /// Returns for how long the lifetime was paused since it had been paused for `before` in total.
    pub(super) fn paused_for(&self, before: SignedDuration, now: Timestamp) -> SignedDuration {
        let current = self.paused_since.map_or(SignedDuration::ZERO, |since| passed(since, now));
        self.paused_total.saturating_add(current).saturating_sub(before)
    }

    /// Moves everything by `by`, because the system clock was set. The lifetime does not advance for it.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        self.next_due = self.next_due.map(|due| moved(due, by));
        self.paused_since = self.paused_since.map(|since| moved(since, by));
        self.paused_total = self.paused_total.saturating_add(by);
    }

    /// Returns the state that the store keeps.
    pub(super) fn state(&self, lane: Lane) -> LaneState {
        let Self { next_due, paused_since, paused_total, .. } = *self;
        LaneState { lane, next_due, paused_since, paused_total }
    }
}

/// Returns the time from `since` to `now`; none if the clock went back.
fn passed(since: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(since).max(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    fn ms(milliseconds: i64) -> SignedDuration {
        SignedDuration::from_millis(milliseconds)
    }

    #[test]
    fn the_earliest_message_decides_when_the_queue_is_due() {
        let mut queue = ScheduledQueue::new(at(500), None);
        queue.add_due(at(700));
        assert_eq!(queue.next_due(), Some(at(500)));
        queue.add_due(at(300));
        assert!(!queue.is_due(at(299)) && queue.is_due(at(300)));
        queue.clear_due();
        assert!(!queue.is_due(Timestamp::MAX));
    }

    #[test]
    fn pauses_add_up_and_count_from_acceptance() {
        let mut queue = ScheduledQueue::new(at(0), None);
        assert!(queue.set_paused(true, at(1000)) && !queue.set_paused(true, at(1500)), "it is paused already");
        assert_eq!(queue.paused_for(ms(0), at(1600)), ms(600));
        assert!(queue.set_paused(false, at(2000)) && !queue.set_paused(false, at(2500)));
        assert!(queue.set_paused(true, at(5000)));
        assert_eq!(queue.paused_for(ms(0), at(5100)), ms(1100));
        assert_eq!(queue.paused_for(ms(1000), at(5100)), ms(100), "accepted after the first pause");
    }

    #[test]
    fn a_clock_that_was_set_neither_ages_messages_nor_moves_them_apart() {
        let mut queue = ScheduledQueue::new(at(1000), None);
        queue.set_paused(true, at(200));
        let age = |queue: &ScheduledQueue, now: i64| ms(now) - queue.paused_for(SignedDuration::ZERO, at(now));
        let before = age(&queue, 900);
        queue.shift(ms(3_600_000));
        assert_eq!(age(&queue, 3_600_900), before);
        assert_eq!(queue.next_due(), Some(at(3_601_000)));
    }
}
