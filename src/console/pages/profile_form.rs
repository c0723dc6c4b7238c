//! The form of a profile: a new one, a change of one, and the same form again with what was typed and what is wrong with it.
//!
//! The provider is chosen first, because it decides which fields there are. [`Entry`] is what was typed: the plan carries it
//! along, so that "back" loses nothing and nothing is kept in the service. [`read_edit`] makes an edit of it; rules are those of the
//! model, and each broken one is shown at its field. A secret arrives as an age file that the browser made (`seal.js`); the
//! field that is typed into has no name, and a field that the form does not have is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    console::{
        answer::{Answer, render},
        extract::{Form, Parameters, Segment},
        page::{Page, shown},
        pages::difference::{DifferenceRow, difference_row},
    },
    model::{
        AppliesTo, ChangeRecord, Client, Cloud, Code, CompanyId, Encryption, Function, Limits, Mailbox, Profile,
        ProfileName, Provider, SecretReference,
        cloud::CustomCloud,
        delivery::Preset,
        provider::{Credential, GraphDelegate, GraphDirect, NamedSecret, Oauth, Smtp},
        rules::Violation,
        settings::ConsolePolicy,
    },
    secrets::Header,
    service::{Edit, EditConflict, HttpProblem, Service, WantedProfile},
};

/// Providers, in the order in which they are offered.
const PROVIDERS: [&str; 3] = ["smtp", "microsoft-graph-direct", "microsoft-graph-delegate"];
/// Maximum number of fields of a form.
const FIELDS_LIMIT: usize = 5000;
/// Maximum number of profiles that are named for a function.
const SERVERS_NAMED: usize = 4;
/// Every field of the form and of the plan.
const FIELDS: &[&str] = &[
    "action",
    "original",
    "base",
    "planned",
    "name",
    "description",
    "enabled",
    "provider",
    "host",
    "port",
    "encryption",
    "login",
    "username",
    "cloud",
    "sign-in",
    "graph",
    "tenant",
    "client",
    "credential",
    "token-file",
    "platform",
    "redirect",
    "address-book",
    "from-address",
    "from-name",
    "from-dkim",
    "applies-to",
    "company",
    "function",
    "preset",
    "per-minute",
    "concurrency",
    "recipients-per-day",
    "message-size",
    "secret",
    "sealed-password",
    "sealed-client-secret",
    "sealed-certificate",
    "reason",
    "allow-name",
    "allow-deletes",
    "accept-findings",
    "accept-unverified",
];
/// Fields that belong to one plan, and are not carried along.
const OF_PLAN: &[&str] = &["planned", "reason", "allow-name", "allow-deletes", "accept-findings", "accept-unverified"];

/// The typed fields of a form, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry(Vec<(String, String)>);

impl Entry {
    /// Accepts the fields of a form. A field that the form does not have is refused, without a word about its value.
    pub(super) fn new(fields: Vec<(String, String)>) -> Result<Self, HttpProblem> {
        if fields.len() > FIELDS_LIMIT || fields.iter().any(|(name, _)| !FIELDS.contains(&name.as_str())) {
            return Err(HttpProblem::malformed("the form has a field that is not known, or too many")
                .remedy("Load the page again. A secret is typed only where the page encrypts it."));
        }
        Ok(Self(fields))
    }

    /// Returns the value of a field, without surrounding white space.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim()).unwrap_or_default()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// Returns all values of a field that can be there more than once.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.retain(|(key, _)| key != name);
        self.0.push((name.to_owned(), value.into()));
    }

    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Returns what a plan carries along.
    pub(super) fn carried(&self) -> Vec<(String, String)> {
        self.0.iter().filter(|(name, _)| !OF_PLAN.contains(&name.as_str())).cloned().collect()
    }

    pub(super) fn base(&self) -> u64 {
        self.get("base").parse().unwrap_or_default()
    }

    /// Returns the age file of a kind of secret, with the line ends of files; empty if none was sent.
    fn sealed(&self, kind: &str) -> String {
        let text = self.get(&format!("sealed-{kind}")).replace("\r\n", "\n");
        if text.is_empty() { text } else { format!("{}\n", text.trim_end()) }
    }

    /// Creates the entry that shows a profile.
    fn from_profile(name: &ProfileName, profile: &Profile, base: u64) -> Self {
        let mut entry = Self::default();
        let limits = &profile.limits;
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        for (field, value) in [
            ("original", name.to_string()),
            ("name", name.to_string()),
            ("base", base.to_string()),
            ("description", profile.description.clone()),
            ("enabled", if profile.enabled { "yes" } else { "" }.to_owned()),
            ("provider", profile.provider.id().to_owned()),
            ("per-minute", number(limits.per_minute.map(u64::from))),
            ("concurrency", number(limits.concurrency.map(u64::from))),
            ("recipients-per-day", number(limits.recipients_per_day.map(u64::from))),
            ("message-size", number(limits.message_size)),
            ("preset", limits.preset.map(preset_id).unwrap_or_default().to_owned()),
        ] {
            entry.set(field, value);
        }
        if let Some(Mailbox { address, name, dkim_selector }) = &profile.from {
            entry.set("from-address", address);
            entry.set("from-name", name.clone().unwrap_or_default());
            entry.set("from-dkim", dkim_selector.clone().unwrap_or_default());
        }
        entry.add("applies-to", if profile.applies_to == AppliesTo::SystemWide { "system-wide" } else { "companies" });
        if let AppliesTo::Companies(companies) = &profile.applies_to {
            for company in companies {
                entry.add("company", company.as_str());
            }
        }
        for function in &profile.functions {
            entry.add("function", function.id());
        }
        entry.set_provider(&profile.provider);
        entry
    }

    fn set_provider(&mut self, provider: &Provider) {
        if let Some((reference, _)) = provider.secret() {
            self.set("secret", reference.as_str());
        }
        match provider {
            Provider::Smtp(smtp) => {
                self.set("host", &smtp.host);
                self.set("port", smtp.port.to_string());
                self.set("encryption", encryption_id(smtp.encryption));
                self.set("username", smtp.username.clone().unwrap_or_default());
                let login = match (&smtp.password, &smtp.oauth) {
                    (_, Some(_)) => "oauth",
                    (Some(_), None) => "password",
                    (None, None) => "none",
                };
                self.set("login", login);
                if let Some(oauth) = &smtp.oauth {
                    self.set_application(&oauth.cloud, &oauth.tenant, &oauth.client);
                    self.set_credential(&oauth.credential);
                }
            }
            Provider::MicrosoftGraphDirect(direct) => {
                self.set_application(&direct.cloud, &direct.tenant, &direct.client);
                self.set_credential(&direct.credential);
                self.set("address-book", if direct.address_book { "yes" } else { "" });
            }
            Provider::MicrosoftGraphDelegate(delegate) => {
                self.set_application(&delegate.cloud, &delegate.tenant, &delegate.client);
                self.set("platform", delegate.platform.id());
                self.set("redirect", &delegate.redirect);
                self.set("address-book", if delegate.address_book { "yes" } else { "" });
            }
        }
    }

    fn set_application(&mut self, cloud: &Cloud, tenant: &str, client: &str) {
        self.set("tenant", tenant);
        self.set("client", client);
        match cloud {
            Cloud::Custom(custom) => {
                self.set("cloud", "custom");
                self.set("sign-in", &custom.sign_in);
                self.set("graph", &custom.graph);
            }
            named => self.set("cloud", named.name()),
        }
    }

    fn set_credential(&mut self, credential: &Credential) {
        let kind = match credential {
            Credential::ClientSecret(_) => "client-secret",
            Credential::Certificate(_) => "certificate",
            Credential::FederatedTokenFile(path) => {
                self.set("token-file", path);
                "federated"
            }
        };
        self.set("credential", kind);
    }
}

/// Something that is wrong with a field; an empty field is the whole form.
#[derive(Clone, Debug)]
pub(super) struct FieldProblem {
    field: String,
    code: String,
    message: String,
    remedy: String,
}

impl FieldProblem {
    fn new(field: &str, message: String) -> Self {
        Self { field: field.to_owned(), code: String::new(), message, remedy: String::new() }
    }

    fn from_violation(name: &ProfileName, violation: &Violation) -> Self {
        let own = violation.profile.as_ref() == Some(name);
        let field = if own { field_of(&violation.pointer, violation.problem.code) } else { "" };
        let message = match &violation.profile {
            Some(other) if !own => format!("{other}: {}", violation.problem.message),
            _ => violation.problem.message.clone(),
        };
        Self {
            field: field.to_owned(),
            code: violation.problem.code.to_string(),
            message: shown(&message),
            remedy: shown(&violation.problem.remedy),
        }
    }
}

/// Returns the problems of a refused edit, by field; none if the problem is not about the form.
pub(super) fn field_problems(name: &ProfileName, problem: &HttpProblem) -> Option<Vec<FieldProblem>> {
    let of = |field: &str| {
        vec![FieldProblem {
            field: field.to_owned(),
            code: problem.code().to_string(),
            message: shown(problem.message()),
            remedy: shown(problem.remedy_text()),
        }]
    };
    match problem.code() {
        Code::RulesBroken => {
            Some(problem.violations().iter().map(|violation| FieldProblem::from_violation(name, violation)).collect())
        }
        Code::ProfileExists => Some(of("name")),
        Code::SecretNotSent
        | Code::SecretNotOpenable
        | Code::SecretRedirected
        | Code::SecretUnfit
        | Code::NotAgeFile
        | Code::TooLarge => Some(of("secret")),
        _ => None,
    }
}

/// Returns the field that a place in a profile belongs to.
fn field_of(pointer: &str, code: Code) -> &'static str {
    let last = pointer.rsplit('/').next().unwrap_or_default();
    match pointer {
        "" if code == Code::FromMissing => "from-address",
        "/description" => "description",
        "/from/address" => "from-address",
        "/from/name" => "from-name",
        _ if pointer.starts_with("/functions") => "function",
        _ if pointer.starts_with("/appliesTo") => "company",
        _ if pointer.ends_with("/oauth") => "login",
        _ if pointer.starts_with("/provider") => match last {
            "host" => "host",
            "port" => "port",
            "encryption" => "encryption",
            "username" => "username",
            "tenant" => "tenant",
            "client" => "client",
            "redirect" => "redirect",
            "signIn" => "sign-in",
            "graph" => "graph",
            "federatedTokenFile" => "token-file",
            "password" | "clientSecret" | "certificate" => "secret",
            _ => "",
        },
        _ => "",
    }
}

/// Makes an edit of what was typed.
pub(super) fn read_edit(page: &Page, entry: &Entry) -> Result<Edit, Vec<FieldProblem>> {
    let mut reader = Reader { page, entry, problems: Vec::new() };
    let name = reader.name();
    let profile = reader.profile(name.as_ref());
    match (name, profile) {
        (Some(name), Some(profile)) if reader.problems.is_empty() => {
            let kind = match profile.provider.secret() {
                Some((_, pointer)) if pointer.ends_with("/password") => "password",
                Some((_, pointer)) if pointer.ends_with("/certificate") => "certificate",
                Some(_) => "client-secret",
                None => "none",
            };
            let age_file = Some(entry.sealed(kind)).filter(|text| !text.is_empty()).map(String::into_bytes);
            let is_new = !entry.has("original");
            Ok(Edit { name, wanted: WantedProfile::Saved { profile: Box::new(profile), age_file, is_new } })
        }
        _ => Err(reader.problems),
    }
}

/// Reads fields, and collects what is wrong with them.
struct Reader<'a> {
    page: &'a Page,
    entry: &'a Entry,
    problems: Vec<FieldProblem>,
}

impl Reader<'_> {
    fn name(&mut self) -> Option<ProfileName> {
        let field = if self.entry.has("original") { "original" } else { "name" };
        match self.entry.get(field).parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.problems.push(FieldProblem::new("name", error.to_string()));
                None
            }
        }
    }

    fn text(&self, field: &str) -> String {
        self.entry.get(field).to_owned()
    }

    fn optional(&self, field: &str) -> Option<String> {
        Some(self.text(field)).filter(|text| !text.is_empty())
    }

    fn number<T: TryFrom<u64>>(&mut self, field: &str, least: u64, most: u64) -> Option<T> {
        let text = self.optional(field)?;
        let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
        let read = number.and_then(|number| T::try_from(number).ok());
        if read.is_none() {
            let message = self.page.t2("form-problem-number", "least", least, "most", most);
            self.problems.push(FieldProblem::new(field, message));
        }
        read
    }

    fn choice(&mut self, field: &str) {
        self.problems.push(FieldProblem::new(field, self.page.t("form-problem-choice")));
    }

    fn profile(&mut self, name: Option<&ProfileName>) -> Option<Profile> {
        let provider = self.provider(name);
        let functions = self.entry.all("function").filter_map(|id| id.parse::<Function>().ok()).collect();
        let applies_to = match self.entry.get("applies-to") {
            "system-wide" => AppliesTo::SystemWide,
            "companies" => {
                let companies = self.entry.all("company").filter_map(|id| id.parse::<CompanyId>().ok());
                AppliesTo::Companies(companies.collect())
            }
            _ => {
                self.choice("applies-to");
                AppliesTo::SystemWide
            }
        };
        let from = self.optional("from-address").map(|address| {
            let mailbox =
                Mailbox { address, name: self.optional("from-name"), dkim_selector: self.optional("from-dkim") };
            // The form that files give an address. One that is not an address is left to the rules.
            serde_json::from_value(json!(mailbox)).unwrap_or(mailbox)
        });
        let preset = match self.entry.get("preset") {
            "own" => Some(Preset::Own),
            "exchange-online-smtp" => Some(Preset::ExchangeOnlineSmtp),
            "microsoft-graph" => Some(Preset::MicrosoftGraph),
            _ => None,
        };
        let limits = Limits {
            preset,
            per_minute: self.number("per-minute", 1, 100_000),
            concurrency: self.number("concurrency", 1, 100),
            recipients_per_day: self.number("recipients-per-day", 1, 10_000_000),
            message_size: self.number("message-size", 1024, 157_286_400),
        };
        Some(Profile {
            description: self.text("description"),
            enabled: self.entry.has("enabled"),
            provider: provider?,
            from,
            functions,
            applies_to,
            limits,
        })
    }

    fn provider(&mut self, name: Option<&ProfileName>) -> Option<Provider> {
        match self.entry.get("provider") {
            "smtp" => {
                let encryption = match self.entry.get("encryption") {
                    "starttls" => Encryption::Starttls,
                    "tls" => Encryption::Tls,
                    "none" => Encryption::None,
                    _ => {
                        self.choice("encryption");
                        Encryption::Starttls
                    }
                };
                let usual = if encryption == Encryption::Tls { 465 } else { 587 };
                let port = self.number("port", 1, 65535).unwrap_or(usual);
                let (username, password, oauth) = match self.entry.get("login") {
                    "password" => (self.optional("username"), Some(self.secret(name, "password")?), None),
                    "oauth" => {
                        let oauth = Oauth {
                            cloud: self.cloud(),
                            tenant: self.text("tenant"),
                            client: self.text("client"),
                            credential: self.credential(name)?,
                        };
                        (self.optional("username"), None, Some(oauth))
                    }
                    _ => (None, None, None),
                };
                Some(Provider::Smtp(Smtp { host: self.text("host"), port, encryption, username, password, oauth }))
            }
            "microsoft-graph-direct" => Some(Provider::MicrosoftGraphDirect(GraphDirect {
                cloud: self.cloud(),
                tenant: self.text("tenant"),
                client: self.text("client"),
                credential: self.credential(name)?,
                address_book: self.entry.has("address-book"),
            })),
            "microsoft-graph-delegate" => {
                let platform = self.entry.get("platform").parse().unwrap_or(Client::Native);
                Some(Provider::MicrosoftGraphDelegate(GraphDelegate {
                    cloud: self.cloud(),
                    tenant: self.text("tenant"),
                    client: self.text("client"),
                    platform,
                    redirect: self.text("redirect"),
                    address_book: self.entry.has("address-book"),
                }))
            }
            _ => {
                self.choice("provider");
                None
            }
        }
    }

    fn cloud(&mut self) -> Cloud {
        match self.entry.get("cloud") {
            "global" | "" => Cloud::Global,
            "us-government-l4" => Cloud::UsGovernmentL4,
            "us-government-l5" => Cloud::UsGovernmentL5,
            "china" => Cloud::China,
            "custom" => Cloud::Custom(CustomCloud { sign_in: self.text("sign-in"), graph: self.text("graph") }),
            _ => {
                self.choice("cloud");
                Cloud::Global
            }
        }
    }

    fn credential(&mut self, name: Option<&ProfileName>) -> Option<Credential> {
        match self.entry.get("credential") {
            "client-secret" => self.secret(name, "client-secret").map(Credential::ClientSecret),
            "certificate" => self.secret(name, "certificate").map(Credential::Certificate),
            "federated" => Some(Credential::FederatedTokenFile(self.text("token-file"))),
            _ => {
                self.choice("credential");
                None
            }
        }
    }

    /// Returns the name of the secret: the one that was typed, or that of the profile and the kind.
    fn secret(&mut self, name: Option<&ProfileName>, kind: &str) -> Option<NamedSecret> {
        let reference = match (self.optional("secret"), name) {
            (Some(text), _) => text.parse::<SecretReference>(),
            (None, Some(name)) => format!("{name}/{kind}").parse(),
            (None, None) => return None,
        };
        match reference {
            Ok(secret) => Some(NamedSecret { secret }),
            Err(error) => {
                self.problems.push(FieldProblem::new("secret", error.to_string()));
                None
            }
        }
    }
}

fn encryption_id(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::Starttls => "starttls",
        Encryption::Tls => "tls",
        Encryption::None => "none",
    }
}

fn preset_id(preset: Preset) -> &'static str {
    match preset {
        Preset::Own => "own",
        Preset::ExchangeOnlineSmtp => "exchange-online-smtp",
        Preset::MicrosoftGraph => "microsoft-graph",
    }
}

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
    is_system_wide: bool,
    is_enabled: bool,
    secrets: Vec<SecretField>,
    secret_name: String,
    /// True if the service has a value under the name that is shown.
    has_secret: bool,
    /// The recipients that secrets are sealed for.
    recipients: String,
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
    /// When the field is shown: a class of the style sheet.
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

/// A field for a secret of one kind.
struct SecretField {
    kind: &'static str,
    destination: &'static str,
    when: &'static str,
    /// The age file that was made before, if the form is shown again.
    sealed: String,
}

/// The changes of another editor.
struct ConflictView {
    by: Option<ChangeRecord>,
    is_deleted: bool,
    fields: Vec<DifferenceRow>,
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
        ("applies-to", "system-wide"),
    ] {
        entry.set(field, value);
    }
    if provider == "microsoft-graph-delegate" {
        entry.set("function", Function::user_interface().id());
    }
    render(&form_page(&service, page, &entry, Vec::new(), None))
}

/// Shows the form of a profile.
pub(in crate::console) async fn edit(
    State(service): State<Arc<Service>>,
    page: Page,
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
        return Err(
            HttpProblem::not_found("the profile does not exist").remedy("Choose one from the list of profiles.")
        );
    };
    let mut entry = Entry::from_profile(&name, &live.profile, state.generation);
    if PROVIDERS.contains(&start.provider.as_str()) && start.provider != live.profile.provider.id() {
        for (field, value) in
            [("encryption", "starttls"), ("login", "password"), ("credential", "client-secret"), ("secret", "")]
        {
            entry.set(field, value);
        }
        entry.set("provider", start.provider);
    }
    render(&form_page(&service, page, &entry, Vec::new(), None))
}

/// Shows the form again with what was typed, for a plan that is not applied.
pub(in crate::console) async fn back(
    State(service): State<Arc<Service>>,
    page: Page,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    render(&form_page(&service, page, &Entry::new(fields)?, Vec::new(), None))
}

/// Shows the form with problems, or with what another editor changed.
pub(super) fn show_again(
    service: &Service,
    page: Page,
    entry: &Entry,
    problems: Vec<FieldProblem>,
    conflict: Option<EditConflict>,
) -> Result<Response, HttpProblem> {
    let status = if conflict.is_some() { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
    let form = form_page(service, page, entry, problems, conflict);
    Ok((status, render(&form)?).into_response())
}

fn form_page(
    service: &Service,
    page: Page,
    entry: &Entry,
    problems: Vec<FieldProblem>,
    conflict: Option<EditConflict>,
) -> FormPage {
    let state = service.state();
    let provider = entry.get("provider").to_owned();
    let choices = |group: &str, field: &str, ids: &[&str]| -> Vec<Choice> {
        let chosen = entry.get(field);
        let choice = |id: &&str| Choice {
            value: (*id).to_owned(),
            label: match group {
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
        value: if kind == "checkbox" && entry.has(id) { "yes".to_owned() } else { shown(entry.get(id)) },
        choices: match id {
            "encryption" => choices("encryption", id, &["starttls", "tls", "none"]),
            "login" => choices("login", id, &["none", "password", "oauth"]),
            "cloud" => choices("cloud", id, &["global", "us-government-l4", "us-government-l5", "china", "custom"]),
            "credential" => choices("credential", id, &["client-secret", "certificate", "federated"]),
            "platform" => choices("platform", id, &["native", "spa"]),
            "preset" => choices("preset", id, &["", "own", "exchange-online-smtp", "microsoft-graph"]),
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
    let general = vec![field("description", "text", "", "")];
    let secrets = secret_fields(entry, &provider);
    let secret_name = entry.get("secret").to_owned();
    let has_secret = secret_name
        .parse::<SecretReference>()
        .is_ok_and(|reference| state.live_stored().any(|(_, stored)| stored.secrets.contains_key(&reference)));
    let conflict = conflict.map(|EditConflict { by, is_deleted, fields }| ConflictView {
        by: by.map(|by| ChangeRecord { by: shown(&by.by), ..by }),
        is_deleted,
        fields: fields.iter().map(difference_row).collect(),
    });
    FormPage {
        original: shown(entry.get("original")),
        name: shown(entry.get("name")),
        // After a conflict was shown, the next plan starts from what is live.
        base: if conflict.is_some() { state.generation } else { entry.base() },
        providers: choices("provider", "provider", &PROVIDERS),
        functions: function_rows(&state, entry, &provider),
        companies: company_choices(&state.settings.companies, entry),
        is_system_wide: entry.get("applies-to") != "companies",
        is_enabled: entry.has("enabled"),
        sections: [vec![Section { id: "general", fields: general }], sections].into_iter().flatten().collect(),
        secrets,
        secret_name: shown(&secret_name),
        has_secret,
        recipients: service.recipient(),
        reasons: REASONS,
        problems,
        conflict,
        is_proposal_only: service.console_policy() == ConsolePolicy::Propose,
        provider,
        page,
    }
}

/// The reasons for which `seal.js` does not seal a value.
const REASONS: &[&str] = &[
    "insecure",
    "recipient",
    "mixed",
    "library",
    "failed",
    "destination",
    "empty",
    "too-long",
    "utf-16",
    "keystore",
    "der",
    "not-text",
    "age-file",
    "merge-markers",
    "pointer",
    "control",
    "blank",
    "mark",
    "encrypted",
    "pem-in-base64",
    "kubernetes",
    "web-key",
    "base64",
    "masked",
    "private-key",
    "json",
    "secret-id",
    "line-breaks",
    "invisible-end",
    "blank-end",
    "assignment",
    "no-certificate",
    "no-key",
    "encrypted-key",
    "openssh-key",
];

fn secret_fields(entry: &Entry, provider: &str) -> Vec<SecretField> {
    let field = |kind: &'static str, destination: &'static str, when: &'static str| {
        // Nothing but an age file is shown again.
        let sealed = Some(entry.sealed(kind)).filter(|text| Header::read(text.as_bytes()).is_ok());
        SecretField { kind, destination, when, sealed: sealed.unwrap_or_default() }
    };
    match provider {
        "smtp" => vec![
            field("password", "smtp", "when-password"),
            field("client-secret", "smtp entra", "when-oauth when-client-secret"),
            field("certificate", "smtp entra", "when-oauth when-certificate"),
        ],
        "microsoft-graph-direct" => {
            vec![
                field("client-secret", "entra", "when-client-secret"),
                field("certificate", "entra", "when-certificate"),
            ]
        }
        _ => Vec::new(),
    }
}

fn function_rows(state: &crate::model::State, entry: &Entry, provider: &str) -> Vec<FunctionRow> {
    let mut claims: BTreeMap<Function, Vec<&str>> = BTreeMap::new();
    for (name, profile) in state.live().filter(|(_, profile)| profile.enabled) {
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

/// Returns the companies of the environment, and those that the profile has and the environment does not.
fn company_choices(companies: &BTreeSet<CompanyId>, entry: &Entry) -> Vec<Choice> {
    let chosen: BTreeSet<&str> = entry.all("company").filter(|id| id.parse::<CompanyId>().is_ok()).collect();
    let all: BTreeSet<&str> = companies.iter().map(CompanyId::as_str).chain(chosen.iter().copied()).collect();
    let choice = |id: &str| Choice { value: id.to_owned(), label: id.to_owned(), is_chosen: chosen.contains(id) };
    all.into_iter().map(choice).collect()
}
