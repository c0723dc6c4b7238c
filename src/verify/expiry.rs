//! When client secrets and certificates end, as far as `verify` has seen it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{
    CredentialEnd, EnvironmentName, LastVerified, ProfileName, Provider, SecretReference, State, StoredProfile,
    provider::Credential,
};

/// One credential of one profile.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The environment.
    pub environment: EnvironmentName,
    /// The profile.
    pub profile: ProfileName,
    /// Its secret.
    pub secret: SecretReference,
    /// What it is.
    pub kind: &'static str,
    /// None if nobody has seen it yet.
    pub end: Option<CredentialEnd>,
    /// When it was seen.
    pub seen: Option<Timestamp>,
    /// Whether the profile or its secret changed after it was seen.
    pub is_old: bool,
}

/// The credentials of an environment's live profiles.
pub fn of_environment(state: &State, last: &BTreeMap<ProfileName, LastVerified>) -> Vec<Ending> {
    let mut rows = Vec::new();
    for (name, stored) in state.live_stored() {
        let Some((secret, kind)) = credential(stored) else { continue };
        let last = last.get(name);
        let is_old = last.is_some_and(|last| last.of != stored.verified_digest());
        let row = |end: Option<CredentialEnd>| Ending {
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

/// The secret of a profile that ends some day, and what it is.
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
