//! The HTTP API: access, validation of what arrives, audit, metrics.
//!
//! * `server` listens, and puts around every request what all of them need
//! * `access` knows tokens and roles
//! * `routes` has one file a topic; a handler authenticates, asks [`Service`], and answers
//! * `changes` decides whether a change is taken; it is the only place that commits
//! * `verification` runs the verifier for callers who have no key, and decides whose secrets it may use
//! * `problem` is every answer that is not a success
//!
//! The service keeps the state in memory, so that reading never waits for the disk, and puts the next one in its
//! place when the store has taken a commit. What is in memory is always what the store has.

mod access;
mod changes;
mod extract;
mod problem;
mod routes;
mod server;
mod verification;

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::{
    clock::Clock,
    model::State,
    secrets::ServiceIdentity,
    store::{Store, StoreError},
};

pub use access::new_token;
pub use routes::openapi;
pub use server::{ServeError, Server, Tls};
pub use verification::Outgoing;

/// The service: everything that a request needs.
pub struct Service {
    store: Arc<dyn Store>,
    identity: Arc<ServiceIdentity>,
    demo: bool,
    outgoing: Outgoing,
    clock: Clock,
    started_at: Timestamp,
    state: RwLock<Arc<State>>,
    /// Held while a change is checked and committed, so that two changes are not checked against one state.
    changing: tokio::sync::Mutex<()>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
}

impl Service {
    /// A service on a store. Reads the whole state once.
    pub async fn new(
        store: Arc<dyn Store>,
        identity: ServiceIdentity,
        demo: bool,
        outgoing: Outgoing,
        clock: Clock,
        metrics: metrics_exporter_prometheus::PrometheusHandle,
    ) -> Result<Arc<Self>, StoreError> {
        let state = store.state().await?;
        Ok(Arc::new(Self {
            identity: Arc::new(identity),
            demo,
            outgoing,
            started_at: clock.now(),
            clock,
            state: RwLock::new(Arc::new(state)),
            changing: tokio::sync::Mutex::new(()),
            store,
            metrics,
        }))
    }

    /// The present state.
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_state(&self, state: Arc<State>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
