//! Settings of trusted issuers: whose identity tokens are accepted, for which audience, and with which role.
//!
//! [`OidcSettings`] is the document that `serve --oidc` names; the caller reads it and [`OidcSettings::check`] validates it, at
//! the start and at each reload. [`IssuerSettings`] decides whether the verified claims of a token are admitted: those of
//! pipelines by `rules`, those of persons who sign in to the console by the rules of [`ConsoleSettings`], and neither by those of
//! the other. The first rule that matches applies; a token that no rule matches, that lacks `sub`, `iat` or `exp`, that has
//! expired or is not valid yet, or that is valid for longer than the settings allow is refused. Clocks may differ by 60 seconds.
//! Nothing here fetches keys or verifies signatures.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{refused, safe_url};
use crate::{
    entra::{Certificate, sign_in::ClientAuthentication},
    model::{
        Digest, EnvironmentName,
        token::{Role, Scope},
    },
    service::http::HttpProblem,
    text::is_hidden,
};

/// Placeholder in a claim pattern for the name of the environment that receives the request.
const PLACEHOLDER: &str = "{environment}";
/// Maximum difference between two clocks, in seconds.
pub(super) const LEEWAY: i64 = 60;
/// Maximum length of a claim pattern.
const PATTERN_LIMIT: usize = 500;
/// Maximum lifetime of the ID token of a person, in minutes. It is used once, when it was just issued.
const ID_TOKEN_MINUTES: u16 = 24 * 60;
/// Maximum age of the ID token of a person, in seconds. Entra dates its tokens back by five minutes.
const ID_TOKEN_AGE: i64 = 10 * 60;
/// The name of a provider whose settings have none.
pub(crate) const DEFAULT_PROVIDER: &str = "sso";
/// Claims that people can change themselves, or that pass from one person to another.
const CHANGEABLE: [&str; 9] = [
    "email",
    "family_name",
    "given_name",
    "name",
    "nickname",
    "preferred_username",
    "unique_name",
    "upn",
    "verified_primary_email",
];
/// Characters of a subject that the log and the caller's name show.
const SUBJECT_SHOWN: usize = 200;

/// The issuers file (`serve --oidc`). `schema/oidc.schema.json` describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcSettings {
    pub(super) issuers: Vec<IssuerSettings>,
}

/// An issuer, and the tokens of it that are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IssuerSettings {
    /// The exact value of the tokens' `iss` claim.
    pub(super) issuer: String,
    /// The value that the `aud` claim of a pipeline's token must contain; none if only persons are admitted.
    #[serde(default)]
    pub(super) audience: Option<String>,
    /// Maximum lifetime of a pipeline's token. Tokens that are valid for longer are refused.
    #[serde(default = "an_hour", alias = "longestMinutes")]
    max_lifetime_minutes: u16,
    /// The rules that admit pipelines; the first that matches applies.
    #[serde(default)]
    rules: Vec<AdmissionRule>,
    /// The sign-in of persons to the console; none if the issuer signs in no persons.
    #[serde(default)]
    pub(super) console: Option<ConsoleSettings>,
    /// True if the issuer's ID tokens identify the persons who send by delegate profiles. Their audience is the client id of such
    /// a profile; they give no role.
    #[serde(default)]
    pub(super) delegates: bool,
    /// The origins whose pages may use the delegate addresses from a browser (CORS); none by default.
    #[serde(default)]
    pub(super) delegate_origins: Vec<String>,
}

/// The sign-in of persons to the console with an issuer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConsoleSettings {
    /// The name in the address that the issuer sends browsers back to; needed if several issuers sign in persons.
    #[serde(default)]
    name: Option<String>,
    /// The name of the issuer on the button.
    pub(super) label: String,
    /// The client id of the service at the issuer: the `aud` claim of its ID tokens.
    pub(super) client_id: String,
    /// The file with the client secret.
    #[serde(default)]
    client_secret_file: Option<String>,
    /// The file with a certificate and its private key (PEM), by which the service signs assertions.
    #[serde(default)]
    certificate_file: Option<String>,
    /// The scopes that are requested.
    #[serde(default = "default_scopes")]
    pub(super) scopes: Vec<String>,
    /// The rules that admit persons; the first that matches applies.
    rules: Vec<AdmissionRule>,
    /// The contents of the file.
    #[serde(skip)]
    credential: Option<SecretString>,
}

fn default_scopes() -> Vec<String> {
    vec!["openid".to_owned(), "profile".to_owned()]
}

fn an_hour() -> u16 {
    60
}

/// A rule that admits tokens with certain claims and gives them a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AdmissionRule {
    /// Name of the rule. For a pipeline, the audit log shows it with the token's subject.
    name: String,
    pub(super) role: Role,
    /// The claims that the token must have; all must match.
    claims: BTreeMap<String, ClaimPatterns>,
    #[serde(default)]
    pub(super) scope: Scope,
}

/// Patterns for the value of a claim; one must match. `*` matches any text without `:` and `/`, `**` any text, and
/// `{environment}` the environment's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum ClaimPatterns {
    One(String),
    Any(Vec<String>),
}

impl AdmissionRule {
    /// Returns the name of the rule.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl OidcSettings {
    /// Checks the rules that the schema cannot express. An error names the issuer.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for issuer in &self.issuers {
            issuer.check().map_err(|reason| issuer.fault(&reason))?;
            let Some(console) = &issuer.console else { continue };
            // An answer of one provider must not be taken for that of another (RFC 9700, section 4.4).
            if !names.insert(console.name()) {
                let reason = "several issuers sign in persons; give each a `name` of its own below `console`";
                return Err(issuer.fault(reason));
            }
            let mut same_issuer = self.issuers.iter().filter(|other| other.issuer == issuer.issuer);
            if same_issuer.any(|other| other.audience.as_ref() == Some(&console.client_id)) {
                let reason = "`clientId` below `console` is also an `audience`: an ID token of a person would be one of a pipeline";
                return Err(issuer.fault(reason));
            }
        }
        Ok(())
    }

    /// Returns true if persons sign in to the console with an issuer.
    pub(super) fn signs_in_persons(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.console.is_some())
    }

    /// Returns the files that hold credentials of the service.
    pub fn credential_files(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().filter_map(|issuer| issuer.console.as_ref()?.credential_file())
    }

    /// Reads the files that hold credentials of the service.
    pub fn read_credentials(&mut self, read: impl Fn(&str) -> Result<SecretString, String>) -> Result<(), String> {
        for console in self.issuers.iter_mut().filter_map(|issuer| issuer.console.as_mut()) {
            console.credential = console.credential_file().map(&read).transpose()?;
        }
        Ok(())
    }
}

impl ConsoleSettings {
    /// Returns the name, by which addresses refer to the issuer.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_PROVIDER)
    }

    fn credential_file(&self) -> Option<&str> {
        self.client_secret_file.as_deref().or(self.certificate_file.as_deref())
    }

    /// Returns the credential of the service at the issuer; none for a public client. Fails if the certificate cannot be used.
    pub(super) fn authentication(&self) -> Result<Option<ClientAuthentication>, String> {
        let Some(credential) = self.credential.clone() else { return Ok(None) };
        if self.certificate_file.is_none() {
            return Ok(Some(ClientAuthentication::Secret(credential)));
        }
        let certificate = Certificate::from_pem(credential);
        let certificate = certificate.map_err(|error| format!("its `certificateFile` cannot be used: {error}"))?;
        Ok(Some(ClientAuthentication::Certificate(certificate)))
    }

    fn check(&self) -> Result<(), String> {
        let is_name = |name: &String| {
            (1..=30).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !self.name.as_ref().is_none_or(is_name) {
            return Err("its `name` must have 1 to 30 small letters, digits and dashes".to_owned());
        }
        let is_shown = |c: char| !is_hidden(c) && !c.is_control();
        if self.label.trim().is_empty() || self.label.chars().count() > 60 || !self.label.chars().all(is_shown) {
            return Err("its `label` must have 1 to 60 visible characters".to_owned());
        }
        let is_plain = |text: &str| !text.is_empty() && text.len() <= 300 && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain(&self.client_id) {
            return Err("its `clientId` must have 1 to 300 characters without spaces".to_owned());
        }
        if self.scopes.len() > 20 || !self.scopes.iter().all(|scope| is_plain(scope)) {
            return Err("its `scopes` must be at most 20 texts without spaces".to_owned());
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err("its `scopes` must contain `openid`, or the issuer returns no ID token".to_owned());
        }
        if self.client_secret_file.is_some() && self.certificate_file.is_some() {
            return Err("it has both `clientSecretFile` and `certificateFile`; keep one".to_owned());
        }
        if self.rules.is_empty() {
            return Err("it has no rule, so no person is admitted".to_owned());
        }
        for rule in &self.rules {
            let within = |reason: String| format!("rule `{}`: {reason}", rule.name.escape_debug());
            rule.check().map_err(within)?;
            if let Some(claim) = rule.claims.keys().find(|claim| CHANGEABLE.contains(&claim.as_str())) {
                return Err(within(format!(
                    "the claim `{claim}` does not identify a person: it can be changed, or given to another one. Use `roles`, `groups`, `oid` or `sub`"
                )));
            }
        }
        Ok(())
    }

    /// Returns the first rule that admits a person, with its position.
    pub(super) fn admit(&self, claims: &Value, environment: &EnvironmentName) -> Option<(usize, &AdmissionRule)> {
        self.rules.iter().enumerate().find(|(_, rule)| rule.matches(claims, environment))
    }

    /// Returns, for each rule, a digest of what admits a person by it: issuer, client, this rule and those before.
    pub(super) fn admissions(&self, issuer: &str) -> Vec<Digest> {
        let digest = |count| {
            Digest::of_document(&json!({ "issuer": issuer, "clientId": self.client_id, "rules": self.rules[..count] }))
        };
        (1..=self.rules.len()).map(digest).collect()
    }

    /// Checks the times of a person's ID token. It must have been issued just now.
    pub(super) fn check_times(claims: &Value, now: Timestamp) -> Result<(), HttpProblem> {
        check_validity(claims, now, ID_TOKEN_MINUTES)?;
        let issued = seconds(claims, "iat").unwrap_or(i64::MIN);
        if issued < now.as_second() - ID_TOKEN_AGE - LEEWAY {
            return Err(refused("it was issued too long ago"));
        }
        Ok(())
    }
}

impl IssuerSettings {
    /// Returns the text of a fault in these settings, with the issuer.
    pub(super) fn fault(&self, reason: &str) -> String {
        format!("issuer `{}`: {reason}", self.issuer.escape_debug())
    }

    fn check(&self) -> Result<(), String> {
        safe_url(&self.issuer)?;
        if self.audience.as_ref().is_some_and(String::is_empty) {
            return Err("the audience is empty".to_owned());
        }
        if !(1..=24 * 60).contains(&self.max_lifetime_minutes) {
            return Err("`maxLifetimeMinutes` must be from 1 to 1440".to_owned());
        }
        match (&self.audience, self.rules.is_empty()) {
            (None, true) if self.console.is_some() || self.delegates => {}
            (Some(_), false) => {}
            (None, false) => return Err("its rules need an `audience`".to_owned()),
            (_, true) => return Err("it has no rule, so no token is accepted".to_owned()),
        }
        if !self.delegate_origins.is_empty() && !self.delegates {
            return Err("its `delegateOrigins` need `delegates: true`".to_owned());
        }
        self.delegate_origins.iter().try_for_each(|origin| check_origin(origin))?;
        if let Some(console) = &self.console {
            console.check().map_err(|reason| format!("`console`: {reason}"))?;
        }
        self.rules.iter().try_for_each(|rule| {
            rule.check().map_err(|reason| format!("rule `{}`: {reason}", rule.name.escape_debug()))
        })
    }

    /// Checks the validity period of the ID token of a person who sends by a delegate profile. It is used for as long as it is
    /// valid.
    pub(super) fn check_sender_validity(claims: &Value, now: Timestamp) -> Result<(), HttpProblem> {
        check_validity(claims, now, ID_TOKEN_MINUTES).map(drop)
    }

    /// Checks the validity period of a pipeline's token and returns its expiry.
    pub(super) fn check_validity(&self, claims: &Value, now: Timestamp) -> Result<Timestamp, HttpProblem> {
        check_validity(claims, now, self.max_lifetime_minutes)
    }

    /// Returns the first rule that admits the claims, and the name that the caller gets.
    pub(super) fn admit(
        &self,
        claims: &Value,
        environment: &EnvironmentName,
    ) -> Result<(String, &AdmissionRule), HttpProblem> {
        let subject = claims["sub"].as_str().ok_or_else(|| refused("it has no `sub` claim"))?;
        let shown: String = subject.chars().filter(|c| !c.is_control()).take(SUBJECT_SHOWN).collect();
        let rule = self.rules.iter().find(|rule| rule.matches(claims, environment));
        let rule = rule.ok_or_else(|| {
            tracing::info!(issuer = self.issuer, subject = shown, "no rule admits the identity token");
            refused("no rule of the service admits its claims")
        })?;
        Ok((format!("{} ({shown})", rule.name), rule))
    }
}

/// Checks that a text is an origin, as browsers send it.
fn check_origin(text: &str) -> Result<(), String> {
    let fault = |why: &str| format!("`delegateOrigins`: `{}` {why}", text.escape_debug());
    let url = reqwest::Url::parse(text).map_err(|_| fault("is not a web address"))?;
    let is_local = url.scheme() == "http" && url.domain() == Some("localhost");
    if url.scheme() != "https" && !is_local {
        return Err(fault("must begin with https://; http:// is possible for localhost only"));
    }
    if url.origin().ascii_serialization() != text {
        return Err(fault("must be an origin: scheme, host and port in small letters, without a path or a slash"));
    }
    Ok(())
}

/// Checks the validity period of a token and returns its expiry. A token must state when it was issued and when it expires, and
/// must not be valid for longer than some minutes.
fn check_validity(claims: &Value, now: Timestamp, max_lifetime_minutes: u16) -> Result<Timestamp, HttpProblem> {
    let now = now.as_second();
    let (Some(expires), Some(issued)) = (seconds(claims, "exp"), seconds(claims, "iat")) else {
        return Err(refused("it has no `iat` or no `exp` claim"));
    };
    if expires <= now - LEEWAY {
        return Err(refused("it has expired"));
    }
    let not_before = if claims["nbf"].is_null() { Some(issued) } else { seconds(claims, "nbf") };
    if issued > now + LEEWAY || not_before.is_none_or(|not_before| not_before > now + LEEWAY) {
        return Err(refused("it is not valid yet"));
    }
    // The issuer may sign any number; a difference that does not fit is longer than any that is allowed.
    let lifetime = expires.checked_sub(issued).filter(|lifetime| *lifetime <= i64::from(max_lifetime_minutes) * 60);
    match (lifetime, Timestamp::from_second(expires)) {
        (Some(_), Ok(expires)) => Ok(expires),
        _ => Err(refused("it is valid for longer than the service allows")),
    }
}

/// Reads a claim that is a time in seconds.
pub(super) fn seconds(claims: &Value, claim: &str) -> Option<i64> {
    claims[claim].as_i64().or_else(|| truncated_seconds(&claims[claim]))
}

/// Reads a number of seconds with a fraction.
fn truncated_seconds(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a number that does not fit saturates, and is refused there")]
    value.as_f64().map(|seconds| seconds as i64)
}

/// Returns true if an `aud` claim contains the audience. It is a string or a list of strings.
pub(super) fn has_audience(claim: &Value, audience: &str) -> bool {
    match claim {
        Value::String(text) => text == audience,
        Value::Array(items) => items.iter().any(|item| item == audience),
        _ => false,
    }
}

impl AdmissionRule {
    fn check(&self) -> Result<(), String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty() || self.name.len() > 60 || !self.name.chars().all(is_allowed) {
            return Err("its name must have 1 to 60 letters, digits, `.`, `_` and `-`".to_owned());
        }
        let restricts = |patterns: &ClaimPatterns| {
            !patterns.values().is_empty() && patterns.values().iter().all(|text| text.chars().any(|c| c != '*'))
        };
        if self.claims.values().flat_map(ClaimPatterns::values).any(|pattern| pattern.len() > PATTERN_LIMIT) {
            return Err(format!("a claim has more than {PATTERN_LIMIT} characters"));
        }
        if !self.claims.values().any(restricts) {
            return Err("it would admit every token of the issuer; name a claim, such as `sub`".to_owned());
        }
        if self.role != Role::Sender && !self.scope.is_everything() {
            return Err("only the role `sender` can have a scope".to_owned());
        }
        Ok(())
    }

    fn matches(&self, claims: &Value, environment: &EnvironmentName) -> bool {
        self.claims.iter().all(|(claim, patterns)| {
            let matches = |value: &Value| match value {
                Value::String(text) => patterns.match_text(text, environment),
                Value::Number(_) | Value::Bool(_) => patterns.match_text(&value.to_string(), environment),
                _ => false,
            };
            match &claims[claim.as_str()] {
                Value::Array(values) => values.iter().any(matches),
                value => matches(value),
            }
        })
    }
}

impl ClaimPatterns {
    fn values(&self) -> &[String] {
        match self {
            ClaimPatterns::One(text) => std::slice::from_ref(text),
            ClaimPatterns::Any(texts) => texts,
        }
    }

    fn match_text(&self, text: &str, environment: &EnvironmentName) -> bool {
        self.values().iter().any(|pattern| pattern_matches(&pattern.replace(PLACEHOLDER, environment.as_str()), text))
    }
}

/// Returns true if a pattern matches a whole text. Parts of a subject are separated by `:` and `/`: `*` is any text within
/// one part, `**` any text at all. Nothing else is special, since subjects have brackets.
fn pattern_matches(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Entry `n` is true if the pattern as read so far matches the first `n` characters.
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    let mut pattern = pattern.chars().peekable();
    while let Some(wanted) = pattern.next() {
        let any = wanted == '*' && pattern.next_if_eq(&'*').is_some();
        let mut before = matched[0];
        matched[0] &= wanted == '*';
        for (at, c) in text.iter().enumerate() {
            let here = matched[at + 1];
            matched[at + 1] = match wanted {
                '*' => here || matched[at] && (any || !matches!(c, ':' | '/')),
                literal => before && literal == *c,
            };
            before = here;
        }
    }
    matched[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn issuer() -> IssuerSettings {
        serde_json::from_value(
            json!({ "issuer": "https://issuer.example", "audience": "here", "maxLifetimeMinutes": 60,
            "rules": [{ "name": "ci", "role": "planner", "claims": { "sub": "x" } }] }),
        )
        .unwrap()
    }

    #[test]
    fn a_star_stays_within_one_part_of_a_subject() {
        for (pattern, text, wanted) in [
            ("repo:example/*:pull_request", "repo:example/mail:pull_request", true),
            ("repo:example/*:pull_request", "repo:example/x:environment:evil:pull_request", false),
            ("repo:example/*:pull_request", "repo:example/x/y:pull_request", false),
            ("repo:example/**:pull_request", "repo:example/x:environment:evil:pull_request", true),
            ("repo:example/mail:ref:refs/heads/*", "repo:example/mail:ref:refs/heads/main", true),
            ("repo:example/mail:ref:refs/heads/*", "repo:example/mail:ref:refs/heads/release/1", false),
            ("repo:example/mail:ref:refs/heads/**", "repo:example/mail:ref:refs/heads/release/1", true),
            ("*", "a", true),
            ("*", "", true),
            ("**", "a:b/c", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY:bZc", false),
            ("a", "ab", false),
            ("", "", true),
            ("***", "a:b", true),
        ] {
            assert_eq!(pattern_matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn times_of_any_size_are_compared_and_never_overflow(exp: i64, iat: i64, nbf: Option<i64>, now in 0_i64..4_000_000_000) {
            let claims = json!({ "exp": exp, "iat": iat, "nbf": nbf });
            let taken = issuer().check_validity(&claims, Timestamp::from_second(now).unwrap());
            if let Ok(ends) = taken {
                let (exp, iat) = (i128::from(exp), i128::from(iat));
                prop_assert!(exp - iat <= 3600 && exp > i128::from(now) - 60 && iat <= i128::from(now) + 60);
                prop_assert_eq!(i128::from(ends.as_second()), exp);
            }
        }

        #[test]
        fn a_pattern_without_a_star_is_the_text_itself(text in "[a-z:/]{0,20}") {
            prop_assert!(pattern_matches(&text, &text));
            let longer = format!("{text}x");
            prop_assert!(!pattern_matches(&longer, &text));
            prop_assert!(pattern_matches("**", &text));
            prop_assert_eq!(pattern_matches("*", &text), !text.contains([':', '/']));
        }
    }

    #[test]
    fn the_edges_of_the_numbers_are_refused() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (exp, iat) in [
            (json!(i64::MAX), json!(i64::MIN)),
            (json!(u64::MAX), json!(0)),
            (json!(1e300), json!(-1e300)),
            (json!(1.9e9), json!(-9.3e18)),
        ] {
            let claims = json!({ "exp": exp, "iat": iat, "nbf": 0 });
            assert!(issuer().check_validity(&claims, now).is_err(), "{claims}");
        }
    }
}
