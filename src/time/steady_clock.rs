//! Time that passes second by second, whatever is done to the machine's clock.
//!
//! What waits is measured by this. A clock that was set, by hand, by NTP after the start, or while a virtual machine was
//! suspended, is followed once it has been the same for a while: in one step, with everything that waits
//! (`Dispatcher::follow`).

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::{sync::Mutex, time::Clock};

/// The machine's clock as it was, and the time that passed since.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    clock: Clock,
    anchor: Mutex<(Timestamp, Instant)>,
}

impl SteadyClock {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { anchor: Mutex::new((clock.now(), Instant::now())), clock: clock.clone() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (began, since) = *self.anchor.lock();
        let passed = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        moved(began, passed)
    }

    /// Returns the time that is `wait` from now.
    pub(crate) fn after(&self, wait: Duration) -> Timestamp {
        later(self.now(), wait)
    }

    /// How far ahead the machine's clock is, in milliseconds.
    pub(crate) fn drift(&self) -> i64 {
        self.clock.now().as_millisecond() - self.now().as_millisecond()
    }

    /// Moves by so many milliseconds.
    pub(crate) fn follow(&self, by: i64) {
        let mut anchor = self.anchor.lock();
        anchor.0 = moved(anchor.0, by);
    }
}

/// Returns the time that is `wait` after `at`, or the last one that can be written if it would be later than that.
pub(crate) fn later(at: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| at.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

/// A time so many milliseconds later.
pub(crate) fn moved(at: Timestamp, by: i64) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(by)).unwrap_or(at)
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
        }
    }
}
