//! Messages as they are transmitted: header fields, addresses, parameters, encodings, composing and reading (RFC 5322,
//! RFC 2045 to 2047, RFC 2231, RFC 6376).
//!
//! | part | contents |
//! | --- | --- |
//! | [`compose`] | a message in parts becomes a header and a body |
//! | [`raw_message`] | a message that a program submits as a whole |
//! | [`content`] | the stored form of both |
//! | `content_check`, `part_limit`, `file_names` | checks that both pass; a limit for the number of parts; the names of files |
//! | [`field`] | one field of a header; splitting a header into fields; encoded words |
//! | [`ascii_field`] | conversion of one field to ASCII |
//! | [`address_list`] | the addresses of a field, parsed and written |
//! | [`parameter`] | media types, and file names in `Content-Type` and `Content-Disposition` |
//! | [`mod@base64`] | base64 as programs write it, with a reason if it is malformed |
//! | [`seven_bit`] | conversion to ASCII for servers that accept nothing else |
//! | [`dkim`] | removal of signatures that a change of the header breaks |
//!
//! Everything here is pure, and its cost is bounded by the size of its input. A message that cannot be read, written or sent is
//! [`Malformed`]; the error quotes no more of it than a character or the name of a header. Which profile sends a message is decided
//! elsewhere.

pub mod address_list;
pub mod ascii_field;
pub mod base64;
pub mod compose;
pub mod content;
mod content_check;
pub mod dkim;
pub mod field;
mod file_names;
pub mod parameter;
mod part_limit;
pub mod raw_message;
pub mod seven_bit;

pub use field::Field;

/// The reason why a message is malformed, with the place and a remedy. It never quotes content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// The reason.
    pub reason: String,
    /// The remedy; none if the reason implies it.
    pub remedy: Option<String>,
}

impl Malformed {
    /// Creates an error without a remedy.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: None }
    }

    /// Returns the error with a remedy.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
