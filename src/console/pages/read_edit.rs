//! [`read_edit`]: makes an edit of what was typed into the form of a profile.
//!
//! [`FieldProblem`] is what is wrong with a field: it cannot be read, or it breaks a rule of the model ([`field_problems`]). A
//! secret is an age file that the browser made; it is not opened here.

use serde_json::json;

use super::profile_entry::Entry;
use crate::{
    console::{
        page::{Page, shown},
        problem_page::ProblemNotice,
    },
    model::{
        AppliesTo, Client, Cloud, Code, CompanyId, Encryption, Function, Limits, Mailbox, Profile, ProfileName,
        Provider, SecretReference,
        cloud::CustomCloud,
        delivery::Preset,
        provider::{Credential, GraphDelegate, GraphDirect, NamedSecret, Oauth, Smtp},
        rules::Violation,
    },
    service::{Edit, HttpProblem, WantedProfile},
};

/// Something that is wrong with a field; an empty field is the whole form.
#[derive(Clone, Debug)]
pub(super) struct FieldProblem {
    pub(super) field: String,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) remedy: String,
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
        let ProblemNotice { code, cause: message, remedy } = ProblemNotice::new(problem);
        vec![FieldProblem { field: field.to_owned(), code, message, remedy }]
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
        | Code::RecipientMissing
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
