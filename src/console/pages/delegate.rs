//! Pages from which a person sends as the account with which they sign in to Microsoft: "Waiting for me", "Compose", and the
//! redirect URI of that sign-in.
//!
//! The pages have no message: their script reads those of the person with an ID token, which the service verifies, and sends them
//! under a lease (`assets/delegate.js`). A page may connect to the sign-in and to the Graph host of its profile, and to no other.
//! Who may open a page is a matter of rights; who sends is decided by the ID token alone. No access token is part of a request.

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    api::ProblemDetails,
    console::{
        answer::{Answer, render},
        extract::{Parameters, Segment},
        headers::ConnectSources,
        page::{Page, SignedIn},
    },
    model::{CompanyId, ProfileName},
    service::{HttpProblem, Service, WebDelegate},
};

/// The page "Waiting for me".
#[derive(Template)]
#[template(path = "waiting.html")]
struct WaitingPage {
    page: Page,
    view: Option<DelegateView>,
    choice: ProfileChoice,
    /// True if the page is about one message.
    is_of_one: bool,
}

/// The page "Compose".
#[derive(Template)]
#[template(path = "compose.html")]
struct ComposePage {
    page: Page,
    view: Option<DelegateView>,
    choice: ProfileChoice,
    companies: Vec<CompanyId>,
}

/// The page that passes the answer of Microsoft on.
#[derive(Template)]
#[template(path = "delegate_return.html")]
struct ReturnPage {
    page: Page,
}

/// The profile with which the script of a page signs in.
struct DelegateView {
    /// A JSON document.
    settings: String,
    /// The address at which an administrator consents for all persons.
    consent: String,
    sources: ConnectSources,
}

/// The profiles from which a person can choose.
struct ProfileChoice {
    profiles: Vec<ProfileName>,
    chosen: Option<ProfileName>,
}

impl DelegateView {
    fn new(page: &Page, web: &WebDelegate, message: Option<Uuid>) -> Self {
        let settings = json!({
            "base": page.base, "environment": page.environment, "message": message, "tenant": web.tenant,
            "client": web.client, "authority": format!("{}/{}", web.sign_in, web.tenant), "graph": web.graph,
            "redirect": web.redirect,
        });
        let sources = ConnectSources(vec![web.sign_in.clone(), web.graph.clone()]);
        Self { settings: settings.to_string(), consent: web.consent.clone(), sources }
    }
}

/// The profile in the address of a page.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::console) struct Wanted {
    profile: Option<ProfileName>,
}

/// Returns the wanted profile, or the first one, and all of them.
fn choose(webs: Vec<WebDelegate>, wanted: Option<&ProfileName>) -> (Option<WebDelegate>, ProfileChoice) {
    let profiles: Vec<ProfileName> = webs.iter().map(|web| web.profile.clone()).collect();
    let at = wanted.and_then(|wanted| profiles.iter().position(|name| name == wanted)).unwrap_or_default();
    let chosen = webs.into_iter().nth(at);
    let choice = ProfileChoice { chosen: chosen.as_ref().map(|web| web.profile.clone()), profiles };
    (chosen, choice)
}

/// Renders a page whose script may connect to the hosts of its profile.
fn render_with(template: &impl Template, view: Option<&DelegateView>) -> Answer {
    let sources = view.map(|view| view.sources.clone()).unwrap_or_default();
    let mut response = render(template)?;
    response.extensions_mut().insert(sources);
    Ok(response)
}

/// Shows the messages that wait for the person.
pub(in crate::console) async fn list(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(Wanted { profile }): Parameters<Wanted>,
) -> Answer {
    let (web, choice) = choose(service.web_delegates(&caller), profile.as_ref());
    let view = web.map(|web| DelegateView::new(&page, &web, None));
    let shown = WaitingPage { page, view, choice, is_of_one: false };
    render_with(&shown, shown.view.as_ref())
}

/// Shows one message that waits for the person.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<Uuid>,
) -> Answer {
    let web = service.web_delegate_of(&caller, id).await?;
    let view = Some(DelegateView::new(&page, &web, Some(id)));
    let choice = ProfileChoice { profiles: Vec::new(), chosen: None };
    let shown = WaitingPage { page, view, choice, is_of_one: true };
    render_with(&shown, shown.view.as_ref())
}

/// Shows the form of a new message.
pub(in crate::console) async fn compose(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(Wanted { profile }): Parameters<Wanted>,
) -> Answer {
    let serves = |web: &WebDelegate| !service.companies_to_compose_for(&caller, &web.profile).is_empty();
    let webs = service.web_delegates(&caller).into_iter().filter(serves).collect();
    let (web, choice) = choose(webs, profile.as_ref());
    let companies = web.as_ref().map(|web| service.companies_to_compose_for(&caller, &web.profile));
    let view = web.map(|web| DelegateView::new(&page, &web, None));
    let shown = ComposePage { page, view, choice, companies: companies.unwrap_or_default() };
    render_with(&shown, shown.view.as_ref())
}

/// Accepts a message that the script of the form posts. A problem is answered as the API answers it.
pub(in crate::console) async fn submit(
    State(service): State<Arc<Service>>,
    SignedIn { caller, .. }: SignedIn,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match service.submit_composed(&caller, &headers, body).await {
        Ok(document) => (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], document).into_response(),
        Err(problem) => problem_document(problem),
    }
}

/// Returns a problem as a JSON document, which is not rendered as a page.
fn problem_document(problem: HttpProblem) -> Response {
    let mut response = problem.into_response();
    let details = response.extensions_mut().remove::<Arc<ProblemDetails>>();
    match details {
        Some(details) => (response.status(), Json(details.as_ref())).into_response(),
        None => response,
    }
}

/// Passes the answer of Microsoft, which is behind the `#`, on to the page that began the sign-in.
pub(in crate::console) async fn complete(page: Page) -> Answer {
    render(&ReturnPage { page })
}
