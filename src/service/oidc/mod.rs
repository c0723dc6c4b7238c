//! `OpenID` Connect: authenticates pipelines by the identity tokens of issuers that the operator trusts, and signs in persons.
//!
//! * [`OidcSettings`] is the issuers file (`serve --oidc`): issuers, audiences, and the role that a token with certain claims
//!   gets. Every token that it does not name is refused.
//! * [`IssuerSet`] verifies a token with the issuer's published keys (RS256, PS256 or ES256) and returns the caller.
//! * `senders` has the check of ID tokens of persons who send by delegate profiles; they get no role.
//! * `persons` has the sign-in to the console: another audience and other rules than for pipelines.
//! * [`Issuers`] holds the set in effect and replaces it when the settings change.
//!
//! Nothing here reads files: an [`IssuersSource`] does. While an issuer does not answer, tokens with a known key are accepted for
//! a day after the keys were fetched; other tokens of that issuer are refused for now.

mod keys;
mod persons;
mod reload;
mod senders;
mod settings;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use reqwest::Url;
use serde_json::Value;

use super::{
    caller::{Caller, Credential},
    http::HttpProblem,
};
use crate::{
    entra::http::{Http, HttpOptions},
    model::{
        Code, EnvironmentName,
        access::{Principal, Subject},
        host::is_loopback,
    },
};
use keys::{FRESH, IssuerKeys, KeySet, USABLE};
pub(crate) use persons::IdentityProvider;
use persons::Provider;
pub(super) use persons::{
    AuthorizationAnswer, Person, Redeemed, SignInAttempt, callback_path, not_signing_in, refused as sign_in_refused,
};
pub(super) use reload::follow;
pub use reload::{Issuers, IssuersSource};
pub(super) use senders::VerifiedSender;
pub(crate) use settings::DEFAULT_PROVIDER;
pub use settings::OidcSettings;
use settings::{IssuerSettings, has_audience};

/// Maximum size of an identity token, in bytes.
pub(super) const TOKEN_LIMIT: usize = 8 * 1024;
/// Maximum number of requests that wait for keys, the one that fetches them included. Others are asked to come back.
const WAITING: usize = 8;
/// Maximum number of groups, and of roles, of an identity token that count.
const SUBJECTS: usize = 200;
/// Timeout of a request to an issuer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The trusted issuers of one version of the settings.
pub(super) struct IssuerSet {
    issuers: Vec<Arc<Issuer>>,
    http: Http,
    /// The number of earlier versions of the settings in this process.
    version: u64,
    /// The requests that wait for keys.
    waiting: tokio::sync::Semaphore,
    /// The codes of persons that are redeemed at this moment.
    redeeming: tokio::sync::Semaphore,
    redeeming_http: Http,
}

struct Issuer {
    settings: IssuerSettings,
    keys: IssuerKeys,
    /// The sign-in of persons; none if the issuer signs in no persons.
    provider: Option<Provider>,
}

/// A token whose signature is valid.
struct VerifiedToken<'a> {
    claims: Value,
    issuer: &'a Arc<Issuer>,
    /// The key that the issuer publishes for it.
    key: Jwk,
}

impl Issuer {
    async fn refresh(self: Arc<Self>, http: Http, now: Timestamp) {
        self.keys.refresh(&http, &self.settings.issuer, now).await;
    }
}

impl IssuerSet {
    /// Creates the set. `authorities` (PEM) are trusted in addition to the platform's certificate authorities.
    fn new(settings: OidcSettings, authorities: Option<Vec<u8>>) -> Result<Self, String> {
        settings.check()?;
        let options = HttpOptions { authorities, connections: 4, timeout: TIMEOUT, patience: Duration::ZERO };
        // Keys and codes have a client each, so that neither waits for the other.
        let (http, redeeming_http) = (Http::new(&options)?, Http::new(&options)?);
        let issuer = |mut settings: IssuerSettings| {
            let console = settings.console.take();
            let provider = console.map(|console| Provider::new(&settings.issuer, console)).transpose();
            let provider = provider.map_err(|reason| settings.fault(&format!("`console`: {reason}")))?;
            Ok::<_, String>(Arc::new(Issuer { settings, keys: IssuerKeys::default(), provider }))
        };
        let issuers = settings.issuers.into_iter().map(issuer).collect::<Result<_, _>>()?;
        let waiting = tokio::sync::Semaphore::new(WAITING);
        let redeeming = tokio::sync::Semaphore::new(persons::REDEEMED_AT_ONCE);
        Ok(Self { issuers, http, version: 0, waiting, redeeming, redeeming_http })
    }

    /// Returns the version of the settings. A caller that another version admitted is authenticated again.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Starts to fetch the keys of issuers without known keys.
    fn fetch_missing_keys(&self, now: Timestamp) {
        for issuer in self.issuers.iter().filter(|issuer| !issuer.keys.known().is_known()) {
            tokio::spawn(Arc::clone(issuer).refresh(self.http.clone(), now));
        }
    }

    /// Returns the names of the issuers.
    fn names(&self) -> Vec<&str> {
        self.issuers.iter().map(|issuer| issuer.settings.issuer.as_str()).collect()
    }

    /// Takes over the known keys of the same issuers, so that a reload invalidates no token while an issuer is unreachable.
    fn inherit_keys(&mut self, earlier: &Self) {
        self.version = earlier.version + 1;
        for issuer in &self.issuers {
            if let Some(same) = earlier.issuers.iter().find(|other| other.settings.issuer == issuer.settings.issuer) {
                issuer.keys.set(same.keys.known());
            }
        }
    }

    /// Verifies an identity token for an environment and returns the caller that a rule admits.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<Caller, HttpProblem> {
        let VerifiedToken { claims, issuer, .. } = self.verify(token, |claims| self.find_issuer(claims), now).await?;
        check_is_no_evidence(&claims)?;
        let ends = issuer.settings.check_validity(&claims, now)?;
        let (name, rule) = issuer.settings.admit(&claims, environment)?;
        let credential = Credential::Identity { ends, version: self.version };
        let principal = Principal {
            subjects: std::iter::once(Subject::of_pipeline(rule.name()))
                .chain(provider_subjects(&issuer.settings.issuer, &claims))
                .collect(),
            role: Some(rule.role),
            scope: rule.scope.clone(),
            authenticated_at: None,
        };
        Ok(Caller { owner: format!("oidc:{name}"), name, principal, policy: Arc::default(), at: now, credential })
    }

    /// Verifies the signature of a token and returns its claims and the key. `find` returns the issuer that the claims name; they
    /// are not verified yet, and only select whose keys to try.
    async fn verify<'a>(
        &'a self,
        token: &str,
        find: impl FnOnce(&Value) -> Result<&'a Arc<Issuer>, HttpProblem>,
        now: Timestamp,
    ) -> Result<VerifiedToken<'a>, HttpProblem> {
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| refused("it is not a signed token of a supported kind"))?;
        if header.crit.is_some() {
            return Err(refused("it has a `crit` header, and no extension is supported"));
        }
        if ![Algorithm::RS256, Algorithm::PS256, Algorithm::ES256].contains(&header.alg) {
            return Err(refused("it is not signed with RS256, PS256 or ES256"));
        }
        let claims = unverified_claims(token).ok_or_else(|| refused("its claims cannot be read"))?;
        let issuer = find(&claims)?;
        let key = self.find_key(issuer, header.kid.as_deref(), header.alg, now).await?;
        Ok(VerifiedToken { claims: verified_claims(token, &key, header.alg)?, issuer, key })
    }

    /// Returns the issuer that the claims of a pipeline's token name, for its audience.
    fn find_issuer(&self, claims: &Value) -> Result<&Arc<Issuer>, HttpProblem> {
        // One issuer can have several entries, each with its own audience.
        let mut same_issuer = self.issuers.iter().filter(|issuer| claims["iss"] == *issuer.settings.issuer).peekable();
        if same_issuer.peek().is_none() {
            return Err(refused("the service does not trust its issuer"));
        }
        same_issuer
            .find(|issuer| {
                let audience = issuer.settings.audience.as_ref();
                audience.is_some_and(|audience| has_audience(&claims["aud"], audience))
            })
            .ok_or_else(|| refused("it is for another audience"))
    }

    /// Fetches the keys and the configuration of an issuer if it may be asked again. Fails if nothing is known of it and too many
    /// requests wait for that.
    async fn refresh_if_due(&self, issuer: &Arc<Issuer>, known: &KeySet, now: Timestamp) -> Result<(), HttpProblem> {
        if !known.may_fetch(now) {
            return Ok(());
        }
        let is_fetching = issuer.keys.is_fetching();
        match self.waiting.try_acquire() {
            // If keys are cached and another request is fetching, the cached ones are used: waiting would let a slow issuer
            // occupy all slots.
            _ if is_fetching && known.is_known() => {}
            // The client may cancel its request; the fetch continues, or it would be repeated at once.
            Ok(_waiting) => drop(tokio::spawn(Arc::clone(issuer).refresh(self.http.clone(), now)).await),
            Err(_) if known.is_known() => {}
            Err(_) => return Err(issuer_unreachable()),
        }
        Ok(())
    }

    /// Returns the key that a token names. Fetches the keys if it is unknown or has not been refreshed for a while.
    async fn find_key(
        &self,
        issuer: &Arc<Issuer>,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Jwk, HttpProblem> {
        let known = issuer.keys.known();
        if let Some(key) = known.find(id, algorithm)
            && known.is_younger(FRESH, now)
        {
            return Ok(key);
        }
        self.refresh_if_due(issuer, &known, now).await?;
        let known = issuer.keys.known();
        match known.find(id, algorithm).filter(|_| known.is_younger(USABLE, now)) {
            Some(key) => Ok(key),
            None if known.last_fetch_failed() => Err(issuer_unreachable()),
            None => Err(refused("it is signed with a key that its issuer does not publish")),
        }
    }
}

/// Returns the groups and roles that the issuer of a token states, as subjects.
fn provider_subjects<'a>(issuer: &'a str, claims: &'a Value) -> impl Iterator<Item = Subject> + 'a {
    let texts = |claim: &str| claims[claim].as_array().into_iter().flatten().filter_map(Value::as_str).take(SUBJECTS);
    let groups = texts("groups").map(move |group| Subject::of_group(issuer, group));
    let roles = texts("roles").map(move |role| Subject::of_role(issuer, role));
    groups.chain(roles)
}

/// Returns true if a bearer token has the shape of an identity token (a JWT).
pub(super) fn is_identity_token(bearer: &str) -> bool {
    bearer.starts_with("eyJ") && bearer.split('.').count() == 3
}

/// Creates the answer of a service without trusted issuers.
pub(super) fn not_enabled() -> HttpProblem {
    refused("this service accepts none; it was started without `--oidc`")
}

fn issuer_unreachable() -> HttpProblem {
    HttpProblem::new(Code::IssuerUnreachable, "the keys of the identity token's issuer cannot be fetched now")
        .remedy("Try again in a minute. The service's log has the reason.")
}

fn refused(reason: &str) -> HttpProblem {
    HttpProblem::new(Code::IdentityTokenRefused, format!("the identity token is not accepted: {reason}"))
        .remedy("Compare its claims with the service's issuers file (`mailwright serve --oidc`).")
}

/// Refuses the ID token of a signature, which is kept as evidence where others can read it.
fn check_is_no_evidence(claims: &Value) -> Result<(), HttpProblem> {
    if claims["nonce"].as_str().is_some_and(|nonce| nonce.starts_with("sha256:")) {
        return Err(refused("it is the evidence of a signature"));
    }
    Ok(())
}

/// Decodes the claims of a token without verifying its signature.
fn unverified_claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Verifies the signature of a token and returns its claims.
fn verified_claims(token: &str, key: &Jwk, algorithm: Algorithm) -> Result<Value, HttpProblem> {
    let mut validation = Validation::new(algorithm);
    // The caller compares times and audience: the library would read the system clock.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_jwk(key).map_err(|_| refused("the key of its issuer cannot be used"))?;
    let data =
        jsonwebtoken::decode::<Value>(token, &key, &validation).map_err(|_| refused("its signature is not valid"))?;
    Ok(data.claims)
}

/// Parses an address of an issuer: HTTPS, or HTTP on this machine.
fn safe_url(address: &str) -> Result<Url, String> {
    let url = Url::parse(address).map_err(|_| "it is not a web address".to_owned())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        _ => Err("it is not an https:// address".to_owned()),
    }
}
