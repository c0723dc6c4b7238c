//! Data about a secret without its value: the digest of its age file, the id of its value, and its destination.
//!
//! * [`Destination`]: the place that a secret may be sent to, and as which kind of credential. A file that
//!   Mailwright sealed for a destination carries [`Destination::digest`]. If a file carries a digest, a secret is opened only for
//!   a destination that matches it ([`Destination::matches`]).
//! * [`SecretRecord`]: what is known of an age file without its value: kept in the store, reported by the service.
//!
//! # Canonical form of a destination
//!
//! The digest is the SHA-256 of a JSON text in UTF-8: keys sorted, no white space, strings escaped as ECMAScript's
//! `JSON.stringify` does. Keys that do not apply are left out.
//!
//! ```json
//! {"environment":"prod","kind":"password","smtp":{"encryption":"required","host":"mail.example.com"}}
//! {"entra":{"client":"0c0f...","cloud":"global","tenant":"contoso.onmicrosoft.com"},"environment":"prod","kind":"client-secret"}
//! ```
//!
//! * `environment`: the environment's name.
//! * `kind`: `password`, `client-secret` or `certificate`.
//! * `smtp`: for a mail server, and for an application whose token logs in to one. `host` in lower case without a dot at
//!   its end. `encryption` is `required` for STARTTLS and for TLS, which count as equal: a server that does not offer
//!   STARTTLS is not used. It is `none` otherwise. The port is not part of it.
//! * `entra`: for an application. `cloud` is a cloud's name, or `{"graph":...,"signIn":...}` with both addresses in lower
//!   case and without a slash at their end. `tenant` and `client` in lower case.
//!
//! Lower case means ASCII letters only. The same destination has the same digest, whatever way its host, cloud or ids are
//! spelt in the profile.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Cloud, Digest, Encryption, EnvironmentName, canonical, cloud::CustomCloud};
use crate::text::printable;

/// The kind of credential that a secret is. It is part of the destination: a private key that is sent as a password would be
/// disclosed to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// A password for a mail server.
    Password,
    /// A client secret of an application.
    ClientSecret,
    /// A certificate of an application, with its private key. The key signs, and is never sent.
    Certificate,
}

impl CredentialKind {
    /// Returns the kind as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            CredentialKind::Password => "password",
            CredentialKind::ClientSecret => "client-secret",
            CredentialKind::Certificate => "certificate",
        }
    }

    /// Returns the kind in words, with its article.
    fn with_article(self) -> &'static str {
        match self {
            CredentialKind::Password => "a password",
            CredentialKind::ClientSecret => "a client secret",
            CredentialKind::Certificate => "a certificate",
        }
    }
}

/// The place that a secret may be sent to. A secret is accepted for one, and refused for any that [`Destination::admits`] does
/// not allow: a person who may merge a profile must not be able to redirect a password.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Destination {
    /// A mail server, which gets a password.
    Smtp {
        /// Host, in lower case, without a dot at its end.
        host: String,
        /// TCP port.
        port: u16,
        /// Encryption of the connection.
        encryption: Encryption,
    },
    /// An application in a tenant, whose token logs in to a mail server.
    SmtpOauth {
        /// Host, in lower case, without a dot at its end.
        host: String,
        /// TCP port.
        port: u16,
        /// Encryption of the connection.
        encryption: Encryption,
        /// The cloud.
        cloud: Cloud,
        /// Tenant id or domain, in lower case.
        tenant: String,
        /// Client id, in lower case.
        client: String,
        /// The credential of the application; none for a federated token file and for a delegate: no secret is sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<CredentialKind>,
    },
    /// An application in a tenant.
    MicrosoftGraph {
        /// The cloud.
        cloud: Cloud,
        /// Tenant id or domain, in lower case.
        tenant: String,
        /// Client id, in lower case.
        client: String,
        /// The credential of the application; none for a federated token file and for a delegate: no secret is sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<CredentialKind>,
    },
}

impl Destination {
    /// Returns a host in the form that a destination has: lower case, without a dot at the end.
    pub fn normalize_host(host: &str) -> String {
        host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
    }

    /// Returns a cloud in the form that a destination has: addresses in lower case, without a slash at the end.
    pub fn normalize_cloud(cloud: &Cloud) -> Cloud {
        let address = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
        match cloud {
            Cloud::Custom(CustomCloud { sign_in, graph }) => {
                Cloud::Custom(CustomCloud { sign_in: address(sign_in), graph: address(graph) })
            }
            named => named.clone(),
        }
    }

    /// Returns the kind of credential that is sent; none for a federated token file and for a delegate: no secret is sent.
    pub fn kind(&self) -> Option<CredentialKind> {
        match self {
            Destination::Smtp { .. } => Some(CredentialKind::Password),
            Destination::SmtpOauth { kind, .. } | Destination::MicrosoftGraph { kind, .. } => *kind,
        }
    }

    /// Returns this destination without the kind of credential.
    #[must_use]
    pub fn without_kind(&self) -> Self {
        let mut place = self.clone();
        match &mut place {
            Destination::Smtp { .. } => {}
            Destination::SmtpOauth { kind, .. } | Destination::MicrosoftGraph { kind, .. } => *kind = None,
        }
        place
    }

    /// Returns true if a secret that was accepted for this destination may go to another one: to the same, or to the same
    /// host with equal or stronger encryption, at whichever port.
    pub fn admits(&self, other: &Destination) -> bool {
        let (Some(kind), Some(other_kind)) = (self.kind(), other.kind()) else { return false };
        let is_as_strong = match (self.encryption(), other.encryption()) {
            (None, None) => true,
            (Some(own), Some(other)) => own == Encryption::None || other != Encryption::None,
            _ => false,
        };
        kind == other_kind
            && is_as_strong
            && self.mail_host() == other.mail_host()
            && self.application() == other.application()
    }

    /// Returns the digest that a file carries which is sealed for this destination.
    pub fn digest(&self, environment: &EnvironmentName) -> Digest {
        self.digest_at(environment, self.encryption())
    }

    /// Returns true if the value of a file sealed for `sealed_for` may be sent to this destination: what was sealed for an unencrypted
    /// connection may go over an encrypted one as well.
    pub fn matches(&self, environment: &EnvironmentName, sealed_for: &Digest) -> bool {
        self.kind().is_some()
            && (self.digest(environment) == *sealed_for
                || self.encryption().is_some_and(|encryption| {
                    encryption != Encryption::None && self.digest_at(environment, Some(Encryption::None)) == *sealed_for
                }))
    }

    fn digest_at(&self, environment: &EnvironmentName, encryption: Option<Encryption>) -> Digest {
        Digest::of_bytes(self.canonical(environment, encryption).as_bytes())
    }

    /// Returns the canonical form; see the head of this module.
    fn canonical(&self, environment: &EnvironmentName, encryption: Option<Encryption>) -> String {
        let mut document = json!({ "environment": environment.as_str() });
        if let Some(kind) = self.kind() {
            document["kind"] = json!(kind.id());
        }
        if let (Some(host), Some(encryption)) = (self.mail_host(), encryption) {
            let encryption = if encryption == Encryption::None { "none" } else { "required" };
            document["smtp"] = json!({ "host": host, "encryption": encryption });
        }
        if let Some((cloud, tenant, client)) = self.application() {
            let cloud: Value = match cloud {
                Cloud::Custom(custom) => json!({ "signIn": custom.sign_in, "graph": custom.graph }),
                named => json!(named.name()),
            };
            document["entra"] = json!({ "cloud": cloud, "tenant": tenant, "client": client });
        }
        canonical::text(&document)
    }

    fn mail_host(&self) -> Option<&str> {
        match self {
            Destination::Smtp { host, .. } | Destination::SmtpOauth { host, .. } => Some(host),
            Destination::MicrosoftGraph { .. } => None,
        }
    }

    fn encryption(&self) -> Option<Encryption> {
        match self {
            Destination::Smtp { encryption, .. } | Destination::SmtpOauth { encryption, .. } => Some(*encryption),
            Destination::MicrosoftGraph { .. } => None,
        }
    }

    fn application(&self) -> Option<(&Cloud, &str, &str)> {
        match self {
            Destination::Smtp { .. } => None,
            Destination::SmtpOauth { cloud, tenant, client, .. }
            | Destination::MicrosoftGraph { cloud, tenant, client, .. } => Some((cloud, tenant, client)),
        }
    }
}

/// The destination in words, on one line. A host may come from a service or a file that is not trusted.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Smtp { host, port, encryption } => {
                let encryption = match encryption {
                    Encryption::Starttls => "starttls",
                    Encryption::Tls => "tls",
                    Encryption::None => "in clear",
                };
                write!(f, "{}:{port} ({encryption})", printable(host))
            }
            Destination::SmtpOauth { host, port, cloud, tenant, client, kind, .. } => {
                write!(f, "client {} in tenant {}", printable(client), printable(tenant))?;
                if *cloud != Cloud::Global {
                    write!(f, " ({})", printable(cloud.name()))?;
                }
                write!(f, " for {}:{port}", printable(host))?;
                kind.map_or(Ok(()), |kind| write!(f, ", as {}", kind.with_article()))
            }
            Destination::MicrosoftGraph { cloud, tenant, client, kind } => {
                write!(f, "client {} in tenant {}", printable(client), printable(tenant))?;
                if *cloud != Cloud::Global {
                    write!(f, " ({})", printable(cloud.name()))?;
                }
                kind.map_or(Ok(()), |kind| write!(f, ", as {}", kind.with_article()))
            }
        }
    }
}

/// The service's record of an age file that it holds. It has no field for a value, encrypted or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRecord {
    /// SHA-256 of the age file in its binary form.
    pub digest: Digest,
    /// The id of the value: the random one that `secrets set` gave it and `rekey` keeps, or one that follows from the
    /// digest for a file of another program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_id: Option<String>,
    /// The digest of the destination that it was sealed for; absent in files that carry none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_for: Option<Digest>,
    /// The destination that the value was first accepted for.
    pub destination: Destination,
}
