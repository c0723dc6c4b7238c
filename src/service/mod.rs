//! The HTTP service of an environment: authentication, authorization, validation of requests, audit, metrics.
//!
//! * [`Server`] listens; [`Hosting`] has the environments of a process; `limits` bounds the concurrent work of a process
//! * `http` has middleware, extractors, bounded request bodies and problem responses
//! * `authentication` finds the caller of a request, `access` checks its right; `oidc` accepts identity tokens of pipelines
//!   and of persons
//! * `routes` has the endpoints, one file per resource: a handler authorizes, calls `Service`, and answers
//! * `changes` decides whether a change is accepted; it is the only module that commits one
//! * `submissions` accepts mail, `test_messages` submits messages with a fixed text, `message_actions` changes accepted messages,
//!   `outbox` finds them, `holds` lets them wait, `outbox_feed` says when to look again
//! * `address_book` searches the directory of a profile for recipients
//! * `delegates` leases the mail of signed-in users to their programs
//! * `verification` runs the verifier for callers without keys, and decides which secrets it may use
//! * `history` reads generations, `audit` the audit log, `tokens` lists and revokes tokens; `new_subject` checks what a token or
//!   an operator is created with
//! * `operators` has the persons who sign in to the console, `passkeys` what they do with their keys
//! * `public_url` is the address at which browsers open the console
//! * `proposals` keeps changes that another person applies, `signatures` adds signatures of persons to them,
//!   `signature_requests` asks for them by mail
//! * `sessions` has the sign-ins of the console, `identity_sign_in` those with an identity provider
//! * `status` has what status pages show: readiness, counts of the outbox, profiles with problems
//! * `visibility` says what a caller may see whose rights are limited to some companies or functions
//! * `entity_tag` has the tags of the state and of profiles for conditional requests
//! * `caller_limit` bounds concurrent requests per caller, `audit_budget` the audit entries of refused ones
//!
//! The service keeps the state in memory, so that reads never wait for the disk. The copy is replaced after each commit of this
//! process; a commit of another process to the same store is noticed at the next change, which is refused as stale. A store that
//! was restored from a backup accepts no mail until an administrator confirms it; differences between the store and its audit log
//! are reported and stop nothing. This module uses neither the files of a repository nor the client. The pages for people are in
//! [`crate::console`], which calls the same functions of `Service` as the handlers of `routes`.

mod access;
mod address_book;
mod audit;
mod audit_budget;
mod authentication;
mod caller;
mod caller_limit;
mod changes;
mod cross_origin;
mod delegates;
mod entity_tag;
mod environment_path;
mod history;
mod holds;
mod hosting;
mod http;
mod identity_sign_in;
mod limits;
mod memory_budget;
mod message_actions;
mod new_subject;
mod oidc;
mod operators;
mod outbox;
mod outbox_feed;
mod passkeys;
mod proposals;
mod public_url;
mod routes;
mod server;
mod sessions;
mod shared_read;
mod signature_requests;
mod signatures;
mod status;
mod submissions;
mod test_messages;
mod token_cache;
mod tokens;
mod verification;
mod visibility;
mod web_delegates;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::LastVerifiedList,
    delivery::{Delivery, OutboundOptions, Setup},
    model::{AccessPolicy, AuditOutcome, EnvironmentName, State, integrity::Restored},
    net::listener::OpenConnections,
    secrets::ServiceIdentity,
    store::{AuditEvent, Store, StoreError, StoredToken},
    sync::Mutex,
    telemetry::{self, EnvironmentContext},
    time::Clock,
};

use address_book::AddressBooks;
use audit_budget::AuditBudget;
use caller_limit::{CallerLimit, FairQueue};
use entity_tag::StateTag;
use http::upload::BodyClasses;
use identity_sign_in::IdentitySignIns;
use limits::Limits;
use oidc::IssuerSet;
use passkeys::PasskeyRequests;
use sessions::SignInFailures;
use shared_read::SharedRead;
use signatures::SignatureDrafts;
use status::OutboxCounts;
use test_messages::RecentTestMessages;
use token_cache::TokenCache;
use verification::{LiveDigests, runs::VerificationRuns};

pub use authentication::new_token;
pub(crate) use caller::Caller;
pub(crate) use changes::edit::{Edit, EditConflict, EditTerms, WantedProfile};
pub(crate) use changes::planned::{PlannedChange, PlannedDifference, ProfileVerification, Verifications, action_id};
pub(crate) use changes::sealing::SealingRecipients;
pub(crate) use changes::{ChangeSignatures, RollbackPreview};
pub use hosting::{ConsoleRoutes, HostedEnvironment, Hosting, SharedResources};
pub(crate) use http::{HttpProblem, Received, middleware::RequestId};
pub(crate) use identity_sign_in::{BegunSignIn, CompletedSignIn, ProviderAnswer, SIGN_IN_LIMIT};
pub(crate) use oidc::{DEFAULT_PROVIDER, IdentityProvider};
pub use oidc::{Issuers, IssuersSource, OidcSettings};
pub(crate) use outbox::{BulkAction, BulkChange, CHANGED_AT_ONCE, COUNTED, MessageFilter};
pub(crate) use outbox_feed::OutboxFeed;
pub use public_url::PublicUrl;
pub use routes::openapi;
pub use server::Server;
pub(crate) use sessions::SignInSource;
pub(crate) use signatures::{SignatureDraft, WantedSignature};
pub(crate) use test_messages::TestMessage;
pub(crate) use verification::runs::{RunStanding, VerificationRun};
pub(crate) use web_delegates::WebDelegate;

/// Maximum number of concurrent verifier runs of one caller.
const RUNS_PER_CALLER: usize = 4;
/// Maximum number of whole states that are sent to one caller at once.
const STATES_PER_CALLER: usize = 8;
/// Maximum number of concurrent event streams of one caller.
const STREAMS_PER_CALLER: usize = 16;
/// Maximum number of concurrent requests of one person to the delegate addresses.
const DELEGATE_REQUESTS_PER_PERSON: usize = 16;
/// Maximum number of messages whose contents are sent to one person at once.
const DELEGATE_CONTENTS_PER_PERSON: usize = 2;
/// Maximum number of concurrent searches: the store has one connection for them.
const SEARCHES: usize = 1;
/// Maximum number of searches of one caller in the queue.
const SEARCHES_PER_CALLER: usize = 16;
/// Differences between the store and its audit log that are logged one by one.
const DIFFERENCES_LOGGED: usize = 10;

/// The service of one environment: everything that a request needs.
pub(crate) struct Service {
    store: Arc<dyn Store>,
    identity: Arc<ServiceIdentity>,
    demo: bool,
    outgoing: OutboundOptions,
    clock: Clock,
    started_at: Timestamp,
    state: tokio::sync::watch::Sender<Arc<State>>,
    /// The live access policy, apart from the state, so that a caller does not keep an old state in memory.
    access: Mutex<Arc<AccessPolicy>>,
    delivery: Delivery,
    tokens: TokenCache,
    /// The issuers whose identity tokens are accepted, if the operator configured any.
    issuers: Option<Arc<Issuers>>,
    /// True when the service stops: streams end then.
    stopping: tokio::sync::watch::Sender<bool>,
    bodies: BodyClasses,
    verifier_runs: Arc<CallerLimit>,
    state_responses: Arc<CallerLimit>,
    state_tag: StateTag,
    event_streams: Arc<CallerLimit>,
    /// Slow reads: searches, pages of the audit log, old generations.
    searches: FairQueue,
    outbox_reads: SharedRead<OutboxCounts>,
    verified_reads: SharedRead<LastVerifiedList>,
    live_digests: LiveDigests,
    audit_budget: AuditBudget,
    address_books: AddressBooks,
    /// The time at which proposals were last looked through for reminders.
    reminders_at: Mutex<Timestamp>,
    sign_in_failures: SignInFailures,
    recent_test_messages: RecentTestMessages,
    identity_sign_ins: IdentitySignIns,
    /// Texts that wait for a signature by an identity provider.
    signature_drafts: SignatureDrafts,
    passkey_requests: PasskeyRequests,
    /// The address by which browsers reach the process; none if it is not known.
    public_url: Option<PublicUrl>,
    /// Requests of persons to the delegate addresses, and the contents that are sent to them.
    delegate_requests: Arc<CallerLimit>,
    delegate_contents: Arc<CallerLimit>,
    /// Notified whenever a message of a person begins to wait, or changes.
    sender_changes: Arc<tokio::sync::Notify>,
    /// Verifier runs of the console.
    verification_runs: VerificationRuns,
    /// Notified whenever a token is created, revoked or confirmed, and when the access policy changes.
    token_changes: tokio::sync::watch::Sender<()>,
    /// Held while a change is checked and committed, so that two changes are not checked against the same state.
    changing: tokio::sync::Mutex<()>,
    /// A restore from a backup that no administrator has confirmed. No mail is accepted until then.
    restored: Mutex<Option<Restored>>,
    /// Differences between the store and its audit log, as found at the start.
    store_differences: Mutex<Vec<String>>,
    /// The path prefix of every endpoint; empty at the root.
    base: String,
    limits: Limits,
    /// The connections of the process, for metrics.
    connections: OpenConnections,
    context: EnvironmentContext,
}

impl Service {
    /// Reads the state of an environment from its store, and starts to deliver its mail.
    async fn start(
        shared: &SharedResources,
        environment: HostedEnvironment,
        base: String,
        limits: Limits,
    ) -> Result<Arc<Self>, StoreError> {
        let context = environment.context.clone();
        context.instrument(Self::start_in_context(shared.clone(), environment, base, limits)).await
    }

    async fn start_in_context(
        shared: SharedResources,
        environment: HostedEnvironment,
        base: String,
        limits: Limits,
    ) -> Result<Arc<Self>, StoreError> {
        let SharedResources { demo, outgoing, clock, issuers, connections, console: _, public_url } = shared;
        let HostedEnvironment { store, identity, context } = environment;
        // Before delivery starts: after a restore, queued messages may have been sent already.
        let restored = store.settle_restore(clock.now()).await?;
        store.state_contents(clock.now()).await?;
        let state = tokio::sync::watch::Sender::new(Arc::new(store.state().await?));
        let access = state.borrow().settings.access.clone();
        let identity = Arc::new(identity);
        let delivery = Delivery::start(Setup {
            store: Arc::clone(&store),
            identity: Arc::clone(&identity),
            outbound: outgoing.clone(),
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
            access: Mutex::new(Arc::new(access)),
            state,
            delivery,
            tokens: TokenCache::default(),
            issuers,
            stopping: tokio::sync::watch::Sender::new(false),
            bodies: BodyClasses::new(&limits, connections.counts().limit),
            verifier_runs: CallerLimit::new(RUNS_PER_CALLER, "verifier runs"),
            state_responses: CallerLimit::new(STATES_PER_CALLER, "requests for the whole state"),
            state_tag: StateTag::default(),
            event_streams: CallerLimit::new(STREAMS_PER_CALLER, "event streams"),
            searches: FairQueue::new(SEARCHES, SEARCHES_PER_CALLER, "searches"),
            outbox_reads: SharedRead::default(),
            verified_reads: SharedRead::default(),
            live_digests: LiveDigests::default(),
            audit_budget: AuditBudget::default(),
            address_books: AddressBooks::default(),
            reminders_at: Mutex::default(),
            sign_in_failures: SignInFailures::default(),
            recent_test_messages: RecentTestMessages::default(),
            identity_sign_ins: IdentitySignIns::default(),
            signature_drafts: SignatureDrafts::default(),
            passkey_requests: PasskeyRequests::default(),
            public_url,
            delegate_requests: CallerLimit::new(DELEGATE_REQUESTS_PER_PERSON, "requests"),
            delegate_contents: CallerLimit::new(DELEGATE_CONTENTS_PER_PERSON, "messages"),
            sender_changes: Arc::default(),
            verification_runs: VerificationRuns::default(),
            token_changes: tokio::sync::watch::Sender::new(()),
            changing: tokio::sync::Mutex::new(()),
            restored: Mutex::new(restored),
            store_differences: Mutex::default(),
            base,
            limits,
            connections,
            context,
        });
        // In the background: reading a long history takes a while.
        telemetry::spawn(Arc::clone(&service).check_store());
        service.start_following_senders();
        service.start_following_address_books();
        Ok(service)
    }

    /// Compares the store with its audit log, and reports the differences.
    async fn check_store(self: Arc<Self>) {
        let differences = match self.store.check().await {
            Ok(check) => check.problems,
            Err(error) => {
                tracing::error!(%error, "cannot compare the store with its audit log");
                vec![error.to_string()]
            }
        };
        if differences.is_empty() {
            return;
        }
        for difference in differences.iter().take(DIFFERENCES_LOGGED) {
            tracing::error!(difference, "the store was changed by another program");
        }
        let event = AuditEvent {
            at: self.clock.now(),
            actor: "(service)".to_owned(),
            action: "store.altered",
            outcome: AuditOutcome::Accepted,
            detail: serde_json::json!({ "why": differences.join("; ") }),
        };
        if let Err(error) = self.store.record(event).await {
            tracing::error!(%error, "cannot write the audit log");
        }
        *self.store_differences.lock() = differences;
    }

    /// Returns the restore from a backup that no administrator has confirmed.
    fn restored(&self) -> Option<Restored> {
        self.restored.lock().clone()
    }

    /// Returns the differences between the store and its audit log.
    fn store_differences(&self) -> Vec<String> {
        self.store_differences.lock().clone()
    }

    /// Returns the issuers whose identity tokens are accepted.
    fn trusted_issuers(&self) -> Option<Arc<IssuerSet>> {
        self.issuers.as_ref().map(|issuers| issuers.current())
    }

    /// Returns a token by its id.
    async fn find_token(&self, id: &str) -> Result<Option<StoredToken>, StoreError> {
        let version = match self.tokens.get(id) {
            Ok(token) => return Ok(Some(token)),
            Err(version) => version,
        };
        let token = self.store.token(id).await?;
        if let Some(token) = &token {
            self.tokens.insert(id, token, version);
        }
        Ok(token)
    }

    /// Makes a change of a token visible to requests and streams.
    fn tokens_changed(&self) {
        self.tokens.invalidate();
        self.token_changes.send_replace(());
    }

    /// Runs a slow read of the store when it is the caller's turn. The read keeps its place in the queue until it ends, even
    /// if its client has disconnected, because the store completes it.
    async fn search<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &Caller,
        read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, HttpProblem> {
        let permit = self.searches.acquire(caller).await?;
        let done = telemetry::spawn(async move {
            let _permit = permit;
            read.await
        });
        Ok(done.await.map_err(HttpProblem::internal)??)
    }

    /// Returns the name of the environment.
    pub(crate) fn environment(&self) -> &EnvironmentName {
        self.store.environment()
    }

    /// Returns the path prefix of every endpoint; empty at the root.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Returns the origin by which browsers reach the process; none if it is not known.
    pub(crate) fn public_origin(&self) -> Option<&str> {
        self.public_url.as_ref().map(PublicUrl::origin)
    }

    /// Returns the address of the console as browsers see it; none if it is not configured.
    pub(crate) fn console_address(&self) -> Option<String> {
        self.public_url.as_ref().map(|public| format!("{}{}/console", public.origin(), self.base))
    }

    /// Returns the age recipient of the service.
    pub(crate) fn recipient(&self) -> String {
        self.identity.recipient()
    }

    /// Returns true if the identity is the public one of the examples.
    pub(crate) fn is_demo(&self) -> bool {
        self.demo
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the current time by the clock that times of messages are from.
    pub(crate) fn delivery_now(&self) -> Timestamp {
        self.delivery.now()
    }

    /// Returns the current state.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    /// Returns the live access policy.
    fn access_policy(&self) -> Arc<AccessPolicy> {
        Arc::clone(&self.access.lock())
    }

    fn set_state(&self, state: Arc<State>) {
        let mut access = self.access.lock();
        if **access != state.settings.access {
            *access = Arc::new(state.settings.access.clone());
            // Streams compare their rights.
            self.token_changes.send_replace(());
        }
        drop(access);
        self.state.send_replace(state);
    }
}
