//! Base64 as programs write it (RFC 2045, 6.8; RFC 4648): with or without line breaks and padding.
//!
//! [`decode`] reports the first character that is malformed with its place, or that the end is missing, and quotes nothing else of
//! the content.

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
            _ if text.trim_start().starts_with("-----BEGIN") => {
                return wrong("It is PEM: encode the bytes of the whole file in base64, with its first and last line.");
            }
            '-' | ':' if is_hexadecimal(text, c) => {
                return wrong("It is hexadecimal: encode the file's bytes in base64.");
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

/// Returns true if a text is bytes in hexadecimal with a separator between them: `48:65:6c`.
fn is_hexadecimal(text: &str, separator: char) -> bool {
    text.trim().split(separator).all(|byte| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_encoding_is_named() {
        for (text, remedy) in [
            ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "It is PEM"),
            ("48-65-6C-6C-6F", "It is hexadecimal"),
            ("48:65:6c:6c:6f\n", "It is hexadecimal"),
            ("SGVs-bG8_", "Use the usual alphabet"),
            ("data:text/plain;base64,SGVsbG8=", "Leave out the prefix"),
            ("SGVs!", "Encode the file's bytes"),
        ] {
            let error = decode(text).unwrap_err();
            assert!(error.remedy.starts_with(remedy), "{text:?}: {}", error.remedy);
        }
    }
}
