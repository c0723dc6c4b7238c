//! [`Encryption`]: how a connection to a mail server is encrypted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Encryption of an SMTP connection. It is never downgraded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// STARTTLS: the connection starts in clear and must be upgraded before anything else is sent (RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// No encryption. Passwords are sent in this way only to the loopback address.
    None,
}
