//! Canonical form of a value: equal values have equal texts, and so equal digests.
//!
//! Keys are sorted, nothing is padded. Numbers are not converted: `1` and `1.0` differ. Digests are SHA-256 in the form `sha256:<64
//! hex digits>`.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize, de};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, pattern = "^sha256:[0-9a-f]{64}$", example = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")]
pub struct Digest(String);

impl Digest {
    /// Returns the digest of some bytes, as they are.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_hash(&Sha256::digest(bytes))
    }

    fn of_hash(hash: &[u8]) -> Self {
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash {
            text.extend([byte >> 4, byte & 15].map(|half| char::from(b"0123456789abcdef"[usize::from(half)])));
        }
        Self(text)
    }

    /// Returns the digest of a typed value of this crate. Its maps are sorted, so equal values are equal in JSON; JSON from
    /// elsewhere needs [`Digest::of_value`].
    pub fn of_document(document: &impl Serialize) -> Self {
        struct Hashing(Sha256);
        impl std::io::Write for Hashing {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.update(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut hashing = std::io::BufWriter::with_capacity(8 * 1024, Hashing(Sha256::new()));
        // Neither a value of this crate nor a hash can fail to be written.
        drop(serde_json::to_writer(&mut hashing, document));
        let hashed = hashing.into_inner().map(|hashing| hashing.0.finalize()).unwrap_or_default();
        Self::of_hash(&hashed)
    }

    /// Returns the digest of a list of documents: that of their digests, one after the other. A long list is hashed on all
    /// cores.
    pub fn of_documents<D: Serialize + Sync>(documents: &[D]) -> Self {
        let digests: Vec<Self> = documents.par_iter().map(Self::of_document).collect();
        Self::of_document(&digests)
    }

    /// Returns the digest of a value's canonical text.
    pub fn of_value(value: &Value) -> Self {
        Self::of_bytes(text(value).as_bytes())
    }

    /// Returns the whole digest, `sha256:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first twelve hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a digest is `sha256:` and 64 lower-case hexadecimal digits".to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Returns the canonical text of a value: JSON without white space, keys sorted by their bytes.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
