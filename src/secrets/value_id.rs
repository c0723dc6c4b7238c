//! The id of a secret value: a random number in the header of its age file, which stays when the value is encrypted again.
//!
//! [`ValueId::bound`] returns one for a file of another program too: the beginning of its digest, so the same value sealed twice
//! has two ids there. Ids are not secret.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::model::Digest;

/// A random id of a value. Resealing keeps it, rotation changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueId(String);

impl ValueId {
    /// Makes an id of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Returns the id that identifies a value: the one in the header of its file, or, for a file of another program, the first 16
    /// bytes of the SHA-256 of the binary form. `rekey` writes this id into such a file.
    pub fn bound(in_header: Option<&str>, digest: &Digest) -> Self {
        if let Some(id) = in_header {
            return Self(id.to_owned());
        }
        let mut bytes = [0; 16];
        for (index, byte) in bytes.iter_mut().enumerate() {
            // After the digest's own `sha256:`.
            let pair = digest.as_str().get(7 + 2 * index..9 + 2 * index).unwrap_or("00");
            *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
        }
        Self::from_random(bytes)
    }

    /// Parses an id from a header.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 16).then(|| Self(text.to_owned()))
    }

    /// Returns the id as in the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
