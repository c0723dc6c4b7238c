//! Settings of trusted issuers: whose identity tokens are accepted, for which audience, and with which role.
//!
//! [`OidcSettings`] is the document that `serve --oidc` names; the caller reads it and [`OidcSettings::check`] validates it, at the
//! start and at each reload. [`IssuerSettings`] decides whether the verified claims of a token are admitted. The first rule that
//! matches applies; a token that no rule matches, that lacks `sub`, `iat` or `exp`, that has expired or is not valid yet, or that
//! is valid for longer than the settings allow is refused. Clocks may differ by 60 seconds. Nothing here fetches keys or verifies
//! signatures.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{refused, safe_url};
use crate::{
    model::{
        EnvironmentName,
        token::{Role, Scope},
    },
    service::http::HttpProblem,
};

/// Placeholder in a claim pattern for the name of the environment that receives the request.
const PLACEHOLDER: &str = "{environment}";
/// Maximum difference between two clocks, in seconds.
const LEEWAY: i64 = 60;
/// Maximum length of a claim pattern.
const PATTERN_LIMIT: usize = 500;
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
    /// The value that the tokens' `aud` claim must contain.
    pub(super) audience: String,
    /// Maximum lifetime of a token. Tokens that are valid for longer are refused.
    #[serde(default = "an_hour", alias = "longestMinutes")]
    max_lifetime_minutes: u16,
    /// The rules that admit tokens; the first that matches applies.
    rules: Vec<AdmissionRule>,
}

fn an_hour() -> u16 {
    60
}

/// A rule that admits tokens with certain claims and gives them a role.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AdmissionRule {
    /// Name of the rule; the audit log shows it with the token's subject.
    name: String,
    pub(super) role: Role,
    /// The claims that the token must have; all must match.
    claims: BTreeMap<String, ClaimPatterns>,
    #[serde(default)]
    pub(super) scope: Scope,
}

/// Patterns for the value of a claim; one must match. `*` matches any text without `:` and `/`, `**` any text, and
/// `{environment}` the environment's name.
#[derive(Clone, Debug, Deserialize)]
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
        self.issuers.iter().try_for_each(|issuer| {
            issuer.check().map_err(|reason| format!("issuer `{}`: {reason}", issuer.issuer.escape_debug()))
        })
    }
}

impl IssuerSettings {
    fn check(&self) -> Result<(), String> {
        safe_url(&self.issuer)?;
        if self.audience.is_empty() {
            return Err("the audience is empty".to_owned());
        }
        if !(1..=24 * 60).contains(&self.max_lifetime_minutes) {
            return Err("`maxLifetimeMinutes` must be from 1 to 1440".to_owned());
        }
        if self.rules.is_empty() {
            return Err("it has no rule, so no token is accepted".to_owned());
        }
        self.rules.iter().try_for_each(|rule| {
            rule.check().map_err(|reason| format!("rule `{}`: {reason}", rule.name.escape_debug()))
        })
    }

    /// Checks the validity period of a token and returns its expiry. A token must state when it was issued and when it expires,
    /// and must not be valid for longer than the settings allow.
    pub(super) fn check_validity(&self, claims: &Value, now: Timestamp) -> Result<Timestamp, HttpProblem> {
        let seconds = |claim: &str| claims[claim].as_i64().or_else(|| truncated_seconds(&claims[claim]));
        let now = now.as_second();
        let (Some(expires), Some(issued)) = (seconds("exp"), seconds("iat")) else {
            return Err(refused("it has no `iat` or no `exp` claim"));
        };
        if expires <= now - LEEWAY {
            return Err(refused("it has expired"));
        }
        let not_before = if claims["nbf"].is_null() { Some(issued) } else { seconds("nbf") };
        if issued > now + LEEWAY || not_before.is_none_or(|not_before| not_before > now + LEEWAY) {
            return Err(refused("it is not valid yet"));
        }
        // The issuer may sign any number; a difference that does not fit is longer than any that is allowed.
        let lifetime =
            expires.checked_sub(issued).filter(|lifetime| *lifetime <= i64::from(self.max_lifetime_minutes) * 60);
        match (lifetime, Timestamp::from_second(expires)) {
            (Some(_), Ok(expires)) => Ok(expires),
            _ => Err(refused("it is valid for longer than the service allows")),
        }
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
