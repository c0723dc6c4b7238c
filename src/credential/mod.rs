//! Checks that a value can be the credential that its field needs. Pure; runs when a value is sealed, applied, verified and
//! sent.
//!
//! * [`CredentialKind`]: password, client secret or certificate; a profile's field decides
//! * [`parse_value`]: the value as text, or the reason why it is unsuitable, a [`CredentialError`]
//! * [`trim`]: removes what a pipe or an editor added to a value
//! * [`CertificateWithKey`]: the certificate and the key of a PEM file that belong together
//!
//! A value that is merely wrong, such as an old password, passes. No message quotes a value.

pub mod certificate;
mod error;
mod value;

pub use crate::model::CredentialKind;
use crate::model::provider::{Credential, Provider};
pub use certificate::{CertificateError, CertificateWithKey};
pub use error::CredentialError;
pub use value::{Trimmed, has_blank_at_end, parse_value, trim};

impl CredentialKind {
    /// Returns the kind of a profile's secret; none if the profile has no secret.
    pub fn from_provider(provider: &Provider) -> Option<Self> {
        match provider {
            Provider::Smtp(smtp) => match (&smtp.password, &smtp.oauth) {
                (Some(_), _) => Some(Self::Password),
                (None, Some(oauth)) => Self::from_credential(&oauth.credential),
                (None, None) => None,
            },
            Provider::MicrosoftGraphDirect(direct) => Self::from_credential(&direct.credential),
            Provider::MicrosoftGraphDelegate(_) => None,
        }
    }

    /// Returns the kind of an application's credential; none for a federated token.
    pub fn from_credential(credential: &Credential) -> Option<Self> {
        match credential {
            Credential::ClientSecret(_) => Some(Self::ClientSecret),
            Credential::Certificate(_) => Some(Self::Certificate),
            Credential::FederatedTokenFile(_) => None,
        }
    }

    /// Returns the kind that a field of a profile needs, by its key.
    pub fn from_field(key: &str) -> Option<Self> {
        match key {
            "password" => Some(Self::Password),
            "clientSecret" => Some(Self::ClientSecret),
            "certificate" => Some(Self::Certificate),
            _ => None,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Password => "a password",
            Self::ClientSecret => "a client secret",
            Self::Certificate => "a certificate with its key",
        }
    }
}
