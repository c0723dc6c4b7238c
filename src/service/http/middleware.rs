//! What stands around every request: its id, deadlines, limits, compression, a line in the log, and on whose behalf it is
//! answered.

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
    telemetry::{self, Behalf},
};

/// How long one request may take, the arrival of its body included.
const REQUEST_DEADLINE: Duration = Duration::from_secs(120);

/// What stands around every request, from the outside in.
pub(in crate::service) fn envelope(router: Router, limits: &Limits, behalf: Option<Behalf>) -> Router {
    let limits = limits.clone();
    let compressed = SizeAbove::new(1024)
        .and(NotForContentType::new("text/plain"))
        // Compression would hold lines back.
        .and(NotForContentType::const_new("application/x-ndjson"))
        .and(NotForContentType::SSE);
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            HttpProblem::internal("a handler panicked").into_response()
        }))
        .layer(middleware::from_fn(move |request: Request, next| {
            bounded(Arc::clone(limits.places(&request)), request, next)
        }))
        .layer(middleware::from_fn(with_one_host))
        .layer(middleware::from_fn(identified))
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(compressed))
        .layer(middleware::from_fn(move |request, next: Next| {
            let behalf = behalf.clone();
            async move {
                match behalf {
                    Some(behalf) => behalf.run(next.run(request)).await,
                    None => next.run(request).await,
                }
            }
        }))
}

/// A place and a deadline for each request.
///
/// What may change something is not given up when its client goes away, or when time is up: between what the store took and
/// what is in memory there must be no end. Whoever only reads is.
async fn bounded(places: Arc<Semaphore>, request: Request, next: Next) -> Response {
    let Ok(place) = places.try_acquire_owned() else {
        return HttpProblem::new(Code::Busy, "the service has too much to do")
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
        telemetry::spawn(work).await.unwrap_or_else(|error| HttpProblem::internal(error).into_response())
    };
    match tokio::time::timeout(REQUEST_DEADLINE, answered).await {
        Ok(response) => response,
        Err(_) => HttpProblem::timed_out("the request took too long")
            .remedy("Look at the state before trying again: a change may have been taken.")
            .into_response(),
    }
}

/// An HTTP/1.1 request names its host, once (RFC 9112, section 3.2). One that does not was made by hand, or means something
/// else to a proxy than it does here.
async fn with_one_host(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_good = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| Authority::try_from(host).is_ok()),
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    if !is_good {
        return HttpProblem::malformed("the request has not exactly one well-formed `Host`").into_response();
    }
    next.run(request).await
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
