//! Tokens for sending: fetched once, however many wait for one, and again before they end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use tokio::sync::Mutex as Turn;

use super::{rotation::Which, smtp::Failure};
use crate::{
    entra::{
        Certificate, Endpoints, Http,
        sign_in::{ClientAuthentication, SignIn, SignInError},
    },
    model::{Digest, message::Class, provider::Credential},
    replies,
};

/// How long before its end a token is replaced, at most.
const EARLY: Duration = Duration::from_secs(300);
/// How long a token is good for where nobody says.
const USUAL: Duration = Duration::from_secs(3000);
/// How long a token is used at most, whatever its lifetime is said to be.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A token, and until when it is used.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) value: SecretString,
    until: Instant,
}

/// Who signs in, and for what.
pub(super) struct Applicant<'a> {
    /// The digest of the profile with its secrets: another one has another token.
    pub(super) of: &'a Digest,
    /// Which of its secrets: each has a token of its own.
    pub(super) which: Which,
    pub(super) tenant: &'a str,
    pub(super) client: &'a str,
    pub(super) credential: &'a Credential,
    pub(super) endpoints: &'a Endpoints,
    pub(super) scope: &'a str,
}

type Slot = Arc<Turn<Option<Token>>>;

/// The tokens in use.
#[derive(Default)]
pub(super) struct Tokens {
    slots: Mutex<HashMap<(Digest, Which), Slot>>,
}

impl Tokens {
    fn slot(&self, of: &Digest, which: Which) -> Slot {
        Arc::clone(self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry((of.clone(), which)).or_default())
    }

    /// Forgets a token that was not accepted, or whose profile is another by now.
    pub(super) async fn forget(&self, of: &Digest) {
        for which in [Which::Current, Which::Next] {
            *self.slot(of, which).lock().await = None;
        }
    }

    /// Forgets the tokens of profiles that are not live any more.
    pub(super) fn keep(&self, live: impl Fn(&Digest) -> bool) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| live(of));
    }

    /// A token that is good for some time. Only one asks for it; the others wait for that one.
    pub(super) async fn token(
        &self,
        http: &Http,
        applicant: &Applicant<'_>,
        secret: impl AsyncFnOnce() -> Result<SecretString, Failure>,
        federated: impl FnOnce(&str) -> Result<SecretString, String>,
        now: jiff::Timestamp,
    ) -> Result<Token, Failure> {
        let slot = self.slot(applicant.of, applicant.which);
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| token.until > Instant::now()) {
            return Ok(token.clone());
        }
        let auth = |why: String| Failure { is_servers: true, ..Failure::new("token", why, Class::Auth) };
        let proof = match applicant.credential {
            Credential::FederatedTokenFile(path) => ClientAuthentication::Federated(
                federated(path).map_err(|why| auth(format!("the federated token: {why}")))?,
            ),
            Credential::ClientSecret(_) => ClientAuthentication::Secret(secret().await?),
            Credential::Certificate(_) => {
                let certificate = Certificate::from_pem(secret().await?);
                ClientAuthentication::Certificate(
                    certificate.map_err(|error| auth(format!("the certificate cannot sign: {error}")))?,
                )
            }
        };
        let sign_in = SignIn::new(http.clone(), applicant.endpoints.clone());
        let asked = Instant::now();
        let token = sign_in
            .application_token(applicant.tenant, applicant.client, &proof, applicant.scope, now)
            .await
            .map_err(|error| refused(&error))?;
        let lasts = token.expires_in.unwrap_or(USUAL).min(LONGEST);
        let until = asked + lasts.saturating_sub(EARLY.min(lasts / 5));
        let token = Token { value: token.value, until };
        *slot = Some(token.clone());
        Ok(token)
    }
}

/// The failure that a refused sign-in is to delivery.
fn refused(error: &SignInError) -> Failure {
    let text: String = error.to_string().chars().take(300).collect();
    Failure { is_servers: true, ..Failure::new("token", text, replies::sign_in(error)) }
}
