//! Mail on the wire: header fields, address lists, parameters, encodings, and what a signature covers (RFC 5322, RFC 2045
//! to 2047, RFC 2231, RFC 6376).
//!
//! | part | what it does |
//! | --- | --- |
//! | [`field`] | one field of a header; a header split into fields; encoded words |
//! | [`address_list`] | the addresses of a field, and a field made of addresses |
//! | [`parameter`] | media types, and names of files as `Content-Type` and `Content-Disposition` carry them |
//! | [`base64`] | base64 as programs write it, with a reason where it is not |
//! | [`seven_bit`] | a message in ASCII alone, for servers that take nothing else |
//! | [`dkim`] | which signatures hold after fields were changed |
//!
//! Everything here is pure, bounded by the size of its input, and quotes no contents in an error. Which message is made or
//! accepted is decided elsewhere (`delivery::content`).

pub mod address_list;
pub mod base64;
pub mod dkim;
pub mod field;
pub mod parameter;
pub mod seven_bit;

pub use field::Field;

/// The reason why something is not mail, and what to do about it. Says where; never quotes contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// The reason.
    pub reason: String,
    /// What to do; none if the reason says it.
    pub remedy: Option<String>,
}

impl Malformed {
    /// An error without a remedy of its own.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
