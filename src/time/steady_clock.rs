//! Steady clock: a clock that does not jump when the system clock is set.
//!
//! Schedules are measured by a [`SteadyClock`]. It starts with the time of the system clock. When that was set, by hand, by NTP
//! after the start, or because a virtual machine was suspended, the owner of the schedules moves them and the steady clock
//! together ([`SteadyClock::follow`]).

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use crate::time::Clock;

/// The system clock at the start, and the time that has passed since.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    clock: Clock,
    anchor: Mutex<(Timestamp, Instant)>,
}

impl SteadyClock {
    /// Creates a clock with the time of the system clock.
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { anchor: Mutex::new((clock.now(), Instant::now())), clock: clock.clone() }
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Timestamp {
        let (began, since) = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        // The clock counts whole milliseconds.
        let passed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        later(began, Duration::from_millis(passed))
    }

    /// Returns the time that is `wait` from now.
    pub(crate) fn after(&self, wait: Duration) -> Timestamp {
        later(self.now(), wait)
    }

    /// Returns how far the system clock is ahead.
    pub(crate) fn drift(&self) -> SignedDuration {
        self.clock.now().duration_since(self.now())
    }

    /// Moves the clock.
    pub(crate) fn follow(&self, by: SignedDuration) {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        anchor.0 = moved(anchor.0, by);
    }
}

/// Returns the time that is `wait` after `at`, or the latest representable time.
pub(crate) fn later(at: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| at.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

/// Returns the time that is `wait` before `at`, or the first one that can be written if it would be earlier than that.
pub(crate) fn earlier(at: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| at.checked_sub(wait).ok()).unwrap_or(Timestamp::MIN)
}

/// Returns the time that is `by` after `at`, or `at` if that cannot be written.
pub(crate) fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_overflows() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(later(now, Duration::from_millis(1500)), Timestamp::from_millisecond(1500).unwrap());
        for wait in [Duration::from_secs(u64::from(u32::MAX) * 1000), Duration::from_secs(u64::MAX), Duration::MAX] {
            assert_eq!(later(now, wait), Timestamp::MAX);
            assert_eq!(earlier(now, wait), Timestamp::MIN);
        }
    }
}
