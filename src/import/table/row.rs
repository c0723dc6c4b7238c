//! A row of a list of profiles: its cells, read as the document of a profile's file.
//!
//! [`RowParser`] has the cells by column, in the words of administrators. A cell that is used and cannot be read is a problem with
//! its column; cells that the provider does not use are ignored. Missing cells have a meaning: no companies is system-wide, a host
//! without a provider is `smtp`, no credential type is a client secret. A login or a credential becomes a reference to a secret
//! (`NAME/password`, `NAME/client-secret`, `NAME/certificate`), which is sealed separately. Columns with secrets are rejected in
//! `import::table`; here only names that look like a secret are. The rules of profiles are not checked here: the files are
//! validated when they are written.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, json};

use super::{COLUMNS, Column, ProfileRow};
use crate::{
    config::suggest,
    import::spreadsheet::{TableProblem, is_words, normalize},
    model::{EnvironmentName, Function, InvalidName, ProfileName, secret_detection},
    text::{printable, shortened},
};

/// Parses one row: its cells by column, and the problems found so far.
pub(super) struct RowParser<'a> {
    pub(super) line: usize,
    pub(super) cells: BTreeMap<Column, (&'a str, Cow<'a, str>)>,
    pub(super) problems: Vec<TableProblem>,
}

impl RowParser<'_> {
    /// Adds the profile of the row to `rows`, or what is wrong with it to `problems`.
    pub(super) fn finish(mut self, rows: &mut Vec<ProfileRow>, problems: &mut Vec<TableProblem>) {
        let (environment, name) = (self.parse_environment(), self.parse_name());
        let document = name.as_ref().map(|name| self.build_document(name));
        if let (Some(name), Some(document), true) = (name, document, self.problems.is_empty()) {
            rows.push(ProfileRow { environment, name, document, line: self.line });
        }
        problems.extend(self.problems);
    }

    fn text(&self, column: Column) -> Option<String> {
        self.cells.get(&column).map(|(_, value)| value.to_string())
    }

    fn report(&mut self, column: Column, message: String, remedy: impl Into<String>) {
        let usual = COLUMNS.iter().find(|(known, _)| *known == column).map_or("", |(_, words)| words[0]);
        let name = self.cells.get(&column).map_or(usual, |(name, _)| name);
        let name = printable(&shortened(name, 60)).into_owned();
        self.problems.push(TableProblem { line: self.line, column: name, message, remedy: remedy.into() });
    }

    pub(super) fn parse_name(&mut self) -> Option<ProfileName> {
        let text = self.text(Column::Name).unwrap_or_default();
        let name: Result<ProfileName, InvalidName> = text.parse();
        if let Err(rule) = &name {
            let message =
                if text.is_empty() { "the profile has no name" } else { "this is not a profile's name" }.to_owned();
            self.report(Column::Name, message, format!("{rule}."));
        }
        let name = name.ok();
        self.refuse_secret(Column::Name);
        name
    }

    pub(super) fn parse_environment(&mut self) -> Option<EnvironmentName> {
        let text = self.text(Column::Environment)?;
        let name = text.parse().ok();
        if name.is_none() {
            self.report(
                Column::Environment,
                "this is not an environment's name".to_owned(),
                "Name a folder under `environments/`.",
            );
        }
        self.refuse_secret(Column::Environment);
        name
    }

    /// Reports a cell with a name that looks like a secret. Names are part of paths and messages.
    fn refuse_secret(&mut self, column: Column) {
        if let Some((_, message, _)) = self.text(column).as_deref().and_then(secret_detection::detect) {
            self.report(column, message.to_owned(), "Correct the name and the order of the columns.");
        }
    }

    /// Parses a cell as one of some words, and returns its meaning.
    fn parse_word(&mut self, column: Column, known: &[(&[&str], &'static str)]) -> Option<&'static str> {
        let text = self.text(column)?;
        let plain = normalize(&text);
        let found = known.iter().find(|(words, _)| words.contains(&plain.as_str())).map(|(_, meant)| *meant);
        if found.is_none() {
            let all = known.iter().map(|(_, meant)| *meant).collect::<Vec<_>>().join(", ");
            self.report(column, "this is not one of the allowed words".to_owned(), format!("Write one of: {all}."));
        }
        found
    }

    fn parse_flag(&mut self, column: Column) -> Option<bool> {
        let words: &[(&[&str], &'static str)] = &[
            (&["yes", "true", "1", "y", "x", "on", "enabled", "checked"], "yes"),
            (&["no", "false", "0", "n", "off", "disabled", "unchecked"], "no"),
        ];
        self.parse_word(column, words).map(|word| word == "yes")
    }

    fn build_document(&mut self, name: &ProfileName) -> Value {
        let mut document = Map::new();
        if let Some(description) = self.text(Column::Description) {
            document.insert("description".to_owned(), json!(description));
        }
        if self.parse_flag(Column::Enabled) == Some(false) {
            document.insert("enabled".to_owned(), json!(false));
        }
        document.insert("provider".to_owned(), self.build_provider(name));
        if let Some(address) = self.text(Column::From) {
            let mut from = Map::from_iter([("address".to_owned(), json!(address))]);
            from.extend(self.text(Column::FromName).map(|name| ("name".to_owned(), json!(name))));
            document.insert("from".to_owned(), Value::Object(from));
        } else if self.cells.contains_key(&Column::FromName) {
            let remedy = "Write the address in the column `from`, or remove the name.";
            self.report(Column::FromName, "the sender has a name and no address".to_owned(), remedy);
        }
        document.insert("functions".to_owned(), json!(self.parse_functions()));
        document.insert("appliesTo".to_owned(), self.parse_companies());
        Value::Object(document)
    }

    fn build_provider(&mut self, name: &ProfileName) -> Value {
        let words: &[(&[&str], &'static str)] = &[
            (&["smtp", "smtpserver"], "smtp"),
            (
                &[
                    "microsoftgraphdirect",
                    "graphdirect",
                    "microsoftgraphapplication",
                    "graphapplication",
                    "application",
                    "direct",
                    "directsender",
                    "microsoftgraphdirectsender",
                    "microsoft365direct",
                    "microsoft365directsender",
                    "office365direct",
                ],
                "microsoft-graph-direct",
            ),
            (
                &[
                    "microsoftgraphdelegate",
                    "graphdelegate",
                    "microsoftgraphdelegated",
                    "graphdelegated",
                    "delegated",
                    "delegate",
                    "delegatesender",
                    "microsoftgraphdelegatesender",
                    "microsoft365delegate",
                    "microsoft365delegatesender",
                    "office365delegate",
                ],
                "microsoft-graph-delegate",
            ),
        ];
        let stated = self.cells.contains_key(&Column::Provider);
        let provider = self.parse_word(Column::Provider, words);
        if !stated && !self.cells.contains_key(&Column::Host) {
            self.report(
                Column::Provider,
                "the profile has no provider".to_owned(),
                "Write smtp, microsoft-graph-direct or microsoft-graph-delegate.",
            );
        }
        let provider = provider.unwrap_or("smtp");
        let settings = if provider == "smtp" { self.build_smtp(name) } else { self.build_graph(name, provider) };
        json!({ provider: settings })
    }

    fn copy_text(&self, settings: &mut Map<String, Value>, key: &str, column: Column) {
        settings.extend(self.text(column).map(|text| (key.to_owned(), json!(text))));
    }

    fn build_smtp(&mut self, name: &ProfileName) -> Value {
        let mut settings = Map::new();
        let is_465 = self.text(Column::Port).as_deref() == Some("465");
        self.copy_text(&mut settings, "host", Column::Host);
        if let Some(port) = self.text(Column::Port) {
            match port.parse::<u16>() {
                Ok(port) => settings.extend([("port".to_owned(), json!(port))]),
                Err(_) => {
                    self.report(Column::Port, "this is not a port".to_owned(), "Write a number from 1 to 65535.");
                }
            }
        }
        let words: &[(&[&str], &'static str)] = &[
            (&["starttls", "auto"], "starttls"),
            // The port decides between `tls` and `starttls`.
            (&["yes", "true", "y", "x", "1", "on", "enabled", "checked"], if is_465 { "tls" } else { "starttls" }),
            (&["tls", "ssl", "ssltls", "tlsssl", "implicit", "smtps"], "tls"),
            (&["none", "no", "false", "off", "clear", "n", "0", "disabled", "unchecked"], "none"),
        ];
        if let Some(encryption) = self.parse_word(Column::Encryption, words) {
            settings.insert("encryption".to_owned(), json!(encryption));
        }
        if self.cells.contains_key(&Column::Username) {
            self.copy_text(&mut settings, "username", Column::Username);
            settings.insert("password".to_owned(), json!({ "secret": format!("{name}/password") }));
        }
        Value::Object(settings)
    }

    fn build_graph(&mut self, name: &ProfileName, provider: &str) -> Value {
        let mut settings = Map::new();
        self.copy_text(&mut settings, "cloud", Column::Cloud);
        self.copy_text(&mut settings, "tenant", Column::Tenant);
        self.copy_text(&mut settings, "client", Column::Client);
        if provider == "microsoft-graph-delegate" {
            let words: &[(&[&str], &'static str)] = &[
                (&["native", "desktop", "publicclient"], "native"),
                (&["spa", "web", "singlepageapplication"], "spa"),
            ];
            // Without a column for the platform, the redirect decides.
            let redirect = self.text(Column::Redirect);
            let by_redirect = || {
                redirect.map(|text| if text.trim_end_matches('/') == "https://localhost" { "native" } else { "spa" })
            };
            let platform = if self.cells.contains_key(&Column::Platform) {
                self.parse_word(Column::Platform, words)
            } else {
                by_redirect()
            };
            if let Some(platform) = platform {
                settings.insert("platform".to_owned(), json!(platform));
            }
            self.copy_text(&mut settings, "redirect", Column::Redirect);
        } else {
            let words: &[(&[&str], &'static str)] =
                &[(&["clientsecret", "secret"], "clientSecret"), (&["certificate", "cert"], "certificate")];
            let (kind, key) = match self.parse_word(Column::Credential, words) {
                Some("certificate") => ("certificate", "certificate"),
                _ => ("clientSecret", "client-secret"),
            };
            settings.insert("credential".to_owned(), json!({ kind: { "secret": format!("{name}/{key}") } }));
        }
        if self.parse_flag(Column::AddressBook) == Some(true) {
            settings.insert("addressBook".to_owned(), json!(true));
        }
        Value::Object(settings)
    }

    /// Parses functions by id or by the name that the ERP shows; `all` means all.
    fn parse_functions(&mut self) -> Vec<&'static str> {
        let Some(text) = self.text(Column::Functions) else {
            self.report(
                Column::Functions,
                "the profile serves no function".to_owned(),
                "`mailwright functions` lists them.",
            );
            return Vec::new();
        };
        let mut functions = Vec::new();
        for word in text.split([';', ',', '|', '\n']).map(str::trim).filter(|word| !word.is_empty()) {
            if word.eq_ignore_ascii_case("all") || word == "*" {
                return Function::all().map(Function::id).collect();
            }
            let is_meant =
                |f: &Function| f.id().eq_ignore_ascii_case(word) || f.entry().name.eq_ignore_ascii_case(word);
            match Function::all().find(is_meant) {
                Some(function) if functions.contains(&function.id()) => {}
                Some(function) => functions.push(function.id()),
                None => {
                    let known = Function::all().flat_map(|f| [f.id(), f.entry().name.as_str()]);
                    let remedy = match suggest::nearest(word, known) {
                        Some(meant) => format!("Did you mean `{meant}`?"),
                        None => "`mailwright functions` lists them.".to_owned(),
                    };
                    let message = if is_words(word) {
                        format!("unknown function `{word}`")
                    } else {
                        "one of these is not a function".to_owned()
                    };
                    self.report(Column::Functions, message, remedy);
                }
            }
        }
        functions
    }

    /// Parses companies: `Apply to` selects all or some, `Select companies` lists them. Either column may be missing.
    fn parse_companies(&mut self) -> Value {
        let scope = self.text(Column::Scope).unwrap_or_default();
        let companies = self.text(Column::Companies).unwrap_or_default();
        match (Scope::parse(&scope), Scope::parse(&companies)) {
            (Scope::Some | Scope::Unsaid, Scope::Listed) => self.list_companies(Column::Companies, &companies),
            (Scope::Listed, Scope::Unsaid) => self.list_companies(Column::Scope, &scope),
            (Scope::All | Scope::Unsaid, Scope::All | Scope::Unsaid) => json!("system-wide"),
            (Scope::Some, Scope::Unsaid | Scope::Some) | (Scope::Unsaid, Scope::Some) => {
                let remedy = "Name them in the column `companies`, separated by semicolons; or write system-wide.";
                self.report(Column::Scope, "the profile is for some companies, and none is named".to_owned(), remedy);
                json!("system-wide")
            }
            _ => {
                let message = "this and the column of companies contradict each other".to_owned();
                self.report(Column::Scope, message, "Keep one of them: system-wide, or the companies.");
                json!("system-wide")
            }
        }
    }

    /// Parses a list of companies with any of the usual separators.
    fn list_companies(&mut self, column: Column, text: &str) -> Value {
        let companies = text.split([';', ',', '|', ' ', '\n']).map(str::trim).filter(|word| !word.is_empty());
        let companies: Vec<&str> = companies.collect();
        if companies.is_empty() {
            let remedy = "Name the companies, write `system-wide`, or leave the cell empty.";
            self.report(column, "the cell has separators and names no company".to_owned(), remedy);
        }
        json!({ "companies": companies })
    }
}

/// The scope that a cell states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The cell is empty.
    Unsaid,
    /// Every company.
    All,
    /// Some companies, which another cell lists.
    Some,
    /// The companies that the cell lists.
    Listed,
}

impl Scope {
    fn parse(text: &str) -> Self {
        let plain = normalize(text);
        match plain.as_str() {
            "" if text.trim().is_empty() => Scope::Unsaid,
            // Without its separators a cell such as `-` is empty, too, and it says something else than an empty one.
            "" if text.trim() != "*" => Scope::Listed,
            "" | "systemwide" | "system" | "all" | "allcompanies" | "everycompany" => Scope::All,
            "companies" | "company" | "selectcompanies" | "selectedcompanies" | "specificcompanies"
            | "somecompanies" | "selected" | "bycompany" => Scope::Some,
            _ => Scope::Listed,
        }
    }
}
