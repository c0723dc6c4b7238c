//! Middleware applied to every request: request id, deadline, limits, compression, access log and telemetry context.
//!
//! [`layers`] wraps the routes of an environment or of the process. It answers:
//!
//! * 400 if a request of HTTP/1.1 has no `Host`, or any request several or an invalid one
//! * 408 if the answer does not begin within 120 seconds
//! * 500 if a handler panics
//! * 503 if the limit of concurrent requests is reached
//!
//! A request that may change something continues after its deadline or a disconnect; one that only reads is cancelled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, Version, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate as _, SizeAbove},
    },
};

use super::HttpProblem;
use crate::{
    api::{BODY_LIMIT, ProblemDetails, VERSION, VERSION_HEADER},
    model::Code,
    service::limits::Limits,
    telemetry::{self, EnvironmentContext},
};

/// The time in which the answer must begin, counted from the end of the request's header. The transfer of the answer has no limit
/// here.
const REQUEST_DEADLINE: Duration = Duration::from_secs(120);

/// The id of a request, for answers that show it.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// Wraps routes in all layers; the last one listed is the outermost.
pub(in crate::service) fn layers(router: Router, limits: &Limits, context: Option<EnvironmentContext>) -> Router {
    let limits = limits.clone();
    let compressed = SizeAbove::new(1024)
        .and(NotForContentType::new("text/plain"))
        // Compression would delay the lines of a stream.
        .and(NotForContentType::const_new("application/x-ndjson"))
        .and(NotForContentType::SSE);
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            HttpProblem::internal("a handler panicked").into_response()
        }))
        .layer(middleware::from_fn(move |request: Request, next| {
            limit_concurrency(Arc::clone(limits.request_permits(&request)), request, next)
        }))
        .layer(middleware::from_fn(require_one_host))
        .layer(middleware::from_fn(assign_request_id))
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(compressed))
        .layer(middleware::from_fn(move |request, next: Next| {
            let context = context.clone();
            async move {
                match context {
                    Some(context) => context.instrument(next.run(request)).await,
                    None => next.run(request).await,
                }
            }
        }))
}

/// Limits the number of concurrent requests and the duration of each.
///
/// A request that can change something continues when its client disconnects or its time is up: it must not end between the
/// commit in the store and the update in memory. A request that only reads is cancelled.
async fn limit_concurrency(permits: Arc<Semaphore>, request: Request, next: Next) -> Response {
    let Ok(permit) = permits.try_acquire_owned() else {
        return HttpProblem::new(Code::Busy, "the service is busy: too many requests are in progress")
            .remedy("Try again in a moment.")
            .into_response();
    };
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let work = async move {
        let _permit = permit;
        next.run(request).await
    };
    let answered = async move {
        if only_reads {
            return work.await;
        }
        telemetry::spawn(work).await.unwrap_or_else(|error| HttpProblem::internal(error).into_response())
    };
    match tokio::time::timeout(REQUEST_DEADLINE, answered).await {
        Ok(response) => response,
        Err(_) => HttpProblem::timed_out("the request took too long")
            .remedy("Read the state before you try again: a change may have been applied.")
            .into_response(),
    }
}

/// Refuses requests without exactly one `Host` (RFC 9112, section 3.2): a proxy and this service could understand them
/// differently.
async fn require_one_host(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_valid = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| Authority::try_from(host).is_ok()),
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    if !is_valid {
        return HttpProblem::malformed("the request does not have exactly one well-formed `Host` header")
            .into_response();
    }
    next.run(request).await
}

/// Assigns an id to each request and adds it to the response, to the problem details and to the access log. The log never has
/// the contents of a request.
async fn assign_request_id(mut request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    request.extensions_mut().insert(RequestId(id.clone().into()));
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
    // Assets of the console may be kept; nothing else may.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}
