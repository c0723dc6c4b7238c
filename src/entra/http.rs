//! HTTP requests with limits: every reply is bounded in size, time and number of attempts, and redirects are not
//! followed.
//!
//! 429, 502, 503 and 504 are repeated after the time that the reply names (`Retry-After` in seconds or as a date), five attempts
//! within the time that the caller allows, unless the request is marked [`Request::only_once`]. A connection that fails, or a
//! reply that is lost, larger than 8 MiB, or not JSON, is an [`HttpError`] and not repeated. Other statuses are returned. The
//! number of concurrent requests is limited.

mod error;

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use reqwest::{Method, Url, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::redaction::SentSecrets;
use crate::{
    net::{
        handshake_fault::HandshakeFault,
        http_client::{HttpClient, describe_error},
        tls::Trust,
    },
    text::is_hidden,
};

pub use error::{HttpError, tls_remedy};

/// The largest reply, in bytes. A page of a directory has a few hundred thousand.
const REPLY_LIMIT: usize = 8 * 1024 * 1024;
/// The largest number of attempts of a request.
const MAX_ATTEMPTS: u32 = 5;
/// The longest id of a request that is kept, in characters. Microsoft's have 36.
const ID_SHOWN: usize = 100;
/// The longest claims of a challenge, in base64.
const CHALLENGE_LIMIT: usize = 8 * 1024;
/// The reason of a request that cannot be sent.
const UNWRITABLE: &str =
    "the request cannot be written: its address or its token has characters that HTTP does not allow";
/// The longest wait that `Retry-After` can ask for. Exchange asks for minutes; years are a fault of a proxy.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Settings of the client.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Certificate authorities (PEM) that are trusted in addition to the platform's.
    pub authorities: Option<Vec<u8>>,
    /// The largest number of concurrent requests.
    pub connections: usize,
    /// The deadline of one attempt.
    pub timeout: Duration,
    /// The longest time that a request may wait between its attempts, all together.
    pub patience: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { authorities: None, connections: 8, timeout: Duration::from_secs(20), patience: Duration::from_secs(60) }
    }
}

/// An HTTP client. Cheap to clone; clones share their connections and their count of requests.
#[derive(Clone, Debug)]
pub struct Http {
    client: HttpClient,
    trust: Trust,
    permits: Arc<Semaphore>,
    sent: Arc<AtomicU64>,
    timeout: Duration,
    patience: Duration,
}

/// A request that can be sent more than once.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: Url,
    bearer: Option<SecretString>,
    authorization: Option<ClientCredentials>,
    body: Body,
    headers: Vec<(&'static str, String)>,
    is_repeatable: bool,
}

/// The credentials of a client in the header `Authorization`.
#[derive(Debug)]
struct ClientCredentials {
    header: SecretString,
    secret: SecretString,
}

#[derive(Debug)]
enum Body {
    Empty,
    Json(Vec<u8>),
    Text(bytes::Bytes),
    Bytes(bytes::Bytes),
    Form(SecretString),
}

/// A reply that is JSON or empty, with any status.
#[derive(Debug)]
pub struct HttpReply {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if there was none.
    pub body: Value,
    /// The time in the header `Date`.
    pub date: Option<Timestamp>,
    /// The id under which Microsoft's support finds the request.
    pub request_id: Option<String>,
    /// The time to wait before the next attempt.
    pub retry_after: Option<Duration>,
    /// The claims that a new token must have (`WWW-Authenticate` with `insufficient_claims`), as JSON.
    pub claims_challenge: Option<String>,
}

impl Request {
    fn new(method: Method, url: Url, body: Body) -> Self {
        Self { method, url, bearer: None, authorization: None, body, headers: Vec::new(), is_repeatable: true }
    }

    /// Creates a GET request.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url, Body::Empty)
    }

    /// Creates a DELETE request.
    pub fn delete(url: Url) -> Self {
        Self::new(Method::DELETE, url, Body::Empty)
    }

    /// Creates a POST request without a body.
    pub fn post_empty(url: Url) -> Self {
        Self::new(Method::POST, url, Body::Empty)
    }

    /// Creates a POST request with a text.
    pub fn post_text(url: Url, text: String) -> Self {
        Self::new(Method::POST, url, Body::Text(text.into()))
    }

    /// Creates a PUT request with a part of a file.
    pub fn put_bytes(url: Url, bytes: bytes::Bytes) -> Self {
        Self::new(Method::PUT, url, Body::Bytes(bytes))
    }

    /// Creates a POST request with a JSON document. It is repeated only where that is safe: see [`Request::only_once`].
    pub fn post_json(url: Url, body: &Value) -> Self {
        Self::new(Method::POST, url, Body::Json(body.to_string().into_bytes()))
    }

    /// Creates a POST request with an encoded form, which may contain secrets.
    pub fn post_form(url: Url, form: SecretString) -> Self {
        Self::new(Method::POST, url, Body::Form(form))
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn bearer(mut self, token: &SecretString) -> Self {
        self.bearer = Some(token.clone());
        self
    }

    /// Adds the credentials of a client: the value of the header `Authorization`, and the secret in it.
    #[must_use]
    pub(super) fn authorization(mut self, header: SecretString, secret: &SecretString) -> Self {
        self.authorization = Some(ClientCredentials { header, secret: secret.clone() });
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Returns the secrets of the request.
    fn secrets(&self) -> SentSecrets {
        let mut secrets = SentSecrets::default();
        if let Some(bearer) = &self.bearer {
            secrets.add_bearer(bearer.expose_secret());
        }
        if let Some(ClientCredentials { header, secret }) = &self.authorization {
            secrets.add_bearer(secret.expose_secret());
            secrets.add_bearer(header.expose_secret().trim_start_matches("Basic "));
        }
        if let Body::Form(form) = &self.body {
            secrets.add_form(form.expose_secret());
        }
        secrets
    }

    /// Forbids to repeat the request, for effects that must not occur twice.
    #[must_use]
    pub fn only_once(mut self) -> Self {
        self.is_repeatable = false;
        self
    }
}

impl HttpReply {
    /// Returns true if the status is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Deserializes the body; unknown fields are ignored.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&self.body).ok()
    }
}

impl Http {
    /// Creates a client. Fails if the certificate authorities cannot be read.
    pub fn new(options: &HttpOptions) -> Result<Self, String> {
        let trust = Trust::new(options.authorities.as_deref())?;
        let tls = trust.client_config()?;
        let (timeout, connections) = (options.timeout, options.connections);
        let client = HttpClient::new(move |builder| {
            builder
                .tls_backend_preconfigured(tls.clone())
                .connect_timeout(timeout.min(Duration::from_secs(10)))
                .timeout(timeout)
                .pool_max_idle_per_host(connections)
        });
        Ok(Self {
            client,
            trust,
            permits: Arc::new(Semaphore::new(options.connections.max(1))),
            sent: Arc::new(AtomicU64::new(0)),
            timeout: options.timeout,
            patience: options.patience,
        })
    }

    /// Returns the trust in servers.
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Returns the number of requests that were sent; each attempt counts.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends a request, and repeats it if the reply asks for that.
    pub async fn send(&self, request: Request) -> Result<HttpReply, HttpError> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let mut waited = Duration::ZERO;
        let mut tries = 0;
        loop {
            tries += 1;
            let (answer, retry_after) = {
                let _permit = self.permits.acquire().await;
                self.send_once(&request, &host).await?
            };
            if !asks_to_repeat(answer.status) || !request.is_repeatable {
                return Ok(answer);
            }
            // A reply that names no time is followed by a wait of 1, 2, 4, ... seconds.
            let wait = retry_after.unwrap_or(Duration::from_secs(1 << tries.min(5) >> 1));
            if tries >= MAX_ATTEMPTS || waited + wait > self.patience {
                let asked = retry_after.filter(|_| tries < MAX_ATTEMPTS).map(|wait| wait.as_secs());
                return Err(HttpError::Busy { host, status: answer.status, asked, tries });
            }
            waited += wait;
            tokio::time::sleep(wait).await;
        }
    }

    async fn send_once(&self, request: &Request, host: &str) -> Result<(HttpReply, Option<Duration>), HttpError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let sending = self.client.request(request.method.clone(), request.url.clone());
        let unprepared =
            |_| HttpError::Unreachable { host: host.to_owned(), why: "TLS could not be prepared".to_owned() };
        let mut sending = sending.map_err(unprepared)?.header(header::ACCEPT, "application/json");
        if let Some(bearer) = &request.bearer {
            sending = sending.bearer_auth(bearer.expose_secret());
        }
        if let Some(ClientCredentials { header, .. }) = &request.authorization {
            let value = header::HeaderValue::from_str(header.expose_secret());
            let unusable = |_| HttpError::Unreachable { host: host.to_owned(), why: UNWRITABLE.to_owned() };
            let mut value = value.map_err(unusable)?;
            value.set_sensitive(true);
            sending = sending.header(header::AUTHORIZATION, value);
        }
        for (name, value) in &request.headers {
            sending = sending.header(*name, value);
        }
        sending = match &request.body {
            // Microsoft's front ends refuse a POST that does not state its length.
            Body::Empty if request.method == Method::POST => sending.header(header::CONTENT_LENGTH, 0),
            Body::Empty => sending,
            Body::Json(body) => sending.header(header::CONTENT_TYPE, "application/json").body(body.clone()),
            Body::Text(text) => sending.header(header::CONTENT_TYPE, "text/plain").body(text.clone()),
            Body::Bytes(bytes) => sending.header(header::CONTENT_TYPE, "application/octet-stream").body(bytes.clone()),
            Body::Form(form) => sending
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.expose_secret().to_owned()),
        };
        let mut response = sending.send().await.map_err(|error| self.classify_error(&error, host))?;
        let status = response.status().as_u16();
        let heading =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let date = heading("date").and_then(|text| http_date(&text));
        let retry_after = heading("retry-after").and_then(|text| retry_after(&text, date));
        let secrets = request.secrets();
        let without_secrets = |mut text: String| {
            secrets.redact_text(&mut text);
            text
        };
        let request_id = heading("request-id").or_else(|| heading("x-ms-request-id")).map(without_secrets);
        let request_id: Option<String> =
            request_id.map(|id| id.chars().filter(|c| !is_hidden(*c)).take(ID_SHOWN).collect());
        let mut challenges = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let claims_challenge = challenges.find_map(|value| claims_challenge(value.to_str().ok()?));
        let media_type = heading("content-type").map(without_secrets).unwrap_or_default();
        if (300..400).contains(&status) {
            let to = heading("location").and_then(|to| request.url.join(&to).ok());
            let to = to.and_then(|to| to.host_str().map(str::to_owned)).unwrap_or_else(|| "nowhere".to_owned());
            return Err(HttpError::Redirect { host: host.to_owned(), to });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.classify_error(&error, host))? {
            if bytes.len() + chunk.len() > REPLY_LIMIT {
                return Err(HttpError::Huge { host: host.to_owned() });
            }
            bytes.extend_from_slice(&chunk);
        }
        let parsed = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        let mut body = match parsed {
            Ok(body) => body,
            Err(_) if asks_to_repeat(status) => Value::Null,
            Err(error) => {
                return Err(HttpError::NotJson {
                    host: host.to_owned(),
                    status,
                    what: describe_body(&media_type, error.is_eof()),
                });
            }
        };
        secrets.redact(&mut body);
        Ok((HttpReply { status, body, date, request_id, retry_after, claims_challenge }, retry_after))
    }

    fn classify_error(&self, error: &reqwest::Error, host: &str) -> HttpError {
        let host = host.to_owned();
        if error.is_builder() {
            return HttpError::Unreachable { host, why: UNWRITABLE.to_owned() };
        }
        // A connection that was not established is a different fault from a missing reply.
        if error.is_timeout() && !error.is_connect() {
            return HttpError::Timeout { host, seconds: self.timeout.as_secs() };
        }
        if let Some(fault) = HandshakeFault::find(error) {
            // With TLS 1.3, a server can require a client certificate only after this side has ended the handshake. It
            // reads no request without one.
            let is_unread = error.is_connect() || fault == HandshakeFault::ClientCertificate;
            return match (is_unread, fault.is_lasting()) {
                (true, true) => HttpError::Tls { host, fault },
                (true, false) => HttpError::Unreachable { host, why: fault.to_string() },
                (false, _) => HttpError::TlsBroken { host, fault },
            };
        }
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string().to_lowercase();
            if text.contains("dns error") || text.contains("lookup address") {
                return HttpError::Name { host };
            }
            next = cause.source();
        }
        let why = describe_error(error);
        if error.is_connect() { HttpError::Unreachable { host, why } } else { HttpError::Broken { host } }
    }
}

/// Describes a body that is not JSON.
fn describe_body(media_type: &str, is_cut: bool) -> String {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    match essence {
        "" => "a body without a content type instead of JSON".to_owned(),
        _ if essence.to_ascii_lowercase().ends_with("json") && is_cut => "JSON that is cut off".to_owned(),
        _ if essence.to_ascii_lowercase().ends_with("json") => "malformed JSON".to_owned(),
        _ => format!("{} instead of JSON", essence.chars().filter(char::is_ascii_graphic).take(60).collect::<String>()),
    }
}

/// Returns the claims of a challenge, as JSON of one line; none if the header is another challenge.
///
/// Source: Microsoft, "Claims challenges, claims requests and client capabilities".
fn claims_challenge(header: &str) -> Option<String> {
    if !header.contains("insufficient_claims") {
        return None;
    }
    let (_, rest) = header.split_once("claims=\"")?;
    let (encoded, _) = rest.split_once('"')?;
    if encoded.len() > CHALLENGE_LIMIT {
        return None;
    }
    let json = BASE64_STANDARD.decode(encoded).ok()?;
    let claims: Value = serde_json::from_slice(&json).ok()?;
    claims.is_object().then(|| claims.to_string())
}

fn asks_to_repeat(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// Parses `Retry-After`: seconds, or a date that is compared with the reply's own date, independent of this machine's
/// clock. The result is between a second and [`LONGEST_RETRY_AFTER`].
pub(super) fn retry_after(text: &str, now: Option<Timestamp>) -> Option<Duration> {
    let text = text.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large still means a long wait.
        text.parse::<u64>().unwrap_or(u64::MAX)
    } else {
        let wait = http_date(text)?.as_second().saturating_sub(now?.as_second());
        u64::try_from(wait).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds.max(1)).min(LONGEST_RETRY_AFTER))
}

/// Parses a date of HTTP (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_bounded() {
        let date = |text: &str| http_date(text);
        let now = date("Mon, 01 Jan 0001 00:00:00 +0000");
        assert!(now.is_some());
        let hour = Some(LONGEST_RETRY_AFTER);
        assert_eq!(retry_after("0", None), Some(Duration::from_secs(1)));
        assert_eq!(retry_after(" 120 ", None), Some(Duration::from_secs(120)));
        for long in ["4294967295", "4294967296", "99999999999999999999999"] {
            assert_eq!(retry_after(long, None), hour, "{long}");
        }
        assert_eq!(retry_after("Thu, 30 Dec 9999 00:00:00 +0000", now), hour);
        assert_eq!(retry_after("Thu, 30 Dec 9999 00:00:00 +0000", None), None);
        assert_eq!(
            retry_after("Mon, 01 Jan 0001 00:00:00 +0000", date("Thu, 30 Dec 9999 00:00:00 +0000")),
            Some(Duration::from_secs(1))
        );
        for wrong in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(wrong, now), None, "{wrong}");
        }
    }
}
