//! Sign-in of the person at this desktop: the browser and a loopback address (authorization code with PKCE), or a device code.
//!
//! [`UserSignIn::sign_in`] asks the person, [`UserSignIn::renew`] redeems the refresh token of an earlier sign-in without the person.
//! All tokens stay in memory and end with the process. The account is checked before a message is read: the ID token must belong to
//! this sign-in and this application, and the access token to the same account. The loopback address is in `loopback`. Nothing here
//! sends mail or keeps a token on disk.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::loopback::{AnswerError, Loopback, open_browser};
use crate::{
    cli::{CliError, Printer},
    delivery::transport::UserMailbox,
    entra::{
        Endpoints, Http,
        aadsts::Cause,
        authorization_code::{AuthorizationRequest, UserTokens, exchange_user, refresh_user},
        claims::Claims,
        sign_in::{SignIn, SignInError},
    },
    model::{Code, sender::PersonId},
    sync::BlockingPool,
    text::{printable, shortened},
};

/// The time in which the person signs in with the browser.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(300);
/// The way to sign in, for one application.
pub(super) struct UserSignIn<'a> {
    pub(super) printer: &'a Printer,
    pub(super) http: Http,
    pub(super) endpoints: Endpoints,
    pub(super) tenant: &'a str,
    pub(super) application: &'a str,
    /// The sign-in name that is expected.
    pub(super) user: Option<&'a str>,
    pub(super) by_device_code: bool,
    pub(super) opens_browser: bool,
    pub(super) pool: BlockingPool,
}

/// A signed-in person.
pub(super) struct SignedIn {
    pub(super) tokens: UserTokens,
    /// The end of the ID token; none if it is not known.
    pub(super) id_ends_at: Option<Timestamp>,
    pub(super) person: PersonId,
    pub(super) name: String,
    /// The address of the person's mailbox.
    pub(super) address: String,
    /// The delegated permissions of the access token.
    pub(super) permissions: BTreeSet<String>,
}

impl UserSignIn<'_> {
    /// Signs in, and checks the account. `permissions` are those of Graph that the token must have; `claims` answers a challenge.
    pub(super) async fn sign_in(&self, permissions: &[&str], claims: Option<&str>) -> Result<SignedIn, CliError> {
        let scopes = self.scopes(permissions);
        let (tokens, nonce) = if self.by_device_code {
            (self.by_device_code(&scopes).await?, None)
        } else {
            let (tokens, nonce) = self.by_browser(&scopes, claims).await?;
            (tokens, Some(nonce))
        };
        self.check_account(tokens, nonce.as_deref(), permissions).await
    }

    /// Signs in again without the person, by the refresh token of an earlier sign-in. None if Entra asks for the person.
    pub(super) async fn renew(
        &self,
        refresh: &SecretString,
        permissions: &[&str],
        claims: Option<&str>,
    ) -> Result<Option<SignedIn>, CliError> {
        let sign_in = SignIn::new(self.http.clone(), self.endpoints.clone());
        let (_, token) = sign_in.user_endpoints(self.tenant).map_err(|error| self.refused(&error))?;
        let (scopes, claims) = (self.scopes(permissions), capabilities(claims));
        let more = [("claims", claims.as_str())];
        let tokens = match refresh_user(&self.http, &token, self.application, refresh, &scopes, &more).await {
            Ok(tokens) => tokens,
            // An ended sign-in, missing consent, a demand for another factor: the person decides all of these.
            Err(SignInError::Refused(refusal)) if refusal.cause() != Cause::Service => return Ok(None),
            Err(error) => return Err(self.refused(&error)),
        };
        if !missing_permissions(&tokens, permissions).is_empty() {
            return Ok(None);
        }
        // Without a new refresh token the old one stays valid.
        let kept = tokens.refresh.clone().unwrap_or_else(|| refresh.clone());
        self.check_account(UserTokens { refresh: Some(kept), ..tokens }, None, permissions).await.map(Some)
    }

    /// Returns the scopes to request: an ID token, a refresh token, and permissions of Graph.
    fn scopes(&self, permissions: &[&str]) -> Vec<String> {
        let graph = self.endpoints.graph.as_str().trim_end_matches('/');
        let of_graph = permissions.iter().map(|permission| format!("{graph}/{permission}"));
        ["openid", "profile", "offline_access"].into_iter().map(str::to_owned).chain(of_graph).collect()
    }

    /// Checks that the tokens are for this application and for one account, and that they have what was asked for.
    async fn check_account(
        &self,
        tokens: UserTokens,
        nonce: Option<&str>,
        permissions: &[&str],
    ) -> Result<SignedIn, CliError> {
        let claims = Claims::read(&tokens.id).ok_or_else(|| failed("the ID token cannot be read".to_owned()))?;
        if !claims.aud.eq_ignore_ascii_case(self.application) {
            return Err(failed("the ID token is for another application".to_owned()));
        }
        if nonce.is_some_and(|nonce| nonce != claims.nonce) {
            return Err(failed("the ID token belongs to another sign-in".to_owned()));
        }
        let uuid = |text: &str| text.parse::<Uuid>().ok();
        let (Some(tenant), Some(object)) = (uuid(&claims.tid), uuid(&claims.oid)) else {
            return Err(failed("the ID token does not name the account (`tid`, `oid`)".to_owned()));
        };
        let missing = missing_permissions(&tokens, permissions);
        if !missing.is_empty() {
            return Err(self.consent_missing(&format!("the token has no {}", missing.join(", "))));
        }
        let mailbox = UserMailbox {
            http: &self.http,
            pool: &self.pool,
            endpoints: &self.endpoints,
            token: &tokens.access,
            request_id: Uuid::now_v7().to_string(),
        };
        let found = mailbox.me().await;
        let (id, address) =
            found.map_err(|failure| failed(format!("Graph does not name the account: {}", failure.reply)))?;
        if uuid(&id) != Some(object) {
            return Err(failed("the access token belongs to another account than the ID token".to_owned()));
        }
        let is_wanted =
            |user: &str| [&address, &claims.preferred_username].iter().any(|own| own.eq_ignore_ascii_case(user));
        if let Some(user) = self.user.filter(|user| !is_wanted(user)) {
            return Err(failed(format!("signed in as {address}, and not as {user}"))
                .remedy(format!("Sign in again, and choose {user}.")));
        }
        let id_ends_at = claims.ends_at();
        let name = if claims.name.is_empty() { claims.preferred_username } else { claims.name };
        let granted = granted_permissions(&tokens);
        Ok(SignedIn { tokens, id_ends_at, person: PersonId { tenant, object }, name, address, permissions: granted })
    }

    async fn by_device_code(&self, scopes: &[String]) -> Result<UserTokens, CliError> {
        let sign_in = SignIn::new(self.http.clone(), self.endpoints.clone());
        let (tenant, application) = (self.tenant, self.application);
        let begun = sign_in.device_code(tenant, application, &scopes.join(" ")).await;
        let begun = begun.map_err(|error| self.refused(&error))?;
        self.printer.note(&format!(
            "Open {} and enter the code {} to sign in to {tenant} for the application {application}. Enter no code that someone else gave you.",
            begun.verification_uri().as_str(),
            begun.user_code().secret()
        ));
        sign_in.device_user_tokens(tenant, application, &begun).await.map_err(|error| self.refused(&error))
    }

    async fn by_browser(&self, scopes: &[String], claims: Option<&str>) -> Result<(UserTokens, String), CliError> {
        let cannot_listen = |error: std::io::Error| failed(format!("cannot listen on this machine: {error}"));
        let loopback = Loopback::open(random()?).await.map_err(cannot_listen)?;
        let redirect =
            loopback.redirect().map_err(|error| failed(format!("the loopback address is malformed: {error}")))?;
        let (state, nonce, verifier) = (random()?, random()?, SecretString::from(random()?));
        let request = AuthorizationRequest { client: self.application, redirect: &redirect, verifier: &verifier };
        let sign_in = SignIn::new(self.http.clone(), self.endpoints.clone());
        let (authorize, token) = sign_in.user_endpoints(self.tenant).map_err(|error| self.refused(&error))?;
        let claims = capabilities(claims);
        let mut more = vec![("nonce", nonce.as_str()), ("response_mode", "query"), ("claims", claims.as_str())];
        match self.user {
            Some(user) => more.push(("login_hint", user)),
            None => more.push(("prompt", "select_account")),
        }
        let address = request.url(&authorize, scopes, &state, &more);
        let link = loopback.link();
        self.printer.note(&format!("Sign in with the browser: {link}"));
        if self.opens_browser {
            open_browser(self.printer, &link);
        }
        let wait = tokio::time::timeout(SIGN_IN_TIMEOUT, loopback.wait_for_code(&address, &state)).await;
        let code = wait.map_err(|_| failed("the sign-in was not completed within 5 minutes".to_owned()))?;
        let code = code.map_err(|error| self.answered(&error))?;
        let tokens = exchange_user(&self.http, &token, &request, &code, &[("claims", &claims)]).await;
        Ok((tokens.map_err(|error| self.refused(&error))?, nonce))
    }

    /// Returns the error for an answer of the sign-in page.
    fn answered(&self, error: &AnswerError) -> CliError {
        match error {
            AnswerError::Io(reason) => failed(reason.clone()),
            AnswerError::Refused { error, description } => {
                let description =
                    shortened(&printable(description.lines().next().unwrap_or_default()), 300).into_owned();
                let reason = format!("{}: {description}", printable(error));
                let is_consent = error == "consent_required" || description.contains("AADSTS65001");
                if is_consent { self.consent_missing(&reason) } else { failed(reason) }
            }
        }
    }

    /// Returns the error for a refusal of Entra.
    fn refused(&self, error: &SignInError) -> CliError {
        match error {
            SignInError::Refused(refusal) if refusal.cause() == Cause::Consent => {
                self.consent_missing(&refusal.to_string())
            }
            _ => failed(error.to_string()),
        }
    }

    fn consent_missing(&self, reason: &str) -> CliError {
        failed(format!("consent is missing: {reason}")).remedy(format!(
            "An administrator of {} consents at: {}",
            self.tenant,
            self.endpoints.admin_consent(self.tenant, self.application)
        ))
    }
}

/// Returns the delegated permissions of an access token; none if it cannot be read.
fn granted_permissions(tokens: &UserTokens) -> BTreeSet<String> {
    let claims = Claims::read(&tokens.access);
    claims.map(|claims| claims.permissions().map(str::to_owned).collect()).unwrap_or_default()
}

/// Returns the permissions that were requested and not granted: a sign-in with fewer scopes succeeds. Of a token that cannot be read,
/// nothing is known, and none is returned.
fn missing_permissions<'p>(tokens: &UserTokens, permissions: &[&'p str]) -> Vec<&'p str> {
    let granted = granted_permissions(tokens);
    let missing = permissions.iter().copied().filter(|permission| !granted.contains(*permission));
    if granted.is_empty() { Vec::new() } else { missing.collect() }
}

/// Returns the error of a sign-in.
fn failed(reason: String) -> CliError {
    CliError::coded(Code::UserSignInFailed, format!("cannot sign in the user: {reason}"))
        .remedy("Sign in again. Messages that wait are not changed.")
}

/// Returns 256 random bits as text.
fn random() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| CliError::new(format!("cannot get random numbers: {error}")))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns the claims to request: those of a challenge, and that this program answers challenges.
fn capabilities(challenge: Option<&str>) -> String {
    let mut claims: Map<String, Value> = challenge.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    // A challenge comes from outside: this can be something else than an object.
    let access_token = claims.entry("access_token").or_insert(Value::Null);
    if !access_token.is_object() {
        *access_token = json!({});
    }
    access_token["xms_cc"] = json!({ "values": ["cp1"] });
    Value::Object(claims).to_string()
}
