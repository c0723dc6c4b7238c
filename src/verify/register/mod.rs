//! Scripts that register an application at Microsoft Entra, as the profiles that use it need it.
//!
//! [`Registration`] is what the profiles need: platforms, redirect URIs, permissions by id, and the credential. It renders as a
//! script for `az` ([`Shell::Bash`]) or for Microsoft Graph PowerShell ([`Shell::Powershell`]). A script finds what exists and
//! adds what is missing, so that it can run again; it removes nothing and stops at the first error of Graph, while an error of
//! Exchange is a warning. A provider or a credential without a registration is [`NotRegistrable`]. Values of files are quoted;
//! a script never shows a credential: it pipes it into `mailwright secrets set`. Nothing here talks to Microsoft.

mod bash;
mod powershell;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

pub use crate::model::provider::UNREGISTERED_CLIENT;

use super::needs::{client_id, delegate_permissions, direct_permissions};
use crate::{
    entra::{
        Endpoints,
        permissions::{self, PermissionKind},
    },
    model::{Client, Cloud, EnvironmentName, ProfileName, Provider, SecretReference, provider::Credential},
};

/// The language of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// Bash, with Azure's command line.
    Bash,
    /// PowerShell, with the module `Microsoft.Graph.Authentication`.
    Powershell,
}

/// A profile that may use the application.
#[derive(Clone, Debug)]
pub struct RegisteredProfile {
    /// Its provider.
    pub provider: Provider,
    /// Its From address.
    pub from: Option<String>,
}

/// The place of the client id in a file: its path, and the line from 1.
#[derive(Clone, Debug)]
pub struct ClientPlace {
    /// The path, relative to the repository.
    pub path: PathBuf,
    /// The line.
    pub line: usize,
}

/// Choices for a registration that the profile does not state.
#[derive(Clone, Debug)]
pub struct RegistrationOptions {
    /// True if Exchange limits sending to the profile's mailbox, and Entra does not grant `Mail.Send`.
    pub is_scoped: bool,
    /// Issuer and subject of the federated token.
    pub federation: Option<(String, String)>,
    /// The end of a new client secret.
    pub secret_expires: Timestamp,
    /// The place of the client id.
    pub client_place: Option<ClientPlace>,
    /// The age file of the credential, and the file of its recipients.
    pub secret_file: Option<(PathBuf, PathBuf)>,
}

/// The reason why a profile has no registration script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistrable {
    /// It does not use Microsoft Graph.
    #[error("the profile does not send through Microsoft Graph")]
    OtherProvider,
    /// The client id is not a GUID.
    #[error("`client` is not a GUID")]
    InvalidClient,
    /// The scripts sign in to Microsoft's own clouds.
    #[error("the scripts sign in to Microsoft's own clouds, and the cloud of the profile is `custom`")]
    CustomCloud,
    /// The cloud has no valid hosts.
    #[error("{0}")]
    Cloud(String),
    /// A federated token needs its issuer and subject.
    #[error("the issuer and the subject of the federated token are not known")]
    FederationUnknown,
}

/// A permission of Microsoft Graph: its name and its id.
type Permission = (&'static str, &'static str);

/// The required properties of an application, and the names of the profile that it is for.
#[derive(Clone, Debug)]
pub struct Registration {
    environment: EnvironmentName,
    profile: ProfileName,
    cloud: Cloud,
    endpoints: Endpoints,
    tenant: String,
    client: Option<String>,
    /// Redirect URIs, by the platform's name in Graph.
    redirects: Vec<(&'static str, String)>,
    roles: Vec<Permission>,
    scopes: Vec<Permission>,
    secret: Option<(SecretReference, bool)>,
    from: Option<String>,
    options: RegistrationOptions,
}

impl Registration {
    /// Returns what the application of a profile must be. Other profiles with the same client id count too.
    pub fn for_profile(
        environment: &EnvironmentName,
        name: &ProfileName,
        profiles: &BTreeMap<ProfileName, RegisteredProfile>,
        options: RegistrationOptions,
    ) -> Result<Self, NotRegistrable> {
        let own = profiles.get(name).ok_or(NotRegistrable::OtherProvider)?;
        let (cloud, tenant, client) = match &own.provider {
            Provider::MicrosoftGraphDirect(direct) => (&direct.cloud, &direct.tenant, &direct.client),
            Provider::MicrosoftGraphDelegate(delegate) => (&delegate.cloud, &delegate.tenant, &delegate.client),
            Provider::Smtp(_) => return Err(NotRegistrable::OtherProvider),
        };
        if matches!(cloud, Cloud::Custom(_)) {
            return Err(NotRegistrable::CustomCloud);
        }
        client.parse::<uuid::Uuid>().map_err(|_| NotRegistrable::InvalidClient)?;
        let is_registered = client != UNREGISTERED_CLIENT;
        let is_same = |known: &ProfileName, other: &RegisteredProfile| {
            let same_client = client_id(&other.provider).is_some_and(|other| other.eq_ignore_ascii_case(client));
            known == name || (is_registered && same_client)
        };
        let mut registration = Self {
            environment: environment.clone(),
            profile: name.clone(),
            cloud: cloud.clone(),
            endpoints: Endpoints::for_cloud(cloud).map_err(|error| NotRegistrable::Cloud(error.to_string()))?,
            tenant: tenant.clone(),
            client: is_registered.then(|| client.to_ascii_lowercase()),
            redirects: Vec::new(),
            roles: Vec::new(),
            scopes: Vec::new(),
            secret: None,
            from: own.from.clone(),
            options,
        };
        let (mut roles, mut scopes) = (BTreeSet::new(), BTreeSet::new());
        for (_, profile) in profiles.iter().filter(|(known, profile)| is_same(known, profile)) {
            registration.add(profile, &mut roles, &mut scopes);
        }
        if registration.options.is_scoped {
            roles.remove("Mail.Send");
        }
        registration.roles = with_ids(PermissionKind::Application, roles);
        registration.scopes = with_ids(PermissionKind::Delegated, scopes);
        if let Provider::MicrosoftGraphDirect(direct) = &own.provider {
            registration.secret = match &direct.credential {
                Credential::ClientSecret(named) => Some((named.secret.clone(), false)),
                Credential::Certificate(named) => Some((named.secret.clone(), true)),
                Credential::FederatedTokenFile(_) if registration.options.federation.is_none() => {
                    return Err(NotRegistrable::FederationUnknown);
                }
                Credential::FederatedTokenFile(_) => None,
            };
        }
        Ok(registration)
    }

    /// Adds what one profile needs.
    fn add(
        &mut self,
        profile: &RegisteredProfile,
        roles: &mut BTreeSet<&'static str>,
        scopes: &mut BTreeSet<&'static str>,
    ) {
        match &profile.provider {
            Provider::MicrosoftGraphDirect(direct) => roles.extend(direct_permissions(direct.address_book)),
            Provider::MicrosoftGraphDelegate(delegate) => {
                scopes.extend(delegate_permissions(delegate.address_book, profile.from.is_some()));
                let platform = match delegate.platform {
                    Client::Native => "publicClient",
                    Client::Spa => "spa",
                };
                let redirect = (platform, delegate.redirect.clone());
                if !self.redirects.contains(&redirect) {
                    self.redirects.push(redirect);
                }
            }
            Provider::Smtp(_) => {}
        }
    }

    /// Renders the script.
    pub fn script(&self, shell: Shell) -> String {
        match shell {
            Shell::Bash => bash::render(self),
            Shell::Powershell => powershell::render(self),
        }
    }

    /// Returns the name of a new application.
    fn display_name(&self) -> String {
        format!("Mailwright {} {}", self.environment, self.profile)
    }

    /// Returns the path below `/v1.0/` that finds the application.
    fn search_path(&self) -> String {
        let filter = match &self.client {
            Some(client) => format!("appId eq '{client}'"),
            None => format!("displayName eq '{}'", self.display_name().replace('\'', "''")),
        };
        format!("applications?$filter={}&$select=id,appId", crate::entra::graph::percent_encode(&filter))
    }

    /// Returns the body of a new application.
    fn new_application(&self) -> serde_json::Value {
        let access: Vec<serde_json::Value> = self
            .roles
            .iter()
            .map(|(_, id)| serde_json::json!({ "id": id, "type": "Role" }))
            .chain(self.scopes.iter().map(|(_, id)| serde_json::json!({ "id": id, "type": "Scope" })))
            .collect();
        let mut body = serde_json::json!({ "displayName": self.display_name(), "signInAudience": "AzureADMyOrg" });
        if !access.is_empty() {
            body["requiredResourceAccess"] =
                serde_json::json!([{ "resourceAppId": permissions::GRAPH_APP_ID, "resourceAccess": access }]);
        }
        for platform in ["publicClient", "spa"] {
            let uris: Vec<&String> =
                self.redirects.iter().filter(|(own, _)| *own == platform).map(|(_, uri)| uri).collect();
            if !uris.is_empty() {
                body[platform] = serde_json::json!({ "redirectUris": uris });
            }
        }
        body
    }

    /// Returns the Graph host, without a slash at its end.
    fn graph(&self) -> &str {
        self.endpoints.graph.as_str().trim_end_matches('/')
    }
}

fn with_ids(kind: PermissionKind, names: BTreeSet<&'static str>) -> Vec<Permission> {
    names.into_iter().filter_map(|name| Some((name, permissions::id(kind, name)?))).collect()
}

/// Returns a path as the scripts write it.
fn shown(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}
