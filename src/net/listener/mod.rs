//! Listener: accepts HTTP connections, bounded in number and in the time that they may be silent.
//!
//! [`Listener::bind`] opens the port and [`Listener::serve`] answers requests until the service stops. [`OpenConnections`] has the
//! limits and counts of all connections of a process, for metrics. Each request has the address of its sender as [`Peer`].
//!
//! A connection without a request in progress is idle. It is closed if its first request does not arrive in time (counted from
//! accept, including the TLS handshake), if it stays idle for too long afterwards, or if the limit of connections is reached and
//! another client connects: then the peer address with the most connections loses its oldest idle one. A connection whose client
//! does not read its answer for 30 seconds is closed as well. If all are busy, the new client gets 503 without TLS, and is
//! disconnected with TLS. A failed accept is logged and the next one follows. A silent client therefore uses a file descriptor for
//! a bounded time, and the limit leaves descriptors for the store and for delivery.
//!
//! This module does not know routes, tokens or environments.

mod open_connections;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    pin::{Pin, pin},
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
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use open_connections::{Admission, InProgress};
pub use open_connections::{ConnectionCounts, ConnectionLimits, IDLE, MOST_CONNECTIONS, OpenConnections};

/// Time that a client has for the headers of a request.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Time that a connection has to close gracefully.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address of the sender of a request. Behind a reverse proxy it is the address of the proxy.
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

/// The reason why a listener cannot start.
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

/// The body of an answer. Its request is in progress until it is dropped.
struct Answer {
    body: Body,
    in_progress: InProgress,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // The next part is polled when this one fits into the send buffer.
        self.in_progress.awaits_client(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An open port that accepts connections.
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Opens the port. Requests are answered from [`Listener::serve`] on.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, ListenError> {
        let refused = |source| ListenError::Address { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let tls = match tls {
            None => None,
            Some(Tls { certificate, key }) => {
                // Another part of the process may have installed the same provider already.
                drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
                let config = RustlsConfig::from_pem_file(certificate, key).await.map_err(ListenError::Tls)?;
                Some(TlsAcceptor::from(config.get_inner()))
            }
        };
        Ok(Self { socket: listener, address, tls })
    }

    /// Returns the base URL, with the assigned port if port 0 was requested.
    pub fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers requests until `stop` ends. Requests in progress then have `patience` to finish.
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
                Some(admission) => {
                    let connection = Connection { peer, tls: self.tls.clone(), router: router.clone(), admission };
                    open.spawn(connection.run(stream, stopping.subscribe()));
                }
                None if self.tls.is_none() => refuse(&stream),
                None => {}
            }
        }
        drop(listener);
        stopping.send_replace(true);
        if timeout(patience, async { while open.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(connections = open.len(), "closing connections whose requests did not end in time");
        }
        Ok(())
    }
}

/// Handles a failed accept. A client that has disconnected is ignored; a lack of descriptors or memory ends when others disconnect.
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
        tracing::warn!(%error, "cannot accept a connection");
    }
    sleep(ACCEPT_PAUSE).await;
}

/// Answers 503 to a client, if that is possible without waiting.
fn refuse(stream: &TcpStream) {
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    drop(stream.try_write(answer));
}

/// A connection.
struct Connection {
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    admission: Admission,
}

impl Connection {
    async fn run(self, stream: TcpStream, stopping: watch::Receiver<bool>) {
        // Events are small and must be sent without delay.
        drop(stream.set_nodelay(true));
        let Some(acceptor) = self.tls.clone() else {
            // HTTP/2 is used over TLS only, where both sides negotiate it.
            return self.answer(stream, auto::Builder::new(TokioExecutor::new()).http1_only(), stopping).await;
        };
        let until = Instant::now() + self.admission.limits().first_request();
        let stream = tokio::select! {
            accepted = timeout_at(until, acceptor.accept(stream)) => match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(_)) | Err(_) => return,
            },
            () = self.admission.evicted() => return,
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
        let Self { peer, router, admission, .. } = self;
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
        let activity = admission.activity();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let in_progress = activity.begin();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let answered = router.clone().oneshot(request);
            async move {
                let Ok(response) = answered.await;
                in_progress.awaits_client(true);
                Ok::<Response<Answer>, Infallible>(response.map(|body| Answer { body, in_progress }))
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = admission.evicted() => return,
            () = admission.overdue() => {
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
            () = admission.overdue() => {}
        }
    }
}
