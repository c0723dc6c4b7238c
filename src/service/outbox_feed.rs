//! [`OutboxFeed`]: waits for changes of the outbox, at most four times a second, for the console.
//!
//! It counts against the caller's limit of event streams, and ends with the caller's credential or with the service. Not every
//! change has an event (mail that is accepted has none), so it also wakes regularly.

use std::{sync::Arc, time::Duration};

use tokio::sync::{
    broadcast::{self, error::RecvError, error::TryRecvError},
    watch,
};

use super::{Service, caller::Caller, caller_limit::CallerPermit, http::HttpProblem};
use crate::store::outbox::Event;

/// Minimum time between two changes.
const FOLDED: Duration = Duration::from_millis(250);
/// Maximum time without a change.
const WAKE_EVERY: Duration = Duration::from_secs(5);

/// Changes of the outbox, for one page in a browser.
pub(crate) struct OutboxFeed {
    service: Arc<Service>,
    caller: Caller,
    events: broadcast::Receiver<Event>,
    tokens: watch::Receiver<()>,
    stopping: watch::Receiver<bool>,
    _permit: CallerPermit,
}

impl Service {
    /// Begins to follow the outbox.
    pub(crate) fn follow_outbox(self: &Arc<Self>, caller: &Caller) -> Result<OutboxFeed, HttpProblem> {
        let permit = self.event_streams.acquire(caller)?;
        Ok(OutboxFeed {
            service: Arc::clone(self),
            caller: caller.clone(),
            events: self.delivery.subscribe(),
            tokens: self.token_changes.subscribe(),
            stopping: self.stopping.subscribe(),
            _permit: permit,
        })
    }
}

impl OutboxFeed {
    /// Waits until the outbox may have changed. Returns false if the feed has ended.
    pub(crate) async fn changed(&mut self) -> bool {
        tokio::time::sleep(FOLDED).await;
        tokio::select! {
            event = self.events.recv() => if matches!(event, Err(RecvError::Closed)) { return false },
            _ = self.tokens.changed() => {}
            () = tokio::time::sleep(WAKE_EVERY) => {}
            _ = self.stopping.wait_for(|stopping| *stopping) => return false,
        }
        // The other events of this moment are part of the same change.
        while matches!(self.events.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_))) {}
        self.service.is_still_authorized(&self.caller).await
    }
}
