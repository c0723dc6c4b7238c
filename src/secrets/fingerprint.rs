//! Fingerprints of recipients, by which the header of an age file names the recipients that it was sealed to.
//!
//! A text that is not a recipient has a fingerprint as well: nothing here checks it.

use crate::model::Digest;

/// Returns the fingerprint of a recipient: the first 16 hexadecimal digits of the SHA-256 of its text, without a comment.
/// Age recipients may be written in upper case (for a QR code) and are the same.
pub fn fingerprint(recipient: &str) -> String {
    let mut words = recipient.split_whitespace();
    let first = words.next().unwrap_or_default();
    let bare = match words.next() {
        Some(key) if first.starts_with("ssh-") => format!("{first} {key}"),
        _ => first.to_ascii_lowercase(),
    };
    // The digest's own text, after its `sha256:`.
    Digest::of_bytes(bare.as_bytes()).as_str().chars().skip(7).take(16).collect()
}

/// Returns true for a text in the form of a fingerprint.
pub(super) fn is_fingerprint(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
