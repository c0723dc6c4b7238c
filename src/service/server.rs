//! Listening, and what stands around every request: its id, deadlines, limits, compression, a line in the log.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate as _, SizeAbove},
    },
};

use super::{Service, problem::Problem, routes};
use crate::{
    api::{BODY_LIMIT, ProblemDetails, VERSION},
    client::VERSION_HEADER,
    model::Code,
};

/// Requests that are worked on at once; more are told to come back.
const CONCURRENT: usize = 256;
/// Questions about the service's health that are answered at once. They have places of their own: whoever asks must not
/// be told that the service is down because it is busy.
const HEALTH: usize = 16;
/// How long one request may take, the arrival of its body included.
const REQUEST_DEADLINE: Duration = Duration::from_secs(120);
/// How long a client may take to send its headers.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long requests that are under way may take to end when the service stops.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Where the certificate and its key are, both PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate or its key cannot be used: {0}")]
    Tls(std::io::Error),
    /// It listened, and then could not go on.
    #[error("the service stopped: {0}")]
    Stopped(std::io::Error),
}

/// A service that listens.
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    router: Router,
    service: Arc<Service>,
}

impl Server {
    /// Begins to listen; nothing is answered before [`Server::run`].
    pub async fn bind(service: Arc<Service>, address: SocketAddr, tls: Option<Tls>) -> Result<Self, ServeError> {
        let refused = |source| ServeError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let tls = match tls {
            None => None,
            Some(Tls { certificate, key }) => {
                // Another part of the process may have chosen it already; it is the same one.
                drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
                Some(RustlsConfig::from_pem_file(certificate, key).await.map_err(ServeError::Tls)?)
            }
        };
        Ok(Self { listener, address, tls, router: envelope(routes::router(Arc::clone(&service))), service })
    }

    /// Where it listens; with port 0 asked for, the port that it got.
    pub fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers requests until `stop`, then lets those under way end.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let handle: Handle<SocketAddr> = Handle::new();
        let stopper = handle.clone();
        let (owner, ended) = (Arc::clone(&self.service), Arc::clone(&self.service));
        tokio::spawn(async move {
            stop.await;
            tracing::info!("stopping");
            owner.stopping.send_replace(true);
            stopper.graceful_shutdown(Some(STOP_DEADLINE));
        });
        let service = self.router.into_make_service();
        macro_rules! bounded {
            ($server:expr) => {{
                let mut server = $server.handle(handle);
                server
                    .http_builder()
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_DEADLINE)
                    .max_headers(100)
                    .max_buf_size(64 * 1024);
                server
                    .http_builder()
                    .http2()
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(64)
                    .max_header_list_size(64 * 1024)
                    .keep_alive_interval(HEADER_DEADLINE);
                server.serve(service).await
            }};
        }
        let result = match self.tls {
            Some(tls) => match axum_server::from_tcp_rustls(self.listener, tls) {
                Ok(server) => bounded!(server),
                Err(error) => Err(error),
            },
            None => match axum_server::from_tcp(self.listener) {
                Ok(server) => bounded!(server),
                Err(error) => Err(error),
            },
        };
        // What is being sent is brought to its end; what waits, waits.
        ended.delivery.stop(STOP_DEADLINE).await;
        result.map_err(ServeError::Stopped)
    }
}

/// What stands around every request, from the outside in.
fn envelope(router: Router) -> Router {
    let places = [Arc::new(Semaphore::new(CONCURRENT)), Arc::new(Semaphore::new(HEALTH))];
    let compressed = SizeAbove::new(1024)
        .and(NotForContentType::new("text/plain"))
        // Compression would hold lines back.
        .and(NotForContentType::const_new("application/x-ndjson"))
        .and(NotForContentType::SSE);
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            Problem::internal("a handler panicked").into_response()
        }))
        .layer(middleware::from_fn(move |request: Request, next| {
            let [usual, health] = &places;
            let places = if ["/healthz", "/readyz"].contains(&request.uri().path()) { health } else { usual };
            bounded(Arc::clone(places), request, next)
        }))
        .layer(middleware::from_fn(identified))
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(compressed))
}

/// A place and a deadline for each request.
///
/// What may change something is not given up when its client goes away, or when time is up: between what the store took and
/// what is in memory there must be no end. Whoever only reads is.
async fn bounded(places: Arc<Semaphore>, request: Request, next: Next) -> Response {
    let Ok(place) = places.try_acquire_owned() else {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy, "the service has too much to do")
            .remedy("Try again in a moment.")
            .into_response();
    };
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let work = async move {
        let _place = place;
        next.run(request).await
    };
    let answered = async move {
        if only_reads {
            return work.await;
        }
        tokio::spawn(work).await.unwrap_or_else(|error| Problem::internal(error).into_response())
    };
    match tokio::time::timeout(REQUEST_DEADLINE, answered).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, Code::Busy, "the request took too long")
            .remedy("Look at the state before trying again: a change may have been taken.")
            .into_response(),
    }
}

/// An id for each request, in the answer, in a problem's document and in the log; never what was sent.
async fn identified(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map_or("(none)".to_owned(), |path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    tracing::info!(request_id = %id, method = %method, path = %path, status, elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), "request");
    let labels = [("path", path), ("status", status.to_string())];
    metrics::counter!("mailwright_requests_total", &labels).increment(1);
    metrics::histogram!("mailwright_request_seconds").record(elapsed.as_secs_f64());

    if let Some(document) = response.extensions_mut().remove::<Arc<ProblemDetails>>() {
        let document = ProblemDetails { request_id: Some(id.clone()), ..document.as_ref().clone() };
        if let Ok(body) = serde_json::to_vec(&document) {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(body);
        }
    }
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(VERSION_HEADER), HeaderValue::from(VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}
