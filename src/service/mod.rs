//! The HTTP API: access, validation of what arrives, audit, metrics.
//!
//! * `server` listens
//! * `hosting` is what one process serves: one environment, or several that share nothing but the process
//! * `limits` is what a process works on at once
//! * `envelope` puts around every request what all of them need
//! * `access` knows tokens and roles
//! * `oidc` knows the identity tokens of pipelines, `issuers` follows the file that says whose
//! * `routes` has one file a topic; a handler authenticates, asks `Service`, and answers
//! * `changes` decides whether a change is taken; it is the only place that commits
//! * `body` reads what is sent, however slowly it comes
//! * `caller_limit` bounds what one token has under way, `audit_budget` what it can have written into the audit log
//! * `mail` takes what is submitted, and says why not
//! * `verification` runs the verifier for callers who have no key, and decides whose secrets it may use
//! * `problem` is every answer that is not a success
//!
//! The service keeps the state in memory, so that reading never waits for the disk, and puts the next one in its
//! place when the store has taken a commit. What is in memory is always what the store has.

mod access;
mod audit_budget;
mod caller_limit;
mod changes;
mod hosting;
mod http;
mod limits;
mod oidc;
mod routes;
mod server;
mod submissions;
mod verification;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    delivery::{Delivery, Outgoing, Setup},
    model::{AuditOutcome, State, integrity::Restored},
    net::listener::OpenConnections,
    secrets::ServiceIdentity,
    store::{AuditEvent, Store, StoreError, StoredToken},
    telemetry::{self, Behalf},
    time::Clock,
};

use audit_budget::AuditBudget;
use caller_limit::{CallerLimit, Queue};
use limits::Limits;
use http::upload::Bodies;

pub use access::new_token;
pub use hosting::{Common, Hosting, Resident};
pub use oidc::{Issuers, IssuersFile, Oidc, OidcError};
pub use routes::openapi;
pub use server::Server;

/// How many tokens are kept in mind.
const KNOWN_TOKENS: usize = 10_000;

/// How many runs of the verifier one token may have under way.
const RUNS: usize = 4;
/// How many streams of events one token may hear.
const STREAMS: usize = 16;
/// How many searches are made at once: the store has one connection for them.
const SEARCHES: usize = 1;
/// How many searches of one token may wait.
const SEARCHES_WAITING: usize = 16;

/// Tokens in mind. All are forgotten whenever one changes.
#[derive(Default)]
struct KnownTokens {
    changes: u64,
    tokens: std::collections::HashMap<String, StoredToken>,
}

/// The service of one environment: everything that a request needs.
struct Service {
    store: Arc<dyn Store>,
    identity: Arc<ServiceIdentity>,
    demo: bool,
    outgoing: Outgoing,
    clock: Clock,
    started_at: Timestamp,
    state: tokio::sync::watch::Sender<Arc<State>>,
    delivery: Delivery,
    /// Tokens that were asked for, so that a submission need not read the store for its own.
    known_tokens: std::sync::Mutex<KnownTokens>,
    /// The issuers whose identity tokens are taken; none unless somebody said so.
    issuers: Option<Arc<Issuers>>,
    /// True once the service stops: what would go on for ever ends then.
    stopping: tokio::sync::watch::Sender<bool>,
    /// The bodies that are being read.
    bodies: Bodies,
    /// Runs of the verifier.
    runs: Arc<CallerLimit>,
    /// Streams of events.
    streams: Arc<CallerLimit>,
    /// Reads that take long: searches, pages of the audit log, old generations.
    searches: Queue,
    audit_budget: AuditBudget,
    /// Told whenever a token is made or revoked.
    token_changes: tokio::sync::watch::Sender<()>,
    /// Held while a change is checked and committed, so that two changes are not checked against one state.
    changing: tokio::sync::Mutex<()>,
    /// A restore from a backup that no administrator has confirmed: no mail is accepted meanwhile.
    restored: std::sync::Mutex<Option<Restored>>,
    /// What of the store is not as its audit log states, as it was found at the start.
    altered: std::sync::Mutex<Vec<String>>,
    /// The path in front of every address; empty at the root.
    base: String,
    limits: Limits,
    /// The connections of the process, of which metrics tell.
    connections: OpenConnections,
    behalf: Behalf,
}

impl Service {
    /// A service on a store. Reads the whole state once, and begins to deliver.
    async fn new(common: &Common, resident: Resident, base: String, limits: Limits) -> Result<Arc<Self>, StoreError> {
        let behalf = resident.behalf.clone();
        behalf.run(Self::begin(common.clone(), resident, base, limits)).await
    }

    async fn begin(common: Common, resident: Resident, base: String, limits: Limits) -> Result<Arc<Self>, StoreError> {
        let Common { demo, outgoing, clock, issuers, connections } = common;
        let Resident { store, identity, behalf } = resident;
        // Before anything is sent: what waited may have been sent already.
        let restored = store.settle_restore(clock.now()).await?;
        store.state_contents(clock.now()).await?;
        let state = tokio::sync::watch::Sender::new(Arc::new(store.state().await?));
        let identity = Arc::new(identity);
        let delivery = Delivery::start(Setup {
            store: Arc::clone(&store),
            identity: Arc::clone(&identity),
            outgoing: outgoing.clone(),
            clock: clock.clone(),
            state: state.subscribe(),
        })
        .await?;
        let service = Arc::new(Self {
            store,
            identity,
            demo,
            outgoing,
            started_at: clock.now(),
            clock,
            state,
            delivery,
            known_tokens: std::sync::Mutex::default(),
            issuers,
            stopping: tokio::sync::watch::Sender::new(false),
            bodies: Bodies::new(&limits, connections.counts().limit),
            runs: CallerLimit::new(RUNS, "runs of the verifier"),
            streams: CallerLimit::new(STREAMS, "streams of events"),
            searches: Queue::new(SEARCHES, SEARCHES_WAITING, "searches"),
            audit_budget: AuditBudget::default(),
            token_changes: tokio::sync::watch::Sender::new(()),
            changing: tokio::sync::Mutex::new(()),
            restored: std::sync::Mutex::new(restored),
            altered: std::sync::Mutex::default(),
            base,
            limits,
            connections,
            behalf,
        });
        // Reading a long history takes a while; nobody waits for it.
        telemetry::spawn(Arc::clone(&service).check_store());
        Ok(service)
    }

    /// Compares the store with its audit log, and reports what differs.
    async fn check_store(self: Arc<Self>) {
        let problems = match self.store.check().await {
            Ok(check) => check.problems,
            Err(error) => {
                tracing::error!(%error, "the store cannot be compared with its audit log");
                vec![error.to_string()]
            }
        };
        if problems.is_empty() {
            return;
        }
        for problem in problems.iter().take(10) {
            tracing::error!(problem, "the store was changed past the service");
        }
        let event = AuditEvent {
            at: self.clock.now(),
            actor: "(service)".to_owned(),
            action: "store.altered",
            outcome: AuditOutcome::Accepted,
            detail: serde_json::json!({ "why": problems.join("; ") }),
        };
        if let Err(error) = self.store.record(event).await {
            tracing::error!(%error, "the audit log cannot be written");
        }
        *self.altered.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = problems;
    }

    /// The restore from a backup that nobody has confirmed yet.
    fn restored(&self) -> Option<Restored> {
        self.restored.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// What of the store is not as its audit log states.
    fn altered(&self) -> Vec<String> {
        self.altered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The issuers whose identity tokens are taken.
    fn oidc(&self) -> Option<Arc<Oidc>> {
        self.issuers.as_ref().map(|issuers| issuers.present())
    }

    /// The outbox at work.
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// A token by its id.
    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError> {
        let known = || self.known_tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changes = {
            let known = known();
            if let Some(token) = known.tokens.get(id) {
                return Ok(Some(token.clone()));
            }
            known.changes
        };
        let token = self.store.token(id).await?;
        if let Some(token) = &token {
            let mut known = known();
            if known.tokens.len() >= KNOWN_TOKENS {
                known.tokens.clear();
            }
            // What was read before a change is not kept: it may have been revoked meanwhile.
            if known.changes == changes {
                known.tokens.insert(id.to_owned(), token.clone());
            }
        }
        Ok(token)
    }

    /// A token was made or revoked.
    fn tokens_changed(&self) {
        let mut known = self.known_tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.changes += 1;
        known.tokens.clear();
        drop(known);
        self.token_changes.send_replace(());
    }

    /// Does what takes long in the store, when it is the caller's turn. It keeps its place until it is done, even if its
    /// client has gone: the store works on.
    async fn search<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &access::Caller,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, http::HttpProblem> {
        let place = self.searches.place(caller).await?;
        let done = telemetry::spawn(async move {
            let _place = place;
            work.await
        });
        Ok(done.await.map_err(http::HttpProblem::internal)??)
    }

    /// The present state.
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    fn set_state(&self, state: Arc<State>) {
        self.state.send_replace(state);
    }
}
