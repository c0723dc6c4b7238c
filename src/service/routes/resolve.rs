//! Which profile sends.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    model::{
        Client, CompanyId, Function,
        resolution::{Cell, Resolution, Resolver},
    },
    service::{
        Service,
        access::{As, Viewer},
        http::extract::Parameters,
        http::{AnyProblem, HttpProblem},
    },
};

/// Who is asked about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The company.
    #[param(value_type = CompanyId)]
    company: CompanyId,
    /// The function.
    #[param(value_type = Function)]
    function: Function,
    /// The client that the user works in, for `user-interface`.
    client: Option<Client>,
}

/// Which profile sends for a company and a function, and why
#[utoipa::path(get, path = "/v1/resolve", tag = "state", params(Question),
    responses((status = 200, description = "The answer, step by step; without a profile, nobody sends.", body = Resolution), AnyProblem))]
pub(super) async fn resolve(
    _: As<Viewer>,
    State(service): State<Arc<Service>>,
    Parameters(Question { company, function, client }): Parameters<Question>,
) -> Result<Json<Resolution>, HttpProblem> {
    let state = service.state();
    if !state.settings.companies.contains(&company) {
        return Err(HttpProblem::not_found(format!("the environment has no company `{company}`"))
            .remedy("`mailwright status` lists the companies."));
    }
    Ok(Json(Resolver::new(state.live()).explain(&Cell { company, function, client })))
}
