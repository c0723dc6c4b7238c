//! Operators: the persons who sign in with passkeys, for administrators. An enrolment link is shown once, by the page that made
//! it.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{extract::State, http::HeaderMap, response::Response};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::list_pages::{ListPages, Position};
use crate::{
    api::operators::NewOperator,
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Parameters, Segment},
        page::{Page, SignedIn, shown},
        passkey_form::local_address,
    },
    model::{
        access::{Activity, Area},
        operator::{Operator, PasskeyInfo},
        session::SessionSubject,
        token::{Role, Scope},
    },
    service::{HttpProblem, Service},
};

/// Number of operators of a page, active ones first. Each can have ten passkeys, with a form for each.
const ROWS: usize = 20;
/// The hours for which a link can be made valid.
const HOURS: &[u32] = &[1, 24, 72, 168];

/// The page.
#[derive(Template)]
#[template(path = "operators.html")]
struct OperatorsPage {
    page: Page,
    rows: Vec<Row>,
    pages: Option<ListPages>,
    may_create: bool,
    may_confirm: bool,
    may_remove: bool,
    roles: &'static [Role],
    hours: &'static [u32],
}

/// The page with a link.
#[derive(Template)]
#[template(path = "operator_link.html")]
struct OperatorLinkPage {
    page: Page,
    name: String,
    link: String,
    /// True if the service does not know its address, so that the link is incomplete.
    is_incomplete: bool,
    ends_at: Option<Timestamp>,
    is_reset: bool,
}

/// An operator in the list.
struct Row {
    id: String,
    name: String,
    role: &'static str,
    state: &'static str,
    created_at: Timestamp,
    removed_at: Option<Timestamp>,
    link_until: Option<Timestamp>,
    passkeys: Vec<(String, PasskeyInfo)>,
    is_own: bool,
}

impl Row {
    fn new(operator: Operator, now: Timestamp, own: &str) -> Self {
        let state = if operator.removed_at.is_some() {
            "removed"
        } else if operator.suspended_at.is_some() {
            "suspended"
        } else if !operator.passkeys.is_empty() {
            "active"
        } else if operator.has_open_enrolment(now) {
            "invited"
        } else {
            "without"
        };
        let link_until = operator.enrolment.as_ref().map(|enrolment| enrolment.ends_at);
        Self {
            name: shown(&operator.name),
            role: operator.role.id(),
            state,
            created_at: operator.created_at,
            removed_at: operator.removed_at,
            link_until: link_until.filter(|_| operator.has_open_enrolment(now)),
            is_own: operator.id == own,
            passkeys: operator.passkeys.into_iter().map(|passkey| (shown(&passkey.label), passkey)).collect(),
            id: operator.id,
        }
    }

    fn is_removed(&self) -> bool {
        self.state == "removed"
    }

    fn is_suspended(&self) -> bool {
        self.state == "suspended"
    }
}

/// Lists the operators.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, .. }: SignedIn,
    Parameters(position): Parameters<Position>,
) -> Answer {
    let now = service.now();
    let own = match &session.subject {
        SessionSubject::Operator(id) => id.as_str(),
        _ => "",
    };
    let mut rows: Vec<Row> =
        service.operators().await?.into_iter().map(|operator| Row::new(operator, now, own)).collect();
    rows.sort_by_key(Row::is_removed);
    let (rows, pages) = ListPages::cut(rows, ROWS, position.page, |number| format!("/console/operators?page={number}"));
    let may = |activity| page.may(Area::Operators, activity);
    let (may_create, may_confirm, may_remove) = (may(Activity::Create), may(Activity::Confirm), may(Activity::Delete));
    render(&OperatorsPage { page, rows, pages, may_create, may_confirm, may_remove, roles: Role::ALL, hours: HOURS })
}

/// The fields of the form for an operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct Entry {
    name: String,
    role: String,
    hours: u32,
}

/// Returns the end of a link.
fn ends_at(service: &Service, hours: u32) -> Result<Timestamp, HttpProblem> {
    service.now().checked_add(Duration::from_secs(u64::from(hours) * 3600)).map_err(HttpProblem::internal)
}

/// Creates an operator, and shows its link.
pub(in crate::console) async fn create(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    headers: HeaderMap,
    Form(entry): Form<Entry>,
) -> Answer {
    let role: Role = entry.role.parse().map_err(HttpProblem::malformed)?;
    let (name, link_ends_at) = (entry.name.trim().to_owned(), Some(ends_at(&service, entry.hours)?));
    let wanted = NewOperator { name, role, scope: Scope::default(), link_ends_at };
    let (operator, secret) = service.create_operator(&caller, wanted).await?;
    show_link(&service, page, &headers, &operator, &secret)
}

/// The fields of the form for a link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct LinkEntry {
    hours: u32,
}

/// Makes a link for an operator, and shows it.
pub(in crate::console) async fn link(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    headers: HeaderMap,
    Segment(id): Segment<String>,
    Form(entry): Form<LinkEntry>,
) -> Answer {
    let ends_at = ends_at(&service, entry.hours)?;
    let (operator, secret) = service.make_enrolment_link(&caller, &id, Some(ends_at)).await?;
    show_link(&service, page, &headers, &operator, &secret)
}

fn show_link(service: &Service, page: Page, headers: &HeaderMap, operator: &Operator, secret: &SecretString) -> Answer {
    let local =
        || local_address(service, headers).map(|console| format!("{console}/enroll#{}", secret.expose_secret()));
    let known = service.enrolment_address(secret).or_else(local);
    let is_incomplete = known.is_none();
    let link = known.unwrap_or_else(|| format!("{}/console/enroll#{}", page.base, secret.expose_secret()));
    render(&OperatorLinkPage {
        page,
        name: shown(&operator.name),
        link,
        is_incomplete,
        ends_at: operator.enrolment.as_ref().map(|enrolment| enrolment.ends_at),
        is_reset: !operator.passkeys.is_empty(),
    })
}

fn back(page: &Page) -> Response {
    redirect(&format!("{}/console/operators", page.base))
}

/// Confirms an operator.
pub(in crate::console) async fn confirm(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
) -> Result<Response, HttpProblem> {
    service.confirm_operator(&caller, &id).await?;
    Ok(back(&page))
}

/// Removes an operator.
pub(in crate::console) async fn remove(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
) -> Result<Response, HttpProblem> {
    service.remove_operator(&caller, &id).await?;
    Ok(back(&page))
}

/// Removes a passkey of an operator.
pub(in crate::console) async fn remove_passkey(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment((id, passkey)): Segment<(String, String)>,
) -> Result<Response, HttpProblem> {
    service.remove_operator_passkey(&caller, &id, &passkey).await?;
    Ok(back(&page))
}
