//! `/v1/verify`: runs the verifier for the profiles in the request, and returns the last results.
//!
//! The answer of a run has a line per profile, possibly one about the environment's reader, and at the end the number of
//! requests; an answer without that last line is incomplete, whatever its HTTP status. A run needs the right `verify` in `profiles`,
//! reading `see`; the built-in roles have them from `planner` and from `viewer` on.
//!
//! Which hosts and secrets a caller may use for a run is decided in `service::verification`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Json,
    body::{Body as Answer, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use http_body::Frame;
use tokio::sync::mpsc;

use crate::{
    api::{LastVerifiedList, VerifyLine, VerifyRequest},
    model::{ProfileName, finding::Verified},
    service::{
        Service,
        access::{Authorized, SeeProfiles, VerifyProfiles},
        http::{
            AnyProblem, HttpProblem,
            extract::{RunBody, Segment},
        },
    },
};

/// Verify profiles
///
/// Checks registrations, permissions, credentials and mail servers. The answer has one JSON document per line, sent as soon as it is
/// known. The last line has the number of requests; an answer without it is incomplete. Secrets that the service has not accepted yet,
/// and hosts that no live profile names, need the right `apply` in `changes`, which the built-in role `deployer` has.
#[utoipa::path(post, path = "/v1/verify", tag = "verify", request_body = VerifyRequest,
    responses((status = 200, description = "One document per line.", body = VerifyLine, content_type = "application/x-ndjson"), AnyProblem))]
pub(super) async fn run_verification(
    Authorized(caller, _): Authorized<VerifyProfiles>,
    State(service): State<Arc<Service>>,
    RunBody(request, permit): RunBody<VerifyRequest>,
) -> Result<Response, HttpProblem> {
    let lines = Lines(service.verify(&caller, request, permit).await?);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Answer::new(lines)).into_response())
}

/// List verification results
///
/// The last result of each profile, in short form: of its live settings, or of those that were live before. What was verified without
/// being live, such as a plan, is listed apart, and never replaces the last result.
#[utoipa::path(get, path = "/v1/verify", tag = "verify",
    responses((status = 200, description = "The results by profile.", body = LastVerifiedList), AnyProblem))]
pub(super) async fn list_verified(
    _: Authorized<SeeProfiles>,
    State(service): State<Arc<Service>>,
) -> Result<Json<LastVerifiedList>, HttpProblem> {
    let profiles = service.last_verified().await?.profiles.clone();
    Ok(Json(LastVerifiedList { profiles, planned: service.planned_verified().await? }))
}

/// Get a verification result
///
/// The last result of a profile, of settings that are or were live.
#[utoipa::path(get, path = "/v1/verify/{name}", tag = "verify", params(("name" = ProfileName, Path, description = "The profile.")),
    responses((status = 200, description = "The findings.", body = Verified), AnyProblem))]
pub(super) async fn get_verified(
    _: Authorized<SeeProfiles>,
    State(service): State<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
) -> Result<Json<Verified>, HttpProblem> {
    service.verified(&name).await.map(Json)
}

/// A response body of lines, sent as they arrive.
struct Lines(mpsc::Receiver<VerifyLine>);

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.poll_recv(context).map(|line| {
            line.map(|line| {
                let mut text = serde_json::to_vec(&line).unwrap_or_default();
                text.push(b'\n');
                Ok(Frame::data(Bytes::from(text)))
            })
        })
    }
}
