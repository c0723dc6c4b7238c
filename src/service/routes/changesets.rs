//! `POST /v1/changesets`: applies a changeset, or tries it with `dryRun`.
//!
//! The checks and the commit are in `service::changes`; a changeset that was accepted before is answered with its result. It is
//! applied as a whole or refused. A dry run needs the right `plan` in `changes`, an apply `apply`; the built-in roles have them from
//! `planner` and from `deployer` on.

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
    model::{
        Changeset,
        access::{Activity, Area, Question},
    },
    service::{
        Service,
        access::{self, ChangesetSender},
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Parameters},
        },
    },
};

/// Parameters of a changeset.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApplyParameters {
    /// Run all checks without changing anything.
    #[serde(default)]
    dry_run: bool,
}

/// Apply a changeset
///
/// The changeset is applied in one transaction, or not at all. It is refused if the service is not at its base generation. Sending
/// the same changeset again changes nothing and is answered with 200. A dry run needs the right `plan` in `changes`, which the
/// built-in role `planner` has, an apply `apply`, which `deployer` has.
#[utoipa::path(post, path = "/v1/changesets", tag = "changes", params(ApplyParameters), request_body = Changeset,
    responses(
        (status = 201, description = "Applied.", body = ChangesetResult),
        (status = 200, description = "It was applied before; or the result of a dry run.", body = ChangesetResult),
        AnyProblem,
    ))]
pub(super) async fn apply_changeset(
    ChangesetSender(caller): ChangesetSender,
    State(service): State<Arc<Service>>,
    Parameters(parameters): Parameters<ApplyParameters>,
    Body(changeset, _permit): Body<Changeset>,
) -> Result<Response, HttpProblem> {
    let activity = if parameters.dry_run { Activity::Plan } else { Activity::Apply };
    let question = Question::any(Area::Changes, activity);
    access::check(&service, &caller, &question, &Method::POST, "/v1/changesets").await?;
    let result = service.apply_changeset(&caller, changeset, parameters.dry_run).await?;
    let status = if result.outcome == ChangesetOutcome::Applied { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(result)).into_response())
}
