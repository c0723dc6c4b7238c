//! The content of a message as the store keeps it: a header and a body with CRLF line ends.
//!
//! [`StoredContent`] never has `Bcc`, and has `From` only if a raw message had it: the profile decides at each attempt who sends,
//! so a message cannot leave under an address that the profile does not have. A message without a recipient, or with more than 500,
//! is refused; repeated recipients count once.

use std::collections::HashSet;

use super::{
    Field, Malformed,
    address_list::Entry,
    field::{decode_words, join_fields},
};
use crate::model::address::{Address, NamedAddress};

/// The number of recipients that a message may have.
const RECIPIENTS: usize = 500;

/// The content of a message, with the properties that are read from its header.
#[derive(Debug)]
pub struct StoredContent {
    /// The header and the body.
    pub content: Vec<u8>,
    /// All recipients, each once, in the order in which they were named.
    pub recipients: Vec<String>,
    /// The subject.
    pub subject: String,
    /// `Message-ID`, with its angle brackets.
    pub message_id: String,
    /// `From` of a raw message: the address, and the display name if there is one.
    pub from: Option<(String, Option<String>)>,
}

/// Parses a list that has one address per element.
pub(super) fn parse_entries(texts: &[String], place: &str) -> Result<Vec<Entry>, Malformed> {
    let entry = |(index, text): (usize, &String)| {
        let named = NamedAddress::parse(text).map_err(|error| {
            Malformed::new(format!("`{place}/{index}` is not an e-mail address: {error}")).remedy(error.remedy)
        })?;
        Ok(Entry::new(named.name.map(|name| decode_words(&name)), named.address))
    };
    texts.iter().enumerate().map(entry).collect()
}

/// Removes repeated addresses, and refuses a message with none or too many.
pub(super) fn distinct_recipients(addresses: impl Iterator<Item = Address>) -> Result<Vec<String>, Malformed> {
    let mut seen = HashSet::new();
    let recipients: Vec<String> =
        addresses.filter(|address| seen.insert(address.key())).map(|address| address.to_string()).collect();
    match recipients.len() {
        0 => Err(Malformed::new("the message has no recipient")),
        many if many > RECIPIENTS => {
            Err(Malformed::new(format!("the message has {many} recipients; {RECIPIENTS} are allowed")))
        }
        _ => Ok(recipients),
    }
}

/// Replaces every line end by CRLF; returns none if all of them are CRLF. A lone carriage return counts as a line end:
/// servers differ in how they treat it.
pub(super) fn normalize_line_ends(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_alone = |at: &usize| match bytes[*at] {
        b'\n' => *at == 0 || bytes[*at - 1] != b'\r',
        _ => bytes.get(*at + 1) != Some(&b'\n'),
    };
    let alone = memchr::memchr2_iter(b'\r', b'\n', bytes).filter(is_alone);
    let count = alone.clone().count();
    if count == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() + count);
    let mut copied = 0;
    for end in alone {
        out.extend_from_slice(&bytes[copied..end]);
        out.extend_from_slice(b"\r\n");
        copied = end + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}

/// Replaces the header of a message, whose body begins at `body_at`, and makes the line ends of the body CRLF. If they are
/// already, which is nearly always so, the body is not copied.
pub(crate) fn replace_header(fields: &[Field], mut message: Vec<u8>, body_at: usize) -> Vec<u8> {
    if let Some(body) = normalize_line_ends(&message[body_at..]) {
        message.truncate(body_at);
        message.extend_from_slice(&body);
    }
    if message.len() > body_at && !message.ends_with(b"\n") {
        message.extend_from_slice(b"\r\n");
    }
    drop(message.splice(..body_at, join_fields(fields)));
    message
}
