//! The end of leases and lifetimes: a task ends those whose time has come, for as long as the service exists.
//!
//! [`Service::start_following_senders`] starts the task, which sleeps until the next one is due or a message changes. The list of
//! a person's messages ends what is due as well. The transition itself is in `lease`.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::lease;
use crate::{
    service::{Service, http::HttpProblem, message_actions::RefusedTransition},
    telemetry,
};

/// The largest number of leases and lifetimes that are ended before the clock is read again.
const ENDED_AT_ONCE: u32 = 100;
/// The longest time between two looks at leases and lifetimes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Service {
    /// Starts to end leases and lifetimes.
    pub(in crate::service) fn start_following_senders(self: &Arc<Self>) {
        telemetry::spawn(Self::follow_senders(Arc::downgrade(self), Arc::clone(&self.sender_changes)));
    }

    async fn follow_senders(service: Weak<Self>, changes: Arc<tokio::sync::Notify>) {
        loop {
            let pause = {
                let Some(service) = service.upgrade() else { return };
                service.end_due_of_senders().await
            };
            // Without a message that waits there is nothing to look at until one is accepted.
            match pause {
                Some(pause) => drop(tokio::time::timeout(pause, changes.notified()).await),
                None => changes.notified().await,
            }
        }
    }

    /// Ends what is due, and returns the time until the next look; none if nothing waits.
    pub(super) async fn end_due_of_senders(&self) -> Option<Duration> {
        let ended = async {
            let due = self.store.due_of_senders(self.delivery.now(), ENDED_AT_ONCE).await?;
            for id in due {
                let changed = self.change_sender_message(id, "(service)".to_owned(), lease::end).await?;
                if let Some(Err(RefusedTransition { reason, .. })) = changed {
                    tracing::debug!(message_id = %id, reason, "a lease does not end");
                }
            }
            Ok::<_, HttpProblem>(self.store.next_due_of_senders().await?)
        };
        match ended.await {
            Ok(next) => next.map(|next| {
                let wait = next.duration_since(self.delivery.now());
                Duration::try_from(wait).unwrap_or_default().clamp(Duration::from_millis(100), LONGEST_PAUSE)
            }),
            Err(problem) => {
                tracing::warn!(reason = problem.message(), "cannot end the leases of senders");
                Some(LONGEST_PAUSE)
            }
        }
    }
}
