//! Media types, and the names of files in `Content-Type` and `Content-Disposition`.
//!
//! [`MediaType`] and [`content_disposition`] write the fields. A name that is not ASCII is written twice: as RFC 2231 says
//! (`filename*=`), and as an encoded word in quotes (`name=`), which is what older Outlooks and many ERP mailboxes read. A text
//! that is not a media type is none; [`in_ascii`] converts what it can and replaces the rest by `?`. Names in messages of others
//! are searched by `file_names`.

use std::fmt::Write as _;

use super::field::encode_words;
use crate::{model::address::quoted, text};

/// The longest name that is written without being encoded.
const PLAIN_NAME: usize = 60;
/// The number of characters of a name in one section (RFC 2231, 3).
const SECTION: usize = 50;

/// A media type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// Type and subtype in lower case: `application/pdf`.
    pub essence: String,
    /// The parameters: names in lower case, values without quotes.
    pub parameters: Vec<(String, String)>,
}

impl MediaType {
    /// Parses a media type (RFC 2045, 5.1).
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 200 || !text.bytes().all(|byte| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic()) {
            return None;
        }
        let mut sections = split_outside_quotes(text).into_iter();
        let essence = sections.next()?.trim().to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut parameters = Vec::new();
        for section in sections.filter(|section| !section.trim().is_empty()) {
            let (name, value) = section.split_once('=')?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let value = match value.strip_prefix('"') {
                Some(rest) => unquote(rest.strip_suffix('"')?),
                None if is_token(value) => value.to_owned(),
                None => return None,
            };
            if !is_token(&name) {
                return None;
            }
            parameters.push((name, value));
        }
        Some(Self { essence, parameters })
    }

    /// Returns the value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of `Content-Type`, for a file with its name.
    pub fn content_type(&self, name: Option<&str>) -> String {
        let mut value = self.essence.clone();
        for (own, text) in &self.parameters {
            let text = if is_token(text) { text.clone() } else { quoted(text) };
            let _ = write!(value, ";\r\n {own}={text}");
        }
        if let Some(name) = name {
            let name =
                if is_plain(name) { quoted(name) } else { format!("\"{}\"", encode_words(name, " name=\"\";".len())) };
            let _ = write!(value, ";\r\n name={name}");
        }
        value
    }
}

/// Returns the value of `Content-Disposition` for a file; `kind` is `attachment` or `inline`.
pub fn content_disposition(kind: &str, name: &str) -> String {
    if is_plain(name) {
        return format!("{kind};\r\n filename={}", quoted(name));
    }
    format!("{kind};\r\n {}", extended("filename", name))
}

/// Returns a parameter whose value is not ASCII, or too long for a line (RFC 2231).
fn extended(name: &str, value: &str) -> String {
    let encoded = text::percent_encode(value.as_bytes(), b"-._~");
    if encoded.len() <= SECTION {
        return format!("{name}*=utf-8''{encoded}");
    }
    let mut sections = Vec::new();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let mut end = rest.len().min(SECTION);
        // The three characters of an encoded byte (`%C3`) stay together.
        if let Some(percent) = rest[..end].rfind('%').filter(|percent| *percent + 3 > end) {
            end = percent;
        }
        let (section, behind) = rest.split_at(end);
        let charset = if sections.is_empty() { "utf-8''" } else { "" };
        sections.push(format!("{name}*{}*={charset}{section}", sections.len()));
        rest = behind;
    }
    sections.join(";\r\n ")
}

/// Converts the value of a field with parameters to ASCII (RFC 2231). Encoded words are not allowed here (RFC 2047, 5).
pub fn in_ascii(value: &str) -> String {
    let sections: Vec<String> = split_outside_quotes(value)
        .into_iter()
        .map(|section| match section.split_once('=') {
            _ if section.is_ascii() => section.trim().to_owned(),
            Some((name, text)) if name.is_ascii() => {
                let (name, text) = (name.trim(), text.trim());
                // The value is percent-encoded already, with characters that should have been encoded as well.
                if name.ends_with('*') {
                    let encoded = text.chars().map(|c| {
                        let bytes = c.to_string();
                        if c.is_ascii() { bytes } else { text::percent_encode(bytes.as_bytes(), b"") }
                    });
                    return format!("{name}={}", encoded.collect::<String>());
                }
                let value = text
                    .strip_prefix('"')
                    .map_or_else(|| text.to_owned(), |rest| unquote(rest.strip_suffix('"').unwrap_or(rest)));
                // One section of several: the first one states the character set.
                if name.contains('*') {
                    let charset = if name.ends_with("*0") { "utf-8''" } else { "" };
                    return format!("{name}*={charset}{}", text::percent_encode(value.as_bytes(), b"-._~"));
                }
                extended(name, &value)
            }
            _ => section.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect::<String>().trim().to_owned(),
        })
        .collect();
    sections.join(";\r\n ")
}

/// Returns true if a name needs no encoding and does not look like an encoded one.
fn is_plain(name: &str) -> bool {
    name.len() <= PLAIN_NAME
        && name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !name.contains(['"', '\\'])
        && !name.contains("=?")
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
}

fn unquote(text: &str) -> String {
    let mut content = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        content.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    content
}

/// Splits a value at semicolons that are not within quotes.
fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped, mut from) = (false, false, 0);
    let mut sections = Vec::new();
    for (index, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' if !is_quoted => {
                sections.push(&text[from..index]);
                from = index + 1;
            }
            _ => {}
        }
    }
    sections.push(&text[from..]);
    sections
}
