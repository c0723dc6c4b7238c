//! The three things done to an age file: seal, open, and seal again for others without a new value.
//!
//! Whoever opens a file in order to send the value uses [`open_for`], which compares the destination. [`open`] is for those
//! who seal again what they opened, or show it to the operator.

use std::io::{Read, Write as _};

use age::{
    DecryptError, EncryptError, Encryptor,
    armor::{ArmoredWriter, Format},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretSlice};
use zeroize::Zeroizing;

use super::{Header, NotAge, Recipients, VALUE_LIMIT, header, is_masked, recipients::Marked};
use crate::model::{Destination, Digest, EnvironmentName};

/// The highest scrypt work factor that is worked off: about half a minute on a slow machine.
pub(super) const MAX_WORK_FACTOR: u8 = 20;

/// A random id of a value: the same in every file that was resealed, another in one that was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueId(String);

impl ValueId {
    /// The id made of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The id that a value is bound under: the one in the header of its file, or else, for a file of another program, the
    /// first 16 bytes of the SHA-256 of the binary form. `rekey` gives such a file this id.
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

    /// An id that stands in a header.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 16).then(|| Self(text.to_owned()))
    }

    /// The id as it stands in the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a value cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// There is no value.
    #[error("the value is empty")]
    Empty,
    /// It is too long.
    #[error("the value has more than {VALUE_LIMIT} bytes")]
    TooLong,
    /// It is a mask.
    #[error("the value is a mask that stands in the place of the real one")]
    Masked,
    /// Some recipients cannot stand in one file with others.
    #[error("post-quantum and classic recipients cannot stand in one file: the weaker would decide for all")]
    Incompatible,
    /// age refused, or a plugin did.
    #[error("age could not seal it: {0}")]
    Age(String),
}

/// Why an age file cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not an age file, or a damaged one.
    #[error("it is not an age file, or a damaged one")]
    NotAge,
    /// It is not addressed to the service.
    #[error("it is not addressed to any key at hand")]
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
    /// A passphrase or a plugin failed.
    #[error("its key could not be used: {0}")]
    Key(String),
    /// It was sealed, or accepted, for another destination.
    #[error(transparent)]
    Redirected(#[from] Redirected),
}

/// A secret would travel to another destination than the one that it was sealed or accepted for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it {} and would travel to {destination}", accepted_for_words(accepted_for.as_deref()))]
pub struct Redirected {
    /// Where the value was first accepted for, if that is what decided; otherwise the file itself names another one.
    pub accepted_for: Option<Box<Destination>>,
    /// Where it would travel to.
    pub destination: Box<Destination>,
}

/// The destination that a secret was meant for, in words: `was accepted for ...`.
pub fn accepted_for_words(accepted_for: Option<&Destination>) -> String {
    match accepted_for {
        Some(destination) => format!("was accepted for {destination}"),
        None => {
            "was sealed for another destination (environment, kind of credential, host, tenant or client)".to_owned()
        }
    }
}

/// The use that a secret is opened for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// The environment that uses it.
    pub environment: &'a EnvironmentName,
    /// Where it would be sent.
    pub destination: &'a Destination,
    /// Where its value was first accepted for; none if it never was.
    pub accepted_for: Option<&'a Destination>,
}

impl Purpose<'_> {
    /// Refuses a secret that was meant for another destination. This is the only place that decides it. A file that names
    /// its destination must name this one; and a value that was accepted before goes nowhere else, whatever file it is in.
    pub fn check(&self, sealed_for: Option<&Digest>) -> Result<(), Redirected> {
        let refuse = |accepted_for: Option<&Destination>| {
            let accepted_for = accepted_for.map(|accepted| Box::new(accepted.clone()));
            Err(Redirected { accepted_for, destination: Box::new(self.destination.clone()) })
        };
        let is_elsewhere = self.accepted_for.filter(|accepted| !accepted.admits(self.destination));
        match sealed_for {
            Some(digest) if !self.destination.matches(self.environment, digest) => refuse(is_elsewhere),
            _ if is_elsewhere.is_some() => refuse(is_elsewhere),
            _ => Ok(()),
        }
    }
}

impl From<NotAge> for OpenError {
    fn from(_: NotAge) -> Self {
        OpenError::NotAge
    }
}

/// Seals a value to the recipients, for one destination: the digest is [`Destination::digest`]. Gives an armored age file.
pub fn seal_for(
    value: &SecretSlice<u8>,
    recipients: &Recipients,
    value_id: &ValueId,
    destination: &Digest,
) -> Result<Vec<u8>, SealError> {
    seal_marked(value, &Marked { recipients, value_id, sealed_for: Some(destination) })
}

/// Seals a value to the recipients without a destination: the service binds it when it first accepts it. Gives an armored
/// age file.
pub fn seal(value: &SecretSlice<u8>, recipients: &Recipients, value_id: &ValueId) -> Result<Vec<u8>, SealError> {
    seal_marked(value, &Marked { recipients, value_id, sealed_for: None })
}

fn seal_marked(value: &SecretSlice<u8>, marked: &Marked<'_>) -> Result<Vec<u8>, SealError> {
    let plain = value.expose_secret();
    if plain.is_empty() {
        return Err(SealError::Empty);
    }
    if plain.len() > VALUE_LIMIT {
        return Err(SealError::TooLong);
    }
    if std::str::from_utf8(plain).is_ok_and(is_masked) {
        return Err(SealError::Masked);
    }
    let encryptor =
        Encryptor::with_recipients(std::iter::once(marked as &dyn age::Recipient)).map_err(|error| match error {
            EncryptError::IncompatibleRecipients { .. } => SealError::Incompatible,
            other => SealError::Age(other.to_string()),
        })?;
    let write = || -> std::io::Result<Vec<u8>> {
        let armored = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armored)?;
        writer.write_all(plain)?;
        writer.finish()?.finish()
    };
    let sealed = write().map_err(|error| SealError::Age(error.to_string()))?;
    // A file that nobody would read again must not take the place of one that everybody reads.
    Header::read(&sealed).map_err(|_| SealError::Age("there are more recipients than fit into a file".to_owned()))?;
    Ok(sealed)
}

/// Opens an age file with any of the identities. The plaintext is wiped when the result is dropped.
pub fn open<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<SecretSlice<u8>, OpenError> {
    let binary = header::binary(file)?;
    // One after the other, so that a passphrase that is not known does not keep the next key from being tried.
    let mut failure = OpenError::NotForUs;
    for identity in identities {
        match header::decryptor(&binary)?.decrypt(std::iter::once(identity)).map_err(|error| why_not(&error)) {
            Ok(reader) => return plaintext(reader),
            Err(OpenError::NotForUs) => {}
            Err(error @ OpenError::Key(_)) => failure = error,
            Err(error) => return Err(error),
        }
    }
    header::decryptor(&binary)?;
    Err(failure)
}

fn plaintext(mut reader: impl Read) -> Result<SecretSlice<u8>, OpenError> {
    let mut plain = Zeroizing::new(vec![0; VALUE_LIMIT + 1]);
    let mut length = 0;
    while let Some(room) = plain.get_mut(length..).filter(|room| !room.is_empty()) {
        match reader.read(room) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(_) => return Err(OpenError::Tampered),
        }
    }
    if length == 0 || length > VALUE_LIMIT {
        return Err(OpenError::Size);
    }
    let value = plain.get(..length).unwrap_or_default();
    if std::str::from_utf8(value).is_ok_and(is_masked) {
        return Err(OpenError::Masked);
    }
    Ok(SecretSlice::from(value.to_vec()))
}

/// Opens an age file in order to send the value to a destination, and refuses if it was meant for another. The header is
/// authenticated by then. The plaintext is wiped when the result is dropped.
pub fn open_for<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
    purpose: &Purpose<'_>,
) -> Result<SecretSlice<u8>, OpenError> {
    let header = Header::read(file)?;
    let value = open(file, identities)?;
    purpose.check(header.sealed_for.as_ref())?;
    Ok(value)
}

/// Seals the value of a file again, to these recipients. The value keeps its id and its destination; a file of another
/// program gets the id that it was bound under. `destination` is for a file that carries none, if the operator says that
/// it belongs there.
pub fn rekey<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
    recipients: &Recipients,
    destination: Option<&Digest>,
) -> Result<Result<Vec<u8>, SealError>, OpenError> {
    let header = Header::read(file)?;
    let value = open(file, identities)?;
    let sealed_for = header.sealed_for.as_ref().or(destination);
    Ok(seal_marked(&value, &Marked { recipients, value_id: &header.bound_id(), sealed_for }))
}

fn why_not(error: &DecryptError) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys => OpenError::NotForUs,
        DecryptError::InvalidMac | DecryptError::DecryptionFailed => OpenError::Tampered,
        DecryptError::InvalidHeader | DecryptError::UnknownFormat => OpenError::NotAge,
        DecryptError::KeyDecryptionFailed => OpenError::Key("the passphrase is wrong, or none was given".to_owned()),
        // Not age's own words: they compute a duration, which overflows for the work factor of a hostile file.
        DecryptError::ExcessiveWork { required, .. } => OpenError::Key(format!(
            "its passphrase asks for a work factor of {required}, and at most {MAX_WORK_FACTOR} is worked off"
        )),
        other => OpenError::Key(other.to_string()),
    }
}
