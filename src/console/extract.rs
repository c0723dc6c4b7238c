//! Extractors of the console: [`Form`], [`Parameters`] and [`Segment`]. What they refuse becomes a page, and never repeats what
//! was entered.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::service::{HttpProblem, Service};

/// Maximum size of the body of a form, in bytes.
pub(super) const FORM_LIMIT: usize = 64 * 1024;
/// Time in which a body must arrive.
const DEADLINE: Duration = Duration::from_secs(10);

/// The fields of a form that was sent by POST, read within limits of size and time.
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for Form<T> {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let malformed = || {
            HttpProblem::malformed("the form is incomplete, too large, or has an unknown field")
                .remedy("Load the page again, and repeat the entry.")
        };
        let (parts, body) = request.into_parts();
        let Ok(Ok(bytes)) = tokio::time::timeout(DEADLINE, axum::body::to_bytes(body, FORM_LIMIT)).await else {
            return Err(malformed());
        };
        let request = Request::from_parts(parts, Body::from(bytes));
        let form = axum::Form::<T>::from_request(request, service).await;
        form.map(|axum::Form(form)| Self(form)).map_err(|_| malformed())
    }
}

/// The parameters in an address.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Service>> for Parameters<T> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, HttpProblem> {
        Query::<T>::try_from_uri(&parts.uri).map(|Query(parameters)| Self(parameters)).map_err(|_| {
            HttpProblem::malformed("a parameter in the address has the wrong form")
                .remedy("Begin at the overview, and follow the navigation.")
        })
    }
}

/// The variable segments of a path. A segment that cannot be read names nothing.
pub(super) struct Segment<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Service>> for Segment<T> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        Path::<T>::from_request_parts(parts, service).await.map(|Path(segment)| Self(segment)).map_err(|_| {
            HttpProblem::not_found("this page does not exist")
                .remedy("Begin at the overview, and follow the navigation.")
        })
    }
}
