//! Answers: pages, redirects, and problems in the look of the console.
//!
//! A handler returns an [`Answer`]. [`present`] is the outermost layer: it makes the [`Page`] of a request, and renders every
//! problem of the service as a page with the same status, so that handlers can use `?`.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse as _, Response},
};

use super::{
    headers::{self, ConnectSources},
    page::{Page, User},
    problem_page::ProblemPage,
    routing::page_of_request,
};
use crate::{
    api::ProblemDetails,
    service::{HttpProblem, Service},
};

/// The result of a handler.
pub(super) type Answer = Result<Response, HttpProblem>;

/// Renders a page.
pub(super) fn render(template: &impl Template) -> Answer {
    Ok(Html(template.render().map_err(HttpProblem::internal)?).into_response())
}

/// Sends the browser to another address, with GET.
pub(super) fn redirect(location: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Makes the page of a request, adds the headers of the console to its answer, and renders problems.
pub(super) async fn present(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let page = Page::new(&service, &request);
    let method = request.method().clone();
    request.extensions_mut().insert(page.clone());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Arc<ProblemDetails>>() {
        let user = response.extensions_mut().remove::<User>();
        let after_confirmation = page_of_request(&method, &page.here);
        let back = (method != Method::GET && user.is_some()).then(|| after_confirmation.clone());
        let shown = ProblemPage::new(Page { user, ..page }, &problem, &after_confirmation, back);
        // The document of the API stays if the page cannot be rendered.
        if let Ok(html) = shown.render() {
            let headers = response.headers_mut();
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::WWW_AUTHENTICATE);
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            *response.body_mut() = Body::from(html);
        }
    }
    let sources = response.extensions_mut().remove::<ConnectSources>().unwrap_or_default();
    headers::add(response.headers_mut(), &sources);
    response
}
