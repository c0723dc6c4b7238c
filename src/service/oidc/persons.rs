//! Sign-in of persons to the console with an issuer: authorization code with PKCE, and the check of the ID token.
//!
//! [`IssuerSet::sign_in_address`] is where the browser is sent, [`IssuerSet::redeem`] turns the code that comes back into a
//! [`Person`]. An ID token is accepted if its issuer is the one that was asked, it is for the service's client id alone, has the
//! nonce of this sign-in, was issued just now, and a rule of the issuer's `console` settings admits its claims. It is kept as
//! evidence of a signature only, and [`IssuerSet::read_statement`] verifies it again when the signature is to count. A person is
//! known by an id that the issuer never gives to another one; names are for display. State, nonce and verifier come from
//! `identity_sign_in`, which also makes sure that an answer belongs to the browser.

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::{
    Issuer, IssuerSet, VerifiedToken, provider_subjects,
    settings::{ConsoleSettings, DEFAULT_PROVIDER, LEEWAY, seconds},
};
use crate::{
    approvals::IdentityStatement,
    entra::{
        authorization_code::{self, AuthorizationRequest, SecretPlace},
        sign_in::{ClientAuthentication, SignInError},
    },
    model::{
        Code, Digest, EnvironmentName,
        session::{Admission, SessionSubject},
        signature::{IdentityEvidence, SignerIdentity},
    },
    service::{
        http::HttpProblem,
        oidc::keys::{Endpoints, FRESH, USABLE},
    },
    text::{is_hidden, printable, shortened},
};

/// Maximum size of the ID token of a person, in bytes. It can name 200 groups.
const ID_TOKEN_LIMIT: usize = 32 * 1024;
/// Maximum size of an authorization code, in bytes. Those of Entra have about 1,500.
const CODE_LIMIT: usize = 8 * 1024;
/// Maximum length of the id of a person (`OpenID` Connect Core 1.0, section 2).
const ID_LIMIT: usize = 255;
/// Maximum length of the name of a person, in characters.
const NAME_LIMIT: usize = 60;
/// Maximum number of codes that are redeemed at once; further ones are asked to come back.
pub(super) const REDEEMED_AT_ONCE: usize = 8;

/// The sign-in of persons with one issuer.
pub(super) struct Provider {
    settings: ConsoleSettings,
    authentication: Option<ClientAuthentication>,
    /// For each rule, the digest of what admits a person by it.
    admissions: Vec<Digest>,
}

impl Provider {
    /// Creates the provider. Fails if the certificate cannot be used.
    pub(super) fn new(issuer: &str, settings: ConsoleSettings) -> Result<Self, String> {
        let authentication = settings.authentication()?;
        Ok(Self { admissions: settings.admissions(issuer), settings, authentication })
    }

    /// Returns the name, by which addresses refer to the issuer.
    pub(super) fn name(&self) -> &str {
        self.settings.name()
    }
}

/// An issuer that persons can sign in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityProvider {
    /// The name in addresses.
    pub(crate) name: String,
    /// The name on the button.
    pub(crate) label: String,
}

/// A sign-in that has begun.
pub(in crate::service) struct SignInAttempt<'a> {
    /// The name of the issuer.
    pub(in crate::service) provider: &'a str,
    pub(in crate::service) redirect: &'a Url,
    pub(in crate::service) state: &'a str,
    pub(in crate::service) nonce: &'a str,
    pub(in crate::service) verifier: &'a SecretString,
    /// The time after which the person must have entered its password or used its key; none if an earlier time is enough.
    pub(in crate::service) confirmed_after: Option<Timestamp>,
}

/// The answer of an issuer, as the browser brings it.
#[derive(Clone, Copy, Debug)]
pub(in crate::service) struct AuthorizationAnswer<'a> {
    pub(in crate::service) code: &'a str,
    /// The issuer that answers (RFC 9207); empty if it does not say.
    pub(in crate::service) issuer: &'a str,
    pub(in crate::service) error: &'a str,
    pub(in crate::service) error_description: &'a str,
}

/// A person that an issuer has identified, with the rights that the settings give.
#[derive(Clone, Debug)]
pub(in crate::service) struct Person {
    pub(in crate::service) subject: SessionSubject,
    /// The name for display, with the id that makes it unique.
    pub(in crate::service) name: String,
    pub(in crate::service) admission: Admission,
    /// The time at which the person entered its password or used its key; long ago if the issuer does not say so.
    pub(in crate::service) authenticated_at: Timestamp,
}

/// A code that was redeemed: the person, and the ID token that identifies it.
pub(in crate::service) struct Redeemed {
    pub(in crate::service) person: Person,
    pub(in crate::service) token: SecretString,
    /// The public key (JWK) that the issuer published for the token.
    pub(in crate::service) key: Value,
}

impl IssuerSet {
    /// Returns the issuers that persons can sign in with, in the order of the settings.
    pub(in crate::service) fn identity_providers(&self) -> Vec<IdentityProvider> {
        let info = |provider: &Provider| IdentityProvider {
            name: provider.name().to_owned(),
            label: provider.settings.label.clone(),
        };
        self.issuers.iter().filter_map(|issuer| issuer.provider.as_ref()).map(info).collect()
    }

    /// Returns the name of the issuer whose settings admitted a person, while they still do.
    pub(in crate::service) fn provider_of(&self, issuer: &str, admitted_by: &Digest) -> Option<String> {
        let of_issuer = self.issuers.iter().filter(|one| one.settings.issuer == issuer);
        let mut providers = of_issuer.filter_map(|one| one.provider.as_ref());
        let found = providers.find(|provider| provider.admissions.contains(admitted_by))?;
        Some(found.name().to_owned())
    }

    /// Returns the issuer with a name, and its settings for persons.
    fn find_provider(&self, name: &str) -> Result<(&Arc<Issuer>, &Provider), HttpProblem> {
        let found = self.issuers.iter().find_map(|issuer| {
            issuer.provider.as_ref().filter(|provider| provider.name() == name).map(|provider| (issuer, provider))
        });
        found.ok_or_else(|| refused("no issuer of this name signs in persons here"))
    }

    /// Returns the address at which a person signs in.
    pub(in crate::service) async fn sign_in_address(
        &self,
        attempt: &SignInAttempt<'_>,
        now: Timestamp,
    ) -> Result<Url, HttpProblem> {
        let (issuer, provider) = self.find_provider(attempt.provider)?;
        let endpoints = self.find_endpoints(issuer, provider, now).await?;
        let mut more = vec![("nonce", attempt.nonce), ("response_mode", "query")];
        if attempt.confirmed_after.is_some() {
            more.extend([("max_age", "0"), ("prompt", "login")]);
        } else if endpoints.is_entra {
            // A browser can be signed in with several accounts, and the one that was used last is rarely the one with rights.
            more.push(("prompt", "select_account"));
        }
        let request = attempt.request(provider);
        Ok(request.url(&endpoints.authorization, &provider.settings.scopes, attempt.state, &more))
    }

    /// Redeems the code of an answer, and returns the person that the settings admit, with the ID token.
    pub(in crate::service) async fn redeem(
        &self,
        attempt: &SignInAttempt<'_>,
        answer: AuthorizationAnswer<'_>,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<Redeemed, HttpProblem> {
        let (issuer, provider) = self.find_provider(attempt.provider)?;
        let endpoints = self.find_endpoints(issuer, provider, now).await?;
        check_answer(&issuer.settings.issuer, &endpoints, answer)?;
        let Ok(_permit) = self.redeeming.try_acquire() else {
            return Err(HttpProblem::new(Code::Busy, "too many sign-ins are in progress").remedy("Try again."));
        };
        let place = if endpoints.reads_secret_in_form { SecretPlace::Form } else { SecretPlace::Header };
        let authentication = provider.authentication.as_ref().map(|authentication| (authentication, place));
        let request = attempt.request(provider);
        let token = authorization_code::exchange(
            &self.redeeming_http,
            &endpoints.token,
            &request,
            answer.code,
            authentication,
            now,
        )
        .await
        .map_err(|error| exchange_problem(provider, &error))?;
        let VerifiedToken { claims, key, .. } = self.verify_id_token(issuer, token.expose_secret(), now).await?;
        ConsoleSettings::check_times(&claims, now).map_err(for_person)?;
        check_claims(&claims, provider, attempt, now)?;
        let person = identify(&issuer.settings.issuer, &endpoints, provider, &claims, environment, now)?;
        let key = serde_json::to_value(key).map_err(HttpProblem::internal)?;
        Ok(Redeemed { person, token, key })
    }

    /// Verifies the ID token of a signature again, and returns what it states. The issuer must publish the key still, and a rule
    /// of the settings must still admit the person; the token can have expired.
    pub(in crate::service) async fn read_statement(
        &self,
        identity: &SignerIdentity,
        evidence: &IdentityEvidence,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<IdentityStatement, HttpProblem> {
        // An issuer can have several entries, each with its own client id.
        let mut problem = None;
        for issuer in &self.issuers {
            let Some(provider) = issuer.provider.as_ref().filter(|_| issuer.settings.issuer == identity.issuer) else {
                continue;
            };
            match self.read_statement_of(issuer, provider, evidence, environment, now).await {
                Ok(statement) => return Ok(statement),
                Err(refused) => problem = Some(refused),
            }
        }
        Err(problem
            .unwrap_or_else(|| refused("the service does not sign in persons of the identity provider any more")))
    }

    async fn read_statement_of(
        &self,
        issuer: &Arc<Issuer>,
        provider: &Provider,
        evidence: &IdentityEvidence,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<IdentityStatement, HttpProblem> {
        let endpoints = self.find_endpoints(issuer, provider, now).await?;
        let VerifiedToken { claims, .. } = self.verify_id_token(issuer, &evidence.id_token, now).await?;
        check_audience(&claims, provider)?;
        let Some(authenticated_at) = authenticated_at(&claims, now) else {
            return Err(refused("the ID token does not say when the person entered its password (`auth_time`)"));
        };
        let person = identify(&issuer.settings.issuer, &endpoints, provider, &claims, environment, now)?;
        let SessionSubject::Identity { issuer, id } = person.subject else {
            return Err(HttpProblem::internal("a person of an identity provider is another subject"));
        };
        Ok(IdentityStatement {
            identity: SignerIdentity { issuer, id },
            nonce: claims["nonce"].as_str().unwrap_or_default().to_owned(),
            authenticated_at,
            subjects: person.admission.subjects,
        })
    }

    /// Verifies the signature of an ID token of an issuer, and returns it with its key.
    async fn verify_id_token<'a>(
        &'a self,
        issuer: &'a Arc<Issuer>,
        token: &str,
        now: Timestamp,
    ) -> Result<VerifiedToken<'a>, HttpProblem> {
        if token.len() > ID_TOKEN_LIMIT {
            return Err(refused("the ID token is too large"));
        }
        let find = |claims: &Value| {
            let is_same = claims["iss"] == *issuer.settings.issuer;
            is_same.then_some(issuer).ok_or_else(|| refused("the ID token is of another issuer"))
        };
        self.verify(token, find, now).await.map_err(for_person)
    }

    /// Returns the endpoints of an issuer. Fetches its configuration if it is unknown or has not been refreshed for a while.
    async fn find_endpoints(
        &self,
        issuer: &Arc<Issuer>,
        provider: &Provider,
        now: Timestamp,
    ) -> Result<Arc<Endpoints>, HttpProblem> {
        let known = issuer.keys.known();
        if let Some(endpoints) = known.endpoints().filter(|_| known.is_younger(FRESH, now)) {
            return Ok(endpoints);
        }
        if self.refresh_if_due(issuer, &known, now).await.is_err() {
            return Err(unavailable(provider, "its configuration cannot be fetched now"));
        }
        let known = issuer.keys.known();
        match known.endpoints().filter(|_| known.is_younger(USABLE, now)) {
            Some(endpoints) => Ok(endpoints),
            None if known.last_fetch_failed() || !known.is_known() => {
                Err(unavailable(provider, "its configuration cannot be fetched now"))
            }
            None => Err(unavailable(provider, "its configuration names no address for sign-ins that may be used")),
        }
    }
}

impl SignInAttempt<'_> {
    fn request<'a>(&'a self, provider: &'a Provider) -> AuthorizationRequest<'a> {
        AuthorizationRequest { client: &provider.settings.client_id, redirect: self.redirect, verifier: self.verifier }
    }
}

/// Checks that an answer comes from the issuer that was asked, and has a code.
fn check_answer(issuer: &str, endpoints: &Endpoints, answer: AuthorizationAnswer<'_>) -> Result<(), HttpProblem> {
    if answer.issuer.is_empty() && endpoints.names_itself {
        return Err(refused("the answer does not name the identity provider that it is from"));
    }
    if !answer.issuer.is_empty() && answer.issuer != issuer {
        return Err(refused("the answer is from another identity provider than the one that was asked"));
    }
    if !answer.error.is_empty() {
        let error: String =
            answer.error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '.').take(60).collect();
        let text = answer.error_description.lines().next().unwrap_or_default();
        let text = text.split(" Trace ID:").next().unwrap_or_default();
        let text = shortened(&printable(text), 300).into_owned();
        let separator = if text.is_empty() { "" } else { ": " };
        return Err(refused(&format!("the identity provider answered {error}{separator}{text}")));
    }
    if answer.code.is_empty() || answer.code.len() > CODE_LIMIT {
        return Err(refused("the answer has no authorization code"));
    }
    Ok(())
}

/// Describes a token that is refused, as a person sees it.
fn for_person(problem: HttpProblem) -> HttpProblem {
    match problem.code() {
        Code::IdentityTokenRefused => refused(problem.message()),
        _ => problem,
    }
}

/// Checks that an ID token is for the service.
fn check_audience(claims: &Value, provider: &Provider) -> Result<(), HttpProblem> {
    let client = provider.settings.client_id.as_str();
    let is_only_audience = match &claims["aud"] {
        Value::String(audience) => audience == client,
        Value::Array(audiences) => audiences.len() == 1 && audiences[0] == client,
        _ => false,
    };
    if is_only_audience && (claims["azp"].is_null() || claims["azp"] == client) {
        return Ok(());
    }
    Err(refused("the ID token is for another application"))
}

/// Checks the claims that bind an ID token to the service and to a sign-in.
fn check_claims(
    claims: &Value,
    provider: &Provider,
    attempt: &SignInAttempt<'_>,
    now: Timestamp,
) -> Result<(), HttpProblem> {
    check_audience(claims, provider)?;
    let nonce = claims["nonce"].as_str().unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(attempt.nonce.as_bytes())) {
        return Err(refused("the ID token belongs to another sign-in"));
    }
    if let Some(after) = attempt.confirmed_after {
        match authenticated_at(claims, now) {
            None => {
                return Err(refused(
                    "the identity provider does not say when you entered your password (`auth_time`); in Entra, it is an optional claim of ID tokens",
                ));
            }
            Some(at) if at.as_second() < after.as_second() - LEEWAY => {
                return Err(refused("the identity provider did not ask you for your password again"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Returns the time at which a person authenticated, if the token has it and it is not in the future.
fn authenticated_at(claims: &Value, now: Timestamp) -> Option<Timestamp> {
    let at = Timestamp::from_second(seconds(claims, "auth_time")?).ok()?;
    (at.as_second() <= now.as_second() + LEEWAY).then(|| at.min(now))
}

/// Returns the person of an ID token, with the rights of the rule that admits it.
fn identify(
    issuer: &str,
    endpoints: &Endpoints,
    provider: &Provider,
    claims: &Value,
    environment: &EnvironmentName,
    now: Timestamp,
) -> Result<Person, HttpProblem> {
    let (id, shown) = person_id(issuer, endpoints.is_entra, claims)?;
    let Some((position, rule)) = provider.settings.admit(claims, environment) else {
        let has_overage = !claims["_claim_names"]["groups"].is_null() || claims["hasgroups"] == true;
        tracing::info!(issuer, subject = id, has_overage, "no rule admits the person");
        let reason = if has_overage {
            "your account has no role here; it is in more groups than the identity provider states"
        } else {
            "your account has no role here"
        };
        return Err(HttpProblem::new(Code::IdentitySignInRefused, format!("{reason}, in the environment `{environment}`"))
            .remedy("Ask an administrator to give your account an app role, or a group, that the service's issuers file names. The service's log has the id of your account."));
    };
    let Some(settings) = provider.admissions.get(position).cloned() else {
        return Err(HttpProblem::internal("a rule has no digest"));
    };
    let admission = Admission {
        subjects: provider_subjects(issuer, claims).collect(),
        role: rule.role,
        scope: rule.scope.clone(),
        settings,
    };
    Ok(Person {
        subject: SessionSubject::Identity { issuer: issuer.to_owned(), id },
        name: format!("{} ({}:{shown})", display_name(claims), provider.name()),
        admission,
        // A person that was identified can be asked to confirm that, even if it is not known when it last did.
        authenticated_at: authenticated_at(claims, now).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

/// Returns the id of a person, and the part of it that distinguishes persons of the issuer: tenant and object id at Entra, where
/// `sub` is another one for each application, otherwise `sub`.
fn person_id(issuer: &str, is_entra: bool, claims: &Value) -> Result<(String, String), HttpProblem> {
    let text = |claim: &str| claims[claim].as_str().unwrap_or_default();
    if is_entra {
        let uuid = |claim: &str| text(claim).parse::<uuid::Uuid>().ok();
        let (Some(tenant), Some(object)) = (uuid("tid"), uuid("oid")) else {
            return Err(refused("the ID token has no `tid` or no `oid`; the scope `profile` asks for them"));
        };
        if !issuer.split('/').any(|part| part.parse::<uuid::Uuid>().is_ok_and(|id| id == tenant)) {
            return Err(refused("the ID token is of another tenant"));
        }
        return Ok((format!("{tenant}/{object}"), object.to_string()));
    }
    let subject = text("sub");
    if subject.is_empty() || subject.len() > ID_LIMIT || !subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err(refused("the ID token has no `sub` claim that identifies a person"));
    }
    Ok((subject.to_owned(), subject.to_owned()))
}

/// Returns the name of a person for display. Brackets are left out: the id follows in brackets.
pub(super) fn display_name(claims: &Value) -> String {
    let name = ["name", "preferred_username"].into_iter().find_map(|claim| claims[claim].as_str());
    let plain: String =
        name.unwrap_or_default().chars().filter(|c| !is_hidden(*c) && !c.is_control() && !"()`".contains(*c)).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.is_empty() { "no name".to_owned() } else { shortened(&plain, NAME_LIMIT).into_owned() }
}

/// Describes a code that was not redeemed: a refusal of the issuer, or an issuer that does not answer.
fn exchange_problem(provider: &Provider, error: &SignInError) -> HttpProblem {
    let reason = shortened(&printable(&error.to_string()), 300).into_owned();
    match error {
        SignInError::Refused(refusal) if refusal.status < 500 => {
            refused(&format!("the identity provider did not accept the authorization code: {reason}"))
        }
        SignInError::UnusableToken(_) => refused(&reason),
        _ => unavailable(provider, &reason),
    }
}

/// Returns the path of the address that an issuer sends browsers back to. Each issuer has its own, so that none can answer for
/// another one (RFC 9700, section 4.4.2).
pub(in crate::service) fn callback_path(name: &str) -> String {
    let name = if name == DEFAULT_PROVIDER { String::new() } else { format!("/{name}") };
    format!("/console/sign-in/callback{name}")
}

/// Returns the problem of a service at which no persons sign in.
pub(in crate::service) fn not_signing_in() -> HttpProblem {
    refused("no identity provider signs in persons here")
}

/// Returns the problem of a sign-in that is not accepted.
pub(in crate::service) fn refused(reason: &str) -> HttpProblem {
    HttpProblem::new(Code::IdentitySignInRefused, reason)
        .remedy("Sign in again. If that does not help, an administrator compares the service's issuers file (`mailwright serve --oidc`) with the registration at the identity provider.")
}

/// Returns the problem of an issuer that cannot be used now.
fn unavailable(provider: &Provider, reason: &str) -> HttpProblem {
    metrics::counter!("mailwright_oidc_failures_total").increment(1);
    let (label, issuer) = (&provider.settings.label, provider.name());
    tracing::warn!(issuer, reason, "an identity provider cannot be used");
    HttpProblem::new(Code::IdentityProviderUnavailable, format!("`{label}` cannot sign in anyone now: {reason}"))
        .remedy("Try again in a minute, or sign in with a token. The service's log has the reason.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "0c0ffee0-0000-4000-8000-000000000001";
    const OBJECT: &str = "0c0ffee0-0000-4000-8000-0000000000f1";

    #[test]
    fn a_person_is_known_by_an_id_that_never_passes_on() {
        let issuer = format!("https://login.example/{TENANT}/v2.0");
        let claims = json!({ "tid": TENANT, "oid": OBJECT, "sub": "pairwise", "preferred_username": "a@b.example" });
        assert_eq!(person_id(&issuer, true, &claims).unwrap().0, format!("{TENANT}/{OBJECT}"));
        // Other issuers may say what they like about tenants.
        assert_eq!(person_id("https://id.example", false, &claims).unwrap().0, "pairwise");
        for claims in [
            json!({ "tid": TENANT, "sub": "x" }),
            json!({ "tid": "common", "oid": OBJECT, "sub": "x" }),
            json!({ "tid": OBJECT, "oid": OBJECT, "sub": "x" }),
        ] {
            assert!(person_id(&issuer, true, &claims).is_err(), "{claims}");
        }
        for subject in [json!(""), json!(null), json!(7), json!("a\u{202e}b"), json!("a\nb"), json!("x".repeat(256))] {
            assert!(person_id(&issuer, false, &json!({ "sub": subject })).is_err(), "{subject}");
        }
    }

    #[test]
    fn a_name_cannot_imitate_the_id_that_follows() {
        for (name, shown) in [
            (json!("Ann Example"), "Ann Example"),
            (json!("Bob (sso:42)"), "Bob sso:42"),
            (json!("\u{202e}eve\r\n\t x"), "eve x"),
            (json!("`x`"), "x"),
            (json!(null), "no name"),
            (json!("()"), "no name"),
        ] {
            assert_eq!(display_name(&json!({ "name": name })), shown, "{name}");
        }
        // The sign of omission comes on top.
        assert!(display_name(&json!({ "name": "x".repeat(500) })).chars().count() <= NAME_LIMIT + 1);
    }

    #[test]
    fn an_answer_is_taken_only_from_the_issuer_that_was_asked() {
        let url = |text: &str| Url::parse(text).unwrap();
        let endpoints = |names_itself| Endpoints {
            authorization: url("https://a.example/authorize"),
            token: url("https://a.example/token"),
            names_itself,
            reads_secret_in_form: true,
            is_entra: false,
        };
        let answer = |code, issuer, error| AuthorizationAnswer {
            code,
            issuer,
            error,
            error_description: "AADSTS1: no\u{1b}[1m",
        };
        let check = |names_itself, answer| check_answer("https://a.example", &endpoints(names_itself), answer);
        assert!(check(false, answer("c", "", "")).is_ok());
        assert!(check(true, answer("c", "https://a.example", "")).is_ok());
        let other = check(false, answer("c", "https://b.example", "")).unwrap_err();
        assert!(other.message().contains("another identity provider"), "{}", other.message());
        assert!(check(true, answer("c", "", "")).is_err());
        assert!(check(false, answer("", "", "")).is_err());
        let error = check(false, answer("", "", "access_denied\r\n<b>")).unwrap_err();
        assert!(error.message().contains("access_deniedb: AADSTS1: no") && !error.message().contains('\u{1b}'));
    }
}
