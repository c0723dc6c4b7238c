//! Mail delivery: sends every accepted message by the profile of its company and function, and records why if it cannot.
//!
//! | part | contents |
//! | --- | --- |
//! | `dispatcher` | claims due messages, runs workers, follows the system clock, shuts down |
//! | `scheduler` | decides which profile sends next, subject to throttles, holds and suspensions |
//! | `scheduled_queue`, `ready_queue` | the mail of a lane that waits in the store; the mail of a profile that was claimed |
//! | `sending_profile`, `next_secret` | a profile as workers use it; the secret that replaces the current one |
//! | `throttle`, `fair_share` | limits of a mailbox; division of a profile among companies and functions |
//! | [`route_index`] | the profile that sends for a company and a function |
//! | `attempt`, `failure`, `outcome` | one attempt; its end without success; its effect on the message |
//! | [`outgoing`] | a message as it leaves |
//! | [`transport`] | SMTP and Microsoft Graph |
//! | `credentials`, `access_tokens`, `rotation` | secrets, tokens, and the rotation of secrets |
//! | `address_book` | searches for recipients with the login of a profile |
//! | `waiting` | why queued mail waits, and how much |
//! | `suspension`, `suspender`, `refusals` | profiles that cannot send; refusals that show it |
//! | `sent_items` | search of Sent Items for a message whose attempt has an unknown outcome |
//! | `recorder`, `webhooks` | results in the store; events for other systems |
//!
//! Four rules hold it together. A message is durable before it is reported as accepted. It is marked in the store before its last
//! byte is sent; after a crash its outcome is unknown, and it is sent again only if the environment's policy or an operator says
//! so. A failure that suspends a profile counts neither as a try of a message nor against its lifetime. After a write to the store
//! has failed, no message is started until the store can be written again.
//!
//! [`Delivery`] is the interface. Nothing here knows the HTTP API, and nothing prints.
//!
//! Mail that has no profile, is held, or whose profile is suspended waits, with its lifetime paused. Mail whose lifetime has ended
//! fails.

mod access_tokens;
mod address_book;
mod attempt;
mod back_off;
mod credentials;
mod dispatcher;
mod failure;
mod fair_share;
mod next_secret;
mod outcome;
pub mod outgoing;
mod ready_queue;
mod recorder;
mod refusals;
mod rotation;
pub mod route_index;
mod scheduled_queue;
mod scheduler;
mod sending_profile;
mod sent_items;
mod suspender;
mod suspension;
mod throttle;
pub mod transport;
mod waiting;
mod webhooks;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{RwLockReadGuard, broadcast, watch};
use uuid::Uuid;

pub use address_book::{LookUpFailure, SearchedKinds};
pub(crate) use sent_items::may_be_sent;
pub use transport::SmtpDeadlines;
pub use webhooks::public_key;

use self::{dispatcher::Dispatcher, route_index::RouteIndex};
use crate::{
    api::messages::PausedProfile,
    entra::{FederatedFiles, Http, http},
    model::{
        CompanyId, Function, Hold, Lane, Message, ProfileName, Resolution, State, WaitReason, Waiting,
        resolution::Cell, rotation::Rotation, suspension::SuspendedProfile,
    },
    secrets::ServiceIdentity,
    smtp::HelloName,
    store::{Store, StoreError, outbox::Event},
    sync::BlockingPool,
    telemetry::ProfileLabels,
    time::Clock,
};

/// The number of characters of a server's reply that are kept to explain why mail waits.
const REPLY_LENGTH: usize = 300;

/// Options of the connections to mail servers, Microsoft and DNS.
#[derive(Clone, Debug)]
pub struct OutboundOptions {
    /// Certificate authorities (PEM) that are trusted in addition to those of the platform.
    pub authorities: Option<Vec<u8>>,
    /// The files that may be read as federated tokens, each with its destination.
    pub federated: FederatedFiles,
    /// The DNS server; none means the resolver of the system.
    pub dns_server: Option<SocketAddr>,
    /// The deadline of a step with a mail server during verification.
    pub smtp_timeout: Duration,
    /// The name by which this machine greets mail servers.
    pub hello: HelloName,
    /// The deadlines of the phases of delivery.
    pub deadlines: SmtpDeadlines,
    /// The wait before a suspended profile is probed for the first time.
    pub probe_after: Duration,
    /// Threads that prepare large messages, shared by all environments of the process.
    pub pool: BlockingPool,
}

/// The parts that delivery is started with.
pub struct Setup {
    /// The outbox and the age files.
    pub store: Arc<dyn Store>,
    /// The identity that opens the age files.
    pub identity: Arc<ServiceIdentity>,
    /// Options of the connections.
    pub outbound: OutboundOptions,
    /// The system clock.
    pub clock: Clock,
    /// The state, and its changes.
    pub state: watch::Receiver<Arc<State>>,
}

/// The mail delivery of an environment. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    dispatcher: Arc<Dispatcher>,
}

/// The current time, which does not move while this exists.
pub struct Moment<'a> {
    /// The time.
    pub now: Timestamp,
    _accepting: RwLockReadGuard<'a, ()>,
}

/// Problems of profiles and of the store, for status pages.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The suspended profiles.
    pub suspended: Vec<SuspendedProfile>,
    /// Profiles whose server is unavailable.
    pub down: Vec<ProfileName>,
    /// Profiles whose server asked to wait.
    pub paused: Vec<PausedProfile>,
    /// True if the store can be written; nothing is sent while it cannot.
    pub records: bool,
    /// The rotations of secrets.
    pub rotations: Vec<Rotation>,
}

impl Delivery {
    /// Restores the scheduler from the store, settles what a crash interrupted, and starts to send.
    pub async fn start(setup: Setup) -> Result<Self, StoreError> {
        let options = http::HttpOptions {
            authorities: setup.outbound.authorities.clone(),
            connections: 64,
            timeout: Duration::from_secs(100),
            patience: Duration::from_secs(5),
        };
        let http = Http::new(&options).map_err(StoreError::Database)?;
        let dispatcher = Dispatcher::start(setup, http).await?;
        Ok(Self { dispatcher })
    }

    /// Returns the time of the steady clock. If the system clock is set while the service runs, this follows a little later, and
    /// no message is sent sooner or later for it.
    pub fn now(&self) -> Timestamp {
        self.dispatcher.recorder().now()
    }

    /// Returns the time for a caller that accepts a message: it does not move until the result is dropped.
    pub async fn moment(&self) -> Moment<'_> {
        let accepting = self.dispatcher.accepting().read().await;
        Moment { now: self.now(), _accepting: accepting }
    }

    /// Resolves a cell to the profile that sends for it in the newest state. Returns the routes as well, which know the profile.
    pub fn resolve(&self, cell: &Cell) -> (Arc<RouteIndex>, Resolution) {
        let routes = self.dispatcher.newest_routes();
        let resolution = routes.resolve_cell(cell);
        (routes, resolution)
    }

    /// Notes that a message of a lane, a company and a function, is due at `due`.
    pub fn message_due(&self, company: CompanyId, function: Function, due: Timestamp) {
        let recorder = self.dispatcher.recorder();
        // If other messages of the lane are due sooner, the dispatcher is awake or waits for them.
        if recorder.message_due(&Lane { company, function }, due) {
            recorder.wake();
        }
    }

    /// Returns the queued messages of some lanes, grouped by the reason for which they wait, and the profiles that cannot send
    /// now.
    pub async fn waiting(&self, includes: impl Fn(&Lane) -> bool) -> Result<Vec<Waiting>, StoreError> {
        let recorder = self.dispatcher.recorder();
        let mut backlog = recorder.store().backlog().await?;
        backlog.retain(|lane| includes(&lane.lane));
        Ok(waiting::group(&recorder.scheduler(), recorder.store().environment(), &backlog, self.clock()))
    }

    /// Returns why a queued message waits, as if it were the only one.
    pub fn why_waiting(&self, message: &Message) -> Waiting {
        let recorder = self.dispatcher.recorder();
        waiting::of_message(&recorder.scheduler(), recorder.store().environment(), message, self.clock())
    }

    /// Returns the lanes whose queued mail a profile sends, or whose mail waits for a reason.
    pub fn find_lanes(&self, profile: Option<&ProfileName>, reason: Option<WaitReason>) -> Vec<Lane> {
        waiting::find_lanes(&self.dispatcher.recorder().scheduler(), profile, reason, self.clock())
    }

    fn clock(&self) -> waiting::Clock {
        waiting::Clock { now: self.now(), instant: Instant::now() }
    }

    /// Ends the pause of the mailbox that sends for a company and a function, if its server asked to wait, and tries a suspended
    /// profile now.
    pub fn end_pause(&self, company: &CompanyId, function: Function) {
        let now = self.now();
        let recorder = self.dispatcher.recorder();
        if recorder.scheduler().end_pause(&Lane { company: company.clone(), function }, now) {
            recorder.wake();
        }
    }

    /// Removes a claimed message from its ready queue, so that the caller can change it. Returns true if it was there: then no
    /// worker has it, and the caller holds the claim.
    pub fn remove_ready(&self, id: Uuid) -> bool {
        self.dispatcher.recorder().scheduler().remove_ready(id).is_some()
    }

    /// Returns the holds in effect.
    pub fn holds(&self) -> Vec<Hold> {
        let now = self.now();
        self.dispatcher.recorder().scheduler().holds(now)
    }

    /// Reads the holds from the store, because they have changed.
    pub async fn reload_holds(&self) -> Result<(), StoreError> {
        self.dispatcher.reload_holds().await
    }

    /// Returns the problems of profiles and of the store.
    pub fn trouble(&self) -> Trouble {
        let recorder = self.dispatcher.recorder();
        let (routes, suspended, down, paused) = {
            let mut scheduler = recorder.scheduler();
            let paused = scheduler.paused_profiles(Instant::now());
            let suspended = scheduler.suspensions().records();
            (Arc::clone(scheduler.routes()), suspended, scheduler.down_profiles(), paused)
        };
        let until = |(profile, remaining)| PausedProfile { profile, until: recorder.time().after(remaining) };
        Trouble {
            suspended,
            down,
            paused: paused.into_iter().map(until).collect(),
            records: recorder.is_store_healthy(),
            rotations: self.dispatcher.rotations().list(&routes),
        }
    }

    /// Returns the labels of profiles in metrics.
    pub fn labels(&self) -> &ProfileLabels {
        self.dispatcher.recorder().labels()
    }

    /// Subscribes to events.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.dispatcher.recorder().subscribe()
    }

    /// Publishes events that the caller has written to the store.
    pub fn publish(&self, events: Vec<Event>) {
        self.dispatcher.recorder().publish(events);
    }

    /// Starts nothing new, and waits until attempts and writes have ended, but no longer than `deadline`.
    pub async fn stop(&self, deadline: Duration) {
        self.dispatcher.stop(deadline).await;
    }
}

/// Returns a random number between 0 and 1, or the middle if the system has no randomness.
fn random_unit() -> f64 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
