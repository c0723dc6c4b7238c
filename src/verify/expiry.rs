//! The expiry of client secrets and certificates, as the last runs of `verify` found it.
//!
//! [`live_credentials`] lists it for the live profiles. It reads stored results and contacts no host. A profile without a stored
//! result, or with one that states no end, has a row without an end; a result of an earlier version of the profile is marked as
//! old.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{
    CredentialEnd, EnvironmentName, LastVerified, ProfileName, Provider, SecretReference, State, StoredProfile,
    provider::Credential,
};

/// The expiry of one credential of one profile.
#[derive(Clone, Debug)]
pub struct CredentialExpiry {
    /// The environment.
    pub environment: EnvironmentName,
    /// The profile.
    pub profile: ProfileName,
    /// The secret.
    pub secret: SecretReference,
    /// The kind of credential.
    pub kind: &'static str,
    /// The expiry; none if it is not known.
    pub end: Option<CredentialEnd>,
    /// The time at which the expiry was seen.
    pub seen: Option<Timestamp>,
    /// True if the profile or its secret changed since then.
    pub is_old: bool,
}

/// Returns the credentials of an environment's live profiles.
pub fn live_credentials(state: &State, last: &BTreeMap<ProfileName, LastVerified>) -> Vec<CredentialExpiry> {
    let mut rows = Vec::new();
    for (name, stored) in state.live_stored() {
        let Some((secret, kind)) = credential(stored) else { continue };
        let last = last.get(name);
        let is_old = last.is_some_and(|last| last.of != stored.verified_digest());
        let row = |end: Option<CredentialEnd>| CredentialExpiry {
            environment: state.environment.clone(),
            profile: name.clone(),
            secret: secret.clone(),
            kind,
            end,
            seen: last.map(|last| last.at),
            is_old,
        };
        match last.map(|last| last.credentials.as_slice()) {
            None | Some([]) => rows.push(row(None)),
            Some(ends) => rows.extend(ends.iter().map(|end| row(Some(end.clone())))),
        }
    }
    rows
}

/// Returns the secret of a profile that expires, and its kind.
fn credential(stored: &StoredProfile) -> Option<(&SecretReference, &'static str)> {
    let credential = match &stored.profile.provider {
        Provider::MicrosoftGraphDirect(direct) => &direct.credential,
        Provider::Smtp(smtp) => &smtp.oauth.as_ref()?.credential,
        Provider::MicrosoftGraphDelegate(_) => return None,
    };
    match credential {
        Credential::ClientSecret(named) => Some((&named.secret, "client secret")),
        Credential::Certificate(named) => Some((&named.secret, "certificate")),
        Credential::FederatedTokenFile(_) => None,
    }
}
