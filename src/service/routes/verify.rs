//! The verifier: a run, line by line, and what it last said.

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
        access::{As, Planner, Viewer},
        http::extract::{RunBody, Segment},
        http::{AnyProblem, HttpProblem},
    },
};

/// Check profiles
///
/// Whether the mail will leave: registrations, permissions, credentials, mail servers. The answer is one JSON document
/// a line, each as soon as it is known; the last one has the number of requests, and an answer without it broke off.
/// What the service has not accepted yet, and hosts that no live profile names, need the role `deployer`.
#[utoipa::path(post, path = "/v1/verify", tag = "verify", request_body = VerifyRequest,
    responses((status = 200, description = "One document a line.", body = VerifyLine, content_type = "application/x-ndjson"), AnyProblem))]
pub(super) async fn run(
    As(caller, _): As<Planner>,
    State(service): State<Arc<Service>>,
    RunBody(request, room): RunBody<VerifyRequest>,
) -> Result<Response, HttpProblem> {
    let lines = Lines(service.verify(&caller, request, room).await?);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Answer::new(lines)).into_response())
}

/// What the verifier last said of each profile
#[utoipa::path(get, path = "/v1/verify", tag = "verify",
    responses((status = 200, description = "By profile.", body = LastVerifiedList), AnyProblem))]
pub(super) async fn last(
    _: As<Viewer>,
    State(service): State<Arc<Service>>,
) -> Result<Json<LastVerifiedList>, HttpProblem> {
    service.last_verified().await.map(Json)
}

/// What the verifier last said of a profile
#[utoipa::path(get, path = "/v1/verify/{name}", tag = "verify", params(("name" = ProfileName, Path, description = "The profile.")),
    responses((status = 200, description = "The findings.", body = Verified), AnyProblem))]
pub(super) async fn one(
    _: As<Viewer>,
    State(service): State<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
) -> Result<Json<Verified>, HttpProblem> {
    service.verified(&name).await.map(Json)
}

/// Lines as they come in.
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
