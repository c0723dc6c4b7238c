//! Faults that a scenario injects into replies: status codes, delays, resets and other bodies.
//!
//! [`Fault`] is an entry of the scenario. It selects requests by their path and counts those that it changed; `Sandbox` applies
//! it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// A part of the path of the request, `/oauth2/v2.0/token` or `/v1.0/users/`; `$batch/users` inside a batch;
    /// `dns/NAME` for the name server, which then fails (SERVFAIL) regardless of the other fields; `smtp/PHASE` for the
    /// mail server, where only `status`, `code`, `text`, `after`, `delay` and `reset` apply.
    pub at: String,
    /// The number of requests that fail; none means all.
    pub times: Option<u32>,
    /// The HTTP status: 429, 503, ...
    pub status: Option<u16>,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// True if `Retry-After` is a date instead of seconds.
    pub as_date: bool,
    /// A code of Entra (`7000222`), in a reply of the token endpoint.
    pub aadsts: Option<u32>,
    /// A code of Graph, or an enhanced status code of SMTP (`4.3.2`), with `status`.
    pub code: Option<String>,
    /// The text of an SMTP reply, with `status`.
    pub text: Option<String>,
    /// The request is carried out first, and only its reply is wrong.
    pub after: bool,
    /// The delay of the reply, in milliseconds.
    pub delay: u64,
    /// Claims that Graph asks for: the reply is 401 with `WWW-Authenticate` and `insufficient_claims`.
    pub claims: Option<serde_json::Value>,
    /// True if the connection ends without a reply.
    pub reset: bool,
    /// A body that replaces the usual one.
    pub body: Option<Body>,
    /// A document that replaces the reply, with `status` (200 by default).
    pub json: Option<serde_json::Value>,
    /// An address that the reply redirects to.
    pub redirect: Option<String>,
}

/// A body that replaces the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// A page, as a proxy or a captive portal shows one.
    Html,
    /// Incomplete JSON.
    Truncated,
    /// A body of 20 MiB.
    Huge,
    /// JSON with unknown fields.
    Strange,
    /// A token that is not a JWT.
    OpaqueToken,
    /// No body.
    Empty,
}

impl Fault {
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay)
    }

    /// Returns the value of `Retry-After`, if it is sent.
    pub(super) fn retry_after_text(&self, now: Timestamp) -> Option<String> {
        let seconds = self.retry_after?;
        Some(if self.as_date {
            let at = Timestamp::from_second(now.as_second() + i64::from(seconds)).unwrap_or(now);
            at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        } else {
            seconds.to_string()
        })
    }

    /// Returns true if the usual SMTP reply is not sent.
    pub(super) fn replaces_smtp_reply(&self) -> bool {
        self.reset || self.smtp_reply().is_some()
    }

    /// Returns the SMTP reply, if the fault has one: `451 4.3.0 Fault of the scenario`.
    pub(super) fn smtp_reply(&self) -> Option<String> {
        let status = self.status.filter(|status| (200..600).contains(status))?;
        let code = self.code.clone().unwrap_or_else(|| format!("{}.3.0", status / 100));
        let text = self.text.as_deref().unwrap_or("Fault of the scenario");
        Some(format!("{status} {code} {text}").replace(['\r', '\n'], " "))
    }

    /// Returns true if the fault applies to a path, and counts it.
    pub(super) fn applies_to(&mut self, path: &str) -> bool {
        // A fault of every reply of Entra and Graph does not apply to the name server and the mail server.
        let is_of = |server: &str| path.starts_with(server) == self.at.starts_with(server);
        let is_target = path.contains(&self.at) && is_of("dns/") && is_of("smtp/");
        if !is_target || self.times == Some(0) {
            return false;
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        true
    }
}
