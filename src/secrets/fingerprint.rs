//! The form of the fingerprints by which the header of an age file names the recipients that it was sealed to.
//!
//! [`crate::model::secret_recipient::fingerprint`] computes them.

/// Returns true for a text in the form of a fingerprint.
pub(super) fn is_fingerprint(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
