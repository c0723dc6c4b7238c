//! Base64 as programs write it (RFC 2045, 6.8; RFC 4648): with or without line breaks and padding.
//!
//! [`decode`] reports the first character that is malformed, and never the content.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The reason why a text is not base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64Error {
    /// The reason, with the place.
    pub reason: String,
    /// The remedy.
    pub remedy: &'static str,
}

impl fmt::Display for Base64Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Decodes base64. Blanks and line breaks are skipped, and padding may be missing.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    if let Ok(bytes) = ENGINE.decode(text) {
        return Ok(bytes);
    }
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut padding = None;
    for (position, c) in text.chars().enumerate().filter(|(_, c)| !is_blank(*c)) {
        let wrong = |remedy| {
            let shown = crate::model::address::describe(c);
            Err(Base64Error { reason: format!("{shown} at character {} is not base64", position + 1), remedy })
        };
        match c {
            '=' => padding = padding.or(Some(position)),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => {
                if let Some(padding) = padding {
                    let reason = format!("`=` at character {} is not at the end", padding + 1);
                    return Err(Base64Error { reason, remedy: "Encode the whole file at once." });
                }
            }
            '-' | '_' => return wrong("Use the usual alphabet, with `+` and `/` in place of `-` and `_`."),
            ':' | ',' | ';' if text.starts_with("data:") => {
                return wrong("Leave out the prefix of the content: `data:...;base64,`.");
            }
            _ => return wrong("Encode the file's bytes in base64 (RFC 4648)."),
        }
    }
    let compact: String = text.chars().filter(|c| !is_blank(*c) && *c != '=').collect();
    ENGINE.decode(&compact).map_err(|_| Base64Error {
        reason: format!("it ends in the middle of a byte, after {} characters", compact.len()),
        remedy: "Encode the whole file; the end is missing.",
    })
}
