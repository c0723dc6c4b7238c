//! What an age file tells without a key: its stanzas, and what `seal` wrote into one of its own.

use std::sync::Mutex;

use age::{Decryptor, armor::ArmoredReader};
use age_core::format::{FileKey, Stanza};

use super::FILE_LIMIT;
use crate::model::Digest;

/// The tag of the stanza that `seal` adds.
pub(super) const STANZA_TAG: &str = "mailwright-v1";

/// More stanzas than this no file of ours has.
const STANZA_LIMIT: usize = 1000;

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
        if bytes.len() > FILE_LIMIT {
            return Err(NotAge(format!("it has {} bytes, and a secret's file has at most {FILE_LIMIT}", bytes.len())));
        }
        if bytes.is_empty() {
            return Err(NotAge("it is empty".to_owned()));
        }
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(bytes))
            .map_err(|_| NotAge("its header cannot be read".to_owned()))?;
        // An identity that opens nothing and writes down what it is shown.
        let witness = Witness::default();
        drop(decryptor.decrypt(std::iter::once(&witness as &dyn age::Identity)));
        let seen = witness.stanzas.into_inner().unwrap_or_default();
        let mut ours = seen.iter().filter(|stanza| stanza.tag == STANZA_TAG);
        let mark = ours.next();
        if ours.next().is_some() {
            return Err(NotAge("its header has two stanzas of ours".to_owned()));
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

#[derive(Default)]
struct Witness {
    stanzas: Mutex<Vec<Seen>>,
}

struct Seen {
    tag: String,
    args: Vec<String>,
}

impl age::Identity for Witness {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        if let Ok(mut stanzas) = self.stanzas.lock()
            && stanzas.len() < STANZA_LIMIT
        {
            stanzas.push(Seen { tag: stanza.tag.clone(), args: stanza.args.clone() });
        }
        None
    }
}
