//! Tokens and roles. A request says who it is by `Authorization: Bearer mw_ID_SECRET`, or by an identity token where the
//! service takes such; without that it gets nothing.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{Method, header, request::Parts},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;

use super::{
    Service,
    oidc::{self, Oidc},
    http::HttpProblem,
};
use crate::{
    api::NewToken,
    model::{
        AuditOutcome, Code, CompanyId, Function,
        token::{Role, Scope, Token},
    },
    net::listener::Peer,
    store::{AuditEvent, StoredToken, outbox::NewEvent, token_hash},
};

/// Makes a token: what is kept of it, and the bearer token itself. `random` fills a buffer.
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

/// Who is asking.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    /// To whom mail belongs that the caller submits.
    pub(super) owner: String,
    pub(super) role: Role,
    pub(super) scope: Scope,
    pub(super) credential: Credential,
}

/// How a caller was let in. What lasts longer than one answer asks again whether it still holds.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// A token of the service, by its id.
    Token(String),
    /// An identity token, until its end and for as long as this version of the issuers is in effect.
    Identity { ends: Timestamp, version: u64 },
}

impl Caller {
    #[cfg(test)]
    pub(super) fn of_test(name: &str, role: Role, scope: Scope) -> Self {
        let owner = format!("token:{name}");
        Self { owner, name: name.to_owned(), role, scope, credential: Credential::Token(String::new()) }
    }

    /// Whether the caller may see a message: a sender, what its own token submitted within its companies and functions.
    pub(super) fn may_see(&self, owner: &str, company: &CompanyId, function: Function) -> bool {
        self.role != Role::Sender || (self.owner == owner && self.scope.covers(company, function))
    }

    /// Whether the caller may hear of an event. What is about no message is about profiles, and not a sender's.
    pub(super) fn may_follow(&self, event: &NewEvent) -> bool {
        match &event.message {
            Some(message) => self.may_see(&message.owner, &message.company, message.function),
            None => self.role != Role::Sender,
        }
    }
}

/// A caller whose role is at least `R`. Taken before the body is read, so nobody else's body is.
pub(super) struct As<R>(pub(super) Caller, pub(super) PhantomData<R>);

/// A role as a type, for [`As`].
pub(super) trait Least: Send + Sync {
    const ROLE: Role;
}

macro_rules! roles {
    ($($name:ident),*) => { $(
        pub(super) struct $name;
        impl Least for $name {
            const ROLE: Role = Role::$name;
        }
    )* };
}
roles!(Sender, Viewer, Planner, Deployer, Admin);

impl<R: Least> FromRequestParts<Arc<Service>> for As<R> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let caller = authenticate(parts, service).await?;
        if caller.role.includes(R::ROLE) {
            return Ok(As(caller, PhantomData));
        }
        Err(refuse(service, &caller, R::ROLE, &parts.method, parts.uri.path()).await)
    }
}

/// A caller who may read about mail: a viewer or more, everything; a sender, its own.
pub(super) struct Reader(pub(super) Caller);

impl FromRequestParts<Arc<Service>> for Reader {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let caller = authenticate(parts, service).await?;
        if caller.role == Role::Sender || caller.role.includes(Role::Viewer) {
            return Ok(Self(caller));
        }
        Err(refuse(service, &caller, Role::Viewer, &parts.method, parts.uri.path()).await)
    }
}

/// Refuses for want of a role. Whoever tried to change something is written down.
pub(super) async fn refuse(
    service: &Service,
    caller: &Caller,
    least: Role,
    method: &Method,
    path: &str,
) -> HttpProblem {
    if *method != Method::GET && *method != Method::HEAD {
        let event = AuditEvent {
            at: service.clock.now(),
            actor: caller.name.clone(),
            action: "access",
            outcome: AuditOutcome::Refused,
            detail: serde_json::json!({ "method": method.as_str(), "path": path, "role": caller.role, "needs": least }),
        };
        if let Err(error) = service.record_bounded(event).await {
            return error.into();
        }
    }
    HttpProblem::new(
        Code::RoleTooLow,
        format!("the token `{}` has the role `{}`, and this needs `{}`", caller.name, caller.role.id(), least.id()),
    )
    .remedy("Use a token of that role; an administrator makes one with `mailwright token create`.")
}

/// Finds out who is asking, for the handler and for what reads the body before it.
async fn authenticate(parts: &mut Parts, service: &Service) -> Result<Caller, HttpProblem> {
    let caller = identify(parts, service).await.inspect_err(|problem| report_refusal(parts, problem))?;
    parts.extensions.insert(caller.clone());
    Ok(caller)
}

/// Logs a login that failed: from where, by which token, why. Never the token.
fn report_refusal(parts: &Parts, problem: &HttpProblem) {
    metrics::counter!("mailwright_authentication_failures_total").increment(1);
    let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.to_string()).unwrap_or_default();
    let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token_id = shown.and_then(token_id).unwrap_or_default();
    let code = problem.code();
    if parts.headers.contains_key(header::AUTHORIZATION) {
        tracing::warn!(peer, token_id, %code, why = problem.message(), "a login failed");
    } else {
        tracing::info!(peer, %code, why = problem.message(), "a login failed");
    }
}

/// The id in what may be a token of the service: the part that is no secret.
fn token_id(authorization: &str) -> Option<&str> {
    let (_, token) = authorization.split_once(' ')?;
    let (id, _) = token.trim().strip_prefix("mw_")?.split_once('_')?;
    // Anything else may be a secret in the wrong place.
    let is_id = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_id.then_some(id)
}

async fn identify(parts: &Parts, service: &Service) -> Result<Caller, HttpProblem> {
    let refused = |detail: &str| HttpProblem::new(Code::TokenRefused, detail);
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (headers.next(), headers.next()) else {
        return Err(refused("the request has no bearer token"));
    };
    let bearer = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    if let Some(token) = bearer.filter(|bearer| Oidc::looks_like_one(bearer)) {
        if token.len() > oidc::TOKEN_LIMIT {
            return Err(refused("the identity token is larger than any"));
        }
        let oidc = service.oidc().ok_or_else(Oidc::not_taken)?;
        return oidc.caller(token, service.store.environment(), service.clock.now()).await;
    }
    let Some(bearer) = bearer.filter(|bearer| bearer.len() <= 200) else {
        return Err(refused("the request has no bearer token"));
    };
    let id = bearer.strip_prefix("mw_").and_then(|rest| rest.split_once('_')).map(|(id, _)| id);
    let stored = match id.filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric())) {
        Some(id) => service.token(id).await?,
        None => None,
    };
    let hash = token_hash(&SecretString::from(bearer.to_owned()));
    // The comparison takes the same time whatever differs, and an unknown id costs one too.
    let expected = stored.as_ref().map_or(hash.as_str().len().to_string(), |stored| stored.hash.to_string());
    let matches: bool = expected.as_bytes().ct_eq(hash.as_str().as_bytes()).into();
    let Some(StoredToken { token, .. }) = stored.filter(|_| matches) else {
        return Err(refused("the service does not know the token"));
    };
    if let Some(why) = why_not(&token, service.clock.now()) {
        return Err(refused(why));
    }
    if token.suspended_at.is_some() {
        let environment = service.store.environment();
        let why =
            "the token is suspended: the store was restored from a backup, and the token may have been revoked since";
        return Err(HttpProblem::new(Code::TokenSuspended, why)
            .remedy(format!("An administrator confirms it: mailwright token confirm {environment} {}", token.id)));
    }
    let owner = token.owner();
    Ok(Caller {
        owner,
        name: token.name,
        role: token.role,
        scope: token.scope,
        credential: Credential::Token(token.id),
    })
}

/// Why a token opens nothing, if so.
fn why_not(token: &Token, now: Timestamp) -> Option<&'static str> {
    if token.revoked_at.is_some() {
        return Some("the token was revoked");
    }
    token.expires_at.is_some_and(|end| end <= now).then_some("the token has expired")
}

impl Service {
    /// Returns true while the credential of a caller still holds: what streams asks again and again.
    pub(super) async fn still_admits(&self, caller: &Caller) -> bool {
        let now = self.clock.now();
        match &caller.credential {
            Credential::Token(id) => {
                matches!(self.token(id).await, Ok(Some(stored)) if why_not(&stored.token, now).is_none())
            }
            Credential::Identity { ends, version } => {
                *ends > now && self.oidc().is_some_and(|oidc| oidc.version() == *version)
            }
        }
    }
}
