//! Fields of a message header: [`split_header`] splits a header into fields, [`Field`] is one of them as it was folded, and
//! [`encode_words`] writes text that is not ASCII.
//!
//! A field is kept byte for byte unless it must be converted. A header that is longer than 256 KiB, is not UTF-8, has control
//! characters or a line that is not a field is [`Malformed`]. Which fields a message may have is decided in `raw_message` and
//! `compose`.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use lettre::message::header::{Header, HeaderName, HeaderValue, Headers};

use super::Malformed;

/// The number of bytes that a header may have.
const HEADER_LIMIT: usize = 256 * 1024;
/// The longest word in bytes that is written without encoding; a line may have 998.
const WORD_LIMIT: usize = 900;
/// The longest line with an encoded word, without its line end (RFC 2047, 2).
pub const ENCODED_LINE: usize = 76;
/// The characters of an encoded word around its text: `=?utf-8?b?` and `?=`.
const AROUND_WORD: usize = 12;
/// The fewest bytes of text in an encoded word: a character of UTF-8 has up to four.
const SHORTEST_WORD: usize = 6;

#[cfg(test)]
thread_local! {
    /// The number of times that the name of a field was read: what the cost of a header is measured by.
    pub(super) static NAMES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A field of a header with its line ends, folded as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(String);

impl Field {
    /// Creates a field whose value is ASCII and already folded.
    pub fn new(name: &str, value: &str) -> Self {
        Self(format!("{name}: {value}\r\n"))
    }

    /// Creates a field as lettre writes it.
    pub fn encoded(header: impl Header) -> Self {
        let mut headers = Headers::new();
        headers.set(header);
        Self(headers.to_string())
    }

    /// Creates a field of free text: folded, and in encoded words if it is not ASCII or a word is too long for a line.
    pub fn unstructured(name: &str, text: &str) -> Self {
        let is_long = text.split([' ', '\t']).any(|word| word.len() > WORD_LIMIT);
        // lettre loses two spaces between encoded words, because readers drop blanks between such words.
        let has_gap = !text.is_ascii() && text.contains("  ");
        if let Ok(name) = HeaderName::new_from_ascii(name.to_owned())
            && !is_long
            && !has_gap
        {
            let mut headers = Headers::new();
            headers.insert_raw(HeaderValue::new(name, text.to_owned()));
            let field = headers.to_string();
            // lettre lets an encoded word that it does not split exceed the line.
            if field.lines().all(|line| line.len() <= ENCODED_LINE || !line.contains("=?")) {
                return Self(field);
            }
        }
        Self::new(name, &encode_words(text, name.len() + 2))
    }

    /// Returns the field as it is transmitted, with its line ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the value without the blanks around it; it may be folded.
    pub fn value(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, value)| value.trim())
    }

    /// Returns the value on one line.
    pub fn unfolded(&self) -> String {
        self.value().replace("\r\n", "")
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        #[cfg(test)]
        NAMES_READ.set(NAMES_READ.get() + 1);
        self.0.split(':').next().unwrap_or_default().trim_end()
    }

    /// Returns true if the field has this name.
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// Returns true if the field has one of these names.
    pub fn is_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    /// Returns true if the name begins with `prefix`, which is in lower case.
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.name().to_ascii_lowercase().starts_with(prefix)
    }

    /// Removes blanks between the name and the colon (RFC 5322, 4.5): many parsers do not recognise such a field.
    #[must_use]
    pub fn with_plain_name(self) -> Self {
        match self.0.split_once(':') {
            Some((name, value)) if name.ends_with([' ', '\t']) => Self(format!("{}:{value}", name.trim_end())),
            _ => self,
        }
    }
}

/// Encodes a text in encoded words (RFC 2047), folded between them. `column` is the number of characters before it on its line.
pub fn encode_words(text: &str, column: usize) -> String {
    let mut words = String::new();
    let mut rest = text;
    let room = |column: usize| ENCODED_LINE.saturating_sub(column + AROUND_WORD) / 4 * 3;
    let mut size = room(column);
    if size < SHORTEST_WORD && !text.is_empty() {
        words.push_str("\r\n ");
        size = room(1);
    }
    while !rest.is_empty() {
        let mut end = rest.len().min(size);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (word, behind) = rest.split_at(end);
        let _ = write!(words, "=?utf-8?b?{}?=", BASE64_STANDARD.encode(word));
        rest = behind;
        if !rest.is_empty() {
            words.push_str("\r\n ");
            size = room(1);
        }
    }
    words
}

/// Decodes the encoded words of a text.
pub fn decode_words(text: &str) -> String {
    if !text.contains("=?") {
        return text.to_owned();
    }
    let line: String = text.chars().filter(|c| !c.is_control()).collect();
    let header = format!("Subject: {line}\r\n\r\n");
    let parsed = mail_parser::MessageParser::default().parse_headers(header.as_bytes());
    parsed.and_then(|header| header.subject().map(str::to_owned)).unwrap_or(line)
}

/// Splits the header of a message into fields, with CRLF line ends. Returns the offset of the body as well.
pub fn split_header(bytes: &[u8]) -> Result<(Vec<Field>, usize), Malformed> {
    let mut fields: Vec<Field> = Vec::new();
    let mut rest = bytes;
    let mut length = 0;
    loop {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        length += line.len() + 2;
        if length > HEADER_LIMIT {
            return Err(Malformed::new("the header of the message is too long"));
        }
        let text = std::str::from_utf8(line).map_err(|_| {
            Malformed::new("the header of the message is not UTF-8")
                .remedy("Write text that is not ASCII as UTF-8 or in encoded words (RFC 2047).")
        })?;
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(Malformed::new("the header of the message has control characters"));
        }
        if text.starts_with([' ', '\t']) {
            let field = fields.last_mut().ok_or_else(|| Malformed::new("the message begins with a folded line"))?;
            let _ = write!(field.0, "{text}\r\n");
            continue;
        }
        let name = text.split_once(':').map(|(name, _)| name.trim_end()).unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Malformed::new("the header of the message has a line that is not a field"));
        }
        fields.push(Field(format!("{text}\r\n")));
        if rest.is_empty() {
            break;
        }
    }
    Ok((fields, bytes.len() - rest.len()))
}

/// Joins fields as they are transmitted, with the empty line after them.
pub fn join_fields(fields: &[Field]) -> Vec<u8> {
    let fields: Vec<&str> = fields.iter().map(Field::as_str).chain(["\r\n"]).collect();
    fields.concat().into_bytes()
}
