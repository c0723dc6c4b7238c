//! Claims of an access token, for diagnosis only. Only the resource that a token is for can decide whether to trust it, and
//! Microsoft asks others to treat it as opaque. Nothing here checks a signature, and a token that cannot be read is "unknown",
//! not wrong.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// The claims that matter here, as tokens for Graph carry them (v1 and v2 names).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// The resource that the token is for.
    pub aud: String,
    /// The tenant's id.
    pub tid: String,
    /// The application, in tokens of version 1.
    pub appid: String,
    /// The application, in tokens of version 2.
    pub azp: String,
    /// The object id of the service principal, or of the user.
    pub oid: String,
    /// Application permissions that are granted.
    pub roles: Vec<String>,
    /// Delegated permissions, separated by spaces.
    pub scp: String,
    /// The user who signed in, in delegated tokens.
    pub upn: String,
    /// The name of the user, in ID tokens.
    pub name: String,
    /// The sign-in name of the user, in ID tokens.
    pub preferred_username: String,
    /// The value that binds an ID token to its sign-in.
    pub nonce: String,
    /// The end of the validity, in seconds since 1970.
    pub exp: Option<serde_json::Number>,
}

impl Claims {
    /// Reads a token's claims; none if it is not a JWT.
    pub fn read(token: &SecretString) -> Option<Self> {
        let mut parts = token.expose_secret().split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || payload.len() > 64 * 1024 {
            return None;
        }
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
    }

    /// Returns the application that the token was issued to.
    pub fn application(&self) -> &str {
        if self.appid.is_empty() { &self.azp } else { &self.appid }
    }

    /// Returns true if a user signed in.
    pub fn is_delegated(&self) -> bool {
        !self.scp.is_empty()
    }

    /// Returns the end of the validity; none if it is not known.
    pub fn ends_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.exp.as_ref()?.as_i64()?).ok()
    }

    /// Returns every permission of the token, of both kinds.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(String::as_str).chain(self.scp.split_whitespace())
    }
}
