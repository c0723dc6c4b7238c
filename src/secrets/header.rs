//! What an age file tells without a key: its stanzas, and what `seal` wrote into one of its own.
//!
//! Whoever can write the file can write any header: that the id, the destination and the fingerprints are those that the
//! sealer wrote is known only to somebody who opened the file.
//!
//! A file is known by its binary form. Armor, line ends and blanks around it are ways to write it down, and mean nothing.

use std::{io::Read as _, sync::Mutex};

use age::{DecryptError, Decryptor, armor::ArmoredReader};
use age_core::format::{FileKey, Stanza};

use super::{FILE_LIMIT, recipients::is_fingerprint, seal::ValueId};
use crate::model::Digest;

/// The tag of the stanza with a value's id and the fingerprints of the recipients.
pub(super) const VALUE_TAG: &str = "mailwright-v1";

/// The tag of the stanza with a value's id, the digest of its destination, and the fingerprints of the recipients.
pub(super) const DESTINATION_TAG: &str = "mailwright-v2";

/// What the tags of all our stanzas begin with.
const OUR_TAGS: &str = "mailwright-";

/// The longest header that is read, in lines: room for a hundred recipients with large SSH keys. The parser begins
/// anew with every line, so its cost grows with the square of their number.
const LINE_LIMIT: usize = 2000;

/// What an age file tells without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// SHA-256 of the binary form of the whole file.
    pub digest: Digest,
    /// The id of the value, if `seal` made the file.
    pub value_id: Option<String>,
    /// The digest of the destination that it was sealed for, if it carries one.
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
        let binary = binary(bytes)?;
        // An identity that opens nothing and writes down what it is shown.
        let witness = Witness::default();
        match decryptor(&binary)?.decrypt(std::iter::once(&witness as &dyn age::Identity)).err() {
            Some(DecryptError::NoMatchingKeys) => {}
            _ => return Err(NotAge("its header cannot be read".to_owned())),
        }
        let seen = witness.stanzas.into_inner().unwrap_or_default();
        let mut ours = seen.iter().filter(|stanza| stanza.tag.starts_with(OUR_TAGS));
        let mark = match (ours.next(), ours.next()) {
            (_, Some(_)) => return Err(NotAge("its header has two stanzas of ours".to_owned())),
            (None, None) => None,
            // What stands there ends up in plans and in the store, so nothing but what `seal` writes is taken.
            (Some(stanza), None) => Some(stanza.mark()?),
        };
        let (value_id, sealed_for, recipients) = match mark {
            Some(Mark { value_id, sealed_for, recipients }) => (Some(value_id), sealed_for, Some(recipients)),
            None => (None, None, None),
        };
        Ok(Self {
            digest: Digest::of_bytes(&binary),
            value_id,
            sealed_for,
            recipients,
            kinds: seen
                .iter()
                .filter(|stanza| !stanza.tag.starts_with(OUR_TAGS) && !stanza.tag.ends_with("-grease"))
                .map(|stanza| stanza.tag.clone())
                .collect(),
        })
    }

    /// The id that the value is bound under.
    pub fn bound_id(&self) -> ValueId {
        ValueId::bound(self.value_id.as_deref(), &self.digest)
    }

    /// What binds the value to its destination.
    pub fn binding(&self) -> Binding {
        match (&self.sealed_for, &self.value_id) {
            (Some(_), _) => Binding::Destination,
            (None, Some(_)) => Binding::ValueId,
            (None, None) => Binding::File,
        }
    }
}

/// What binds the value in a file to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// The file itself says what it was sealed for.
    Destination,
    /// The service remembers where the value's id was first accepted for.
    ValueId,
    /// The service remembers where the file, made by another program, was first accepted for.
    File,
}

impl Binding {
    /// As documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Binding::Destination => "destination",
            Binding::ValueId => "value-id",
            Binding::File => "file",
        }
    }

    /// In words, after "by".
    pub fn words(self) -> &'static str {
        match self {
            Binding::Destination => "what they were sealed for",
            Binding::ValueId => "the id of the value",
            Binding::File => "the file, which another program made",
        }
    }
}

/// What a stanza of ours says.
struct Mark {
    value_id: String,
    sealed_for: Option<Digest>,
    recipients: Vec<String>,
}

/// The file without its armor, if it has one. The size is bounded.
pub(super) fn binary(bytes: &[u8]) -> Result<Vec<u8>, NotAge> {
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
pub(super) fn decryptor(binary: &[u8]) -> Result<Decryptor<&[u8]>, NotAge> {
    if !binary.starts_with(b"age-encryption.org/") {
        return Err(NotAge("it does not begin as one".to_owned()));
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
struct Witness {
    stanzas: Mutex<Vec<Seen>>,
}

struct Seen {
    tag: String,
    args: Vec<String>,
}

impl Seen {
    fn mark(&self) -> Result<Mark, NotAge> {
        let malformed = || NotAge("the stanza of ours in its header is malformed".to_owned());
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
        Ok(Mark { value_id: value_id.clone(), sealed_for, recipients: recipients.to_vec() })
    }
}

impl age::Identity for Witness {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if let Ok(mut stanzas) = self.stanzas.lock() {
            stanzas.push(Seen { tag: stanza.tag.clone(), args: stanza.args.clone() });
        }
        None
    }
}
