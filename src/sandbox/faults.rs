//! Faults to order: what goes wrong, where, and how often.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// Where: a part of the path of the request, `/oauth2/v2.0/token` or `/v1.0/users/`; `$batch/users` inside a batch;
    /// `dns/NAME` for the name server, which then fails (SERVFAIL) whatever else is said here.
    pub at: String,
    /// How often; none means always.
    pub times: Option<u32>,
    /// An HTTP status: 429, 503, ...
    pub status: Option<u16>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// `Retry-After` as a date instead of seconds.
    pub as_date: bool,
    /// A code of Entra's (`7000222`), answered by the token endpoint.
    pub aadsts: Option<u32>,
    /// A code of Graph's, with `status`.
    pub code: Option<String>,
    /// The request is carried out first: the answer is wrong, and not what was done.
    pub after: bool,
    /// How long the answer takes, in milliseconds.
    pub delay: u64,
    /// The connection ends without an answer.
    pub reset: bool,
    /// The answer has another body.
    pub body: Option<Body>,
    /// The answer is this document, with `status` (200 where none is named).
    pub json: Option<serde_json::Value>,
    /// The answer leads to this address.
    pub redirect: Option<String>,
}

/// What stands in the place of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// A page, as a proxy or a captive portal shows one.
    Html,
    /// JSON that breaks off.
    Truncated,
    /// More than anybody wants.
    Huge,
    /// JSON with fields that nobody knows.
    Strange,
    /// A token that is no JWT.
    OpaqueToken,
    /// Nothing.
    Empty,
}

impl Fault {
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay)
    }

    /// What `Retry-After` says, if it is sent.
    pub(super) fn retry_after_text(&self, now: Timestamp) -> Option<String> {
        let seconds = self.retry_after?;
        Some(if self.as_date {
            let at = Timestamp::from_second(now.as_second() + i64::from(seconds)).unwrap_or(now);
            at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        } else {
            seconds.to_string()
        })
    }

    /// Whether it is for this path; counts down where it is for a number of times.
    pub(super) fn takes(&mut self, path: &str) -> bool {
        // What is meant for every answer of Entra and Graph is not meant for the name server.
        let is_meant = path.contains(&self.at) && path.starts_with("dns/") == self.at.starts_with("dns/");
        if !is_meant || self.times == Some(0) {
            return false;
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        true
    }
}
