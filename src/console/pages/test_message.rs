//! The test message of a profile: its form on the page of the profile, and the request that sends one.
//!
//! The text is written here, in the language of the page, with the names of profile, environment, company and function, and the
//! time. The person enters the recipient, and chooses among the companies and functions for which the profile sends.

use std::sync::Arc;

use axum::{extract::State, http::Method, response::Response};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    console::{
        answer::redirect,
        extract::{Form, Segment},
        page::{Page, SignedIn, shown},
        texts::{self, Argument},
    },
    model::{
        CompanyId, Function, Profile, ProfileName,
        access::{Activity, Area},
    },
    service::{Caller, HttpProblem, Service, TestMessage},
};

/// Maximum number of allowed recipients that are named.
const ALLOWED_NAMED: usize = 5;

/// The form, or the reason for which there is none.
pub(super) struct TestForm {
    /// The id of the reason for which no message can be sent.
    pub(super) obstacle: Option<&'static str>,
    pub(super) companies: Vec<CompanyId>,
    pub(super) more_companies: usize,
    pub(super) functions: Vec<Function>,
    /// Identifies this form: sent twice, it is one message.
    pub(super) id: Uuid,
    /// The address that all mail of the environment goes to instead.
    pub(super) rewritten: Option<String>,
    /// The only recipients of the environment; empty if all are allowed.
    pub(super) allowed: String,
}

impl TestForm {
    pub(super) fn new(service: &Service, page: &Page, caller: &Caller, name: &ProfileName, profile: &Profile) -> Self {
        let found = service.test_message_targets(caller, name, profile);
        let obstacle = found.as_ref().err().map(|obstacle| obstacle.id());
        let targets = found.unwrap_or_default();
        let state = service.state();
        let guard = &state.settings.delivery.recipients;
        let is_seen = obstacle.is_none() && page.may(Area::Settings, Activity::See);
        let allowed: Vec<&str> = guard.allow.iter().filter(|_| is_seen).map(String::as_str).collect();
        let named = allowed.iter().take(ALLOWED_NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = if allowed.len() > ALLOWED_NAMED { " …" } else { "" };
        Self {
            obstacle,
            companies: targets.companies,
            more_companies: targets.more_companies,
            functions: targets.functions,
            id: Uuid::now_v7(),
            rewritten: guard.rewrite_to.as_deref().filter(|_| is_seen).map(shown),
            allowed: shown(&format!("{named}{more}")),
        }
    }
}

/// The fields of the form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct TestEntry {
    form: Uuid,
    company: CompanyId,
    function: Function,
    to: String,
}

/// Sends a test message, and shows it.
pub(in crate::console) async fn send(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(profile): Segment<ProfileName>,
    Form(TestEntry { form, company, function, to }): Form<TestEntry>,
) -> Result<Response, HttpProblem> {
    service.check_visible(&caller, &profile, (&Method::POST, "/console/profiles")).await?;
    let (subject, text) = contents(&page, &profile, &company, function, service.now());
    let test = TestMessage { profile: profile.clone(), company, function, recipient: to, subject, text, form };
    let id = service.send_test_message(&caller, test).await?;
    let next = if page.may_open("/console/outbox/{id}") {
        format!("/console/outbox/{id}")
    } else {
        format!("/console/profiles/{profile}")
    };
    Ok(redirect(&format!("{}{next}?done=test", page.base)))
}

/// Returns subject and text of a test message.
fn contents(
    page: &Page,
    profile: &ProfileName,
    company: &CompanyId,
    function: Function,
    now: Timestamp,
) -> (String, String) {
    let values = [
        ("profile", Argument::Text(profile.to_string())),
        ("environment", Argument::Text(page.environment.clone())),
        ("company", Argument::Text(company.to_string())),
        ("function", Argument::Text(page.function(&function))),
        ("time", Argument::Text(now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())),
    ];
    let text = |key: &str| texts::text(page.language, key, &values);
    (text("test-mail-subject"), text("test-mail-text"))
}
