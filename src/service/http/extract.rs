//! What a request carries, read with limits, and refused without an echo: a body may hold what nobody should see.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::PathRejection},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{
    HttpProblem,
    upload::{Kind, Room},
};
use crate::service::{Service, access::Caller};

/// A JSON body, and the room that it has in memory until that is dropped. Its caller must be known before it is read.
pub(in crate::service) struct Body<T>(pub(in crate::service) T, pub(in crate::service) Room);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for Body<T> {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        json(request, &service.bodies.documents).await.map(|(value, room)| Body(value, room))
    }
}

/// The same for a run of the verifier, which has room of its own.
pub(in crate::service) struct RunBody<T>(pub(in crate::service) T, pub(in crate::service) Room);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for RunBody<T> {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        json(request, &service.bodies.runs).await.map(|(value, room)| RunBody(value, room))
    }
}

async fn json<T: DeserializeOwned>(request: Request, kind: &Kind) -> Result<(T, Room), HttpProblem> {
    check_media_type(request.headers())?;
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| HttpProblem::internal("a body is read before its caller is known"))?;
    let stated = stated_length(request.headers());
    let (bytes, room) = kind.read(&caller, stated, request.into_body()).await?;
    parse(&bytes).map(|value| (value, room))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), HttpProblem> {
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

/// The length that a body says it has.
pub(in crate::service) fn stated_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A JSON document in UTF-8, with or without the byte order mark that an editor or PowerShell writes.
pub(in crate::service) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HttpProblem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Keeping track of the path costs half as much again, so it is done only where there is something to tell.
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    if let Some(encoding) = crate::text::other_encoding(bytes) {
        return Err(HttpProblem::malformed(format!("the body is {encoding}")).remedy("Send the JSON as UTF-8."));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let wrong = |path: &str, error: &serde_json::Error| {
        // serde's message may quote a value, so only the place and the kind are told.
        let kind = if error.is_data() {
            "something there is missing, unknown or of the wrong type"
        } else {
            "the JSON is not well formed"
        };
        let at = if path.is_empty() || path == "." { String::new() } else { format!(" at `{path}`") };
        HttpProblem::malformed(format!("the body{at}, line {}, column {}: {kind}", error.line(), error.column()))
    };
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| wrong(&safe(&error.path().to_string()), error.inner()))?;
    deserializer.end().map_err(|error| wrong("", &error))?;
    Ok(value)
}

/// A path into a body, cut and without what could forge a log line.
fn safe(path: &str) -> String {
    path.chars().filter(char::is_ascii_graphic).take(200).collect()
}

/// The query of an address.
pub(in crate::service) struct Parameters<T>(pub(in crate::service) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpProblem> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(parameters)| Parameters(parameters))
            .map_err(|_| bad_parameter())
    }
}

/// The query of an address that was taken apart already.
pub(in crate::service) fn query<T: DeserializeOwned>(text: &str) -> Result<T, HttpProblem> {
    let uri: axum::http::Uri = format!("/?{text}").parse().map_err(|_| bad_parameter())?;
    Query::<T>::try_from_uri(&uri).map(|Query(parameters)| parameters).map_err(|_| bad_parameter())
}

fn bad_parameter() -> HttpProblem {
    HttpProblem::malformed("a parameter of the address is missing, unknown or of the wrong type")
}

/// The variable part of an address's path.
pub(in crate::service) struct Segment<T>(pub(in crate::service) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segment<T> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpProblem> {
        Path::<T>::from_request_parts(parts, state).await.map(|Path(segment)| Segment(segment)).map_err(
            |_: PathRejection| HttpProblem::malformed("the address names something in a form that does not exist"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_body_is_utf_8_with_or_without_its_mark_and_another_encoding_is_named() {
        let text = "{\"name\": \"billing\"}";
        let read = |bytes: &[u8]| parse::<serde_json::Value>(bytes).map_err(|problem| format!("{problem:?}"));
        assert_eq!(read(text.as_bytes()), read(&[b"\xef\xbb\xbf", text.as_bytes()].concat()));
        assert!(read(text.as_bytes()).is_ok());
        let wide = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
        for bytes in [[b"\xff\xfe", &little[..]].concat(), [b"\xfe\xff", &big[..]].concat(), little, big] {
            assert!(read(&bytes).is_err_and(|told| told.contains("the body is UTF-16")), "{bytes:?}");
        }
    }
}
