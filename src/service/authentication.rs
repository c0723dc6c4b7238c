//! Authentication: `Authorization: Bearer` with a token of the service (`mw_ID_SECRET`) or with an identity token.
//!
//! [`authenticate`] returns the [`Caller`] of a request and leaves it in the request's extensions for the extractors of bodies. An
//! unknown, revoked, expired or suspended token is answered with 401 and the reason; if the store cannot be read, the answer is
//! 503. Failed attempts are logged and counted, never with the token.

use axum::http::{header, request::Parts};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;

use super::{
    Service,
    caller::{Caller, Credential},
    http::HttpProblem,
    oidc,
};
use crate::{
    api::NewToken,
    model::{Code, token::Token},
    net::listener::Peer,
    store::{StoredToken, token_hash},
};

/// Maximum size of a bearer token of the service, in bytes.
const BEARER_LIMIT: usize = 200;

/// Creates a token: the record that the store keeps, and the bearer token. `random` fills a buffer.
pub fn new_token(
    wanted: &NewToken,
    now: Timestamp,
    random: impl Fn(&mut [u8]) -> Result<(), String>,
) -> Result<(StoredToken, SecretString), String> {
    let (mut id, mut secret) = ([0; 6], zeroize::Zeroizing::new([0; 32]));
    random(&mut id)?;
    random(secret.as_mut_slice())?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let bearer = SecretString::from(format!("mw_{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret.as_slice())));
    let token = Token {
        id,
        name: wanted.name.clone(),
        role: wanted.role,
        scope: wanted.scope.clone(),
        created_at: now,
        expires_at: wanted.expires_at,
        revoked_at: None,
        suspended_at: None,
        succeeds: None,
    };
    Ok((StoredToken { token, hash: token_hash(&bearer) }, bearer))
}

/// Returns the caller of a request, and adds it to the request's extensions.
pub(super) async fn authenticate(parts: &mut Parts, service: &Service) -> Result<Caller, HttpProblem> {
    let mut caller = identify(parts, service).await.inspect_err(|problem| log_failure(parts, problem))?;
    caller.policy = service.access_policy();
    parts.extensions.insert(caller.clone());
    Ok(caller)
}

/// Logs a failed authentication: from which address, with which token id, and why.
fn log_failure(parts: &Parts, problem: &HttpProblem) {
    metrics::counter!("mailwright_authentication_failures_total").increment(1);
    let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.to_string()).unwrap_or_default();
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token_id = authorization.and_then(token_id).unwrap_or_default();
    let (code, reason) = (problem.code(), problem.message());
    if parts.headers.contains_key(header::AUTHORIZATION) {
        tracing::warn!(peer, token_id, %code, reason, "authentication failed");
    } else {
        tracing::info!(peer, %code, reason, "authentication failed");
    }
}

/// Returns the id in a bearer token of the service: the part that is not secret.
fn token_id(authorization: &str) -> Option<&str> {
    let (_, token) = authorization.split_once(' ')?;
    let (id, _) = token.trim().strip_prefix("mw_")?.split_once('_')?;
    // Anything else may be a secret in the wrong place.
    let is_id = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_id.then_some(id)
}

async fn identify(parts: &Parts, service: &Service) -> Result<Caller, HttpProblem> {
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (headers.next(), headers.next()) else {
        return Err(refused("the request has no bearer token"));
    };
    let bearer = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    if let Some(token) = bearer.filter(|bearer| oidc::is_identity_token(bearer)) {
        if token.len() > oidc::TOKEN_LIMIT {
            return Err(refused("the identity token is too large"));
        }
        let issuers = service.trusted_issuers().ok_or_else(oidc::not_enabled)?;
        return issuers.authenticate(token, service.store.environment(), service.clock.now()).await;
    }
    let Some(bearer) = bearer else {
        return Err(refused("the request has no bearer token"));
    };
    let token = service.find_valid_token(bearer).await?;
    Ok(service.caller_of_token(token))
}

/// Returns the problem of a token that is not accepted.
fn refused(reason: &str) -> HttpProblem {
    HttpProblem::new(Code::TokenRefused, reason)
}

/// Returns why a token is not valid any more.
fn inactive_reason(token: &Token, now: Timestamp) -> Option<&'static str> {
    if token.revoked_at.is_some() {
        return Some("the token was revoked");
    }
    (!token.is_in_effect(now)).then_some("the token has expired")
}

impl Service {
    /// Creates the caller for a valid token, with the live access policy.
    pub(super) fn caller_of_token(&self, token: Token) -> Caller {
        Caller::from_token(token, self.access_policy(), self.clock.now())
    }

    /// Returns the token that a bearer token of the service belongs to, if it is valid.
    pub(super) async fn find_valid_token(&self, bearer: &str) -> Result<Token, HttpProblem> {
        if bearer.len() > BEARER_LIMIT {
            return Err(refused("the request has no bearer token"));
        }
        let id = bearer.strip_prefix("mw_").and_then(|rest| rest.split_once('_')).map(|(id, _)| id);
        let stored = match id.filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric())) {
            Some(id) => self.find_token(id).await?,
            None => None,
        };
        let hash = token_hash(&SecretString::from(bearer.to_owned()));
        // Compared in constant time; an unknown id costs a comparison as well.
        let expected = stored.as_ref().map_or(hash.as_str().len().to_string(), |stored| stored.hash.to_string());
        let matches: bool = expected.as_bytes().ct_eq(hash.as_str().as_bytes()).into();
        let Some(StoredToken { token, .. }) = stored.filter(|_| matches) else {
            return Err(refused("the service does not know the token"));
        };
        self.check_token(token)
    }

    /// Returns a token if it is neither revoked, expired nor suspended.
    pub(super) fn check_token(&self, token: Token) -> Result<Token, HttpProblem> {
        if let Some(reason) = inactive_reason(&token, self.clock.now()) {
            return Err(refused(reason));
        }
        if token.suspended_at.is_some() {
            let environment = self.store.environment();
            let reason = "the token is suspended: the store was restored from a backup, and the token may have been revoked since";
            return Err(HttpProblem::new(Code::TokenSuspended, reason).remedy(format!(
                "Ask an administrator to confirm it: mailwright token confirm {environment} {}",
                token.id
            )));
        }
        Ok(token)
    }

    /// Returns true while the credential of a caller is valid and its rights are the same. Streams check this regularly.
    pub(crate) async fn is_still_authorized(&self, caller: &Caller) -> bool {
        let now = self.clock.now();
        if !caller.has_same_rights_by(&self.access_policy()) {
            return false;
        }
        match &caller.credential {
            Credential::Session(hash) => {
                self.find_session(hash).await.is_ok_and(|(_, now)| caller.is_same_principal(&now))
            }
            Credential::Token(id) => {
                matches!(self.find_token(id).await, Ok(Some(stored)) if stored.token.is_in_effect(now))
            }
            Credential::Identity { ends, version } => {
                *ends > now && self.trusted_issuers().is_some_and(|issuers| issuers.version() == *version)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::token_id;

    #[test]
    fn only_the_id_of_a_token_is_logged() {
        assert_eq!(token_id("Bearer mw_0123456789ab_secret"), Some("0123456789ab"));
        for other in
            ["Bearer secret", "Bearer mw_secret_0123456789ab", "mw_0123456789ab_secret", "Bearer mw_0123456789AB_x"]
        {
            assert_eq!(token_id(other), None, "{other}");
        }
    }
}
