//! Open connections of a process: their number, their activity, and which of them is closed for another client.
//!
//! [`OpenConnections::admit`] returns an [`Admission`] for a new connection. At the limit, it closes the oldest idle connection of
//! the peer with the most connections. An [`Activity`] records the requests of a connection, from which its deadlines follow. If
//! none is idle, no admission is returned and the refusal is counted.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{CLOSE_DEADLINE, HEADER_DEADLINE};
use crate::sync::Mutex;

/// Time that a client has to read the next part of its answer.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// Time after which a client that does not read can lose its connection to another client, at the limit.
const STALLED: Duration = Duration::from_secs(5);
/// Shortest time between two warnings of the same kind.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Default maximum number of connections. Each can use 64 KiB for headers.
pub const MOST_CONNECTIONS: usize = 2048;
/// Default maximum time between two requests of a connection.
pub const IDLE: Duration = Duration::from_secs(75);

/// Limits on the number of connections and on their idle time.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Maximum number of connections.
    pub connections: usize,
    /// Time from accept to the first request, and between two requests.
    pub idle: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { connections: MOST_CONNECTIONS, idle: IDLE }
    }
}

impl ConnectionLimits {
    /// Time from accept to the first request.
    pub(super) fn first_request(&self) -> Duration {
        self.idle.min(HEADER_DEADLINE)
    }
}

/// Counts of connections, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open connections.
    pub open: usize,
    /// The limit.
    pub limit: usize,
    /// Idle connections that were closed for another client, since the start.
    pub evicted: u64,
    /// Connections that were refused, since the start.
    pub refused: u64,
}

/// The connections of a process. Clones share them.
#[derive(Clone)]
pub struct OpenConnections(Arc<Registry>);

struct Registry {
    limits: ConnectionLimits,
    permits: Arc<Semaphore>,
    open: Mutex<Open>,
    evicted: AtomicU64,
    refused: AtomicU64,
    warned: Mutex<HashMap<&'static str, Instant>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Activity>>,
}

/// Activity of a connection, for limits and deadlines.
pub(super) struct Activity {
    network: IpAddr,
    state: Mutex<ActivityState>,
    evicted: Notify,
}

struct ActivityState {
    /// The time when the connection was accepted or its last request ended.
    idle_since: Instant,
    /// True after the first request.
    requested: bool,
    evicted: bool,
    next: u64,
    /// The requests in progress. A time is the moment since which the client does not read its answer.
    requests: HashMap<u64, Option<Instant>>,
}

/// An admitted connection, until it is dropped.
pub(super) struct Admission {
    connections: OpenConnections,
    id: u64,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// Returns the activity of the connection.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Returns the limits that apply to the connection.
    pub(super) fn limits(&self) -> ConnectionLimits {
        self.connections.0.limits
    }

    /// Waits until another client gets the connection's permit.
    pub(super) async fn evicted(&self) {
        self.activity.evicted.notified().await;
    }

    /// Waits until the connection has been idle, or its client has not read, for too long.
    pub(super) async fn overdue(&self) {
        self.activity.overdue(&self.limits()).await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.connections.0.open.lock().connections.remove(&self.id);
    }
}

/// Returns the part of an address that one client can hardly choose: all of IPv4, the first 64 bits of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl OpenConnections {
    /// Creates the limits without any connection.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Registry {
            limits,
            permits: Arc::new(Semaphore::new(limits.connections)),
            open: Mutex::default(),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            warned: Mutex::default(),
        }))
    }

    /// Returns the current counts.
    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: self.0.open.lock().connections.len(),
            limit: self.0.limits.connections,
            evicted: self.0.evicted.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }

    /// Admits a new connection. At the limit, an idle connection is closed for it; returns none if all are busy.
    pub(super) async fn admit(&self, peer: SocketAddr) -> Option<Admission> {
        let permits = Arc::clone(&self.0.permits);
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => Some(permit),
            // The permit is free when the other connection has closed its descriptor.
            Err(_) if self.evict() => timeout(CLOSE_DEADLINE, permits.acquire_owned()).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        let Some(permit) = permit else {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            self.warn("the limit of connections is reached; new connections are refused");
            return None;
        };
        let activity = Arc::new(Activity::new(peer));
        let mut open = self.0.open.lock();
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&activity));
        drop(open);
        Some(Admission { connections: self.clone(), id, activity, _permit: permit })
    }

    /// Closes the oldest idle connection of the peer with the most connections; returns false if none is idle.
    pub(super) fn evict(&self) -> bool {
        let open = self.0.open.lock();
        let mut by_network: HashMap<IpAddr, usize> = HashMap::new();
        for activity in open.connections.values() {
            *by_network.entry(activity.network).or_default() += 1;
        }
        let now = Instant::now();
        let idle = open.connections.values().filter_map(|activity| Some((activity, activity.idle_since(now)?)));
        let victim =
            idle.max_by_key(|(activity, since)| (by_network.get(&activity.network), std::cmp::Reverse(*since)));
        let Some((victim, _)) = victim else { return false };
        victim.state.lock().evicted = true;
        victim.evicted.notify_one();
        drop(open);
        self.0.evicted.fetch_add(1, Ordering::Relaxed);
        self.warn("the limit of connections is reached; idle connections are closed");
        true
    }

    /// Logs a warning, at most one per kind and minute.
    pub(super) fn warn(&self, message: &'static str) {
        let now = Instant::now();
        let mut warned = self.0.warned.lock();
        if warned.get(message).is_some_and(|last| now.duration_since(*last) < WARN_EVERY) {
            return;
        }
        warned.insert(message, now);
        drop(warned);
        let ConnectionCounts { open, limit, evicted, refused } = self.counts();
        tracing::warn!(open, limit, evicted, refused, "{message}");
    }
}

impl Activity {
    fn new(peer: SocketAddr) -> Self {
        Self {
            network: network(peer.ip()),
            state: Mutex::new(ActivityState {
                idle_since: Instant::now(),
                requested: false,
                evicted: false,
                next: 0,
                requests: HashMap::new(),
            }),
            evicted: Notify::new(),
        }
    }

    /// Returns the time since which the connection is idle, or waits only for a client that does not read. None while a request is
    /// in progress, or if the connection is already being closed.
    fn idle_since(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        if state.evicted {
            return None;
        }
        let waits = |since: &Option<Instant>| since.filter(|since| now.duration_since(*since) >= STALLED);
        let stalled: Option<Vec<Instant>> = state.requests.values().map(waits).collect();
        stalled.map(|stalled| stalled.into_iter().max().unwrap_or(state.idle_since))
    }

    /// Returns the time at which the connection is closed if nothing happens before.
    fn deadline(&self, limits: &ConnectionLimits) -> Option<Instant> {
        let state = self.state.lock();
        if state.requests.is_empty() {
            let time = if state.requested { limits.idle } else { limits.first_request() };
            return Some(state.idle_since + time);
        }
        state.requests.values().flatten().min().map(|since| *since + READ_DEADLINE)
    }

    /// Waits until the connection has been idle, or its client has not read, for too long.
    async fn overdue(&self, limits: &ConnectionLimits) {
        loop {
            let now = Instant::now();
            match self.deadline(limits) {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => sleep_until(deadline).await,
                None => sleep(limits.idle.min(READ_DEADLINE)).await,
            }
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> InProgress {
        let mut state = self.state.lock();
        state.requested = true;
        let id = state.next;
        state.next += 1;
        state.requests.insert(id, None);
        InProgress { activity: Arc::clone(self), id }
    }
}

/// A request in progress, until it is dropped.
pub(super) struct InProgress {
    activity: Arc<Activity>,
    id: u64,
}

impl InProgress {
    /// Records whether the service waits for the client to read.
    pub(super) fn awaits_client(&self, awaits: bool) {
        let now = awaits.then(Instant::now);
        if let Some(since) = self.activity.state.lock().requests.get_mut(&self.id) {
            *since = now;
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut state = self.activity.state.lock();
        state.requests.remove(&self.id);
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::Poll,
    };

    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn connections(limit: usize) -> OpenConnections {
        OpenConnections::new(ConnectionLimits { connections: limit, idle: IDLE })
    }

    /// Polls once.
    async fn poll_once<T>(future: &mut Pin<&mut impl Future<Output = T>>) -> Option<T> {
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn at_the_limit_the_peer_with_the_most_connections_loses_its_oldest_idle_one() {
        let connections = connections(3);
        let other = connections.admit(peer("192.0.2.9:1")).await.unwrap();
        let oldest = connections.admit(peer("192.0.2.1:1")).await.unwrap();
        let newer = connections.admit(peer("192.0.2.1:2")).await.unwrap();
        let mut waiting = pin!(connections.admit(peer("192.0.2.2:1")));
        assert!(poll_once(&mut waiting).await.is_none(), "it waits until the evicted one is closed");
        assert_eq!(connections.counts().evicted, 1);
        let is_evicted = |admission: &Admission| admission.activity.state.lock().evicted;
        assert_eq!([&other, &oldest, &newer].map(is_evicted), [false, true, false]);
        drop(oldest);
        assert!(waiting.await.is_some());
        assert_eq!(connections.counts(), ConnectionCounts { open: 2, limit: 3, evicted: 1, refused: 0 });
    }

    #[tokio::test]
    async fn where_every_connection_is_busy_a_new_one_is_refused() {
        let connections = connections(1);
        let admission = connections.admit(peer("192.0.2.1:1")).await.unwrap();
        let in_progress = admission.activity.begin();
        assert!(connections.admit(peer("192.0.2.2:1")).await.is_none());
        assert_eq!(connections.counts(), ConnectionCounts { open: 1, limit: 1, evicted: 0, refused: 1 });
        drop((in_progress, admission));
        assert!(connections.admit(peer("192.0.2.2:1")).await.is_some());
    }

    #[test]
    fn a_connection_is_overdue_when_it_is_silent_idle_or_does_not_read() {
        let limits = ConnectionLimits::default();
        let activity = Arc::new(Activity::new(peer("192.0.2.1:1")));
        let idle_since = || activity.state.lock().idle_since;
        assert_eq!(activity.deadline(&limits), Some(idle_since() + HEADER_DEADLINE));
        let short = ConnectionLimits { idle: Duration::from_secs(1), ..limits };
        assert_eq!(activity.deadline(&short), Some(idle_since() + short.idle));
        let (slow, quick) = (activity.begin(), activity.begin());
        assert_eq!(activity.deadline(&limits), None, "the service is at work");
        slow.awaits_client(true);
        let awaited = activity.deadline(&limits);
        quick.awaits_client(true);
        assert!(awaited.is_some() && activity.deadline(&limits) == awaited, "the slowest decides");
        slow.awaits_client(false);
        quick.awaits_client(false);
        assert_eq!(activity.deadline(&limits), None);
        slow.awaits_client(true);
        let later = Instant::now() + STALLED;
        assert_eq!(activity.idle_since(later), None, "the other one is at work");
        quick.awaits_client(true);
        assert_eq!(activity.idle_since(Instant::now()), None, "it may be reading");
        assert!(activity.idle_since(Instant::now() + STALLED).is_some(), "it does not read");
        drop((slow, quick));
        assert_eq!(activity.deadline(&limits), Some(idle_since() + limits.idle));
    }

    #[test]
    fn one_client_of_ipv6_is_one_network() {
        assert_eq!(network(peer("[2001:db8::1]:1").ip()), network(peer("[2001:db8::2]:1").ip()));
        assert_ne!(network(peer("[2001:db8::1]:1").ip()), network(peer("[2001:db8:0:1::1]:1").ip()));
        assert_eq!(network(peer("[::ffff:192.0.2.1]:1").ip()), network(peer("192.0.2.1:1").ip()));
    }
}
