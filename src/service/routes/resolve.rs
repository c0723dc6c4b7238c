//! `GET /v1/resolve`: the profile that would send for a company and a function, with the steps that lead to it.
//!
//! The rule is [`crate::model::resolution`]. An unknown company is refused; if no profile sends, the answer is a resolution without
//! one. Nothing is sent.

use std::sync::Arc;

use axum::{Json, extract::State, http::Method};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    model::{
        Client, CompanyId, Function,
        access::{Activity, Area, Extent, Question},
        resolution::{Cell, Resolution},
    },
    service::{
        Service,
        access::{self, Authorized, SeeSomeProfiles},
        http::{AnyProblem, HttpProblem, extract::Parameters},
    },
};

/// Parameters of a resolution.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolveParameters {
    /// The company.
    #[param(value_type = CompanyId)]
    company: CompanyId,
    /// The function.
    #[param(value_type = Function)]
    function: Function,
    /// The client that the user works in, for `user-interface`.
    client: Option<Client>,
}

/// Resolve a company and a function
///
/// The profile that sends, and the steps of the resolution.
#[utoipa::path(get, path = "/v1/resolve", tag = "state", params(ResolveParameters),
    responses((status = 200, description = "The resolution. Without a profile, mail is refused.", body = Resolution), AnyProblem))]
pub(super) async fn resolve_profile(
    Authorized(caller, _): Authorized<SeeSomeProfiles>,
    State(service): State<Arc<Service>>,
    Parameters(ResolveParameters { company, function, client }): Parameters<ResolveParameters>,
) -> Result<Json<Resolution>, HttpProblem> {
    let question = Question::any(Area::Profiles, Activity::See).at(Extent::One(&company), Extent::One(function));
    access::check(&service, &caller, &question, &Method::GET, "/v1/resolve").await?;
    service.resolve(Cell { company, function, client }).map(Json)
}
