//! The data that an authenticator signs: site, flags, counter and, at a registration, the new key.

use sha2::{Digest as _, Sha256};

use super::{cbor::Reader, error::PasskeyError, public_key::PublicKey};

/// Flags (section 6.1): user present, user verified, backup eligible, backed up, key included, extensions included.
const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_KEY: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// Maximum length of the id of a credential, in bytes (section 5.8.3).
const ID_LIMIT: usize = 1023;

/// The new key in the data of a registration.
pub(super) struct NewKey<'a> {
    pub(super) id: &'a [u8],
    /// The key as it is written (COSE).
    pub(super) cose: &'a [u8],
    pub(super) parsed: PublicKey,
}

/// The data that an authenticator signed, after the checks that every answer passes.
pub(super) struct AuthenticatorData<'a> {
    pub(super) counter: u32,
    /// True if the key can be copied to other devices by its provider.
    pub(super) is_synced: bool,
    pub(super) key: Option<NewKey<'a>>,
}

impl<'a> AuthenticatorData<'a> {
    /// Parses the data, and refuses that of another site and of a person who was not identified.
    pub(super) fn parse(bytes: &'a [u8], site: &str) -> Result<Self, PasskeyError> {
        let (head, rest) = bytes.split_at_checked(37).ok_or(PasskeyError::Malformed)?;
        if head[..32] != Sha256::digest(site.as_bytes())[..] {
            return Err(PasskeyError::OtherSite);
        }
        let flags = head[32];
        if flags & (PRESENT | VERIFIED) != PRESENT | VERIFIED {
            return Err(PasskeyError::NotVerified);
        }
        if flags & ELIGIBLE == 0 && flags & BACKED_UP != 0 {
            return Err(PasskeyError::Malformed);
        }
        let counter = head[33..].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let (key, rest) =
            if flags & HAS_KEY == 0 { (None, rest) } else { parse_key(rest).map(|(key, rest)| (Some(key), rest))? };
        let mut reader = Reader::new(rest);
        if flags & HAS_EXTENSIONS != 0 {
            reader.skip()?;
        }
        if reader.position() != rest.len() {
            return Err(PasskeyError::Malformed);
        }
        Ok(Self { counter, is_synced: flags & ELIGIBLE != 0, key })
    }
}

/// Parses the new key: the model of the device, the length and bytes of the id, the key. Returns what follows.
fn parse_key(bytes: &[u8]) -> Result<(NewKey<'_>, &[u8]), PasskeyError> {
    let (head, rest) = bytes.split_at_checked(18).ok_or(PasskeyError::Malformed)?;
    let length = usize::from(u16::from_be_bytes([head[16], head[17]]));
    let (id, rest) = rest.split_at_checked(length).ok_or(PasskeyError::Malformed)?;
    if id.is_empty() || length > ID_LIMIT {
        return Err(PasskeyError::Malformed);
    }
    let (parsed, read) = PublicKey::parse(rest)?;
    let (cose, rest) = rest.split_at_checked(read).ok_or(PasskeyError::Malformed)?;
    Ok((NewKey { id, cose, parsed }, rest))
}
