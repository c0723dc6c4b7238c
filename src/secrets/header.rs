//! The header of an age file: its stanzas, and the stanza that `seal` adds. It can be read without a key.
//!
//! Anyone who can write the file can write any header. Only after the file was opened are the id, the destination and the
//! fingerprints known to be those of the sealer.
//!
//! Bytes that are not an age file, have more than 64 KiB, or have a stanza of Mailwright in another form are [`NotAge`]. A file is
//! identified by its binary form. Armor, line ends and surrounding white space have no meaning.

use std::{io::Read as _, sync::Mutex};

use age::{DecryptError, Decryptor, armor::ArmoredReader};
use age_core::format::{FileKey, Stanza};

use super::{FILE_LIMIT, ValueId, fingerprint::is_fingerprint};
use crate::model::Digest;

/// The tag of the stanza with a value's id and the fingerprints of the recipients.
pub(super) const VALUE_TAG: &str = "mailwright-v1";

/// The tag of the stanza with a value's id, the digest of its destination, and the fingerprints of the recipients.
pub(super) const DESTINATION_TAG: &str = "mailwright-v2";

/// The prefix of the tags of all stanzas of Mailwright.
const TAG_PREFIX: &str = "mailwright-";

/// The maximum length of a header, in lines: enough for a hundred recipients with large SSH keys. The parser starts again with
/// every line, so its cost grows with the square of their number.
const LINE_LIMIT: usize = 2000;

/// The parts of an age file that can be read without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// SHA-256 of the binary form of the whole file.
    pub digest: Digest,
    /// The id of the value, if `seal` made the file.
    pub value_id: Option<String>,
    /// The digest of the destination that the file was sealed for, if the header carries one.
    pub sealed_for: Option<Digest>,
    /// The fingerprints of the recipients, if `seal` made the file.
    pub recipients: Option<Vec<String>>,
    /// The kinds of the stanzas that carry a key: `X25519`, `ssh-ed25519`, `scrypt`, a plugin's name.
    pub kinds: Vec<String>,
}

/// The bytes are not an age file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an age file: {0}")]
pub struct NotAge(pub String);

impl Header {
    /// Reads the header of an age file, armored or binary.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAge> {
        let binary = strip_armor(bytes)?;
        // An identity that opens nothing and records the stanzas.
        let recorder = StanzaRecorder::default();
        match parse_header(&binary)?.decrypt(std::iter::once(&recorder as &dyn age::Identity)).err() {
            Some(DecryptError::NoMatchingKeys) => {}
            _ => return Err(NotAge("its header cannot be read".to_owned())),
        }
        let seen = recorder.stanzas.into_inner().unwrap_or_default();
        let mut ours = seen.iter().filter(|stanza| stanza.tag.starts_with(TAG_PREFIX));
        let mark = match (ours.next(), ours.next()) {
            (_, Some(_)) => return Err(NotAge("its header has two stanzas of Mailwright".to_owned())),
            (None, None) => None,
            // The contents appear in plans and in the store, so nothing but the format that `seal` writes is accepted.
            (Some(stanza), None) => Some(stanza.parse_seal_info()?),
        };
        let (value_id, sealed_for, recipients) = match mark {
            Some(SealInfo { value_id, sealed_for, recipients }) => (Some(value_id), sealed_for, Some(recipients)),
            None => (None, None, None),
        };
        Ok(Self {
            digest: Digest::of_bytes(&binary),
            value_id,
            sealed_for,
            recipients,
            kinds: seen
                .iter()
                .filter(|stanza| !stanza.tag.starts_with(TAG_PREFIX) && !stanza.tag.ends_with("-grease"))
                .map(|stanza| stanza.tag.clone())
                .collect(),
        })
    }

    /// Returns the id that identifies the value, whichever file holds it.
    pub fn bound_id(&self) -> ValueId {
        ValueId::bound(self.value_id.as_deref(), &self.digest)
    }

    /// Returns the kind of binding between the value and its destination.
    pub fn binding(&self) -> Binding {
        match (&self.sealed_for, &self.value_id) {
            (Some(_), _) => Binding::Destination,
            (None, Some(_)) => Binding::ValueId,
            (None, None) => Binding::File,
        }
    }
}

/// A binding between the value in a file and its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// The file states the destination that it was sealed for.
    Destination,
    /// The service stores the destination that the value's id was first accepted for.
    ValueId,
    /// The service stores the destination that the file, written by another program, was first accepted for.
    File,
}

impl Binding {
    /// Returns the identifier in documents.
    pub fn id(self) -> &'static str {
        match self {
            Binding::Destination => "destination",
            Binding::ValueId => "value-id",
            Binding::File => "file",
        }
    }

    /// Returns a phrase that follows "by".
    pub fn describe(self) -> &'static str {
        match self {
            Binding::Destination => "what they were sealed for",
            Binding::ValueId => "the id of the value",
            Binding::File => "the file, which another program made",
        }
    }
}

/// The contents of a stanza of Mailwright.
struct SealInfo {
    value_id: String,
    sealed_for: Option<Digest>,
    recipients: Vec<String>,
}

/// Removes the armor, if there is one. Rejects a file that is too large.
pub(super) fn strip_armor(bytes: &[u8]) -> Result<Vec<u8>, NotAge> {
    if bytes.len() > FILE_LIMIT {
        return Err(NotAge(format!("it has {} bytes, and a secret's file has at most {FILE_LIMIT}", bytes.len())));
    }
    if bytes.is_empty() {
        return Err(NotAge("it is empty".to_owned()));
    }
    let mut binary = Vec::new();
    ArmoredReader::new(bytes).read_to_end(&mut binary).map_err(|_| NotAge("its armor is damaged".to_owned()))?;
    Ok(binary)
}

/// Reads the header of the binary form. Its length is bounded before it is parsed.
pub(super) fn parse_header(binary: &[u8]) -> Result<Decryptor<&[u8]>, NotAge> {
    if !binary.starts_with(b"age-encryption.org/") {
        return Err(NotAge("its first line is not that of an age file".to_owned()));
    }
    let header = binary.split(|&byte| byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    if header.take(LINE_LIMIT + 1).count() > LINE_LIMIT {
        return Err(NotAge(format!("its header has more than {LINE_LIMIT} lines")));
    }
    Decryptor::new_buffered(binary).map_err(|error| {
        NotAge(match error {
            DecryptError::UnknownFormat => "it is of a newer version of age".to_owned(),
            DecryptError::Io(_) => "it is cut off".to_owned(),
            _ => "its header cannot be read".to_owned(),
        })
    })
}

#[derive(Default)]
struct StanzaRecorder {
    stanzas: Mutex<Vec<RecordedStanza>>,
}

struct RecordedStanza {
    tag: String,
    args: Vec<String>,
}

impl RecordedStanza {
    fn parse_seal_info(&self) -> Result<SealInfo, NotAge> {
        let malformed = || NotAge("the stanza of Mailwright in its header is malformed".to_owned());
        let (value_id, rest) = self.args.split_first().ok_or_else(malformed)?;
        let (sealed_for, recipients) = match self.tag.as_str() {
            VALUE_TAG => (None, rest),
            DESTINATION_TAG => {
                let (destination, rest) = rest.split_first().ok_or_else(malformed)?;
                (Some(destination.parse().map_err(|_| malformed())?), rest)
            }
            _ => return Err(NotAge("it was sealed by a newer version of mailwright".to_owned())),
        };
        if ValueId::parse(value_id).is_none() || !recipients.iter().all(|print| is_fingerprint(print)) {
            return Err(malformed());
        }
        Ok(SealInfo { value_id: value_id.clone(), sealed_for, recipients: recipients.to_vec() })
    }
}

impl age::Identity for StanzaRecorder {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if let Ok(mut stanzas) = self.stanzas.lock() {
            stanzas.push(RecordedStanza { tag: stanza.tag.clone(), args: stanza.args.clone() });
        }
        None
    }
}
