//! [`Entry`]: the typed fields of the form of a profile, and the entry that shows an existing profile.
//!
//! The plan carries the entry along, so that "back" loses nothing and nothing is kept in the service. A field that the form does
//! not have is refused. Values are text as it was typed: [`super::read_edit`] reads them.

use crate::{
    model::{
        AppliesTo, Cloud, Encryption, Mailbox, Profile, ProfileName, Provider, delivery::Preset, provider::Credential,
    },
    service::HttpProblem,
};

/// Maximum number of fields of a form.
const FIELDS_LIMIT: usize = 5000;
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
    "allow-rights",
    "accept-findings",
    "accept-unverified",
];
/// Fields that belong to one plan, and are not carried along.
const OF_PLAN: &[&str] =
    &["planned", "reason", "allow-name", "allow-deletes", "allow-rights", "accept-findings", "accept-unverified"];

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

    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
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
    pub(super) fn sealed(&self, kind: &str) -> String {
        let text = self.get(&format!("sealed-{kind}")).replace("\r\n", "\n");
        if text.is_empty() { text } else { format!("{}\n", text.trim_end()) }
    }

    /// Creates the entry that shows a profile.
    pub(super) fn from_profile(name: &ProfileName, profile: &Profile, base: u64) -> Self {
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
