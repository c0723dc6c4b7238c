//! The public half of a key as authenticators write it (COSE, RFC 9053), and the check of a signature with it.
//!
//! ES256, Ed25519, and RS256, which Windows Hello uses. Other algorithms are refused at the registration.

use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256},
};

use super::{
    cbor::{Key, Reader},
    error::PasskeyError,
};

/// An algorithm of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The algorithms in the order in which a browser is asked for them.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// Returns the number of the algorithm in COSE's registry.
    pub fn id(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }
}

/// A public key that can verify.
pub(super) struct PublicKey {
    /// The algorithm of its signatures.
    pub(super) algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl PublicKey {
    /// Parses a COSE key. Returns the number of bytes it has: extensions may follow it.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, usize), PasskeyError> {
        let mut reader = Reader::new(bytes);
        let (mut kind, mut algorithm) = (None, None);
        // Labels -1 to -3: curve, x and y of a point; or modulus and exponent of an RSA key.
        let (mut curve, mut first, mut second) = (None, None, None);
        for _ in 0..reader.map()? {
            let Key::Number(label) = reader.key()? else { return Err(PasskeyError::Malformed) };
            // The kind comes before its parameters in the order that CTAP2 demands.
            let is_new = match (label, kind) {
                (1, _) => kind.replace(reader.number()?).is_none(),
                (3, _) => algorithm.replace(reader.number()?).is_none(),
                (-1, Some(3)) => first.replace(reader.bytes()?).is_none(),
                (-1, Some(_)) => curve.replace(reader.number()?).is_none(),
                (-2, Some(3)) => second.replace(reader.bytes()?).is_none(),
                (-2, Some(_)) => first.replace(reader.bytes()?).is_none(),
                (-3, Some(2)) => second.replace(reader.bytes()?).is_none(),
                _ => {
                    reader.skip()?;
                    true
                }
            };
            if !is_new {
                return Err(PasskeyError::Malformed);
            }
        }
        let known = Algorithm::ALL.into_iter().find(|known| Some(known.id()) == algorithm);
        let algorithm = known.ok_or(PasskeyError::Algorithm)?;
        let rejected = |_| PasskeyError::Malformed;
        let key = match (algorithm, kind, curve, first, second) {
            (Algorithm::Es256, Some(2), Some(1), Some(x), Some(y)) if x.len() == 32 && y.len() == 32 => {
                // The form of an uncompressed point (SEC 1).
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, [&[4][..], x, y].concat()).map_err(rejected)?
            }
            (Algorithm::EdDsa, Some(1), Some(6), Some(x), None) if x.len() == 32 => {
                ParsedPublicKey::new(&ED25519, x).map_err(rejected)?
            }
            (Algorithm::Rs256, Some(3), None, Some(n), Some(e)) if n.len() <= 1024 && e.len() <= 8 => {
                let parts = PublicKeyComponents { n, e };
                parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(rejected)?
            }
            _ => return Err(PasskeyError::Malformed),
        };
        Ok((Self { algorithm, key }, reader.position()))
    }

    /// Verifies a signature.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), PasskeyError> {
        self.key.verify_sig(message, signature).map_err(|_| PasskeyError::Signature)
    }
}
