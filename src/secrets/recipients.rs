//! [`Recipients`]: the file `recipients.txt`, with the public keys that an environment's secrets are encrypted to, one per
//! line, as `age -R` reads it.
//!
//! A line that is not a recipient is an error with its number, and so is a file without one. A private key in the file is an
//! error that does not quote it. A plugin is started only to encrypt. Headers name recipients by their [`fingerprint()`]. The
//! comment above a recipient, or behind an SSH key, is its name: [`Recipients::to_settings`] returns both, as the service stores
//! them.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write as _,
};

use age::plugin::RecipientPluginV1;
use age_core::format::{FileKey, Stanza};

use super::{
    ValueId,
    header::{DESTINATION_TAG, VALUE_TAG},
};
use crate::{
    model::{
        Digest, EnvironmentName, SecretRecipient,
        secret_detection::{detect, mentions_age_identity},
        secret_recipient::{NAME_LENGTH, bare_recipient, fingerprint},
    },
    text::is_hidden,
};

/// The recipients of an environment's secrets.
pub struct Recipients {
    entries: Vec<Entry>,
}

struct Entry {
    text: String,
    fingerprint: String,
    name: Option<String>,
    recipient: Box<dyn age::Recipient + Send + Sync>,
}

/// Returns true if a text is a native age recipient (`age1...`), as every service has one.
pub fn is_native_recipient(text: &str) -> bool {
    text.parse::<age::x25519::Recipient>().is_ok()
}

/// Returns true for a recipient that only a plugin of age can encrypt to.
pub fn needs_plugin(text: &str) -> bool {
    let is_built_in = text.starts_with("ssh-")
        || is_native_recipient(text)
        || text.parse::<age::tag::Recipient>().is_ok()
        || text.parse::<age::tagpq::Recipient>().is_ok();
    !is_built_in
}

/// Returns the text of a recipients file, each recipient with its comment.
pub fn render_recipients<'a>(
    environment: &EnvironmentName,
    recipients: impl IntoIterator<Item = (Option<&'a str>, &'a str)>,
) -> String {
    let mut text = format!(
        "# Recipients of the secrets of `{environment}`, one per line: that of the service, and those of the operators.\n\
         # After a change: mailwright secrets rekey {environment}\n"
    );
    for (comment, recipient) in recipients {
        // Writing to a String cannot fail. A blank line keeps a comment from the recipient before it.
        text.push('\n');
        if let Some(comment) = comment {
            let _ = writeln!(text, "# {comment}");
        }
        let _ = writeln!(text, "{}", recipient.trim());
    }
    text
}

/// The reason why a recipients file is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientsError {
    /// A line is not a recipient.
    #[error("line {line} is not a recipient: {why}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// The column that the line's text begins in, from 1.
        column: usize,
        /// The cause.
        why: String,
    },
    /// The file holds no recipient.
    #[error("it names no recipient")]
    Empty,
}

impl Recipients {
    /// Parses a recipients file. Empty lines and lines that begin with `#` are ignored; a duplicate counts once. Plugins prompt the
    /// user by `callbacks`.
    pub fn parse(text: &str, callbacks: &impl age::Callbacks) -> Result<Self, RecipientsError> {
        let mut entries: Vec<Entry> = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut comment = "";
        for (index, line) in text.lines().enumerate() {
            let column = 1 + line.chars().take_while(|c| c.is_whitespace()).count();
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                comment = line;
                continue;
            }
            let wrong = |why| RecipientsError::Line { line: index + 1, column, why };
            let recipient = parse_recipient(line, callbacks).map_err(wrong)?;
            let fingerprint = fingerprint(line);
            if !entries.iter().any(|entry| entry.fingerprint == fingerprint) {
                let of_key: Vec<&str> = line.split_whitespace().skip(2).collect();
                let name = find_name(comment).or_else(|| find_name(&of_key.join(" ")));
                entries.push(Entry { text: line.to_owned(), fingerprint, name, recipient });
            }
            comment = "";
        }
        if entries.is_empty() { Err(RecipientsError::Empty) } else { Ok(Self { entries }) }
    }

    /// Returns the recipients with their names, as the service stores them.
    pub fn to_settings(&self) -> BTreeSet<SecretRecipient> {
        let stored =
            |entry: &Entry| SecretRecipient { recipient: bare_recipient(&entry.text), name: entry.name.clone() };
        self.entries.iter().map(stored).collect()
    }

    /// Returns the recipients as the file states them.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.text.as_str())
    }

    /// Returns the recipients' fingerprints, in the file's order.
    pub fn fingerprints(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.fingerprint.as_str())
    }
}

/// Returns the name in a comment: printable, short, and not a key that was commented out.
fn find_name(comment: &str) -> Option<String> {
    let printable: String = comment.chars().map(|c| if c.is_control() || is_hidden(c) { ' ' } else { c }).collect();
    let words = printable.trim_start_matches(['#', ' ']).trim();
    let name: String = words.chars().take(NAME_LENGTH).collect();
    let name = name.trim_end();
    let is_key = |text: &str| mentions_age_identity(text.as_bytes()) || detect(text).is_some();
    (!name.is_empty() && !is_key(comment) && !is_key(name)).then(|| name.to_owned())
}

/// Parses a line as each kind of recipient in turn. A private key is reported without quoting it.
fn parse_recipient(
    line: &str,
    callbacks: &impl age::Callbacks,
) -> Result<Box<dyn age::Recipient + Send + Sync>, String> {
    if mentions_age_identity(line.as_bytes()) || line.contains("PRIVATE KEY") || line.starts_with("AGE-PLUGIN-") {
        return Err(
            "it is an identity, the private half; remove it from the repository and do not use it again".to_owned()
        );
    }
    if line.chars().any(char::is_control) {
        return Err("there are control characters in it".to_owned());
    }
    if line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-") {
        let key = line.parse::<age::ssh::Recipient>().map_err(|_| {
            "only whole ssh-ed25519 keys, and ssh-rsa keys of 2048 to 16384 bits, can be recipients".to_owned()
        })?;
        // age reads a key as far as it goes. What follows it without a space would be part of the fingerprint.
        return if line.split_whitespace().take(2).eq(key.to_string().split_whitespace()) {
            Ok(Box::new(key))
        } else {
            Err("the SSH key is followed by something that does not belong to it".to_owned())
        };
    }
    if let Ok(recipient) = line.parse::<age::x25519::Recipient>() {
        return Ok(Box::new(recipient));
    }
    if let Ok(recipient) = line.parse::<age::tag::Recipient>() {
        return Ok(Box::new(recipient));
    }
    if let Ok(recipient) = line.parse::<age::tagpq::Recipient>() {
        return Ok(Box::new(recipient));
    }
    if let Ok(recipient) = line.parse::<age::plugin::Recipient>() {
        return Ok(Box::new(Plugin { recipient, callbacks: callbacks.clone() }));
    }
    Err("write an age recipient (`age1...`), an SSH public key, or a plugin's recipient".to_owned())
}

/// A plugin's recipient. The plugin is started only to seal a value: a command that only reads the file, such as `check`, does
/// not need it. `age1pq1...` is a recipient of the plugin `pq`, which comes with age 1.3.
struct Plugin<C: age::Callbacks> {
    recipient: age::plugin::Recipient,
    callbacks: C,
}

impl<C: age::Callbacks> age::Recipient for Plugin<C> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let recipients = std::slice::from_ref(&self.recipient);
        RecipientPluginV1::new(self.recipient.plugin(), recipients, &[], self.callbacks.clone())
            .map_err(age::EncryptError::PluginResolve)?
            .wrap_file_key(file_key)
    }
}

/// All recipients of a file, with the stanza that states the value's id, its destination and the recipients.
pub(super) struct MarkedRecipients<'a> {
    pub(super) recipients: &'a Recipients,
    pub(super) value_id: &'a ValueId,
    pub(super) sealed_for: Option<&'a Digest>,
}

impl age::Recipient for MarkedRecipients<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let mut stanzas = Vec::new();
        let mut labels: Option<HashSet<String>> = None;
        for entry in &self.recipients.entries {
            let (own, own_labels) = entry.recipient.wrap_file_key(file_key)?;
            match &labels {
                None => labels = Some(own_labels),
                Some(labels) if *labels == own_labels => {}
                Some(labels) => {
                    return Err(age::EncryptError::IncompatibleRecipients {
                        l_labels: labels.clone(),
                        r_labels: own_labels,
                    });
                }
            }
            stanzas.extend(own);
        }
        let tag = if self.sealed_for.is_some() { DESTINATION_TAG } else { VALUE_TAG };
        let mut args = vec![self.value_id.as_str().to_owned()];
        args.extend(self.sealed_for.map(|digest| digest.as_str().to_owned()));
        args.extend(self.recipients.fingerprints().map(str::to_owned));
        stanzas.push(Stanza { tag: tag.to_owned(), args, body: Vec::new() });
        Ok((stanzas, labels.unwrap_or_default()))
    }
}
