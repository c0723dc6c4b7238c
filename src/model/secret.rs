//! What is known of a secret without its value: the digest of its age file, the id of its value, its destination.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Cloud, Digest, Encryption};

/// Where a secret travels to. The service remembers the first one that a digest was accepted for, and refuses
/// the same bytes for another: whoever may merge a profile must not be able to redirect a password.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Destination {
    /// A mail server.
    Smtp {
        /// Host, in lower case.
        host: String,
        /// TCP port.
        port: u16,
        /// How the connection is encrypted.
        encryption: Encryption,
    },
    /// An application in a tenant, whose token logs in to a mail server.
    SmtpOauth {
        /// Host, in lower case.
        host: String,
        /// TCP port.
        port: u16,
        /// How the connection is encrypted.
        encryption: Encryption,
        /// The cloud.
        cloud: Cloud,
        /// Tenant id or domain, in lower case.
        tenant: String,
        /// Client id, in lower case.
        client: String,
    },
    /// An application in a tenant.
    MicrosoftGraph {
        /// The cloud.
        cloud: Cloud,
        /// Tenant id or domain, in lower case.
        tenant: String,
        /// Client id, in lower case.
        client: String,
    },
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Smtp { host, port, encryption } => {
                let encryption = match encryption {
                    Encryption::Starttls => "starttls",
                    Encryption::Tls => "tls",
                    Encryption::None => "in clear",
                };
                write!(f, "{host}:{port} ({encryption})")
            }
            Destination::SmtpOauth { host, port, cloud, tenant, client, .. } => {
                write!(f, "client {client} in tenant {tenant}")?;
                if *cloud != Cloud::Global {
                    write!(f, " ({})", cloud.name())?;
                }
                write!(f, " for {host}:{port}")
            }
            Destination::MicrosoftGraph { cloud, tenant, client } => {
                write!(f, "client {client} in tenant {tenant}")?;
                if *cloud == Cloud::Global { Ok(()) } else { write!(f, " ({})", cloud.name()) }
            }
        }
    }
}

/// What the service tells of an age file that it holds. There is no field for a value, sealed or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRecord {
    /// SHA-256 of the age file.
    pub digest: Digest,
    /// The random id that `secrets set` gave the value and `rekey` kept; absent in files of other programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_id: Option<String>,
    /// Where the digest was first accepted for.
    pub destination: Destination,
}
