//! Time that only ever goes forward, second by second.

use std::time::Instant;

use jiff::Timestamp;

use crate::clock::Clock;

/// The machine's clock at the start, and the time that passed since.
#[derive(Debug)]
pub(super) struct Steady {
    began: Timestamp,
    since: Instant,
}

impl Steady {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { began: clock.now(), since: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(self.began.as_millisecond().saturating_add(passed)).unwrap_or(self.began)
    }
}
