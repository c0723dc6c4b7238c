//! Providers, the three ways to send: SMTP, Microsoft Graph as the signed-in user, Microsoft Graph as the application itself.
//!
//! [`Provider::secret`] and [`Provider::destination`] name the secret of a provider and the place to which it may be sent. The
//! defaults are here and in `schema/profile.schema.json`; a test compares them. Nothing here connects: sending is in
//! [`crate::delivery`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Cloud, Destination, Encryption, SecretReference, secret::CredentialKind};

/// The client id of a profile whose application is not registered yet.
pub const UNREGISTERED_CLIENT: &str = "00000000-0000-0000-0000-000000000000";

/// A provider and its settings. Written as a map with one key: `provider: { smtp: { ... } }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// A mail server (SMTP).
    Smtp(Smtp),
    /// Microsoft Graph: a signed-in user sends.
    MicrosoftGraphDelegate(GraphDelegate),
    /// Microsoft Graph: the application itself sends.
    MicrosoftGraphDirect(GraphDirect),
}

/// A reference to a secret: `{ secret: NAME/KEY }`. There is no field for a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedSecret {
    /// The secret's name, `NAME/KEY`.
    pub secret: SecretReference,
}

/// Settings of the provider `smtp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Smtp {
    /// Host name or address of the mail server.
    #[schema(min_length = 1, max_length = 253)]
    pub host: String,
    /// TCP port.
    #[serde(default = "Smtp::default_port")]
    #[schema(minimum = 1, maximum = 65535, default = 587)]
    pub port: u16,
    /// Encryption of the connection.
    #[serde(default)]
    pub encryption: Encryption,
    /// User name for the login; goes with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 320)]
    pub username: Option<String>,
    /// Password for the login; goes with `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<NamedSecret>,
    /// Login by XOAUTH2 instead of a password: a token of Entra for the application; goes with `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<Oauth>,
}

/// The application whose token logs in to a mail server (XOAUTH2), as Exchange Online requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Oauth {
    /// The cloud that the tenant is in.
    #[serde(default)]
    pub cloud: Cloud,
    /// Tenant id (a GUID) or one of its domain names.
    #[schema(min_length = 1, max_length = 253)]
    pub tenant: String,
    /// Application (client) id, a GUID.
    #[schema(min_length = 36, max_length = 36)]
    pub client: String,
    /// The credential of the application.
    pub credential: Credential,
}

impl Smtp {
    /// Hosts of Exchange Online that accept mail from clients.
    ///
    /// Source: Exchange Team, "Updated Exchange Online SMTP AUTH Basic Authentication Deprecation Timeline", 2026-01-27.
    const EXCHANGE_ONLINE: [&str; 3] = ["smtp.office365.com", "smtp-legacy.office365.com", "outlook.office365.com"];

    /// Returns true if the host belongs to Exchange Online.
    pub fn is_exchange_online(&self) -> bool {
        Self::EXCHANGE_ONLINE.iter().any(|host| host.eq_ignore_ascii_case(&self.host))
    }

    fn default_port() -> u16 {
        587
    }
}

/// Settings of the provider `microsoft-graph-delegate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GraphDelegate {
    /// The cloud that the tenant is in.
    #[serde(default)]
    pub cloud: Cloud,
    /// Tenant id (a GUID) or one of its domain names.
    #[schema(min_length = 1, max_length = 253)]
    pub tenant: String,
    /// Application (client) id, a GUID.
    #[schema(min_length = 36, max_length = 36)]
    pub client: String,
    /// Desktop client or single-page application.
    pub platform: Client,
    /// The redirect URI that is registered for the platform.
    #[schema(min_length = 1, max_length = 256)]
    pub redirect: String,
    /// True if users look up recipients in their contacts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub address_book: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The client that a user works in. A request for `user-interface` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    /// The desktop client.
    Native,
    /// The web client, a single-page application.
    Spa,
}

impl Client {
    /// Returns the client as files and requests write it.
    pub fn id(self) -> &'static str {
        match self {
            Client::Native => "native",
            Client::Spa => "spa",
        }
    }
}

impl std::str::FromStr for Client {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "native" => Ok(Client::Native),
            "spa" => Ok(Client::Spa),
            _ => Err("a client is `native` (desktop) or `spa` (web)".to_owned()),
        }
    }
}

/// Settings of the provider `microsoft-graph-direct`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GraphDirect {
    /// The cloud that the tenant is in.
    #[serde(default)]
    pub cloud: Cloud,
    /// Tenant id (a GUID) or one of its domain names.
    #[schema(min_length = 1, max_length = 253)]
    pub tenant: String,
    /// Application (client) id, a GUID.
    #[schema(min_length = 36, max_length = 36)]
    pub client: String,
    /// The credential of the application.
    pub credential: Credential,
    /// True if recipients are looked up in the tenant's address book.
    #[serde(default, skip_serializing_if = "is_false")]
    pub address_book: bool,
}

/// The credential of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Credential {
    /// A client secret.
    ClientSecret(NamedSecret),
    /// A PEM file with the certificate and its private key.
    Certificate(NamedSecret),
    /// A file on the service's machine that holds a token of another issuer (workload identity federation). The service
    /// reads only files that it was started with `--federated-token-file` for.
    FederatedTokenFile(String),
}

impl Credential {
    /// Returns the secret of the credential; none for a federated token, which another issuer provides.
    pub fn secret(&self) -> Option<&SecretReference> {
        match self {
            Credential::ClientSecret(named) | Credential::Certificate(named) => Some(&named.secret),
            Credential::FederatedTokenFile(_) => None,
        }
    }

    /// Returns the file of the federated token; none for another kind of credential.
    pub fn federated_token_file(&self) -> Option<&str> {
        match self {
            Credential::FederatedTokenFile(path) => Some(path),
            Credential::ClientSecret(_) | Credential::Certificate(_) => None,
        }
    }

    /// Returns the kind of the secret; none for a federated token.
    pub fn kind(&self) -> Option<CredentialKind> {
        match self {
            Credential::ClientSecret(_) => Some(CredentialKind::ClientSecret),
            Credential::Certificate(_) => Some(CredentialKind::Certificate),
            Credential::FederatedTokenFile(_) => None,
        }
    }
}

impl Provider {
    /// Returns the id that files use.
    pub fn id(&self) -> &'static str {
        match self {
            Provider::Smtp(_) => "smtp",
            Provider::MicrosoftGraphDelegate(_) => "microsoft-graph-delegate",
            Provider::MicrosoftGraphDirect(_) => "microsoft-graph-direct",
        }
    }

    /// Returns the file of the federated token that the provider signs in with, if it does.
    pub fn federated_token_file(&self) -> Option<&str> {
        let credential = match self {
            Provider::Smtp(smtp) => &smtp.oauth.as_ref()?.credential,
            Provider::MicrosoftGraphDirect(direct) => &direct.credential,
            Provider::MicrosoftGraphDelegate(_) => return None,
        };
        credential.federated_token_file()
    }

    /// Returns the only client that the provider serves: for a delegate the one that its platform names; none if it serves all.
    pub fn client(&self) -> Option<Client> {
        match self {
            Provider::MicrosoftGraphDelegate(delegate) => Some(delegate.platform),
            Provider::Smtp(_) | Provider::MicrosoftGraphDirect(_) => None,
        }
    }

    /// Returns the secret that the provider names, with the JSON pointer below `provider`. A provider has at most one.
    pub fn secret(&self) -> Option<(&SecretReference, &'static str)> {
        match self {
            Provider::Smtp(smtp) => match (&smtp.password, &smtp.oauth) {
                (Some(named), _) => Some((&named.secret, "/smtp/password")),
                (None, Some(oauth)) => match &oauth.credential {
                    Credential::ClientSecret(named) => Some((&named.secret, "/smtp/oauth/credential/clientSecret")),
                    Credential::Certificate(named) => Some((&named.secret, "/smtp/oauth/credential/certificate")),
                    Credential::FederatedTokenFile(_) => None,
                },
                (None, None) => None,
            },
            Provider::MicrosoftGraphDirect(direct) => match &direct.credential {
                Credential::ClientSecret(named) => {
                    Some((&named.secret, "/microsoft-graph-direct/credential/clientSecret"))
                }
                Credential::Certificate(named) => {
                    Some((&named.secret, "/microsoft-graph-direct/credential/certificate"))
                }
                Credential::FederatedTokenFile(_) => None,
            },
            Provider::MicrosoftGraphDelegate(_) => None,
        }
    }

    /// Returns the destination of the secret.
    pub fn destination(&self) -> Destination {
        match self {
            Provider::Smtp(smtp) => {
                let (host, port, encryption) = (Destination::normalize_host(&smtp.host), smtp.port, smtp.encryption);
                match &smtp.oauth {
                    None => Destination::Smtp { host, port, encryption },
                    Some(oauth) => Destination::SmtpOauth {
                        host,
                        port,
                        encryption,
                        cloud: Destination::normalize_cloud(&oauth.cloud),
                        tenant: oauth.tenant.to_ascii_lowercase(),
                        client: oauth.client.to_ascii_lowercase(),
                        kind: oauth.credential.kind(),
                    },
                }
            }
            Provider::MicrosoftGraphDelegate(GraphDelegate { cloud, tenant, client, .. }) => {
                Destination::MicrosoftGraph {
                    cloud: Destination::normalize_cloud(cloud),
                    tenant: tenant.to_ascii_lowercase(),
                    client: client.to_ascii_lowercase(),
                    kind: None,
                }
            }
            Provider::MicrosoftGraphDirect(direct) => direct.destination(),
        }
    }
}

impl GraphDirect {
    /// Returns the destination of the secret.
    pub fn destination(&self) -> Destination {
        Destination::MicrosoftGraph {
            cloud: Destination::normalize_cloud(&self.cloud),
            tenant: self.tenant.to_ascii_lowercase(),
            client: self.client.to_ascii_lowercase(),
            kind: self.credential.kind(),
        }
    }
}
