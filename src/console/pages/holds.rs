//! Holds: the orders of operators that mail waits, with a form that creates one and a button that releases each.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    api::messages::NewHold,
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Segment},
        page::{Page, SignedIn, shown},
        parameters::{parse, parse_time},
    },
    model::{
        CompanyId, Function, ProfileName,
        access::{Activity, Area},
    },
    service::{HttpProblem, Service},
};

/// Maximum number of holds in the list.
const ROWS: usize = 200;
/// Maximum number of names that a field suggests.
const SUGGESTIONS: usize = 200;

/// The page.
#[derive(Template)]
#[template(path = "holds.html")]
struct HoldsPage {
    page: Page,
    holds: Vec<Row>,
    more: usize,
    may_change: bool,
    companies: Vec<CompanyId>,
    profiles: Vec<String>,
    functions: Vec<Function>,
}

/// A hold in the list.
struct Row {
    id: String,
    profile: Option<String>,
    company: Option<CompanyId>,
    function: Option<Function>,
    reason: String,
    owner: String,
    since: Timestamp,
    until: Option<Timestamp>,
}

/// Lists the holds.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
) -> Answer {
    let (holds, state) = (service.visible_holds(&caller), service.state());
    let (sees_all, sees_profiles) = (caller.sees_all(Area::Outbox), caller.sees_all(Area::Profiles));
    let may_hold =
        |company: &&CompanyId| sees_all || caller.may(Area::Outbox, Activity::See, Some(company), None).is_allowed();
    let is_seen = |name: &ProfileName| sees_all || sees_profiles || caller.sees_profile_named(name, &state);
    let more = holds.len().saturating_sub(ROWS);
    let holds = holds.into_iter().take(ROWS).map(|hold| Row {
        id: hold.id,
        profile: hold.profile.map(|profile| profile.to_string()),
        company: hold.company,
        function: hold.function,
        reason: shown(&hold.reason),
        owner: shown(&hold.owner),
        since: hold.since,
        until: hold.until,
    });
    render(&HoldsPage {
        holds: holds.collect(),
        more,
        may_change: page.may(Area::Outbox, Activity::Hold),
        companies: state.settings.companies.iter().filter(may_hold).take(SUGGESTIONS).cloned().collect(),
        profiles: state
            .live()
            .filter(|(name, _)| is_seen(name))
            .take(SUGGESTIONS)
            .map(|(name, _)| name.to_string())
            .collect(),
        functions: Function::all().collect(),
        page,
    })
}

/// The form of a new hold. An empty field includes everything; one of profile, company and function is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Wanted {
    profile: String,
    company: String,
    function: String,
    reason: String,
    until: String,
}

/// Creates a hold.
pub(in crate::console) async fn create(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(wanted): Form<Wanted>,
) -> Result<Response, HttpProblem> {
    let malformed = |what: &str| {
        HttpProblem::malformed(format!("the {what} of the hold has the wrong form"))
            .remedy("Go back, and choose a name from the list.")
    };
    let wanted = NewHold {
        profile: parse(&wanted.profile).map_err(|_| malformed("profile"))?,
        company: parse(&wanted.company).map_err(|_| malformed("company"))?,
        function: parse(&wanted.function).map_err(|_| malformed("function"))?,
        until: parse_time(&wanted.until).map_err(|_| malformed("end"))?,
        reason: wanted.reason,
    };
    service.create_hold(&caller, wanted).await?;
    Ok(redirect(&format!("{}/console/holds", page.base)))
}

/// Releases a hold.
pub(in crate::console) async fn release(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
) -> Result<Response, HttpProblem> {
    service.delete_hold(&caller, id).await?;
    Ok(redirect(&format!("{}/console/holds", page.base)))
}
