//! A changeset: all of it is taken, or nothing.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::{ChangesetOutcome, ChangesetResult},
    model::{Changeset, token::Role},
    service::{
        Service,
        access::{self, As, Planner},
        http::extract::{Body, Parameters},
        http::{AnyProblem, HttpProblem},
    },
};

/// How to take a changeset.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct How {
    /// Check everything, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Apply a changeset
///
/// One transaction. Refused if the service is not at the changeset's base generation. The same changeset again
/// changes nothing and answers 200. A dry run needs the role `planner`, the real thing `deployer`.
#[utoipa::path(post, path = "/v1/changesets", tag = "changes", params(How), request_body = Changeset,
    responses(
        (status = 201, description = "Taken.", body = ChangesetResult),
        (status = 200, description = "It was taken before, or would be taken.", body = ChangesetResult),
        AnyProblem,
    ))]
pub(super) async fn apply(
    As(caller, _): As<Planner>,
    State(service): State<Arc<Service>>,
    Parameters(how): Parameters<How>,
    Body(changeset, _room): Body<Changeset>,
) -> Result<Response, HttpProblem> {
    if !how.dry_run && !caller.role.includes(Role::Deployer) {
        return Err(access::refuse(&service, &caller, Role::Deployer, &Method::POST, "/v1/changesets").await);
    }
    let result = service.take_changeset(&caller, changeset, how.dry_run).await?;
    let status = if result.outcome == ChangesetOutcome::Applied { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(result)).into_response())
}
