//! Sign-in of persons with an identity provider: begin, and the answer that the browser brings back.
//!
//! [`Service::begin_identity_sign_in`] returns the address of the provider and the value of a cookie; with it,
//! [`Service::complete_identity_sign_in`] creates a session, confirms the identity of the person of one, or adds its signature to
//! a proposal. State, nonce and verifier are derived from the cookie with a key of this process and environment; the nonce of a
//! signature is the digest of what is signed. Nothing is kept for a sign-in that is never completed but the draft of a signature.
//! An answer is accepted only in the browser, the environment and the ten minutes that it belongs to, and once. A restart of the
//! service ends the sign-ins in progress. `oidc` speaks with the provider and decides who is admitted.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::{
    Service, SignInSource,
    caller::{Caller, SessionHolder},
    http::HttpProblem,
    oidc::{self, AuthorizationAnswer, IdentityProvider, Person, Redeemed, SignInAttempt},
};
use crate::{
    model::{
        AuditOutcome, Code,
        session::{Session, SessionSubject},
    },
    store::AuditEvent,
    sync::Mutex,
};

/// Time in which a person must have signed in at the provider.
pub(crate) const SIGN_IN_LIMIT: SignedDuration = SignedDuration::from_mins(10);
/// Maximum size of the cookie of a sign-in, in bytes. Browsers keep 4,096 with its name.
const COOKIE_LIMIT: usize = 4000;
/// Answers that are remembered as used. An older one is refused by the provider alone, which redeems no code twice.
const REMEMBERED: usize = 10_000;

/// The sign-ins of an environment that are in progress.
#[derive(Default)]
pub(super) struct IdentitySignIns {
    /// Another one for each environment and each start.
    key: OnceLock<hmac::Key>,
    /// The ids of sign-ins whose answer has been used, the oldest first.
    used: Mutex<VecDeque<String>>,
}

impl IdentitySignIns {
    /// Returns the key. Fails if the system has no randomness.
    fn key(&self) -> Result<&hmac::Key, HttpProblem> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let mut key = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(HttpProblem::internal)?;
        Ok(self.key.get_or_init(|| hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())))
    }

    /// Derives the values of a sign-in from its cookie: 43 characters each.
    fn secrets(&self, cookie: &str) -> Result<Secrets, HttpProblem> {
        let key = self.key()?;
        let derive = |purpose: &str| {
            BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(key, format!("{purpose}\n{cookie}").as_bytes()).as_ref())
        };
        let verifier = SecretString::from(derive("verifier"));
        Ok(Secrets { state: derive("state"), nonce: derive("nonce"), verifier })
    }

    /// Remembers that the answer of a sign-in was used; returns false if it was used before.
    fn use_once(&self, id: &str) -> bool {
        let mut used = self.used.lock();
        if used.iter().any(|other| other == id) {
            return false;
        }
        if used.len() >= REMEMBERED {
            used.pop_front();
        }
        used.push_back(id.to_owned());
        true
    }
}

/// The values that are derived from a cookie.
struct Secrets {
    state: String,
    nonce: String,
    verifier: SecretString,
}

/// A sign-in in progress, as the cookie has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PendingSignIn {
    id: String,
    provider: String,
    /// The path at which the browser continues.
    next: String,
    /// The session whose person confirms its identity; none for a sign-in.
    confirms: Option<String>,
    /// The digest of the text that the person signs, for a signature.
    signs: Option<String>,
    begun: Timestamp,
}

/// A sign-in that has begun.
pub(crate) struct BegunSignIn {
    /// The address at the provider.
    pub(crate) address: Url,
    /// The value of the cookie.
    pub(crate) cookie: String,
}

/// The answer of a provider, from the address that it sends the browser to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProviderAnswer {
    code: String,
    state: String,
    iss: String,
    error: String,
    error_description: String,
}

/// A sign-in, a confirmation or a signature that is complete, with the path at which the browser continues.
pub(crate) enum CompletedSignIn {
    /// A session, with its secret.
    SignedIn { secret: SecretString, next: String },
    /// The confirmation of an identity in a session that exists, with its new secret.
    Confirmed { secret: SecretString, next: String },
    /// A signature.
    Signed { next: String },
}

impl Service {
    /// Returns the identity providers that persons can sign in with.
    pub(crate) fn identity_providers(&self) -> Vec<IdentityProvider> {
        self.trusted_issuers().map(|issuers| issuers.identity_providers()).unwrap_or_default()
    }

    /// Returns the name of the identity provider by which the person of a session can confirm its identity; none if there is
    /// none.
    pub(crate) fn confirming_provider(&self, session: &Session) -> Option<String> {
        let SessionSubject::Identity { issuer, .. } = &session.subject else { return None };
        self.trusted_issuers()?.provider_of(issuer, &session.admission.as_ref()?.settings)
    }

    /// Begins the confirmation of the identity of a session's person, at the provider that it signed in with.
    pub(crate) async fn begin_confirmation_with_provider(
        &self,
        session: &Session,
        next: &str,
    ) -> Result<BegunSignIn, HttpProblem> {
        let provider = self
            .confirming_provider(session)
            .ok_or_else(|| oidc::sign_in_refused("this session is not that of a person of an identity provider"))?;
        self.begin(&provider, next, Some(session), None).await
    }

    /// Begins the signature of a text that a page of the session shows, at the provider that its person signed in with.
    pub(crate) async fn begin_signature_with_provider(
        &self,
        session: &Session,
        proposal: &str,
        digest: &str,
    ) -> Result<BegunSignIn, HttpProblem> {
        let is_known = self.signature_drafts.has(session, proposal, digest, self.clock.now());
        let provider = self.confirming_provider(session).filter(|_| is_known).ok_or_else(|| {
            HttpProblem::not_found("there is nothing to sign: the page is too old, or of another session")
                .remedy("Open the proposal again, and continue to sign.")
        })?;
        let next = format!("/console/proposals/{proposal}");
        self.begin(&provider, &next, Some(session), Some(digest.to_owned())).await
    }

    /// Begins a sign-in.
    pub(crate) async fn begin_identity_sign_in(&self, provider: &str, next: &str) -> Result<BegunSignIn, HttpProblem> {
        self.begin(provider, next, None, None).await
    }

    /// Begins a sign-in; with a session, the person of that session confirms its identity, and with a digest signs the text that
    /// has it.
    async fn begin(
        &self,
        provider: &str,
        next: &str,
        confirms: Option<&Session>,
        signs: Option<String>,
    ) -> Result<BegunSignIn, HttpProblem> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(HttpProblem::internal)?;
        let now = self.clock.now();
        let pending = PendingSignIn {
            id: BASE64_URL_SAFE_NO_PAD.encode(id),
            provider: provider.to_owned(),
            next: next.to_owned(),
            confirms: confirms.map(|session| session.id.clone()),
            signs,
            begun: now,
        };
        let cookie = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&pending).map_err(HttpProblem::internal)?);
        let issuers = self.trusted_issuers().ok_or_else(oidc::not_signing_in)?;
        let redirect = self.sign_in_redirect(provider)?;
        let secrets = self.identity_sign_ins.secrets(&cookie)?;
        let address = issuers.sign_in_address(&attempt(&pending, &redirect, &secrets), now).await?;
        Ok(BegunSignIn { address, cookie })
    }

    /// Completes a sign-in with the answer that came to the address of a provider, in a browser with a cookie. `caller` is that
    /// of the session that the browser has.
    pub(crate) async fn complete_identity_sign_in(
        self: &Arc<Self>,
        provider: &str,
        cookie: Option<&str>,
        answer: &ProviderAnswer,
        source: &SignInSource,
        caller: Option<&Caller>,
    ) -> Result<CompletedSignIn, HttpProblem> {
        let (pending, secrets) = match self.find_pending(provider, cookie, answer) {
            Ok(found) => found,
            Err(problem) => return Err(self.refuse_answer(None, source, problem).await),
        };
        if let (Some(digest), Some(session)) = (&pending.signs, &pending.confirms) {
            let own = source.replaces.as_ref().filter(|own| own.id == *session).zip(caller);
            let Some((session, caller)) = own else {
                let problem = oidc::sign_in_refused("the signature was begun in another session than yours");
                return Err(self.refuse_answer(Some(session), source, problem).await);
            };
            let answer = self.identify_person(&pending, &secrets, answer).await;
            // The plan of the proposal makes it large.
            Box::pin(self.sign_with_provider(caller, session, digest, answer)).await?;
            return Ok(CompletedSignIn::Signed { next: pending.next });
        }
        let person = match self.identify_person(&pending, &secrets, answer).await {
            Ok(redeemed) => redeemed.person,
            Err(problem) => return Err(self.refuse_answer(pending.confirms.as_deref(), source, problem).await),
        };
        if let Some(id) = &pending.confirms {
            return self.confirm_person(id, &pending, &person, source).await;
        }
        let Person { subject, name, admission, authenticated_at } = person;
        let holder = SessionHolder::from_identity(subject, name, admission, Some(authenticated_at));
        let (_, secret) = self.begin_session(holder, source).await?;
        Ok(CompletedSignIn::SignedIn { secret, next: pending.next })
    }

    /// Records an answer that is refused: of a sign-in, or of the confirmation of an identity in a session. Returns its problem.
    async fn refuse_answer(&self, confirms: Option<&str>, source: &SignInSource, problem: HttpProblem) -> HttpProblem {
        if problem.code() != Code::IdentitySignInRefused {
            return problem;
        }
        let session = source.replaces.as_ref().filter(|session| confirms == Some(session.id.as_str()));
        let Some(session) = session else { return self.refuse_sign_in(None, source, problem).await };
        let event = AuditEvent {
            at: self.clock.now(),
            actor: session.name.clone(),
            action: "session.confirm",
            outcome: AuditOutcome::Refused,
            detail: json!({ "id": session.id, "subject": session.subject, "why": problem.message() }),
        };
        match self.record_bounded(event).await {
            Ok(()) => problem,
            Err(error) => error.into(),
        }
    }

    /// Records that the person of a session confirmed its identity.
    async fn confirm_person(
        &self,
        id: &str,
        pending: &PendingSignIn,
        person: &Person,
        source: &SignInSource,
    ) -> Result<CompletedSignIn, HttpProblem> {
        let session = source.replaces.as_ref().filter(|session| session.id == id);
        let session = session.filter(|session| session.subject == person.subject);
        let Some(session) = session else {
            let problem =
                oidc::sign_in_refused("the confirmation is of another account, or of another session, than yours");
            return Err(self.refuse_answer(Some(id), source, problem).await);
        };
        let how = json!({ "identityProvider": pending.provider });
        let (_, secret) = self.confirm_identity(session, how).await?;
        Ok(CompletedSignIn::Confirmed { secret, next: pending.next.clone() })
    }

    /// Returns the sign-in of a browser that an answer belongs to, with its derived values. It can be completed once.
    fn find_pending(
        &self,
        provider: &str,
        cookie: Option<&str>,
        answer: &ProviderAnswer,
    ) -> Result<(PendingSignIn, Secrets), HttpProblem> {
        let cookie = cookie.filter(|cookie| cookie.len() <= COOKIE_LIMIT).ok_or_else(|| {
            oidc::sign_in_refused(
                "this browser has begun no sign-in, began it more than 10 minutes ago, or keeps no cookies",
            )
        })?;
        let secrets = self.identity_sign_ins.secrets(cookie)?;
        // Only this process can have made a state that fits the cookie, so the cookie is its own as well.
        if !bool::from(secrets.state.as_bytes().ct_eq(answer.state.as_bytes())) {
            return Err(oidc::sign_in_refused(
                "the answer belongs to another sign-in than the latest one of this browser",
            ));
        }
        let pending = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok();
        let pending = pending.and_then(|json| serde_json::from_slice::<PendingSignIn>(&json).ok());
        let pending =
            pending.ok_or_else(|| HttpProblem::internal("a sign-in that this process began cannot be read"))?;
        let now = self.clock.now();
        if now.duration_since(pending.begun).abs() > SIGN_IN_LIMIT {
            return Err(oidc::sign_in_refused("the sign-in took longer than 10 minutes"));
        }
        if pending.provider != provider {
            return Err(oidc::sign_in_refused("the answer came to the address of another identity provider"));
        }
        if !self.identity_sign_ins.use_once(&pending.id) {
            return Err(oidc::sign_in_refused("the answer was used before"));
        }
        Ok((pending, secrets))
    }

    /// Returns the person that the provider identifies in its answer.
    async fn identify_person(
        &self,
        pending: &PendingSignIn,
        secrets: &Secrets,
        answer: &ProviderAnswer,
    ) -> Result<Redeemed, HttpProblem> {
        let issuers = self.trusted_issuers().ok_or_else(oidc::not_signing_in)?;
        let redirect = self.sign_in_redirect(&pending.provider)?;
        let answer = AuthorizationAnswer {
            code: &answer.code,
            issuer: &answer.iss,
            error: &answer.error,
            error_description: &answer.error_description,
        };
        let attempt = attempt(pending, &redirect, secrets);
        issuers.redeem(&attempt, answer, self.environment(), self.clock.now()).await
    }

    /// Returns the address that a provider sends browsers back to: the redirect URI of its registration.
    fn sign_in_redirect(&self, provider: &str) -> Result<Url, HttpProblem> {
        let origin = self.public_origin().ok_or_else(|| {
            HttpProblem::internal("persons sign in with an identity provider, and the service has no `--public-url`")
        })?;
        let path = oidc::callback_path(provider);
        let address = format!("{origin}{}{path}", self.base());
        Url::parse(&address).map_err(HttpProblem::internal)
    }
}

fn attempt<'a>(pending: &'a PendingSignIn, redirect: &'a Url, secrets: &'a Secrets) -> SignInAttempt<'a> {
    SignInAttempt {
        provider: &pending.provider,
        redirect,
        state: &secrets.state,
        nonce: pending.signs.as_deref().unwrap_or(&secrets.nonce),
        verifier: &secrets.verifier,
        confirmed_after: pending.confirms.is_some().then_some(pending.begun),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn what_is_derived_differs_by_purpose_cookie_and_environment() {
        let (one, other) = (IdentitySignIns::default(), IdentitySignIns::default());
        let secrets = one.secrets("cookie").unwrap();
        let values = [
            secrets.state,
            secrets.nonce,
            secrets.verifier.expose_secret().to_owned(),
            one.secrets("cookie2").unwrap().state,
            other.secrets("cookie").unwrap().state,
        ];
        for (index, value) in values.iter().enumerate() {
            // RFC 7636, section 4.1: a verifier has 43 to 128 characters.
            assert_eq!(value.len(), 43);
            assert!(!values[..index].contains(value));
        }
    }

    #[test]
    fn an_answer_is_used_once_and_memory_is_bounded() {
        let pending = IdentitySignIns::default();
        assert!(pending.use_once("a") && !pending.use_once("a"));
        for number in 0..REMEMBERED + 5 {
            pending.use_once(&number.to_string());
        }
        assert_eq!(pending.used.lock().len(), REMEMBERED);
    }
}
