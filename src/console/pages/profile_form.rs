//! The form of a profile: a new one, a change of one, and the same form again with what was typed and what is wrong with it.
//!
//! The provider is chosen first, because it decides which fields there are. [`super::profile_entry`] has what was typed, and
//! [`super::read_edit`] makes an edit of it; rules are those of the model, and each broken one is shown at its field. Secrets are
//! in [`super::secret_fields`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use askama::Template;
use axum::{
    extract::State,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{
    difference::{DifferenceRow, difference_row},
    profile_entry::Entry,
    read_edit::FieldProblem,
    secret_fields::{REASONS, RecipientsView, SecretField, secret_fields},
};
use crate::{
    console::{
        answer::{Answer, render},
        extract::{Form, Parameters, Segment},
        page::{Page, SignedIn, shown},
    },
    model::{
        self, ChangeRecord, CompanyId, Function, ProfileName, SecretReference, access::Area, settings::ConsolePolicy,
    },
    service::{Caller, EditConflict, HttpProblem, Service},
};

/// Providers, in the order in which they are offered.
const PROVIDERS: [&str; 3] = ["smtp", "microsoft-graph-direct", "microsoft-graph-delegate"];
/// Maximum number of profiles that are named for a function.
const SERVERS_NAMED: usize = 4;
/// Maximum number of companies that are offered. Those that the profile has are listed however many they are: what is not listed
/// would be removed.
const COMPANIES: usize = 1000;

/// The page.
#[derive(Template)]
#[template(path = "profile_form.html")]
struct FormPage {
    page: Page,
    /// The name of the profile; empty if it is new.
    original: String,
    name: String,
    base: u64,
    provider: String,
    providers: Vec<Choice>,
    sections: Vec<Section>,
    functions: Vec<FunctionRow>,
    companies: Vec<Choice>,
    /// Number of companies that are not offered.
    more_companies: usize,
    is_system_wide: bool,
    is_enabled: bool,
    secrets: Vec<SecretField>,
    secret_name: String,
    /// True if the service has a value under the name that is shown.
    has_secret: bool,
    recipients: RecipientsView,
    reasons: &'static [&'static str],
    problems: Vec<FieldProblem>,
    conflict: Option<ConflictView>,
    is_proposal_only: bool,
}

impl FormPage {
    fn of<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a FieldProblem> + 'a {
        self.problems.iter().filter(move |problem| problem.field == field)
    }

    fn is_wrong(&self, field: &str) -> bool {
        self.of(field).next().is_some()
    }

    /// Returns what belongs to no field that is shown.
    fn general(&self) -> Vec<&FieldProblem> {
        let is_shown = |field: &str| {
            ["name", "function", "company", "applies-to"].contains(&field)
                || field == "secret" && !self.secrets.is_empty()
                || self.sections.iter().any(|section| section.fields.iter().any(|own| own.id == field))
        };
        self.problems.iter().filter(|problem| !is_shown(&problem.field)).collect()
    }
}

struct Section {
    id: &'static str,
    fields: Vec<Field>,
}

/// A field of the form.
struct Field {
    id: &'static str,
    /// `text`, `number`, `select`, `radio` or `checkbox`.
    kind: &'static str,
    value: String,
    choices: Vec<Choice>,
    /// The class of the style sheet that decides when the field is shown; empty if it always is.
    when: &'static str,
    /// The part of a secret's destination that the field is.
    part: &'static str,
    placeholder: &'static str,
}

struct Choice {
    value: String,
    label: String,
    is_chosen: bool,
}

struct FunctionRow {
    function: Function,
    is_chosen: bool,
    /// The profiles that claim it now.
    servers: String,
    falls_back_to: Option<Function>,
}

/// The changes of another editor.
pub(super) struct ConflictView {
    pub(super) by: Option<ChangeRecord>,
    pub(super) is_deleted: bool,
    pub(super) fields: Vec<DifferenceRow>,
}

impl ConflictView {
    pub(super) fn new(EditConflict { by, is_deleted, fields }: EditConflict) -> Self {
        Self {
            by: by.map(|by| ChangeRecord { by: shown(&by.by), ..by }),
            is_deleted,
            fields: fields.iter().map(difference_row).collect(),
        }
    }
}

/// The parameters of the form.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Start {
    provider: String,
}

/// Shows the form of a new profile, or the choice of its provider.
pub(in crate::console) async fn new(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(start): Parameters<Start>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    let mut entry = Entry::default();
    let provider = PROVIDERS.into_iter().find(|id| *id == start.provider).unwrap_or_default();
    for (field, value) in [
        ("base", service.state().generation.to_string().as_str()),
        ("provider", provider),
        ("enabled", "yes"),
        ("encryption", "starttls"),
        ("login", "password"),
        ("credential", "client-secret"),
        ("cloud", "global"),
        ("platform", "native"),
        ("redirect", "https://localhost"),
        ("applies-to", if caller.sees_all(Area::Profiles) { "system-wide" } else { "companies" }),
    ] {
        entry.set(field, value);
    }
    if provider == "microsoft-graph-delegate" {
        entry.set("function", Function::user_interface().id());
    }
    render(&form_page(&service, page, &caller, &entry, Vec::new(), None))
}

/// Shows the form of a profile.
pub(in crate::console) async fn edit(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(name): Segment<String>,
    Parameters(start): Parameters<Start>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    let state = service.state();
    let found = name.parse::<ProfileName>().ok().and_then(|name| {
        let live = state.profiles.get(&name)?.live.as_ref()?;
        Some((name, live))
    });
    let Some((name, live)) = found else {
        return Err(profile_not_found());
    };
    service.check_visible(&caller, &name, (&Method::GET, &page.here)).await?;
    let mut entry = Entry::from_profile(&name, &live.profile, state.generation);
    if PROVIDERS.contains(&start.provider.as_str()) && start.provider != live.profile.provider.id() {
        for (field, value) in
            [("encryption", "starttls"), ("login", "password"), ("credential", "client-secret"), ("secret", "")]
        {
            entry.set(field, value);
        }
        entry.set("provider", start.provider);
    }
    render(&form_page(&service, page, &caller, &entry, Vec::new(), None))
}

pub(super) fn profile_not_found() -> HttpProblem {
    HttpProblem::not_found("the profile does not exist").remedy("Choose one from the list of profiles.")
}

/// Shows the form again with what was typed, for a plan that is not applied.
pub(in crate::console) async fn back(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    render(&form_page(&service, page, &caller, &Entry::new(fields)?, Vec::new(), None))
}

/// Shows the form with problems, or with what another editor changed.
pub(super) fn show_again(
    service: &Service,
    page: Page,
    caller: &Caller,
    entry: &Entry,
    problems: Vec<FieldProblem>,
    conflict: Option<EditConflict>,
) -> Result<Response, HttpProblem> {
    let status = if conflict.is_some() { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
    let form = form_page(service, page, caller, entry, problems, conflict);
    Ok((status, render(&form)?).into_response())
}

fn form_page(
    service: &Service,
    page: Page,
    caller: &Caller,
    entry: &Entry,
    problems: Vec<FieldProblem>,
    conflict: Option<EditConflict>,
) -> FormPage {
    let state = service.state();
    let provider = entry.get("provider").to_owned();
    let choices = |field: &str, ids: &[&str]| -> Vec<Choice> {
        let chosen = entry.get(field);
        let choice = |id: &&str| Choice {
            value: (*id).to_owned(),
            label: match field {
                "provider" => page.word("provider", id),
                "encryption" => page.word("encryption", id),
                "platform" => page.word("platform", id),
                "login" => page.word("form-login", id),
                "cloud" => page.word("form-cloud", id),
                "credential" => page.word("form-credential", id),
                _ => page.word("form-preset", if id.is_empty() { "usual" } else { id }),
            },
            is_chosen: *id == chosen,
        };
        ids.iter().map(choice).collect()
    };
    let field = |id: &'static str, kind: &'static str, when: &'static str, part: &'static str| Field {
        id,
        kind,
        // As it is, because it is sent back: what is only made printable would be another value.
        value: if kind == "checkbox" && entry.has(id) { "yes".to_owned() } else { entry.get(id).to_owned() },
        choices: match id {
            "encryption" => choices(id, &["starttls", "tls", "none"]),
            "login" => choices(id, &["none", "password", "oauth"]),
            "cloud" => choices(id, &["global", "us-government-l4", "us-government-l5", "china", "custom"]),
            "credential" => choices(id, &["client-secret", "certificate", "federated"]),
            "platform" => choices(id, &["native", "spa"]),
            "preset" => choices(id, &["", "own", "exchange-online-smtp", "microsoft-graph"]),
            _ => Vec::new(),
        },
        when,
        part,
        placeholder: match id {
            "host" => "smtp.example.com",
            "from-address" => "erp@example.com",
            "tenant" => "contoso.onmicrosoft.com",
            "client" => "00000000-0000-0000-0000-000000000000",
            _ => "",
        },
    };
    let application = |when: &'static str| {
        vec![
            field("cloud", "select", when, "cloud"),
            field("sign-in", "text", "when-custom", "sign-in"),
            field("graph", "text", "when-custom", "graph"),
            field("tenant", "text", when, "tenant"),
            field("client", "text", when, "client"),
        ]
    };
    let mut connection = Vec::new();
    match provider.as_str() {
        "smtp" => {
            connection.extend([
                field("host", "text", "", "host"),
                field("port", "number", "", ""),
                field("encryption", "select", "", "encryption"),
                field("login", "radio", "", ""),
                field("username", "text", "when-login", ""),
            ]);
            connection.extend(application("when-oauth"));
            connection.push(field("credential", "radio", "when-oauth", ""));
            connection.push(field("token-file", "text", "when-oauth when-federated", ""));
        }
        "microsoft-graph-direct" => {
            connection.extend(application(""));
            connection.extend([
                field("credential", "radio", "", ""),
                field("token-file", "text", "when-federated", ""),
                field("address-book", "checkbox", "", ""),
            ]);
        }
        "microsoft-graph-delegate" => {
            connection.extend(application(""));
            connection.extend([
                field("platform", "select", "", ""),
                field("redirect", "text", "", ""),
                field("address-book", "checkbox", "", ""),
            ]);
        }
        _ => {}
    }
    let sections = vec![
        Section { id: "general", fields: vec![field("description", "text", "", "")] },
        Section { id: "connection", fields: connection },
        Section {
            id: "sender",
            fields: ["from-address", "from-name", "from-dkim"].map(|id| field(id, "text", "", "")).into(),
        },
        Section {
            id: "limits",
            fields: vec![
                field("preset", "select", "", ""),
                field("per-minute", "number", "", ""),
                field("concurrency", "number", "", ""),
                field("recipients-per-day", "number", "", ""),
                field("message-size", "number", "", ""),
            ],
        },
    ];
    let secrets = secret_fields(service, entry, &provider);
    let sees_all = caller.sees_all(Area::Profiles);
    let is_seen = |name: &ProfileName| sees_all || caller.sees_profile_named(name, &state);
    let companies = state.settings.companies.iter().filter(|company| sees_all || caller.sees_company(company));
    let (companies, more_companies) = company_choices(companies, entry);
    let secret_name = entry.get("secret").to_owned();
    let has_secret = secret_name.parse::<SecretReference>().is_ok_and(|reference| {
        let mut all = state.live_stored();
        all.any(|(name, stored)| stored.secrets.contains_key(&reference) && is_seen(name))
    });
    let conflict = conflict.map(ConflictView::new);
    FormPage {
        original: shown(entry.get("original")),
        name: shown(entry.get("name")),
        // After a conflict was shown, the next plan starts from what is live.
        base: if conflict.is_some() { state.generation } else { entry.base() },
        providers: choices("provider", &PROVIDERS),
        functions: function_rows(&state, &is_seen, entry, &provider),
        companies,
        more_companies,
        is_system_wide: entry.get("applies-to") != "companies",
        is_enabled: entry.has("enabled"),
        sections,
        secrets,
        secret_name: shown(&secret_name),
        has_secret,
        recipients: RecipientsView::new(&service.sealing_recipients()),
        reasons: REASONS,
        problems,
        conflict,
        is_proposal_only: service.console_policy() == ConsolePolicy::Propose,
        provider,
        page,
    }
}

fn function_rows(
    state: &model::State,
    is_seen: &dyn Fn(&ProfileName) -> bool,
    entry: &Entry,
    provider: &str,
) -> Vec<FunctionRow> {
    let mut claims: BTreeMap<Function, Vec<&str>> = BTreeMap::new();
    for (name, profile) in state.live().filter(|(name, profile)| profile.enabled && is_seen(name)) {
        for function in &profile.functions {
            claims.entry(*function).or_default().push(name.as_str());
        }
    }
    // A delegate needs a user who signs in.
    let offered =
        |function: &Function| provider != "microsoft-graph-delegate" || *function == Function::user_interface();
    Function::all()
        .filter(offered)
        .map(|function| FunctionRow {
            function,
            is_chosen: entry.all("function").any(|id| id == function.id()),
            servers: claims
                .get(&function)
                .map(|names| crate::text::enumerate(names, SERVERS_NAMED))
                .unwrap_or_default(),
            falls_back_to: function.falls_back_to(),
        })
        .collect()
}

/// Returns the companies that are offered, and those that the profile has and the environment does not; and the number of those
/// that are too many to be offered.
fn company_choices<'a>(
    companies: impl Iterator<Item = &'a CompanyId> + Clone,
    entry: &'a Entry,
) -> (Vec<Choice>, usize) {
    let chosen: BTreeSet<&str> = entry.all("company").filter(|id| id.parse::<CompanyId>().is_ok()).collect();
    let others = companies.map(CompanyId::as_str).filter(|id| !chosen.contains(id));
    let offered = COMPANIES.saturating_sub(chosen.len());
    let more = others.clone().count().saturating_sub(offered);
    let listed: BTreeSet<&str> = others.take(offered).chain(chosen.iter().copied()).collect();
    let choice = |id: &str| Choice { value: id.to_owned(), label: id.to_owned(), is_chosen: chosen.contains(id) };
    (listed.into_iter().map(choice).collect(), more)
}
