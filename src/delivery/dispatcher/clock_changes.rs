//! Changes of the system clock: due times are moved along with it.
//!
//! [`Dispatcher::follow_clock`] runs for as long as delivery does. A difference counts once several comparisons in a row agree, so
//! that a clock that is still being set moves nothing. No message is accepted while the times are moved. If the store fails, its
//! times are corrected at the next change or start. Nothing here reads the system clock itself.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::Dispatcher;
use crate::store::StoreError;

/// The interval at which the system clock is compared with the steady clock.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// The number of successive comparisons that must agree before the system clock is adopted.
const CLOCK_CHECKS: u32 = 5;
/// The difference that is tolerated.
const TOLERATED_DRIFT: SignedDuration = SignedDuration::from_secs(2);
/// The longest wait that a server can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

impl Dispatcher {
    /// Compares the system clock with the steady clock, and follows it once it has differed by the same for some time.
    pub(super) async fn follow_clock(self: Arc<Self>) {
        let (mut last, mut checks) = (SignedDuration::ZERO, 0);
        loop {
            tokio::time::sleep(CLOCK_CHECK_INTERVAL).await;
            let drift = self.recorder.time().drift();
            checks = if drift.abs() < TOLERATED_DRIFT {
                0
            } else if drift.saturating_sub(last).abs() < TOLERATED_DRIFT / 2 {
                checks + 1
            } else {
                1
            };
            last = drift;
            if checks < CLOCK_CHECKS {
                continue;
            }
            checks = 0;
            tracing::warn!(milliseconds = drift.as_millis(), "system clock changed; schedules shifted");
            let shifted = self.shift_time(drift).await;
            // A message that was being written at that moment may have a time of the old clock.
            tokio::time::sleep(CLOCK_CHECK_INTERVAL).await;
            if let Err(error) = shifted.and(self.shift_store(SignedDuration::ZERO).await) {
                self.recorder.store_failed(&error);
            }
        }
    }

    async fn shift_time(&self, by: SignedDuration) -> Result<(), StoreError> {
        let no_message_is_accepted = self.accepting.write().await;
        self.recorder.time().follow(by);
        self.recorder.scheduler().shift(by);
        let shifted = self.shift_store(by).await;
        drop(no_message_is_accepted);
        shifted
    }

    /// Moves the times of queued messages in the store. None of them waits for longer than a retry can take.
    async fn shift_store(&self, by: SignedDuration) -> Result<(), StoreError> {
        let longest = self.recorder.scheduler().routes().state().settings.delivery.retry.longest.duration();
        let latest = self.recorder.time().after(longest.max(LONGEST_ASKED));
        self.store.retime(by, latest).await?;
        for state in self.store.lanes().await? {
            if let Some(due) = state.next_due {
                self.recorder.scheduler().message_due(&state.lane, due);
            }
        }
        self.recorder.wake();
        Ok(())
    }
}
