//! Secrets of the profiles that are checked: decrypted, or the reason why not; and the findings about them.
//!
//! [`SubjectSecret`] is part of a `Subject`. Nothing here decrypts, and no finding contains a value. One that is not available is
//! `unknown`; one that cannot be used as what it should be is an error.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    credential::{self, CredentialError, CredentialKind},
    model::{EnvironmentName, SecretReference, Severity, finding::Finding, finding_id::FindingId},
};

/// A profile's secret.
#[derive(Debug)]
pub enum SubjectSecret {
    /// The profile names no secret.
    None,
    /// The value was decrypted. `Debug` does not show it.
    Value(SecretString),
    /// The secret is not available, for this reason.
    Unavailable(String),
    /// The secret belongs to another destination, as the text states. It is not sent.
    Redirected(String),
    /// The secret was decrypted, and its value is not valid for any field.
    CredentialError(CredentialError),
}

impl SubjectSecret {
    /// Creates the secret from a decrypted value. The check for a field follows where the value is used.
    pub fn from_bytes(value: &[u8]) -> Self {
        match credential::parse_value(None, value) {
            Ok(text) => Self::Value(SecretString::from(text)),
            Err(error) => Self::CredentialError(error),
        }
    }

    /// Returns the value if it is valid for its field; none if the profile has no secret. `seal` is the command that
    /// seals another one.
    pub(super) fn value_for(
        &self,
        kind: CredentialKind,
        pointer: &str,
        seal: &str,
    ) -> Result<Option<&SecretString>, Box<Finding>> {
        match self {
            Self::None => Ok(None),
            Self::Unavailable(why) => Err(Box::new(unavailable(why, pointer))),
            Self::Redirected(why) => Err(Box::new(redirected(why, pointer, seal))),
            Self::CredentialError(error) => Err(Box::new(unusable(error, pointer, seal))),
            Self::Value(value) => match credential::parse_value(Some(kind), value.expose_secret().as_bytes()) {
                Ok(_) => Ok(Some(value)),
                Err(error) => Err(Box::new(unusable(&error, pointer, seal))),
            },
        }
    }
}

/// Returns the command that seals another value of the current secret or of the next one.
pub(super) fn seal_command(environment: &EnvironmentName, reference: &SecretReference, is_next: bool) -> String {
    if is_next {
        format!("mailwright secrets rotate {environment} {reference} --replace")
    } else {
        format!("mailwright secrets set {environment} {reference}")
    }
}

/// Returns the finding for a secret that is not available.
pub(super) fn unavailable(why: &str, pointer: &str) -> Finding {
    Finding::unknown(FindingId::VerifySecret, pointer, "the secret is not available, so nothing behind it was checked")
        .seen(why)
        .expected("an identity that decrypts the age file")
        .remedy([
            "Let the service verify, which can decrypt it: omit `--local`.",
            "Or pass an identity that it is encrypted to: `--identity FILE`.",
        ])
}

/// Returns the finding for a secret that was decrypted and cannot work.
fn unusable(error: &CredentialError, pointer: &str, seal: &str) -> Finding {
    let (id, expected) = match error {
        CredentialError::SecretId => (FindingId::SecretId, "the value, which the portal shows once"),
        CredentialError::Certificate(_) => {
            (FindingId::Certificate, "a PEM file with a certificate and its RSA private key")
        }
        _ => (FindingId::VerifySecret, "a value that is valid for the field"),
    };
    Finding {
        severity: Severity::Error,
        ..Finding::fail(id, pointer, format!("the sealed value cannot work: {error}"))
            .seen("the decrypted value; nothing was sent")
            .expected(expected)
            .remedy([error.remedy(), seal.to_owned()])
    }
}

/// Returns the finding for a secret of another destination. `set` is the command that seals another value.
pub(super) fn redirected(why: &str, pointer: &str, set: &str) -> Finding {
    let finding = Finding::fail(
        FindingId::VerifySecret,
        pointer,
        "the secret belongs to another destination: it was not sent, and nothing behind it was checked",
    )
    .seen(why)
    .expected("a secret that was sealed for this destination")
    .remedy([format!("If this destination is correct, set the value again: {set}")]);
    // Delivery and apply refuse it too, regardless of the destination's answer.
    Finding { severity: Severity::Error, ..finding }
}

/// Returns the finding for a profile whose hosts may not be contacted.
pub(super) fn refused(why: &str) -> Finding {
    Finding::unknown(FindingId::VerifyHost, "/provider", "the hosts that the profile names were not contacted")
        .seen(why)
        .expected("a host that a live profile names, or a token that may apply")
        .remedy(["Verify with a token that has the right `apply` in `changes` (built-in role `deployer`), or from your own machine: `--local`."])
}
