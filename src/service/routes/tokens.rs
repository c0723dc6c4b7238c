//! Tokens: made, listed, revoked. A token itself is told once, when it is made.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{
    api::{NewToken, TokenCreated, TokenList},
    model::{
        AuditOutcome, Code, CompanyId,
        token::{Role, Token},
    },
    service::{
        Service,
        access::{Admin, As, new_token},
        http::extract::{Body, Segment},
        http::{AnyProblem, HttpProblem},
    },
    store::{AuditEvent, StoredToken},
};

/// The tokens, oldest first
#[utoipa::path(get, path = "/v1/tokens", tag = "access", responses((status = 200, description = "The tokens.", body = TokenList), AnyProblem))]
pub(super) async fn list(_: As<Admin>, State(service): State<Arc<Service>>) -> Result<Json<TokenList>, HttpProblem> {
    Ok(Json(TokenList { tokens: service.store.tokens().await? }))
}

/// Make a token
///
/// The answer is the only place that ever tells it.
#[utoipa::path(post, path = "/v1/tokens", tag = "access", request_body = NewToken,
    responses((status = 201, description = "The token.", body = TokenCreated), AnyProblem))]
pub(super) async fn create(
    As(caller, _): As<Admin>,
    State(service): State<Arc<Service>>,
    Body(wanted, _room): Body<NewToken>,
) -> Result<Response, HttpProblem> {
    let length = wanted.name.chars().count();
    if !(1..=80).contains(&length) || wanted.name.chars().any(char::is_control) || wanted.name.trim() != wanted.name {
        return Err(HttpProblem::malformed(
            "a token's name has 1 to 80 characters, no control characters, and no space at its ends",
        ));
    }
    if wanted.role != Role::Sender && !wanted.scope.is_everything() {
        return Err(HttpProblem::malformed("only a `sender` is limited to companies and functions"));
    }
    let now = service.clock.now();
    if wanted.expires_at.is_some_and(|end| end <= now) {
        return Err(HttpProblem::malformed("`expiresAt` lies in the past"));
    }
    let succeeds = match &wanted.replaces {
        None => None,
        Some(id) => Some(replaced(&service, &wanted, id).await?),
    };
    let state = service.state();
    // Before the first apply no company is known, and the names of those to come are taken as they are.
    let unknown = |company: &&CompanyId| state.generation > 0 && !state.settings.companies.contains(*company);
    if let Some(company) = wanted.scope.companies.iter().find(unknown) {
        return Err(HttpProblem::new(
            Code::UnknownCompany,
            format!("the environment has no company `{company}`; no token was made"),
        )
        .remedy("Correct the name, or add the company to the environment's file and apply."));
    }
    // Two administrators must not take one name at once.
    let _one_at_a_time = service.changing.lock().await;
    let tokens = service.store.tokens().await?;
    let is_taken = |token: &&Token| {
        is_lasting(token, now)
            && token.name.to_lowercase() == wanted.name.to_lowercase()
            && token.succeeds.as_ref().or(Some(&token.id)) != succeeds.as_ref()
    };
    if let Some(other) = tokens.iter().find(is_taken) {
        return Err(HttpProblem::new(
            Code::TokenNameTaken,
            format!("the token {} has the name `{}` already; no token was made", other.id, other.name),
        )
        .remedy(format!(
            "Give another name, or revoke that one first: `mailwright token revoke {} {}`.",
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

/// The first of the tokens in whose place the new one is put.
async fn replaced(service: &Service, wanted: &NewToken, id: &str) -> Result<String, HttpProblem> {
    let missing =
        || HttpProblem::not_found("there is no such token to replace").remedy("`mailwright token list` lists them.");
    let StoredToken { token: old, .. } = service.store.token(id).await?.ok_or_else(missing)?;
    if old.name.to_lowercase() != wanted.name.to_lowercase() || old.role != wanted.role {
        return Err(HttpProblem::malformed("a token that replaces another has its name and its role"));
    }
    Ok(old.succeeds.unwrap_or(old.id))
}

/// Confirm a token
///
/// One that is suspended after a restore from a backup opens the service again.
#[utoipa::path(post, path = "/v1/tokens/{id}/confirm", tag = "access", params(("id" = String, Path, description = "The token's id.")),
    responses((status = 200, description = "Confirmed, now or before.", body = Token), AnyProblem))]
pub(super) async fn confirm(
    As(caller, _): As<Admin>,
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
    let missing = || HttpProblem::not_found("there is no such token").remedy("`mailwright token list` lists them.");
    confirmed?.map(Json).ok_or_else(missing)
}

/// Returns true if a token is in effect.
fn is_lasting(token: &Token, now: Timestamp) -> bool {
    token.revoked_at.is_none() && token.expires_at.is_none_or(|end| end > now)
}

/// Revoke a token
///
/// The last administrator's token that is left cannot be revoked.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "access", params(("id" = String, Path, description = "The token's id.")),
    responses((status = 200, description = "Revoked, now or before.", body = Token), AnyProblem))]
pub(super) async fn revoke(
    As(caller, _): As<Admin>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<Json<Token>, HttpProblem> {
    // Two administrators must not revoke each other at once.
    let _one_at_a_time = service.changing.lock().await;
    let now = service.clock.now();
    let missing = || HttpProblem::not_found("there is no such token").remedy("`mailwright token list` lists them.");
    let tokens = service.store.tokens().await?;
    let lasting = |token: &&Token| token.role == Role::Admin && token.suspended_at.is_none() && is_lasting(token, now);
    let mut admins = tokens.iter().filter(lasting);
    let last_admin = match (admins.next(), admins.next()) {
        (Some(only), None) => only.id == id,
        _ => false,
    };
    let detail = json!({ "id": id });
    if last_admin {
        let event =
            AuditEvent { at: now, actor: caller.name, action: "token.revoke", outcome: AuditOutcome::Refused, detail };
        service.store.record(event).await?;
        return Err(HttpProblem::new(
            Code::LastAdministrator,
            "this is the last administrator's token that is left; nobody could make another",
        )
        .remedy("Make another administrator's token first."));
    }
    let event =
        AuditEvent { at: now, actor: caller.name, action: "token.revoke", outcome: AuditOutcome::Accepted, detail };
    let revoked = service.store.revoke_token(&id, now, event).await;
    // Also after a failure: what the store has then is read again.
    service.tokens_changed();
    revoked?.map(Json).ok_or_else(missing)
}
