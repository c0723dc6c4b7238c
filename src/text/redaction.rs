//! Removal of secrets from the replies of other hosts.
//!
//! A host, or a proxy before it, can repeat what it got. [`Redaction`] is created from the secrets that were sent, and applied to
//! every reply before its text reaches a log, a finding or a message. It finds a secret in clear, in base64 (alone or as a part of
//! longer data) and in hexadecimal, each also percent-encoded as in a URL or form, or escaped as in JSON; in any case, and broken
//! over several lines. It does not find secrets of fewer than 4 characters, parts of a secret, or an encoding of an encoding
//! otherwise.

use std::{fmt, ops::Range};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

use super::is_hidden;

/// The shortest secret that is removed, in characters. Shorter secrets occur in many texts by chance, and their removal would
/// disclose them.
const SHORTEST: usize = 4;
/// The most bytes that one character of a form takes in a text: a pair of UTF-16 units as `\ud83d\ude00`, or four bytes with
/// percent signs.
const ENCODED_CHARACTER: usize = 12;
/// Replaces a secret.
const REPLACEMENT: char = '…';

/// Forms of secrets that are removed from replies.
#[derive(Default)]
pub struct Redaction {
    /// Folded characters, see [`fold`].
    forms: Vec<Zeroizing<Vec<char>>>,
}

/// A character of a text as it is compared, and the places of the characters that it was read from.
type Decoded = (char, Range<usize>);

impl Redaction {
    /// Adds a secret.
    pub fn add(&mut self, secret: &str) {
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
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
        let hexadecimal = secret.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        self.forms.push(Zeroizing::new(hexadecimal.collect()));
    }

    /// Returns the largest number of bytes that a secret takes in a text, without blanks in it; 0 without a secret.
    pub fn longest(&self) -> usize {
        self.forms.iter().map(|form| form.len() * ENCODED_CHARACTER).max().unwrap_or(0)
    }

    /// Replaces every secret in one text.
    pub fn apply_to(&self, text: &mut String) {
        self.apply(std::slice::from_mut(text));
    }

    /// Replaces every secret in the lines of one text.
    pub fn apply(&self, lines: &mut [String]) {
        let shortest = self.forms.iter().map(|form| form.len()).min();
        if shortest.is_none_or(|shortest| lines.iter().map(String::len).sum::<usize>() < shortest) {
            return;
        }
        let mut characters: Zeroizing<Vec<char>> = Zeroizing::new(Vec::new());
        let mut places = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            for (index, c) in line.chars().enumerate().filter(|(_, c)| !is_dropped(*c)) {
                characters.push(c);
                places.push((number, index));
            }
        }
        let mut is_secret = vec![false; characters.len()];
        let mut search = |text: Vec<Decoded>| {
            for form in &self.forms {
                for window in text.windows(form.len()) {
                    if form.iter().zip(window).all(|(own, (c, _))| is_same(*own, *c))
                        && let (Some((_, first)), Some((_, last))) = (window.first(), window.last())
                    {
                        is_secret[first.start..last.end].fill(true);
                    }
                }
            }
        };
        search(characters.iter().enumerate().filter_map(|(at, c)| Some((fold(*c)?, at..at + 1))).collect());
        if characters.contains(&'%') || characters.contains(&'+') {
            search(percent_decoded(&characters, false));
            search(percent_decoded(&characters, true));
        }
        if characters.contains(&'\\') {
            search(unescaped(&characters));
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

/// Decodes `%C3%A4`. `is_form`: a plus sign is a blank (`application/x-www-form-urlencoded`).
fn percent_decoded(characters: &[char], is_form: bool) -> Vec<Decoded> {
    let mut decoded = Vec::with_capacity(characters.len());
    let mut at = 0;
    while at < characters.len() {
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(byte) = hexadecimal(&characters[at + 3 * bytes.len()..], &['%'], 2) {
            bytes.push(u8::try_from(byte).unwrap_or_default());
        }
        let begin = at;
        at += 3 * bytes.len();
        for chunk in bytes.utf8_chunks() {
            let invalid = std::iter::repeat_n(char::REPLACEMENT_CHARACTER, usize::from(!chunk.invalid().is_empty()));
            decoded.extend(chunk.valid().chars().chain(invalid).filter_map(fold).map(|c| (c, begin..at)));
        }
        if !bytes.is_empty() {
            continue;
        }
        if !(is_form && characters[at] == '+') {
            decoded.extend(fold(characters[at]).map(|c| (c, at..at + 1)));
        }
        at += 1;
    }
    decoded
}

/// Decodes `\"` and `\u00e4`, as JSON (RFC 8259) and many programming languages write them.
fn unescaped(characters: &[char]) -> Vec<Decoded> {
    let mut decoded = Vec::with_capacity(characters.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let unit = |from: usize| hexadecimal(rest.get(from..).unwrap_or_default(), &['\\', 'u'], 4);
        let pair = match (unit(0), unit(6)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            _ => None,
        };
        let (c, length) = if let Some(c) = pair {
            (c, 12)
        } else if let Some(unit) = unit(0) {
            (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
        } else if let Some(byte) = hexadecimal(rest, &['\\', 'x'], 2) {
            (char::from_u32(byte).unwrap_or_default(), 4)
        } else if let ['\\', c, ..] = rest {
            (*c, 2)
        } else {
            (rest[0], 1)
        };
        decoded.extend(fold(c).map(|c| (c, at..at + length)));
        at += length;
    }
    decoded
}

/// Returns the number that a text begins with: a prefix, and hexadecimal digits.
fn hexadecimal(characters: &[char], prefix: &[char], digits: usize) -> Option<u32> {
    let digits = characters.strip_prefix(prefix)?.get(..digits)?;
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | digit.to_digit(16)?))
}

/// Returns true for characters that are not compared.
fn is_dropped(c: char) -> bool {
    c.is_whitespace() || is_hidden(c)
}

/// Returns a character as it is compared: in lower case, without blanks and hidden characters, and with the alphabet of
/// base64 for URLs as the standard one.
fn fold(c: char) -> Option<char> {
    match c {
        c if is_dropped(c) => None,
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
    fn a_secret_is_removed_in_every_encoding_of_a_program() {
        const SECRET: &str = "pass-word+1/x&é \"q\\";
        let json = serde_json::to_string(SECRET).unwrap();
        let ascii_json = json.replace('é', "\\u00e9");
        let all_json: String = SECRET.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        let url = crate::text::percent_encode(SECRET.as_bytes(), b"-._~");
        let form: String =
            reqwest::Url::parse_with_params("http://x/", [("k", SECRET)]).unwrap().query().unwrap()[2..].into();
        let all_url: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let hexadecimal: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let in_base64 = BASE64_STANDARD.encode(format!("\0user\0{SECRET}"));
        for written in [
            SECRET.to_owned(),
            json[1..json.len() - 1].to_owned(),
            ascii_json[1..ascii_json.len() - 1].to_owned(),
            all_json,
            url.to_lowercase(),
            url,
            form,
            all_url,
            hexadecimal.to_uppercase(),
            hexadecimal,
        ] {
            let shown = redacted(SECRET, &[&format!("5.7.8 bad '{written}'.")]);
            // Blanks between the parts of a secret stay.
            assert_eq!(shown.replace("… …", "…"), "5.7.8 bad '…'.", "{written}");
        }
        for written in [in_base64.clone(), crate::text::percent_encode(in_base64.as_bytes(), b"")] {
            assert!(redacted(SECRET, &[&format!("x {written}")]).contains(REPLACEMENT), "{written}");
        }
        assert_eq!(redacted("a\u{1f600}b1", &["\"a\\uD83D\\uDE00b1\""]), "\"…\"");
        assert_eq!(redacted(SECRET, &["100% sure \\ +1 %zz \\u12"]), "100% sure \\ +1 %zz \\u12");
    }

    #[test]
    fn other_text_stays() {
        assert_eq!(redacted(SECRET, &["5.7.8 Sup3r", "authentication failed"]), "5.7.8 Sup3r\nauthentication failed");
        assert_eq!(redacted("abc", &["abc"]), "abc", "shorter secrets occur by chance");
    }
}
