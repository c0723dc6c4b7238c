//! [`SecretRecipient`]: a public key that the secrets of an environment are encrypted to, with the name that `recipients.txt`
//! gives it.
//!
//! An apply sends all of them with the settings, so that a page of the console encrypts for the operators too. [`find_added`]
//! returns those that a change adds: their holders can read every secret that is encrypted afterwards. [`fingerprint()`]
//! identifies a recipient in the header of an age file. Whether a text is a recipient at all is decided by `crate::secrets`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Digest;

/// Maximum number of recipients of an environment.
pub const RECIPIENTS: usize = 200;
/// Maximum length of a recipient: that of an RSA key of 16384 bits, or of a post-quantum recipient.
pub const RECIPIENT_LENGTH: usize = 4096;
/// Maximum length of a recipient's name, in characters.
pub const NAME_LENGTH: usize = 80;

/// A public key that secrets are encrypted to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretRecipient {
    /// The recipient, without a comment: `age1...`, `ssh-ed25519 AAAA...`.
    #[schema(max_length = 4096)]
    pub recipient: String,
    /// The comment that `recipients.txt` has for it, such as the name of an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 80)]
    pub name: Option<String>,
}

impl SecretRecipient {
    /// Returns the fingerprint.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.recipient)
    }

    /// Returns the recipient as a line: `age1... # Ann`. Two recipients never have the same line.
    pub fn to_line(&self) -> String {
        match &self.name {
            Some(name) => format!("{} # {name}", self.recipient),
            None => self.recipient.clone(),
        }
    }

    /// Describes the recipient for a message: its beginning, name and fingerprint.
    pub fn describe(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
        format!("`{}` ({name}fingerprint {})", shorten_recipient(&self.recipient), self.fingerprint())
    }
}

/// Returns the beginning of a recipient, to recognise it by.
pub fn shorten_recipient(recipient: &str) -> String {
    let cut: String = recipient.chars().take(24).collect();
    if recipient.chars().count() > 24 { format!("{cut}...") } else { cut }
}

/// Returns a recipient without a comment. Age recipients may be written in upper case (for a QR code) and are the same.
pub fn bare_recipient(text: &str) -> String {
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    match words.next() {
        Some(key) if first.starts_with("ssh-") => format!("{first} {key}"),
        _ => first.to_ascii_lowercase(),
    }
}

/// Returns the fingerprint of a recipient: the first 16 hexadecimal digits of the SHA-256 of its text, without a comment. A text
/// that is not a recipient has a fingerprint as well.
pub fn fingerprint(recipient: &str) -> String {
    // The digest's own text, after its `sha256:`.
    Digest::of_bytes(bare_recipient(recipient).as_bytes()).as_str().chars().skip(7).take(16).collect()
}

/// Returns the recipients that a change adds.
pub fn find_added(before: &BTreeSet<SecretRecipient>, after: &BTreeSet<SecretRecipient>) -> Vec<SecretRecipient> {
    let had: BTreeSet<&str> = before.iter().map(|one| one.recipient.as_str()).collect();
    after.iter().filter(|one| !had.contains(one.recipient.as_str())).cloned().collect()
}
