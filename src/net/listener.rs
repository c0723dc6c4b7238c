//! Listener: accepts HTTP connections, bounded in number and in the time that they may be silent.
//!
//! [`Listener::bind`] opens the port and [`Listener::serve`] answers until it is told to stop. [`OpenConnections`] holds the limits
//! and the counts of all connections of a process; metrics read it. A request carries the address of its sender as [`Peer`].
//!
//! A connection without a request under way is idle. It is closed when its first request does not arrive in time (counted from
//! accept, TLS handshake included), when it stays idle for too long afterwards, and when the limit of connections is reached
//! and another client connects: then the peer address with the most connections loses its oldest idle one. A connection whose
//! client does not read its answer is closed as well. So a client that says nothing costs a file descriptor for a bounded
//! time, and never the last one: the limit leaves descriptors for the store and for delivery.
//!
//! This module knows nothing of routes, tokens and environments.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, http::Request, response::Response};
use axum_server::tls_rustls::RustlsConfig;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Time that a client has for the headers of a request.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Time that a client has to read the next part of its answer.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// Time after which a client that does not read is one whose place another client gets, at the limit.
const STALLED: Duration = Duration::from_secs(5);
/// Time that a connection has to close in good order.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of a resource.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Shortest time between two warnings of the same kind.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Most connections that are kept, unless an option says otherwise. Each may hold 64 KiB of headers.
pub const MOST_CONNECTIONS: usize = 2048;
/// Time between two requests of a connection, unless an option says otherwise.
pub const IDLE: Duration = Duration::from_secs(75);

/// How many connections are kept, and for how long they may be idle.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at once.
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
    fn first_request(&self) -> Duration {
        self.idle.min(HEADER_DEADLINE)
    }
}

/// The address that a request came from. Behind a reverse proxy it is that of the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Paths of the certificate chain and of its private key, both PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is in use or belongs to another machine.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate or its key cannot be used: {0}")]
    Tls(std::io::Error),
}

/// Counts of connections, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open now.
    pub open: usize,
    /// The limit.
    pub limit: usize,
    /// Idle ones that were closed for another client, since the start.
    pub evicted: u64,
    /// New ones that were refused, since the start.
    pub refused: u64,
}

/// The connections of a process. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct OpenConnections(Arc<Registry>);

struct Registry {
    limits: ConnectionLimits,
    places: Arc<Semaphore>,
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

/// What a connection does, as far as limits and deadlines need it.
struct Activity {
    network: IpAddr,
    state: Mutex<ActivityState>,
    evicted: Notify,
}

struct ActivityState {
    /// When it was accepted or its last request ended.
    idle_since: Instant,
    /// True after the first request.
    requested: bool,
    evicted: bool,
    next: u64,
    /// The requests under way. A time says since when the client does not take the next part of its answer.
    requests: HashMap<u64, Option<Instant>>,
}

/// A connection among those that are open, until it is dropped.
struct Place {
    connections: OpenConnections,
    id: u64,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.0.open).connections.remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of an address that one client can hardly choose: all of IPv4, the first 64 bits of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl OpenConnections {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Registry {
            limits,
            places: Arc::new(Semaphore::new(limits.connections)),
            open: Mutex::default(),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            warned: Mutex::default(),
        }))
    }

    /// Returns the counts of this moment.
    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: lock(&self.0.open).connections.len(),
            limit: self.0.limits.connections,
            evicted: self.0.evicted.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }

    /// Finds a place for a new connection; at the limit, an idle one is closed for it. None if all are busy.
    async fn admit(&self, peer: SocketAddr) -> Option<Place> {
        let places = Arc::clone(&self.0.places);
        let permit = match Arc::clone(&places).try_acquire_owned() {
            Ok(permit) => Some(permit),
            // The place is free when the other one has closed its descriptor.
            Err(_) if self.evict() => timeout(CLOSE_DEADLINE, places.acquire_owned()).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        let Some(permit) = permit else {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            self.warn("the limit of connections is reached; new connections are refused");
            return None;
        };
        let activity = Arc::new(Activity::new(peer));
        let mut open = lock(&self.0.open);
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&activity));
        drop(open);
        Some(Place { connections: self.clone(), id, activity, _permit: permit })
    }

    /// Closes the oldest idle connection of the peer that has the most; says whether there was one.
    fn evict(&self) -> bool {
        let open = lock(&self.0.open);
        let mut by_network: HashMap<IpAddr, usize> = HashMap::new();
        for activity in open.connections.values() {
            *by_network.entry(activity.network).or_default() += 1;
        }
        let now = Instant::now();
        let idle = open.connections.values().filter_map(|activity| Some((activity, activity.idle_since(now)?)));
        let victim =
            idle.max_by_key(|(activity, since)| (by_network.get(&activity.network), std::cmp::Reverse(*since)));
        let Some((victim, _)) = victim else { return false };
        lock(&victim.state).evicted = true;
        victim.evicted.notify_one();
        drop(open);
        self.0.evicted.fetch_add(1, Ordering::Relaxed);
        self.warn("the limit of connections is reached; idle connections are closed");
        true
    }

    /// Warns, but not for each of many.
    fn warn(&self, message: &'static str) {
        let now = Instant::now();
        let mut warned = lock(&self.0.warned);
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

    /// Since when nothing is under way but what the client does not read; none while something is, or if the connection is
    /// being closed already.
    fn idle_since(&self, now: Instant) -> Option<Instant> {
        let state = lock(&self.state);
        if state.evicted {
            return None;
        }
        let waits = |since: &Option<Instant>| since.filter(|since| now.duration_since(*since) >= STALLED);
        let stalled: Option<Vec<Instant>> = state.requests.values().map(waits).collect();
        stalled.map(|stalled| stalled.into_iter().max().unwrap_or(state.idle_since))
    }

    /// When the connection is to be closed, if nothing happens until then.
    fn deadline(&self, limits: &ConnectionLimits) -> Option<Instant> {
        let state = lock(&self.state);
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

    fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = lock(&self.state);
        state.requested = true;
        let id = state.next;
        state.next += 1;
        state.requests.insert(id, None);
        UnderWay { activity: Arc::clone(self), id }
    }
}

/// A request under way, until it is dropped.
struct UnderWay {
    activity: Arc<Activity>,
    id: u64,
}

impl UnderWay {
    /// Says whether the client has to take something now.
    fn awaits_client(&self, awaits: bool) {
        let now = awaits.then(Instant::now);
        if let Some(since) = lock(&self.activity.state).requests.get_mut(&self.id) {
            *since = now;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = lock(&self.activity.state);
        state.requests.remove(&self.id);
        state.idle_since = Instant::now();
    }
}

/// The body of an answer; its request is under way for as long as this lives.
struct Answer {
    body: Body,
    under_way: UnderWay,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // The next part is asked for when this one has found room on its way.
        self.under_way.awaits_client(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A port on which connections are accepted.
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Opens the port; nothing is answered before [`Listener::serve`].
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, ListenError> {
        let refused = |source| ListenError::Address { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let tls = match tls {
            None => None,
            Some(Tls { certificate, key }) => {
                // Another part of the process may have chosen it already; it is the same one.
                drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
                let config = RustlsConfig::from_pem_file(certificate, key).await.map_err(ListenError::Tls)?;
                Some(TlsAcceptor::from(config.get_inner()))
            }
        };
        Ok(Self { socket: listener, address, tls })
    }

    /// Returns the base URL. If port 0 was asked for, it has the port that was assigned.
    pub fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers requests until `stop` ends. Requests that are under way then have `patience` to end.
    pub async fn serve(
        self,
        router: Router,
        connections: OpenConnections,
        stop: impl Future<Output = ()>,
        patience: Duration,
    ) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.socket)?;
        let stopping = watch::Sender::new(false);
        let mut open = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(_) = open.join_next(), if !open.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    after_failed_accept(&error, &connections).await;
                    continue;
                }
            };
            match connections.admit(peer).await {
                Some(place) => {
                    let connection = Connection { peer, tls: self.tls.clone(), router: router.clone(), place };
                    open.spawn(connection.run(stream, stopping.subscribe()));
                }
                None if self.tls.is_none() => refuse(&stream),
                None => {}
            }
        }
        drop(listener);
        stopping.send_replace(true);
        if timeout(patience, async { while open.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(connections = open.len(), "requests that do not end are given up");
        }
        Ok(())
    }
}

/// Accept failed: a client that is gone already is nothing, a want of descriptors or memory passes when others end.
async fn after_failed_accept(error: &std::io::Error, connections: &OpenConnections) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    let errno = rustix::io::Errno::from_io_error(error);
    if errno == Some(rustix::io::Errno::MFILE) || errno == Some(rustix::io::Errno::NFILE) {
        connections.warn("no file descriptor is left for a new connection; `ulimit -n` limits them");
        connections.evict();
    } else {
        tracing::warn!(%error, "a connection cannot be accepted");
    }
    sleep(ACCEPT_PAUSE).await;
}

/// Tells a client that all places are taken, if that can be told at once.
fn refuse(stream: &TcpStream) {
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    drop(stream.try_write(answer));
}

/// One connection.
struct Connection {
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: Place,
}

impl Connection {
    async fn run(self, stream: TcpStream, stopping: watch::Receiver<bool>) {
        // Events are small, and must not wait for more.
        drop(stream.set_nodelay(true));
        let Some(acceptor) = self.tls.clone() else {
            // HTTP/2 is for TLS alone, where both sides agree on it first.
            return self.answer(stream, auto::Builder::new(TokioExecutor::new()).http1_only(), stopping).await;
        };
        let until = Instant::now() + self.place.connections.0.limits.first_request();
        let stream = tokio::select! {
            accepted = timeout_at(until, acceptor.accept(stream)) => match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(_)) | Err(_) => return,
            },
            () = self.place.activity.evicted.notified() => return,
        };
        let builder = auto::Builder::new(TokioExecutor::new());
        let builder = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => builder.http2_only(),
            _ => builder.http1_only(),
        };
        self.answer(stream, builder, stopping).await;
    }

    /// Answers the requests of a connection until it ends or has to be closed.
    async fn answer<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self,
        stream: S,
        mut builder: auto::Builder<TokioExecutor>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let Self { peer, router, place, .. } = self;
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .max_headers(100)
            .max_buf_size(64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(64)
            .max_header_list_size(64 * 1024)
            .keep_alive_interval(HEADER_DEADLINE);
        let activity = Arc::clone(&place.activity);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let under_way = activity.begin();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let answered = router.clone().oneshot(request);
            async move {
                let Ok(response) = answered.await;
                under_way.awaits_client(true);
                Ok::<Response<Answer>, Infallible>(response.map(|body| Answer { body, under_way }))
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = place.activity.evicted.notified() => return,
            () = place.activity.overdue(&place.connections.0.limits) => {
                connection.as_mut().graceful_shutdown();
                drop(timeout(CLOSE_DEADLINE, connection).await);
                return;
            }
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
        }
        // Requests that are under way may end, and the listener says for how long.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = place.activity.overdue(&place.connections.0.limits) => {}
        }
    }
}

#[cfg(test)]
mod tests {
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
        let is_evicted = |place: &Place| lock(&place.activity.state).evicted;
        assert_eq!([&other, &oldest, &newer].map(is_evicted), [false, true, false]);
        drop(oldest);
        assert!(waiting.await.is_some());
        assert_eq!(connections.counts(), ConnectionCounts { open: 2, limit: 3, evicted: 1, refused: 0 });
    }

    #[tokio::test]
    async fn where_every_connection_is_busy_a_new_one_is_refused() {
        let connections = connections(1);
        let place = connections.admit(peer("192.0.2.1:1")).await.unwrap();
        let under_way = place.activity.begin();
        assert!(connections.admit(peer("192.0.2.2:1")).await.is_none());
        assert_eq!(connections.counts(), ConnectionCounts { open: 1, limit: 1, evicted: 0, refused: 1 });
        drop((under_way, place));
        assert!(connections.admit(peer("192.0.2.2:1")).await.is_some());
    }

    #[test]
    fn a_connection_is_overdue_when_it_is_silent_idle_or_does_not_read() {
        let limits = ConnectionLimits::default();
        let activity = Arc::new(Activity::new(peer("192.0.2.1:1")));
        let idle_since = || lock(&activity.state).idle_since;
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
