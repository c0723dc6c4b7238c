//! What an age file tells without a key: its stanzas, and what `seal` wrote into one of its own.
//!
//! Whoever can write the file can write any header: that the id and the fingerprints are those that the sealer wrote
//! is known only to somebody who opened the file.

use std::{io::Read as _, sync::Mutex};

use age::{DecryptError, Decryptor, armor::ArmoredReader};
use age_core::format::{FileKey, Stanza};

use super::{FILE_LIMIT, recipients::is_fingerprint, seal::ValueId};
use crate::model::Digest;

/// The tag of the stanza that `seal` adds.
pub(super) const STANZA_TAG: &str = "mailwright-v1";

/// The longest header that is read, in lines: room for a hundred recipients with large SSH keys. The parser begins
/// anew with every line, so its cost grows with the square of their number.
const LINE_LIMIT: usize = 2000;

/// What an age file tells without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// SHA-256 of the whole file, as it is.
    pub digest: Digest,
    /// The id of the value, if `seal` made the file.
    pub value_id: Option<String>,
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
        let mut ours = seen.iter().filter(|stanza| stanza.tag == STANZA_TAG);
        let mark = ours.next();
        if ours.next().is_some() {
            return Err(NotAge("its header has two stanzas of ours".to_owned()));
        }
        // What stands there ends up in plans and in the store, so nothing but what `seal` writes is taken.
        if mark.is_some_and(|stanza| !stanza.is_well_formed()) {
            return Err(NotAge("the stanza of ours in its header is malformed".to_owned()));
        }
        Ok(Self {
            digest: Digest::of_bytes(bytes),
            value_id: mark.and_then(|stanza| stanza.args.first().cloned()),
            recipients: mark.map(|stanza| stanza.args.iter().skip(1).cloned().collect()),
            kinds: seen
                .iter()
                .filter(|stanza| stanza.tag != STANZA_TAG && !stanza.tag.ends_with("-grease"))
                .map(|stanza| stanza.tag.clone())
                .collect(),
        })
    }
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
    fn is_well_formed(&self) -> bool {
        self.args
            .split_first()
            .is_some_and(|(id, prints)| ValueId::parse(id).is_some() && prints.iter().all(|p| is_fingerprint(p)))
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
