//! `/v1/tokens`: creates, lists, confirms and revokes API tokens.
//!
//! The bearer token is in the answer to its creation and nowhere else; the store keeps a hash. A name that an active token has is
//! refused, unless the new token replaces that one; so is the revocation of the last administrator's token. Requests are
//! authenticated in `service::authentication`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{
    api::{NewToken, TokenCreated, TokenList},
    model::{AuditOutcome, Code, token::Token},
    service::{
        Service,
        access::{Authorized, ConfirmTokens, CreateTokens, DeleteTokens, SeeTokens},
        authentication::new_token,
        caller::token_principal,
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Segment},
        },
        new_subject::NewSubject,
    },
    store::{AuditEvent, StoredToken},
};

/// List tokens
///
/// Oldest first.
#[utoipa::path(get, path = "/v1/tokens", tag = "access", responses((status = 200, description = "The tokens.", body = TokenList), AnyProblem))]
pub(super) async fn list_tokens(
    _: Authorized<SeeTokens>,
    State(service): State<Arc<Service>>,
) -> Result<Json<TokenList>, HttpProblem> {
    Ok(Json(TokenList { tokens: service.tokens().await? }))
}

/// Create a token
///
/// Only this answer contains the bearer token.
#[utoipa::path(post, path = "/v1/tokens", tag = "access", request_body = NewToken,
    responses((status = 201, description = "The token.", body = TokenCreated), AnyProblem))]
pub(super) async fn create_token(
    Authorized(caller, _): Authorized<CreateTokens>,
    State(service): State<Arc<Service>>,
    Body(wanted, _permit): Body<NewToken>,
) -> Result<Response, HttpProblem> {
    let subject = NewSubject {
        noun: "a token",
        name: &wanted.name,
        role: wanted.role,
        scope: &wanted.scope,
        principal: token_principal(&wanted.name, wanted.role, wanted.scope.clone()),
    };
    service.check_new_subject(&caller, &subject)?;
    let now = service.clock.now();
    if wanted.expires_at.is_some_and(|end| end <= now) {
        return Err(HttpProblem::malformed("`expiresAt` is in the past"));
    }
    let succeeds = match &wanted.replaces {
        None => None,
        Some(id) => Some(find_predecessor(&service, &wanted, id).await?),
    };
    // Two administrators must not use the same name at the same time.
    let _one_at_a_time = service.changing.lock().await;
    let tokens = service.store.tokens().await?;
    let is_taken = |token: &&Token| {
        token.is_in_effect(now)
            && token.name.to_lowercase() == wanted.name.to_lowercase()
            && token.succeeds.as_ref().or(Some(&token.id)) != succeeds.as_ref()
    };
    if let Some(other) = tokens.iter().find(is_taken) {
        return Err(HttpProblem::new(
            Code::TokenNameTaken,
            format!("token {} already has the name `{}`", other.id, other.name),
        )
        .remedy(format!(
            "Choose another name, or revoke that token first: `mailwright token revoke {} {}`.",
            service.store.environment(),
            other.id
        )));
    }
    let random = |buffer: &mut [u8]| getrandom::fill(buffer).map_err(|error| error.to_string());
    let (mut stored, bearer) = new_token(&wanted, now, random).map_err(HttpProblem::internal)?;
    stored.token.succeeds = succeeds;
    let event = AuditEvent {
        at: now,
        actor: caller.name,
        action: "token.create",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "id": stored.token.id, "name": stored.token.name, "role": stored.token.role, "scope": stored.token.scope, "expiresAt": stored.token.expires_at, "replaces": wanted.replaces }),
    };
    let token = stored.token.clone();
    service.store.create_token(stored, event).await?;
    service.tokens_changed();
    let created = TokenCreated { token, secret: bearer.expose_secret().to_owned() };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// Returns the id of the first token in the row of replacements that the new token continues.
async fn find_predecessor(service: &Service, wanted: &NewToken, id: &str) -> Result<String, HttpProblem> {
    let missing = || service.token_not_found("the token to replace does not exist");
    let StoredToken { token: old, .. } = service.store.token(id).await?.ok_or_else(missing)?;
    if old.name.to_lowercase() != wanted.name.to_lowercase() || old.role != wanted.role {
        return Err(HttpProblem::malformed("a token must have the name and the role of the token that it replaces"));
    }
    Ok(old.succeeds.unwrap_or(old.id))
}

/// Confirm a token
///
/// A token that is suspended after a restore from a backup becomes valid again.
#[utoipa::path(post, path = "/v1/tokens/{id}/confirm", tag = "access", params(("id" = String, Path, description = "The token's id.")),
    responses((status = 200, description = "Confirmed, now or earlier.", body = Token), AnyProblem))]
pub(super) async fn confirm_token(
    Authorized(caller, _): Authorized<ConfirmTokens>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<Json<Token>, HttpProblem> {
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "token.confirm",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "id": id }),
    };
    let confirmed = service.store.confirm_token(&id, event).await;
    service.tokens_changed();
    confirmed?.map(Json).ok_or_else(|| service.token_not_found("the token does not exist"))
}

/// Revoke a token
///
/// The last token with the role `admin` cannot be revoked.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "access", params(("id" = String, Path, description = "The token's id.")),
    responses((status = 200, description = "Revoked, now or earlier.", body = Token), AnyProblem))]
pub(super) async fn revoke_token(
    Authorized(caller, _): Authorized<DeleteTokens>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<Json<Token>, HttpProblem> {
    service.revoke_token(&caller, &id).await.map(Json)
}
