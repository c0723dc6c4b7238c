//! Credentials: opens the secrets of profiles, and fetches access tokens with them.
//!
//! The transports call [`Credentials::secret`] and [`Credentials::token`] for each login, and the suspender to verify a profile. A
//! secret is decrypted in memory for one use, and only for the destination that it was sealed for. Access tokens are cached. Which
//! version of a secret is used during a rotation is decided by [`Rotations`](super::rotation::Rotations).
//!
//! A missing age file, another destination, or a value that cannot work is a failure of the profile, which suspends it. If the
//! store cannot be read, the failure is transient.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    access_tokens::AccessTokens, failure::Failure, next_secret::SecretVersion, sending_profile::SendingProfile,
};
use crate::{
    credential::{self, CredentialKind},
    entra::{
        Certificate, Endpoints, FederatedFiles, Http,
        sign_in::{ClientAuthentication, SignIn, SignInError},
    },
    model::{Digest, State, message::Class, provider::Credential},
    replies,
    secrets::{Purpose, ServiceIdentity},
    store::Store,
    time::Clock,
};

/// A request for an access token.
pub(super) struct TokenRequest<'a> {
    pub(super) tenant: &'a str,
    pub(super) client: &'a str,
    pub(super) credential: &'a Credential,
    pub(super) endpoints: &'a Endpoints,
    pub(super) scope: &'a str,
}

/// The sources of secrets and tokens.
pub(super) struct Credentials {
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: Arc<ServiceIdentity>,
    pub(super) federated: FederatedFiles,
    pub(super) http: Http,
    pub(super) clock: Clock,
    /// The current state, which knows the destination for which each age file was accepted.
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) tokens: AccessTokens,
}

impl Credentials {
    /// Decrypts a secret of a profile.
    pub(super) async fn secret(
        &self,
        profile: &SendingProfile,
        version: SecretVersion,
    ) -> Result<SecretString, Failure> {
        let failed = |class, reason: String| Failure::new("login", reason, class);
        let digests = match version {
            SecretVersion::Current => &profile.stored.secrets,
            SecretVersion::Next => &profile.stored.next,
        };
        let Some(digest) = digests.values().next() else {
            return Err(failed(Class::Auth, "the profile names no secret".to_owned()));
        };
        let file = self.store.age_file(digest).await.map_err(|error| failed(Class::Transient, error.to_string()))?;
        let file =
            file.ok_or_else(|| failed(Class::Auth, "the service does not have the profile's age file".to_owned()))?;
        let mut record = self.state.borrow().secrets.get(digest).cloned();
        if record.is_none() {
            // The profile was changed in the meantime.
            let found = self.store.secrets(vec![digest.clone()]).await;
            record = found.map_err(|error| failed(Class::Transient, error.to_string()))?.pop();
        }
        let (identity, environment) = (Arc::clone(&self.identity), self.store.environment().clone());
        let destination = profile.stored.profile.provider.destination();
        let open = move || {
            let accepted_for = record.as_ref().map(|record| &record.destination);
            identity.open_for(&file, &Purpose { environment: &environment, destination: &destination, accepted_for })
        };
        let opened = spawn_blocking(open).await;
        let opened = opened.map_err(|_| failed(Class::Transient, "the secret could not be opened".to_owned()))?;
        let value = opened.map_err(|error| failed(Class::Auth, error.to_string()))?;
        let kind = CredentialKind::from_provider(&profile.stored.profile.provider);
        credential::parse_value(kind, value.expose_secret())
            .map(SecretString::from)
            .map_err(|unfit| failed(Class::Auth, format!("the secret cannot work: {unfit}")))
    }

    /// Returns an access token that is valid for some time.
    pub(super) async fn token(
        &self,
        profile: &SendingProfile,
        version: SecretVersion,
        request: &TokenRequest<'_>,
    ) -> Result<SecretString, Failure> {
        let fetch = async || self.fetch_token(profile, version, request).await;
        self.tokens.get_or_fetch(&profile.digest, version, fetch).await
    }

    async fn fetch_token(
        &self,
        profile: &SendingProfile,
        version: SecretVersion,
        request: &TokenRequest<'_>,
    ) -> Result<(SecretString, Option<std::time::Duration>), Failure> {
        let refused = |reason: String| Failure::new("token", reason, Class::Auth).of_server();
        let proof = match request.credential {
            Credential::FederatedTokenFile(path) => {
                let destination = profile.stored.profile.provider.destination();
                let token = self.federated.read(path, self.store.environment(), &destination);
                ClientAuthentication::Federated(
                    token.map_err(|reason| refused(format!("cannot use the federated token: {reason}")))?,
                )
            }
            Credential::ClientSecret(_) => ClientAuthentication::Secret(self.secret(profile, version).await?),
            Credential::Certificate(_) => {
                let certificate = Certificate::from_pem(self.secret(profile, version).await?);
                let unfit = |error| refused(format!("the certificate cannot sign: {error}"));
                ClientAuthentication::Certificate(certificate.map_err(unfit)?)
            }
        };
        let sign_in = SignIn::new(self.http.clone(), request.endpoints.clone());
        let token = sign_in
            .application_token(request.tenant, request.client, &proof, request.scope, self.clock.now())
            .await
            .map_err(|error| sign_in_failure(&error))?;
        Ok((token.value, token.expires_in))
    }

    /// Drops the cached tokens of a profile, because one was not accepted or the login is tried again.
    pub(super) async fn forget_tokens(&self, profile: &SendingProfile) {
        self.tokens.forget(&profile.digest).await;
    }

    /// Drops the cached tokens of profiles that are not live any more.
    pub(super) fn retain_tokens(&self, is_live: impl Fn(&Digest) -> bool) {
        self.tokens.retain(is_live);
    }
}

/// Returns the failure for a sign-in that was refused.
fn sign_in_failure(error: &SignInError) -> Failure {
    let text: String = error.to_string().chars().take(300).collect();
    Failure::new("token", text, replies::classify_sign_in(error)).of_server()
}
