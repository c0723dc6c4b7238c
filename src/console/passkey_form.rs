//! [`PasskeyForm`]: kind and options of a form that asks for a passkey; [`NewPasskey`]: the fields that a form with a new passkey
//! posts; [`site`]: the site of a request's passkeys. The attributes of the form are in `docs/console-passkeys.md`.

use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    model::host::is_loopback,
    passkey::RelyingParty,
    service::{HttpProblem, Service},
};

/// A form that asks for a passkey.
pub(super) struct PasskeyForm {
    /// `create` or `get`.
    pub(super) kind: &'static str,
    /// The options for the browser, as JSON.
    pub(super) options: String,
}

impl PasskeyForm {
    /// A form that makes a passkey.
    pub(super) fn create(options: &Value) -> Self {
        Self { kind: "create", options: options.to_string() }
    }

    /// A form that asks for a signature.
    pub(super) fn get(options: &Value) -> Self {
        Self { kind: "get", options: options.to_string() }
    }
}

/// The fields of a form with a new passkey.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPasskey {
    /// The name that the person gives it.
    pub(super) label: String,
    /// The answer of the device.
    pub(super) answer: String,
}

/// Returns the site that passkeys of a request belong to.
pub(super) fn site(service: &Service, headers: &HeaderMap) -> Result<RelyingParty, HttpProblem> {
    service.passkey_site(host(headers))
}

/// Returns the host that a request names.
fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|value| value.to_str().ok())
}

/// Returns the address of this console under the name `localhost`, if the request is for this machine; there, passkeys work
/// without TLS.
pub(super) fn local_address(service: &Service, headers: &HeaderMap) -> Option<String> {
    let authority: axum::http::uri::Authority = host(headers)?.parse().ok()?;
    let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    is_loopback(authority.host()).then(|| format!("http://localhost{port}{}/console", service.base()))
}
