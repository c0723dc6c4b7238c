//! Removal of a login's secret from the replies of a mail server.
//!
//! [`Redaction`] is created from the secret and applied to every reply of a connection, before its text reaches a log,
//! a finding or a message. It finds the secret in clear and in base64, alone or as a part of longer data, in any case,
//! and broken over several lines. It does not find parts of the secret, or other encodings.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

use crate::text::is_hidden;

/// The shortest secret that is removed, in characters. Shorter secrets occur in many texts by chance, and their removal would
/// disclose them.
const SHORTEST: usize = 4;
/// Replaces a secret.
const REPLACEMENT: char = '…';

/// Forms of a secret that are removed from replies.
#[derive(Default)]
pub(super) struct Redaction {
    /// Folded characters, see [`fold`].
    forms: Vec<Zeroizing<Vec<char>>>,
}

impl Redaction {
    /// Adds a secret.
    pub(super) fn add(&mut self, secret: &str) {
        let clear: Zeroizing<Vec<char>> = Zeroizing::new(secret.chars().filter_map(fold).collect());
        if clear.len() < SHORTEST || self.forms.contains(&clear) {
            return;
        }
        self.forms.push(clear);
        // In base64, a secret looks different after 0, 1 and 2 (modulo 3) other bytes. The characters at both ends also
        // depend on the neighbouring bytes, so they are not compared.
        for offset in 0..3 {
            let mut bytes = Zeroizing::new(vec![0; offset]);
            bytes.extend_from_slice(secret.as_bytes());
            let encoded = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(&*bytes));
            let first = (offset * 8).div_ceil(6);
            let whole = bytes.len() * 8 / 6;
            let form: Zeroizing<Vec<char>> =
                Zeroizing::new(encoded.chars().take(whole).skip(first).filter_map(fold).collect());
            if form.len() >= SHORTEST {
                self.forms.push(form);
            }
        }
    }

    /// Replaces every secret in the lines of one text.
    pub(super) fn apply(&self, lines: &mut [String]) {
        if self.forms.is_empty() {
            return;
        }
        let mut characters = Vec::new();
        let mut places = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            for (index, c) in line.chars().enumerate() {
                if let Some(folded) = fold(c) {
                    characters.push(folded);
                    places.push((number, index));
                }
            }
        }
        let mut is_secret = vec![false; characters.len()];
        for form in &self.forms {
            for (start, window) in characters.windows(form.len()).enumerate() {
                if form.iter().zip(window).all(|(own, c)| is_same(*own, *c)) {
                    is_secret[start..start + form.len()].fill(true);
                }
            }
        }
        let mut found =
            places.iter().zip(&is_secret).filter(|(_, is_secret)| **is_secret).map(|(place, _)| *place).peekable();
        for (number, line) in lines.iter_mut().enumerate() {
            if found.peek().is_none_or(|(next, _)| *next != number) {
                continue;
            }
            let mut redacted = String::with_capacity(line.len());
            for (index, c) in line.chars().enumerate() {
                if found.next_if_eq(&(number, index)).is_none() {
                    redacted.push(c);
                } else if !redacted.ends_with(REPLACEMENT) {
                    redacted.push(REPLACEMENT);
                }
            }
            *line = redacted;
        }
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redaction")
    }
}

/// Returns a character as it is compared: in lower case, without blanks and hidden characters, and with the alphabet of
/// base64 for URLs as the standard one.
fn fold(c: char) -> Option<char> {
    match c {
        c if c.is_whitespace() || is_hidden(c) => None,
        '-' => Some('+'),
        '_' => Some('/'),
        c => c.to_lowercase().next(),
    }
}

/// Returns true if a character of a text can be one of a secret. Text that is not UTF-8 was read with replacement
/// characters.
fn is_same(own: char, c: char) -> bool {
    own == c || c == char::REPLACEMENT_CHARACTER && !own.is_ascii()
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};

    use super::*;

    const SECRET: &str = "Sup3r-S3cret/Pa55";

    fn redacted(secret: &str, lines: &[&str]) -> String {
        let mut redaction = Redaction::default();
        redaction.add(secret);
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        redaction.apply(&mut lines);
        lines.join("\n")
    }

    #[test]
    fn a_secret_in_clear_is_removed_in_any_case_and_over_several_lines() {
        assert_eq!(redacted(SECRET, &["you said Sup3r-S3cret/Pa55, no"]), "you said …, no");
        assert_eq!(redacted(SECRET, &["SUP3R-S3CRET/PA55"]), "…");
        assert_eq!(redacted(SECRET, &["a Sup3r-S3", "cret/ Pa55 b"]), "a …\n… … b");
        assert_eq!(redacted(SECRET, &["S u p 3 r - S 3 c r e t / P a 5 5"]).trim_matches(['…', ' ']), "");
        assert_eq!(redacted("pässwörd", &["p\u{fffd}ssw\u{fffd}rd"]), "…");
    }

    #[test]
    fn a_secret_in_base64_is_removed_after_any_number_of_bytes() {
        for user in ["", "a", "ab", "abc", "abcd"] {
            for text in [format!("\0{user}\0{SECRET}"), format!("{user}{SECRET}"), format!("{user}{SECRET}{user}")] {
                for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE.encode(&text)] {
                    let shown = redacted(SECRET, &[&format!("5.7.8 {encoded}")]);
                    assert!(shown.starts_with("5.7.8 "), "{shown}");
                    let left = shown.replace(REPLACEMENT, "").len() - "5.7.8 ".len();
                    // What is left belongs to the other bytes, except for at most two characters at either end.
                    assert!(left <= encoded.len() - SECRET.len() * 8 / 6 + 2, "{text:?}: {encoded} {shown}");
                    assert_eq!(redacted(SECRET, &[&encoded.to_uppercase()]).matches(REPLACEMENT).count(), 1);
                }
            }
        }
    }

    #[test]
    fn other_text_stays() {
        assert_eq!(redacted(SECRET, &["5.7.8 Sup3r", "authentication failed"]), "5.7.8 Sup3r\nauthentication failed");
        assert_eq!(redacted("abc", &["abc"]), "abc", "shorter secrets occur by chance");
    }
}
