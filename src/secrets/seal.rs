//! Seals, opens and re-encrypts age files: [`seal_for`], [`open`], [`open_for`], [`rekey`].
//!
//! A caller that opens a file in order to send the value uses [`open_for`], which checks environment, kind and destination
//! ([`Purpose`]). [`open`] is for callers that seal the value again or show it to the operator. Empty, masked and long values (more
//! than 16 KiB) are neither sealed nor opened. A key that cannot be used does not prevent the next one from being tried. Works on
//! bytes: files are read and written by the caller.

use std::io::{Read, Write as _};

use age::{
    DecryptError, EncryptError, Encryptor,
    armor::{ArmoredWriter, Format},
};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use zeroize::Zeroizing;

use super::{Header, NotAge, Recipients, VALUE_LIMIT, ValueId, header, is_masked, recipients::MarkedRecipients};
use crate::model::{Destination, Digest, EnvironmentName};

/// The maximum scrypt work factor that is accepted: about half a minute on a slow machine.
pub(super) const MAX_WORK_FACTOR: u8 = 20;

/// The reason why a value cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The value is empty.
    #[error("the value is empty")]
    Empty,
    /// The value is too long.
    #[error("the value has more than {VALUE_LIMIT} bytes")]
    TooLong,
    /// The value is a mask such as `*****`.
    #[error("the value is a mask, not the real value")]
    Masked,
    /// Some recipients cannot be combined with others.
    #[error(
        "post-quantum and classic recipients cannot be combined in one file: the weaker ones would determine its strength"
    )]
    Incompatible,
    /// age or a plugin failed.
    #[error("age could not seal it: {0}")]
    Age(String),
}

/// The reason why an age file cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The file is not an age file, or a damaged one.
    #[error("it is not an age file, or a damaged one")]
    NotAge,
    /// No available key can open the file.
    #[error("no available key can open it")]
    NotForUs,
    /// The contents were changed after the file was sealed.
    #[error("it was changed after it was sealed")]
    Tampered,
    /// The value is empty or too long.
    #[error("it holds nothing, or more than a secret can have")]
    Size,
    /// The file holds a masked value, such as `*****`.
    #[error("it holds a masked value instead of the real one")]
    Masked,
    /// A passphrase or a plugin failed.
    #[error("its key could not be used: {0}")]
    Key(String),
    /// The file was sealed, or accepted, for another destination.
    #[error(transparent)]
    Redirected(#[from] Redirected),
}

/// A secret would be sent to another destination than the one that it was sealed or accepted for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it {} and would travel to {destination}", describe_acceptance(accepted_for.as_deref()))]
pub struct Redirected {
    /// The destination that the value was first accepted for, if that decided; otherwise the file states another one.
    pub accepted_for: Option<Box<Destination>>,
    /// The destination that the value would be sent to.
    pub destination: Box<Destination>,
}

/// Describes the destination that a secret was accepted for: `was accepted for ...`.
pub fn describe_acceptance(accepted_for: Option<&Destination>) -> String {
    match accepted_for {
        Some(destination) => format!("was accepted for {destination}"),
        None => {
            "was sealed for another destination (environment, kind of credential, host, tenant or client)".to_owned()
        }
    }
}

/// The purpose that a secret is opened for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// The environment that uses the value.
    pub environment: &'a EnvironmentName,
    /// The destination that the value would be sent to.
    pub destination: &'a Destination,
    /// The destination that the value was first accepted for; none if it never was accepted.
    pub accepted_for: Option<&'a Destination>,
}

impl Purpose<'_> {
    /// Rejects a secret that was sealed or accepted for another destination. The service decides only here; `secrets check`,
    /// `plan` and `validate` warn earlier. A file that states a destination must state this one. A value that was accepted
    /// before is sent only to a destination that its first one admits, whichever file it is in.
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

/// Seals a value to the recipients, for one destination: the digest is [`Destination::digest`]. Returns an armored age file.
pub fn seal_for(
    value: &SecretSlice<u8>,
    recipients: &Recipients,
    value_id: &ValueId,
    destination: &Digest,
) -> Result<Vec<u8>, SealError> {
    seal_marked(value, &MarkedRecipients { recipients, value_id, sealed_for: Some(destination) })
}

/// Seals a value to the recipients without a destination: the service binds it when it first accepts it. Returns an armored
/// age file.
pub fn seal(value: &SecretSlice<u8>, recipients: &Recipients, value_id: &ValueId) -> Result<Vec<u8>, SealError> {
    seal_marked(value, &MarkedRecipients { recipients, value_id, sealed_for: None })
}

/// Seals a value with a passphrase. Returns an armored age file, without a value id: it is not a secret of an environment.
pub fn seal_with_passphrase(value: &SecretSlice<u8>, passphrase: SecretString) -> Result<Vec<u8>, SealError> {
    let plain = value.expose_secret();
    check_value(plain)?;
    write_armored(Encryptor::with_user_passphrase(passphrase), plain)
}

/// Refuses a value that cannot be a secret.
fn check_value(plain: &[u8]) -> Result<(), SealError> {
    if plain.is_empty() {
        return Err(SealError::Empty);
    }
    if plain.len() > VALUE_LIMIT {
        return Err(SealError::TooLong);
    }
    if std::str::from_utf8(plain).is_ok_and(is_masked) {
        return Err(SealError::Masked);
    }
    Ok(())
}

fn seal_marked(value: &SecretSlice<u8>, marked: &MarkedRecipients<'_>) -> Result<Vec<u8>, SealError> {
    let plain = value.expose_secret();
    check_value(plain)?;
    let encryptor =
        Encryptor::with_recipients(std::iter::once(marked as &dyn age::Recipient)).map_err(|error| match error {
            EncryptError::IncompatibleRecipients { .. } => SealError::Incompatible,
            other => SealError::Age(other.to_string()),
        })?;
    let sealed = write_armored(encryptor, plain)?;
    // An unreadable file must not replace a readable one.
    Header::read(&sealed).map_err(|_| SealError::Age("there are more recipients than fit into a file".to_owned()))?;
    Ok(sealed)
}

fn write_armored(encryptor: Encryptor, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let write = || -> std::io::Result<Vec<u8>> {
        let armored = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armored)?;
        writer.write_all(plain)?;
        writer.finish()?.finish()
    };
    write().map_err(|error| SealError::Age(error.to_string()))
}

/// Opens an age file with any of the identities. The plaintext is wiped when the result is dropped.
pub fn open<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<SecretSlice<u8>, OpenError> {
    let binary = header::strip_armor(file)?;
    // The identities are tried one after the other, so that an unknown passphrase does not prevent the next key from being
    // tried.
    let mut failure = OpenError::NotForUs;
    for identity in identities {
        match header::parse_header(&binary)?.decrypt(std::iter::once(identity)).map_err(|error| open_error(&error)) {
            Ok(reader) => return read_plaintext(reader),
            Err(OpenError::NotForUs) => {}
            Err(error @ OpenError::Key(_)) => failure = error,
            Err(error) => return Err(error),
        }
    }
    header::parse_header(&binary)?;
    Err(failure)
}

fn read_plaintext(mut reader: impl Read) -> Result<SecretSlice<u8>, OpenError> {
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

/// Opens an age file in order to send the value to a destination, and rejects one for another destination. The check follows
/// the authentication of the header. The plaintext is wiped when the result is dropped.
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

/// Seals the value of a file again to these recipients. The value keeps its id and its destination; a file of another program
/// gets the id that identified it before. `destination` applies to a file that states none.
pub fn rekey<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
    recipients: &Recipients,
    destination: Option<&Digest>,
) -> Result<Result<Vec<u8>, SealError>, OpenError> {
    let header = Header::read(file)?;
    let value = open(file, identities)?;
    let sealed_for = header.sealed_for.as_ref().or(destination);
    Ok(seal_marked(&value, &MarkedRecipients { recipients, value_id: &header.bound_id(), sealed_for }))
}

fn open_error(error: &DecryptError) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys => OpenError::NotForUs,
        DecryptError::InvalidMac | DecryptError::DecryptionFailed => OpenError::Tampered,
        DecryptError::InvalidHeader | DecryptError::UnknownFormat => OpenError::NotAge,
        DecryptError::KeyDecryptionFailed => OpenError::Key("the passphrase is wrong, or none was given".to_owned()),
        // The message of age is not used: it computes a duration, which overflows for the work factor of a hostile file.
        DecryptError::ExcessiveWork { required, .. } => OpenError::Key(format!(
            "its passphrase asks for a work factor of {required}, and at most {MAX_WORK_FACTOR} is accepted"
        )),
        other => OpenError::Key(other.to_string()),
    }
}
