//! Rules for the recipients of secrets: few, short, printable, and each once.
//!
//! They are shown on pages and written into a list of lines there, so that a line end in one would add another. Whether a text is
//! a recipient is checked where age is known: by the loader of files, and by the service.

use std::collections::BTreeSet;

use super::{Violation, Violations};
use crate::{
    model::{
        Code,
        secret_detection::{detect, mentions_age_identity},
        secret_recipient::{NAME_LENGTH, RECIPIENT_LENGTH, RECIPIENTS, SecretRecipient, bare_recipient},
    },
    text::is_hidden,
};

/// Checks the recipients of an environment's secrets.
pub fn check_secret_recipients(recipients: &BTreeSet<SecretRecipient>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut found = Violations::of_settings("/secretRecipients", &mut violations);
    if recipients.len() > RECIPIENTS {
        let message = format!("there are {} recipients, and at most {RECIPIENTS} are allowed", recipients.len());
        found.add("", Code::RecipientsInvalid, message, "Remove those of persons who do not operate this environment.");
        return violations;
    }
    let mut seen = BTreeSet::new();
    for (index, SecretRecipient { recipient, name }) in recipients.iter().enumerate() {
        let is_plain = recipient.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let message = if mentions_age_identity(recipient.as_bytes()) {
            "the recipient is an identity, the private half: do not use it again"
        } else if recipient.len() > RECIPIENT_LENGTH {
            "the recipient is too long"
        } else if recipient.is_empty() || !is_plain || bare_recipient(recipient) != *recipient {
            "the recipient is not written as `age1...` or `ssh-... AAAA...`, without a comment"
        } else if !seen.insert(recipient) {
            "the recipient is there twice"
        } else if name.as_ref().is_some_and(|name| !is_name(name)) {
            "the name of the recipient is too long, or has characters that cannot be shown"
        } else {
            continue;
        };
        found.add(&format!("/{index}"), Code::RecipientsInvalid, message, "Correct recipients.txt, and plan again.");
    }
    violations
}

/// Returns true for a name that can be shown, and does not hold a key.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.trim() == name
        && name.chars().count() <= NAME_LENGTH
        && !name.chars().any(|c| c.is_control() || is_hidden(c))
        && !mentions_age_identity(name.as_bytes())
        && detect(name).is_none()
}
