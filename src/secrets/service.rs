//! The service's own identity: made at its first start, readable by its user alone.

use secrecy::{SecretSlice, SecretString};

/// The service's own identity.
pub struct ServiceIdentity(age::x25519::Identity);

/// Why an age file cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not an age file, or a damaged one.
    #[error("it is not an age file, or a damaged one")]
    NotAge,
    /// It is not addressed to the service.
    #[error("it is not addressed to the service's recipient")]
    NotForUs,
    /// Its contents were changed after it was sealed.
    #[error("it was changed after it was sealed")]
    Tampered,
    /// It holds nothing, or more than a secret can have.
    #[error("it holds nothing, or more than a secret can have")]
    Size,
    /// It holds a masked value, such as `*****`.
    #[error("it holds a masked value instead of the real one")]
    Masked,
}

impl ServiceIdentity {
    /// Makes a new one.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Reads an identity file (`AGE-SECRET-KEY-1...`; comments allowed).
    pub fn parse(_text: &SecretString) -> Result<Self, String> {
        Err("not written yet".to_owned())
    }

    /// The identity file's text, with comments that say what it is.
    pub fn to_file(&self) -> SecretString {
        SecretString::from(String::new())
    }

    /// The recipient that goes into `recipients.txt`.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Whether this is the public identity of the examples, which guards nothing.
    pub fn is_public(&self) -> bool {
        false
    }

    /// Opens an age file. The plaintext is wiped when the result is dropped.
    pub fn open(&self, _age_file: &[u8]) -> Result<SecretSlice<u8>, OpenError> {
        Err(OpenError::NotAge)
    }
}
