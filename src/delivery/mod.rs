//! The outbox at work: every accepted mail leaves by the right profile, once, or says why not.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`content`] | what a message holds: made from parts, or taken as it comes; who sends is put in when it leaves |
//! | [`route_index`] | which profile sends for a company and a function |
//! | `board` | what is kept in mind: whose turn it is, what stands still and why |
//! | `fair` | how companies and functions share a profile |
//! | `limits` | how much a mailbox may send |
//! | `engine` | claims messages, gives them to workers, ends gracefully |
//! | `attempt` | one attempt: send, and judge what came of it |
//! | [`smtp`] and `graph` | the two ways to send |
//! | [`graph_draft`] | a message as Graph's own document, where it is too large for MIME |
//! | `tokens` | tokens for sending, fetched once |
//! | `refusals` | whether a refusal is about the profile or about a message, where the reply does not say |
//! | `parking` | profiles that cannot send until somebody mends them |
//! | `rotation` | which of a profile's two secrets is used while one is being rotated |
//! | `webhooks` | telling others what happened, signed |
//!
//! The rules that hold it together: a message is durable before anybody hears that it was accepted; it is marked in the
//! store before its last byte leaves, so that a crash can only leave `unknown` behind and never a silent second sending;
//! what is wrong with a profile costs no message anything; and where the store cannot record, nothing is sent.
//!
//! [`Delivery`] is the door. Nothing here knows the HTTP API, and nothing prints.

mod access_tokens;
mod attempt;
pub mod content;
mod dispatcher;
mod fair_share;
mod graph;
pub mod graph_draft;
mod refusals;
mod rotation;
pub mod route_index;
mod scheduler;
pub mod smtp;
mod suspension;
mod throttle;
mod webhooks;

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

pub use webhooks::public_key;

use crate::{
    api::messages::PausedProfile,
    entra::{FederatedFiles, Http, http},
    model::{
        CompanyId, Function, Hold, Lane, ProfileName, Resolution, State, resolution::Cell, rotation::Rotation,
        suspension::Parked,
    },
    secrets::ServiceIdentity,
    smtp::HelloName,
    store::{Store, StoreError, outbox::Event},
    sync::BlockingPool,
    time::Clock,
};

/// How the service reaches the world.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Certificate authorities (PEM) that are trusted beside the platform's.
    pub authorities: Option<Vec<u8>>,
    /// The files that may be read as federated tokens, and for whom each of them is.
    pub federated: FederatedFiles,
    /// Whom to ask for DNS records; none means the system's resolver.
    pub dns_server: Option<SocketAddr>,
    /// How long one step with a mail server may take when it is verified.
    pub smtp_timeout: Duration,
    /// The name by which this machine greets mail servers.
    pub hello: HelloName,
    /// How long each phase may take when mail is delivered.
    pub deadlines: smtp::Deadlines,
    /// How soon a parked profile is tried again for the first time.
    pub probe_after: Duration,
    /// Threads that prepare large messages: those of the process, whatever it hosts.
    pub pool: BlockingPool,
}

/// What delivery works with.
pub struct Setup {
    /// The outbox, and the age files.
    pub store: Arc<dyn Store>,
    /// What opens them.
    pub identity: Arc<ServiceIdentity>,
    /// How to reach the world.
    pub outgoing: Outgoing,
    /// What time it is.
    pub clock: Clock,
    /// The state, as it changes.
    pub state: watch::Receiver<Arc<State>>,
}

/// The outbox at work. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    engine: Arc<dispatcher::Engine>,
}

/// The time, held still.
pub struct Moment<'a> {
    /// What time it is.
    pub now: Timestamp,
    _unmoved: tokio::sync::RwLockReadGuard<'a, ()>,
}

/// A profile whose server cannot be reached just now, or that is parked; for status pages.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Those that wait for somebody.
    pub parked: Vec<Parked>,
    /// Those whose server does not answer, and are tried again by themselves.
    pub down: Vec<ProfileName>,
    /// Profiles whose mailbox is left alone because the other side asked for it.
    pub paused: Vec<PausedProfile>,
    /// Whether the store can record what happens; nothing is sent while it cannot.
    pub records: bool,
    /// How rotations of secrets stand.
    pub rotations: Vec<Rotation>,
}

impl Delivery {
    /// Reads what waits, decides what a crash left behind, and begins to send.
    pub async fn start(setup: Setup) -> Result<Self, StoreError> {
        let options = http::HttpOptions {
            authorities: setup.outgoing.authorities.clone(),
            connections: 64,
            timeout: Duration::from_secs(100),
            patience: Duration::from_secs(5),
        };
        let http = Http::new(&options).map_err(StoreError::Database)?;
        let engine = dispatcher::Engine::start(setup, http).await?;
        Ok(Self { engine })
    }

    /// What time it is for everything that waits: the machine's clock, and from then on the time that passed. A clock that
    /// is set while the service runs neither hastens nor holds up any mail; it is followed a little later.
    pub fn now(&self) -> Timestamp {
        self.engine.time.now()
    }

    /// What time it is, for somebody who takes a message: it does not move until that is done.
    pub async fn moment(&self) -> Moment<'_> {
        let unmoved = self.engine.moment.read().await;
        Moment { now: self.now(), _unmoved: unmoved }
    }

    /// Returns the profile that sends for a cell, and the state that says so.
    pub fn resolve(&self, cell: &Cell) -> (Arc<route_index::Routes>, Resolution) {
        let routes = Arc::clone(&self.engine.board().routes);
        let resolution = routes.explain(cell);
        (routes, resolution)
    }

    /// A message of the company and the function is due now.
    pub fn submitted(&self, company: CompanyId, function: Function, due: Timestamp) {
        // Behind others that wait already there is nobody to wake.
        if self.engine.due(&Lane { company, function }, due) {
            self.engine.wake.notify_one();
        }
    }

    /// Why nothing of a company and a function may leave just now; none if it may.
    pub fn blocked(&self, company: &CompanyId, function: Function) -> Option<String> {
        let lane = Lane { company: company.clone(), function };
        let (board, now) = (self.engine.board(), self.now());
        board.blocked(&lane, now).or_else(|| board.limited(&lane, now))
    }

    /// Takes a message out of what was read ahead, so that it can be changed. True if it was there: then nobody works on
    /// it, and whoever asked holds it.
    pub fn take_out(&self, id: uuid::Uuid) -> bool {
        self.engine.board().take_out(id).is_some()
    }

    /// The holds.
    pub fn holds(&self) -> Vec<Hold> {
        let now = self.now();
        self.engine.board().holds.iter().filter(|hold| hold.until.is_none_or(|until| until > now)).cloned().collect()
    }

    /// The holds have changed in the store.
    pub async fn holds_changed(&self) -> Result<(), StoreError> {
        self.engine.read_holds().await
    }

    /// What is wrong with profiles.
    pub fn trouble(&self) -> Trouble {
        let board = self.engine.board();
        let mut parked: Vec<Parked> = board.parked.values().map(|line| line.parked.clone()).collect();
        parked.sort_by(|a, b| a.profile.cmp(&b.profile));
        let mut down: Vec<ProfileName> = board.lines.keys().filter(|name| board.is_down(name)).cloned().collect();
        down.sort();
        let now = std::time::Instant::now();
        let until = |line: &scheduler::Line| {
            let paused_until = board.counters.get(&line.sender.mailbox)?.paused_until?;
            paused_until.checked_duration_since(now).map(|wait| self.engine.time.after(wait))
        };
        let paused = board.lines.iter().filter_map(|(name, line)| Some((name, until(line)?)));
        let mut paused: Vec<_> =
            paused.map(|(profile, until)| PausedProfile { profile: profile.clone(), until }).collect();
        paused.sort_by(|a, b| a.profile.cmp(&b.profile));
        Trouble { parked, down, paused, records: self.engine.records(), rotations: board.rotations() }
    }

    /// Ends the pause for which the other side asked the mailbox that sends a company's mail of a function.
    pub fn end_pause(&self, company: &CompanyId, function: Function) {
        if self.engine.board().end_pause(&Lane { company: company.clone(), function }) {
            self.engine.wake.notify_one();
        }
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.engine.events.subscribe()
    }

    /// Tells of events that somebody else has written.
    pub fn tell(&self, events: Vec<Event>) {
        self.engine.tell(events);
    }

    /// Begins nothing new, and waits for what is under way; no longer than that.
    pub async fn stop(&self, patience: Duration) {
        self.engine.stop(patience).await;
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness everything is as it would be with the middle of it.
    if getrandom::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
