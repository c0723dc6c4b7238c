//! Time that passes second by second, whatever is done to the machine's clock.
//!
//! What waits is measured by this. A clock that was set, by hand, by NTP after the start, or while a virtual machine was
//! suspended, is followed once it has been the same for a while: in one step, with everything that waits
//! (`Dispatcher::follow`).

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use jiff::Timestamp;

use crate::time::Clock;

/// The machine's clock as it was, and the time that passed since.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Clock,
    anchor: Mutex<(Timestamp, Instant)>,
}

impl Steady {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { anchor: Mutex::new((clock.now(), Instant::now())), clock: clock.clone() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (began, since) = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        moved(began, passed)
    }

    /// How far ahead the machine's clock is, in milliseconds.
    pub(crate) fn drift(&self) -> i64 {
        self.clock.now().as_millisecond() - self.now().as_millisecond()
    }

    /// Moves by so many milliseconds.
    pub(crate) fn follow(&self, by: i64) {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        anchor.0 = moved(anchor.0, by);
    }
}

/// A time so many milliseconds later.
pub(crate) fn moved(at: Timestamp, by: i64) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(by)).unwrap_or(at)
}
