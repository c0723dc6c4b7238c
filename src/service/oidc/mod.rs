//! Identity tokens of pipelines (`OpenID` Connect): who is let in by a token that somebody else signed.
//!
//! The file that `serve --oidc` names says which issuers are believed, for which audience, and what their tokens may do.
//! Whatever it does not say is refused. A token is taken by its issuer's published keys (RS256, PS256, ES256 and nothing
//! else), which are kept in mind: an issuer that does not answer opens no door, and takes nobody's token away whose key
//! is known.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::{
    access::{Caller, Credential},
    http::HttpProblem,
};
use crate::{
    config::{self, Report},
    entra::http::{Http, Options, Request},
    model::{
        Code, EnvironmentName,
        host::is_loopback,
        token::{Role, Scope},
    },
};

/// What stands for the name of the environment that is asked.
const PLACEHOLDER: &str = "{environment}";
/// How many bytes an identity token may have.
pub(super) const TOKEN_LIMIT: usize = 8 * 1024;
/// How far two clocks may be apart.
const LEEWAY: i64 = 60;
/// How many keys of an issuer are kept.
const KEYS: usize = 50;
/// After how long keys are fetched anew, when one is asked for.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// How long keys are used that cannot be fetched anew.
const USABLE: SignedDuration = SignedDuration::from_hours(24);
/// How often an issuer is asked at most.
const BETWEEN: SignedDuration = SignedDuration::from_mins(1);
/// How often an issuer is asked at most of whom no key is known.
const BETWEEN_FIRST: SignedDuration = SignedDuration::from_secs(5);
/// How many requests wait for keys at once; one that may ask the issuer counts, too. The rest are told to come back.
const WAITING: usize = 8;
/// The longest pattern of a claim.
const PATTERN_LIMIT: usize = 500;
/// How long an issuer may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The file that `serve --oidc` names. `schema/oidc.schema.json` describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    issuers: Vec<IssuerSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerSettings {
    /// Just as the tokens' `iss` has it.
    issuer: String,
    /// What the tokens' `aud` must have.
    audience: String,
    /// Tokens that are good for longer are refused.
    #[serde(default = "an_hour")]
    longest_minutes: u16,
    /// What is let in; the first that matches counts.
    rules: Vec<Rule>,
}

fn an_hour() -> u16 {
    60
}

/// Whose tokens are let in, and as what.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    /// The audit log says this, and the token's subject.
    name: String,
    role: Role,
    /// Every one must match.
    claims: BTreeMap<String, Wanted>,
    #[serde(default)]
    scope: Scope,
}

/// A claim's value, or several that are good. `*` stands for any text without `:` and `/`, `**` for any text,
/// `{environment}` for the environment's name.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Wanted {
    One(String),
    Any(Vec<String>),
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// It cannot be read; the report has its place.
    #[error("the file cannot be used")]
    Unreadable(Report),
    /// It makes no sense.
    #[error("{0}")]
    Wrong(String),
}

/// The issuers that are believed.
pub struct Oidc {
    issuers: Vec<Arc<Issuer>>,
    http: Http,
    /// How often the file was read before.
    version: u64,
    /// The requests that wait for keys.
    waiting: tokio::sync::Semaphore,
}

struct Issuer {
    settings: IssuerSettings,
    keys: Mutex<Keys>,
    /// Held while the keys are fetched: one request at a time asks.
    fetching: tokio::sync::Mutex<()>,
}

/// What is known of an issuer's keys.
#[derive(Clone, Default)]
struct Keys {
    published: Arc<Vec<Jwk>>,
    fetched: Option<Timestamp>,
    tried: Option<Timestamp>,
    /// Whether the last try failed.
    failed: bool,
}

impl Oidc {
    /// Reads a file. `authorities` (PEM) are trusted beside the platform's.
    pub fn read(path: &Path, authorities: Option<Vec<u8>>) -> Result<Self, OidcError> {
        let file: File = config::read_document(path, "`mailwright schema oidc` prints what belongs here.")
            .map_err(OidcError::Unreadable)?;
        for issuer in &file.issuers {
            issuer
                .check()
                .map_err(|why| OidcError::Wrong(format!("issuer `{}`: {why}", issuer.issuer.escape_debug())))?;
        }
        let options = Options { authorities, connections: 4, timeout: TIMEOUT, patience: Duration::ZERO };
        let http = Http::new(&options).map_err(OidcError::Wrong)?;
        let issuer = |settings| Issuer { settings, keys: Mutex::default(), fetching: tokio::sync::Mutex::default() };
        let issuers = file.issuers.into_iter().map(|settings| Arc::new(issuer(settings))).collect();
        Ok(Self { issuers, http, version: 0, waiting: tokio::sync::Semaphore::new(WAITING) })
    }

    /// Which version of the file this is. Who was let in by another one is asked again.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Begins to fetch the keys of issuers of whom none are known.
    pub(super) fn fetch_keys(&self, now: Timestamp) {
        for issuer in self.issuers.iter().filter(|issuer| issuer.known().fetched.is_none()) {
            tokio::spawn(Arc::clone(issuer).refresh(self.http.clone(), now));
        }
    }

    /// The issuers, as the file has them.
    pub(super) fn issuers(&self) -> Vec<&str> {
        self.issuers.iter().map(|issuer| issuer.settings.issuer.as_str()).collect()
    }

    /// Takes over what is known of the keys of the same issuers: one that does not answer just now takes nobody's token
    /// away because a file was read again.
    pub(super) fn inherit(&mut self, before: &Self) {
        self.version = before.version + 1;
        for issuer in &self.issuers {
            if let Some(same) = before.issuers.iter().find(|other| other.settings.issuer == issuer.settings.issuer) {
                *issuer.keys.lock().unwrap_or_else(PoisonError::into_inner) = same.known();
            }
        }
    }

    /// Whether a bearer token has the shape of an identity token.
    pub(super) fn looks_like_one(bearer: &str) -> bool {
        bearer.starts_with("eyJ") && bearer.split('.').count() == 3
    }

    /// The answer of a service that takes none.
    pub(super) fn not_taken() -> HttpProblem {
        refused("this service takes none; it was started without `--oidc`")
    }

    /// Who shows an identity token to an environment, if the token is good and a rule lets it in.
    pub(super) async fn caller(
        &self,
        token: &str,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<Caller, HttpProblem> {
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| refused("it is no signed token of a kind that is taken"))?;
        if header.crit.is_some() {
            return Err(refused("it wants to be understood in a way that is not known here (`crit`)"));
        }
        let family = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256];
        if !family.contains(&header.alg) {
            return Err(refused("it is not signed by RS256, PS256 or ES256"));
        }
        // Nothing of this is believed yet: it only tells whose keys to try.
        let claimed = unproven(token).ok_or_else(|| refused("its claims cannot be read"))?;
        // Several entries may be for one issuer, with an audience each.
        let of_issuer = || self.issuers.iter().filter(|issuer| claimed["iss"] == *issuer.settings.issuer);
        if of_issuer().next().is_none() {
            return Err(refused("its issuer is none that the service believes"));
        }
        let issuer = of_issuer()
            .find(|issuer| has_audience(&claimed["aud"], &issuer.settings.audience))
            .ok_or_else(|| refused("its audience is not the one that the service wants"))?;
        let key = self.key(issuer, header.kid.as_deref(), header.alg, now).await?;
        let claims = proven(token, &key, header.alg)?;
        let ends = issuer.settings.check_times(&claims, now)?;
        let (name, rule) = issuer.settings.admit(&claims, environment)?;
        let credential = Credential::Identity { ends, version: self.version };
        Ok(Caller { owner: format!("oidc:{name}"), name, role: rule.role, scope: rule.scope.clone(), credential })
    }

    /// The key that a token names, fetched if it is not known, or known for long.
    async fn key(
        &self,
        issuer: &Arc<Issuer>,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Jwk, HttpProblem> {
        let known = issuer.known();
        let found = known.find(id, algorithm);
        if let Some(key) = &found
            && known.is_younger(FRESH, now)
        {
            return Ok(key.clone());
        }
        if known.may_ask(now) {
            let is_asked = issuer.fetching.try_lock().is_err();
            match self.waiting.try_acquire() {
                // Who knows keys need not wait while another request asks: a slow issuer must not fill the service's places.
                _ if is_asked && known.fetched.is_some() => {}
                // The request may be given up by its client; the question is not, or it would be asked again at once.
                Ok(_waiting) => drop(tokio::spawn(Arc::clone(issuer).refresh(self.http.clone(), now)).await),
                Err(_) if known.fetched.is_some() => {}
                Err(_) => return Err(unreachable_issuer()),
            }
        }
        let known = issuer.known();
        match known.find(id, algorithm).filter(|_| known.is_younger(USABLE, now)) {
            Some(key) => Ok(key),
            None if known.failed => Err(unreachable_issuer()),
            None => Err(refused("it is signed with a key that its issuer does not publish")),
        }
    }
}

/// The answer where the keys are not there, and may be soon.
fn unreachable_issuer() -> HttpProblem {
    HttpProblem::new(Code::IssuerUnreachable, "the keys of the identity token's issuer cannot be fetched now")
        .remedy("Try again in a minute; the service's log says what is wrong.")
}

/// The claims of a token, unproven.
fn unproven(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// The claims of a token whose signature holds.
fn proven(token: &str, key: &Jwk, algorithm: Algorithm) -> Result<Value, HttpProblem> {
    let mut validation = Validation::new(algorithm);
    // Times are compared with our own clock, the rest is compared by the caller: the library asks the system's.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_jwk(key).map_err(|_| refused("its issuer's key cannot be used"))?;
    let data =
        jsonwebtoken::decode::<Value>(token, &key, &validation).map_err(|_| refused("its signature does not hold"))?;
    Ok(data.claims)
}

impl Issuer {
    /// Asks for the keys, unless another request did so in the meantime.
    async fn refresh(self: Arc<Self>, http: Http, now: Timestamp) {
        let _turn = self.fetching.lock().await;
        if self.known().may_ask(now) {
            self.fetch(&http, now).await;
        }
    }

    fn known(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self, http: &Http, now: Timestamp) {
        let fetched = fetch(http, &self.settings.issuer).await;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.tried = Some(now);
        keys.failed = fetched.is_err();
        match fetched {
            Ok(found) => {
                keys.published = Arc::new(found);
                keys.fetched = Some(now);
            }
            Err(why) => {
                metrics::counter!("mailwright_oidc_failures_total").increment(1);
                tracing::warn!(issuer = self.settings.issuer, why, "an issuer's keys cannot be fetched");
            }
        }
    }
}

impl Keys {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Jwk> {
        let mut fit = self.published.iter().filter(|key| is_for(key, algorithm));
        match id {
            Some(id) => fit.find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
            // Without a name, there must be no choice.
            None => fit.next().filter(|_| fit.next().is_none()).cloned(),
        }
    }

    fn is_younger(&self, age: SignedDuration, now: Timestamp) -> bool {
        self.fetched.is_some_and(|fetched| now.duration_since(fetched) < age)
    }

    fn may_ask(&self, now: Timestamp) -> bool {
        let between = if self.fetched.is_none() { BETWEEN_FIRST } else { BETWEEN };
        self.tried.is_none_or(|tried| now.duration_since(tried).abs() >= between)
    }
}

/// Whether a key is one that such a signature may be checked with. A secret one never is.
fn is_for(key: &Jwk, algorithm: Algorithm) -> bool {
    let kind = match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(algorithm, Algorithm::RS256 | Algorithm::PS256),
        AlgorithmParameters::EllipticCurve(curve) => {
            curve.curve == EllipticCurve::P256 && algorithm == Algorithm::ES256
        }
        _ => false,
    };
    let signs = key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let own = key.common.key_algorithm.as_ref().is_none_or(|own| own.to_string() == format!("{algorithm:?}"));
    kind && signs && own
}

/// The keys that an issuer publishes, by way of its configuration.
async fn fetch(http: &Http, issuer: &str) -> Result<Vec<Jwk>, String> {
    let configuration =
        get(http, &format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).await?;
    if configuration["issuer"] != *issuer {
        return Err("its configuration names another issuer".to_owned());
    }
    let address = configuration["jwks_uri"].as_str().ok_or("its configuration names no keys")?;
    let published = get(http, address).await?;
    let keys = published["keys"].as_array().ok_or("what it publishes are no keys")?;
    // Kinds of keys that nobody here knows are no reason to do without the others.
    Ok(keys.iter().filter_map(|key| Jwk::deserialize(key).ok()).take(KEYS).collect())
}

async fn get(http: &Http, address: &str) -> Result<Value, String> {
    let url = safe_url(address)?;
    let answer = http.send(Request::get(url)).await.map_err(|error| error.to_string())?;
    if !answer.is_success() {
        return Err(format!("it answered HTTP {}", answer.status));
    }
    Ok(answer.body)
}

/// An address that keys may come from.
fn safe_url(address: &str) -> Result<Url, String> {
    let url = Url::parse(address).map_err(|_| "it is not a web address".to_owned())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        _ => Err("it is not an https:// address".to_owned()),
    }
}

impl IssuerSettings {
    fn check(&self) -> Result<(), String> {
        safe_url(&self.issuer)?;
        if self.audience.is_empty() {
            return Err("the audience is empty".to_owned());
        }
        if !(1..=24 * 60).contains(&self.longest_minutes) {
            return Err("`longestMinutes` is 1 to 1440".to_owned());
        }
        if self.rules.is_empty() {
            return Err("without a rule, nobody is let in".to_owned());
        }
        for rule in &self.rules {
            rule.check().map_err(|why| format!("rule `{}`: {why}", rule.name.escape_debug()))?;
        }
        Ok(())
    }

    /// Returns the end of a token, which says from when to when it is good, and that is not for long.
    fn check_times(&self, claims: &Value, now: Timestamp) -> Result<Timestamp, HttpProblem> {
        let second = |claim: &str| claims[claim].as_i64().or_else(|| whole(&claims[claim]));
        let now = now.as_second();
        let (Some(ends), Some(issued)) = (second("exp"), second("iat")) else {
            return Err(refused("it does not say when it was issued and when it ends"));
        };
        if ends <= now - LEEWAY {
            return Err(refused("it has expired"));
        }
        let begins = if claims["nbf"].is_null() { Some(issued) } else { second("nbf") };
        if issued > now + LEEWAY || begins.is_none_or(|begins| begins > now + LEEWAY) {
            return Err(refused("it is not valid yet"));
        }
        // The issuer may sign any number; a difference that does not fit is longer than any that is allowed.
        let lasts = ends.checked_sub(issued).filter(|lasts| *lasts <= i64::from(self.longest_minutes) * 60);
        match (lasts, Timestamp::from_second(ends)) {
            (Some(_), Ok(ends)) => Ok(ends),
            _ => Err(refused("it is valid for longer than the service allows")),
        }
    }

    /// The caller's name, and the first rule that matches.
    fn admit(&self, claims: &Value, environment: &EnvironmentName) -> Result<(String, &Rule), HttpProblem> {
        let subject = claims["sub"].as_str().ok_or_else(|| refused("it has no subject"))?;
        let shown: String = subject.chars().filter(|c| !c.is_control()).take(200).collect();
        let rule = self.rules.iter().find(|rule| rule.matches(claims, environment));
        let rule = rule.ok_or_else(|| {
            tracing::info!(issuer = self.issuer, subject = shown, "no rule lets this identity token in");
            refused("no rule of the service lets its claims in")
        })?;
        Ok((format!("{} ({shown})", rule.name), rule))
    }
}

/// A number of seconds that was written with a fraction.
fn whole(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "what does not fit ends at the edge, and is refused there")]
    value.as_f64().map(|seconds| seconds as i64)
}

/// `aud` is a text or a list of texts.
fn has_audience(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|item| item == wanted),
        _ => false,
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty() || self.name.len() > 60 || !self.name.chars().all(good) {
            return Err("its name is 1 to 60 letters, digits, `.`, `_` and `-`".to_owned());
        }
        let says_something = |wanted: &Wanted| {
            !wanted.values().is_empty() && wanted.values().iter().all(|text| text.chars().any(|c| c != '*'))
        };
        if self.claims.values().flat_map(Wanted::values).any(|pattern| pattern.len() > PATTERN_LIMIT) {
            return Err(format!("a claim has more than {PATTERN_LIMIT} characters"));
        }
        if !self.claims.values().any(says_something) {
            return Err("it would let every token of the issuer in; name a claim, such as `sub`".to_owned());
        }
        if self.role != Role::Sender && !self.scope.is_everything() {
            return Err("a scope is for senders".to_owned());
        }
        Ok(())
    }

    fn matches(&self, claims: &Value, environment: &EnvironmentName) -> bool {
        self.claims.iter().all(|(claim, wanted)| {
            let one = |value: &Value| match value {
                Value::String(text) => wanted.covers(text, environment),
                Value::Number(_) | Value::Bool(_) => wanted.covers(&value.to_string(), environment),
                _ => false,
            };
            match &claims[claim.as_str()] {
                Value::Array(values) => values.iter().any(one),
                value => one(value),
            }
        })
    }
}

impl Wanted {
    fn values(&self) -> &[String] {
        match self {
            Wanted::One(text) => std::slice::from_ref(text),
            Wanted::Any(texts) => texts,
        }
    }

    fn covers(&self, text: &str, environment: &EnvironmentName) -> bool {
        self.values().iter().any(|pattern| covers(&pattern.replace(PLACEHOLDER, environment.as_str()), text))
    }
}

/// Returns true if a pattern covers a whole text. Parts of a subject are separated by `:` and `/`: `*` is any text within
/// one part, `**` any text at all. Nothing else is special, since subjects have brackets.
fn covers(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Which beginnings of the text the pattern covers, as far as it was read.
    let mut covered = vec![false; text.len() + 1];
    covered[0] = true;
    let mut pattern = pattern.chars().peekable();
    while let Some(wanted) = pattern.next() {
        let any = wanted == '*' && pattern.next_if_eq(&'*').is_some();
        let mut before = covered[0];
        covered[0] &= wanted == '*';
        for (at, c) in text.iter().enumerate() {
            let here = covered[at + 1];
            covered[at + 1] = match wanted {
                '*' => here || covered[at] && (any || !matches!(c, ':' | '/')),
                literal => before && literal == *c,
            };
            before = here;
        }
    }
    covered[text.len()]
}

fn refused(why: &str) -> HttpProblem {
    HttpProblem::new(Code::IdentityTokenRefused, format!("the identity token is not accepted: {why}"))
        .remedy("Compare its claims with the service's file of issuers (`mailwright serve --oidc`).")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn issuer() -> IssuerSettings {
        serde_json::from_value(json!({ "issuer": "https://issuer.example", "audience": "here", "longestMinutes": 60,
            "rules": [{ "name": "ci", "role": "planner", "claims": { "sub": "x" } }] }))
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
            assert_eq!(covers(pattern, text), wanted, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn times_of_any_size_are_compared_and_never_overflow(exp: i64, iat: i64, nbf: Option<i64>, now in 0_i64..4_000_000_000) {
            let claims = json!({ "exp": exp, "iat": iat, "nbf": nbf });
            let taken = issuer().check_times(&claims, Timestamp::from_second(now).unwrap());
            if let Ok(ends) = taken {
                let (exp, iat) = (i128::from(exp), i128::from(iat));
                prop_assert!(exp - iat <= 3600 && exp > i128::from(now) - 60 && iat <= i128::from(now) + 60);
                prop_assert_eq!(i128::from(ends.as_second()), exp);
            }
        }

        #[test]
        fn a_pattern_without_a_star_is_the_text_itself(text in "[a-z:/]{0,20}") {
            prop_assert!(covers(&text, &text));
            let longer = format!("{text}x");
            prop_assert!(!covers(&longer, &text));
            prop_assert!(covers("**", &text));
            prop_assert_eq!(covers("*", &text), !text.contains([':', '/']));
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
            assert!(issuer().check_times(&claims, now).is_err(), "{claims}");
        }
    }
}
