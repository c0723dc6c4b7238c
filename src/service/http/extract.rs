//! Extractors: JSON bodies, query parameters and path segments.
//!
//! A body that is not declared as JSON is refused with 415, one that cannot be parsed with 400. Errors name the place and the
//! kind of a fault, never a value: a body can contain secrets.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::PathRejection},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{
    HttpProblem,
    upload::{BodyClass, BodyPermit},
};
use crate::service::{Service, caller::Caller};

/// A JSON body, and its share of the memory for bodies, which is held until it is dropped. The handler must authenticate the
/// caller first.
pub(in crate::service) struct Body<T>(pub(in crate::service) T, pub(in crate::service) BodyPermit);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for Body<T> {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        read_json(request, &service.bodies.documents).await.map(|(value, permit)| Body(value, permit))
    }
}

/// A JSON body of a request for a verifier run; these have memory of their own.
pub(in crate::service) struct RunBody<T>(pub(in crate::service) T, pub(in crate::service) BodyPermit);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for RunBody<T> {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        read_json(request, &service.bodies.runs).await.map(|(value, permit)| RunBody(value, permit))
    }
}

async fn read_json<T: DeserializeOwned>(request: Request, class: &BodyClass) -> Result<(T, BodyPermit), HttpProblem> {
    check_media_type(request.headers())?;
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| HttpProblem::internal("a body is read before its caller is authenticated"))?;
    let length = content_length(request.headers());
    let (bytes, permit) = class.read(&caller, length, request.into_body()).await?;
    parse_json(&bytes).map(|value| (value, permit))
}

/// Refuses a body that is not declared as JSON.
pub(in crate::service) fn check_media_type(headers: &HeaderMap) -> Result<(), HttpProblem> {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    if ["application/json", "application/merge-patch+json"].contains(&media_type.as_str()) {
        return Ok(());
    }
    Err(HttpProblem::unsupported_media_type("the body is not declared as JSON")
        .remedy("Send `Content-Type: application/json`."))
}

/// Returns the length in the `Content-Length` header.
pub(in crate::service) fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Parses a JSON document in UTF-8, with or without the byte order mark that PowerShell and some editors write.
pub(in crate::service) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HttpProblem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Tracking the path makes parsing slower by half, so it is done only after a failure.
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    if let Some(encoding) = crate::text::detect_encoding(bytes) {
        return Err(HttpProblem::malformed(format!("the body is {encoding}")).remedy("Send the JSON as UTF-8."));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let wrong = |path: &str, error: &serde_json::Error| {
        // serde's message can quote a value, so the message has only the place and the kind.
        let kind =
            if error.is_data() { "a field is missing, unknown or of the wrong type" } else { "the JSON is malformed" };
        let at = if path.is_empty() || path == "." { String::new() } else { format!(" at `{path}`") };
        HttpProblem::malformed(format!("the body{at}, line {}, column {}: {kind}", error.line(), error.column()))
    };
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| wrong(&bounded_path(&error.path().to_string()), error.inner()))?;
    deserializer.end().map_err(|error| wrong("", &error))?;
    Ok(value)
}

/// Returns a path into a body as printable ASCII of bounded length.
fn bounded_path(path: &str) -> String {
    path.chars().filter(char::is_ascii_graphic).take(200).collect()
}

/// Checks the reason in a request of an operator, and returns it without surrounding spaces.
pub(in crate::service) fn check_reason(text: &str) -> Result<&str, HttpProblem> {
    let reason = text.trim();
    if reason.is_empty() || reason.chars().count() > 200 || reason.chars().any(char::is_control) {
        return Err(HttpProblem::malformed("`reason` must have 1 to 200 characters and no control characters"));
    }
    Ok(reason)
}

/// The query parameters of a request.
pub(in crate::service) struct Parameters<T>(pub(in crate::service) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpProblem> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(parameters)| Parameters(parameters))
            .map_err(|_| invalid_parameter())
    }
}

/// Parses the query string of a request.
pub(in crate::service) fn parse_query<T: DeserializeOwned>(text: &str) -> Result<T, HttpProblem> {
    let uri: axum::http::Uri = format!("/?{text}").parse().map_err(|_| invalid_parameter())?;
    Query::<T>::try_from_uri(&uri).map(|Query(parameters)| parameters).map_err(|_| invalid_parameter())
}

fn invalid_parameter() -> HttpProblem {
    HttpProblem::malformed("a query parameter is missing, unknown or of the wrong type")
}

/// The variable segment of a request's path.
pub(in crate::service) struct Segment<T>(pub(in crate::service) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segment<T> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpProblem> {
        Path::<T>::from_request_parts(parts, state)
            .await
            .map(|Path(segment)| Segment(segment))
            .map_err(|_: PathRejection| HttpProblem::malformed("a path segment has an invalid form"))
    }
}

#[cfg(test)]
mod tests {
    use super::parse_json;

    #[test]
    fn a_body_is_utf_8_with_or_without_a_byte_order_mark_and_another_encoding_is_named() {
        let text = "{\"name\": \"billing\"}";
        let read = |bytes: &[u8]| parse_json::<serde_json::Value>(bytes).map_err(|problem| format!("{problem:?}"));
        assert_eq!(read(text.as_bytes()), read(&[b"\xef\xbb\xbf", text.as_bytes()].concat()));
        assert!(read(text.as_bytes()).is_ok());
        let wide = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
        for bytes in [[b"\xff\xfe", &little[..]].concat(), [b"\xfe\xff", &big[..]].concat(), little, big] {
            assert!(read(&bytes).is_err_and(|problem| problem.contains("the body is UTF-16")), "{bytes:?}");
        }
    }
}
