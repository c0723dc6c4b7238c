//! [`DelegateUser`]: the person that a request to `/v1/delegate` is from, identified by an ID token.
//!
//! The extractor refuses tokens that the service must not have, then verifies the ID token. A token of the service is refused,
//! and the person has no role and no grant: what a person may do is decided by tenant, object id and application alone.
//! [`DelegateBody`] reads a small JSON body of such a request. `Service::sender_of_submission` reads the person of a submission.
//! A refused request to `/v1/delegate` is logged and counted, never with the token.

use std::{sync::Arc, time::Duration};

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    delegate_of,
    foreign_tokens::{check_headers, check_text},
};
use crate::{
    api::delegates::SENDER_TOKEN_HEADER,
    model::{Code, State, provider::GraphDelegate, sender::PersonId},
    net::listener::Peer,
    service::{
        Service,
        access::check_environment,
        caller_limit::CallerPermit,
        http::{
            HttpProblem,
            extract::{check_media_type, parse_json},
        },
        oidc::{VerifiedSender, is_identity_token},
    },
};

/// The largest body of a request to `/v1/delegate`, in bytes.
const BODY: usize = 16 * 1024;
/// The time in which such a body must arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The person that a request is from.
pub(in crate::service) struct DelegateUser {
    pub(super) sender: VerifiedSender,
    /// Counts the request until it is answered.
    _permit: CallerPermit,
}

impl DelegateUser {
    /// Returns the ids of the person.
    pub(super) fn person(&self) -> PersonId {
        self.sender.person
    }

    /// Returns the person as the audit log names it. The id is unique; the name is not.
    pub(super) fn actor(&self) -> String {
        format!("{} (delegate:{})", self.sender.name, self.sender.person.object)
    }
}

impl FromRequestParts<Arc<Service>> for DelegateUser {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        identify(parts, service).await.inspect_err(|problem| {
            metrics::counter!("mailwright_authentication_failures_total").increment(1);
            let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.to_string()).unwrap_or_default();
            let (code, reason) = (problem.code(), problem.message());
            tracing::warn!(peer, %code, reason, "authentication of a sender failed");
        })
    }
}

async fn identify(parts: &Parts, service: &Arc<Service>) -> Result<DelegateUser, HttpProblem> {
    check_headers(&parts.headers, &parts.uri)?;
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let bearer = match (headers.next(), headers.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        }),
        _ => None,
    };
    let Some(token) = bearer.filter(|bearer| is_identity_token(bearer)) else {
        return Err(HttpProblem::new(
            Code::SenderTokenRefused,
            "the request has no ID token of a person; a token of the service is not accepted here",
        )
        .remedy(
            "Sign in as the person who sends, and pass the ID token as the bearer token: `mailwright delegate` does so.",
        ));
    };
    let sender = service.verify_sender(token).await?;
    check_environment(parts, service)?;
    let permit = service.delegate_requests.acquire_as(&sender.person.to_string(), "the person")?;
    Ok(DelegateUser { sender, _permit: permit })
}

impl Service {
    /// Returns the person whose ID token a submission has in its header.
    pub(in crate::service) async fn sender_of_submission(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<VerifiedSender>, HttpProblem> {
        let mut tokens = headers.get_all(SENDER_TOKEN_HEADER).iter();
        let token = match (tokens.next(), tokens.next()) {
            (None, _) => return Ok(None),
            (Some(token), None) => token.to_str().ok().map(str::trim),
            (Some(_), Some(_)) => None,
        };
        let token = token.filter(|token| !token.is_empty()).ok_or_else(|| {
            HttpProblem::malformed("the header `Mailwright-Sender-Token` must have exactly one ID token")
        })?;
        check_text(token.as_bytes())?;
        self.verify_sender(token).await.map(Some)
    }

    /// Verifies the ID token of a person who sends by a delegate profile. The caller has refused other tokens.
    async fn verify_sender(&self, token: &str) -> Result<VerifiedSender, HttpProblem> {
        let Some(issuers) = self.trusted_issuers() else {
            return Err(HttpProblem::new(
                Code::SenderTokenRefused,
                "the ID token of the sender is not accepted: this service was started without `--oidc`",
            )
            .remedy("An administrator adds the issuer of the tenant to the issuers file, with `delegates: true`."));
        };
        let state = self.state();
        let is_application = |application: &str, tenant: Uuid| {
            delegates(&state).any(|delegate| {
                delegate.client.eq_ignore_ascii_case(application)
                    && delegate.tenant.parse::<Uuid>().map_or(true, |own| own == tenant)
            })
        };
        issuers.verify_sender(token, is_application, self.clock.now()).await
    }
}

/// Returns the settings of the enabled delegate profiles.
fn delegates(state: &State) -> impl Iterator<Item = &GraphDelegate> {
    let enabled = state.live_stored().filter(|(_, stored)| stored.profile.enabled);
    enabled.filter_map(|(_, stored)| delegate_of(&stored.profile))
}

/// A small JSON body, without tokens that the service must not have. The handler lists [`DelegateUser`] before it.
pub(in crate::service) struct DelegateBody<T>(pub(in crate::service) T);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for DelegateBody<T> {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, _: &Arc<Service>) -> Result<Self, HttpProblem> {
        check_media_type(request.headers())?;
        let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY)).await;
        let bytes = body
            .map_err(|_| HttpProblem::timed_out("the body did not arrive in time"))?
            .map_err(|_| HttpProblem::malformed(format!("the body has more than {BODY} bytes, or did not arrive")))?;
        check_text(&bytes)?;
        parse_json(&bytes).map(Self)
    }
}
