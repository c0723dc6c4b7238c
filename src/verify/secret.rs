//! Secrets as the verifier gets them: open, or with the reason why not.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    credential::{self, CredentialError, CredentialKind},
    model::{
        EnvironmentName, SecretReference,
        finding::{Finding, Severity},
        finding_id::Id,
    },
};

/// A profile's secret.
#[derive(Debug)]
pub enum Opened {
    /// The profile names none.
    None,
    /// The value. `Debug` does not show it.
    Value(SecretString),
    /// It is not at hand, and why.
    Unavailable(String),
    /// It was meant for another destination, and for which. It is not sent.
    Redirected(String),
    /// It was opened, and no field can need such a value.
    CredentialError(CredentialError),
}

impl Opened {
    /// A value that was opened. What the field needs is looked at where it is used.
    pub fn from_bytes(value: &[u8]) -> Self {
        match credential::parse_value(None, value) {
            Ok(text) => Self::Value(SecretString::from(text)),
            Err(unfit) => Self::CredentialError(unfit),
        }
    }

    /// The value, if it can be what its field needs; none if there is none. `seal` is the command that seals another one.
    pub(super) fn fitting(
        &self,
        kind: CredentialKind,
        pointer: &str,
        seal: &str,
    ) -> Result<Option<&SecretString>, Box<Finding>> {
        match self {
            Self::None => Ok(None),
            Self::Unavailable(why) => Err(Box::new(unavailable(why, pointer))),
            Self::Redirected(why) => Err(Box::new(redirected(why, pointer, seal))),
            Self::CredentialError(unfit) => Err(Box::new(unusable(unfit, pointer, seal))),
            Self::Value(value) => match credential::parse_value(Some(kind), value.expose_secret().as_bytes()) {
                Ok(_) => Ok(Some(value)),
                Err(unfit) => Err(Box::new(unusable(&unfit, pointer, seal))),
            },
        }
    }
}

/// The command that seals another value, of the current secret or of the next one.
pub(super) fn seal(environment: &EnvironmentName, reference: &SecretReference, is_next: bool) -> String {
    if is_next {
        format!("mailwright secrets rotate {environment} {reference} --replace")
    } else {
        format!("mailwright secrets set {environment} {reference}")
    }
}

/// The finding for a secret that is not at hand.
pub(super) fn unavailable(why: &str, pointer: &str) -> Finding {
    Finding::unknown(Id::VerifySecret, pointer, "the secret is not at hand, so nothing behind it was checked")
        .seen(why)
        .expected("an identity that opens the age file")
        .remedy([
            "Ask the service, which can open it: leave out `--local`.",
            "Or give an identity that it is addressed to: `--identity FILE`.",
        ])
}

/// The finding for a secret that was opened and cannot work.
fn unusable(unfit: &CredentialError, pointer: &str, seal: &str) -> Finding {
    let (id, expected) = match unfit {
        CredentialError::SecretId => (Id::SecretId, "the value, which the portal shows once"),
        CredentialError::Certificate(_) => (Id::Certificate, "a PEM file with a certificate and its RSA private key"),
        _ => (Id::VerifySecret, "a value that the field can need"),
    };
    Finding {
        severity: Severity::Error,
        ..Finding::fail(id, pointer, format!("the sealed value cannot work: {unfit}"))
            .seen("the value itself, opened; nothing was sent")
            .expected(expected)
            .remedy([unfit.remedy(), seal.to_owned()])
    }
}

/// The finding for a secret that was meant for another destination. `set` is the command that seals another value.
pub(super) fn redirected(why: &str, pointer: &str, set: &str) -> Finding {
    let finding = Finding::fail(
        Id::VerifySecret,
        pointer,
        "the secret belongs to another destination: it was not sent, and nothing behind it was checked",
    )
    .seen(why)
    .expected("a secret that was sealed for this destination")
    .remedy([format!("If this destination is meant, whoever knows the value sets it again: {set}")]);
    // Delivery and apply refuse it too: this is known, whether or not the destination answers.
    Finding { severity: Severity::Error, ..finding }
}

/// The finding for a profile that nobody is to be contacted for.
pub(super) fn refused(why: &str) -> Finding {
    Finding::unknown(Id::VerifyHost, "/provider", "nothing was asked of the hosts that the profile names")
        .seen(why)
        .expected("a host that a live profile names, or a token that may apply")
        .remedy(["Verify with a token of the role `deployer`, or from your own machine: `--local`."])
}
