//! [`SecretField`]: a field for a secret on the form of a profile; [`RecipientsView`]: the recipients that its value is encrypted
//! for.
//!
//! A value arrives as an age file that the browser made (`seal.js`); the field that is typed into has no name, so that no browser
//! posts it. No value is ever shown.

use super::profile_entry::Entry;
use crate::{
    console::page::shown,
    model::{SecretRecipient, secret_recipient::shorten_recipient},
    service::{SealingRecipients, Service},
};

/// The reasons for which `seal.js` does not seal a value.
pub(super) const REASONS: &[&str] = &[
    "insecure",
    "recipient",
    "mixed",
    "library",
    "failed",
    "destination",
    "empty",
    "too-long",
    "utf-16",
    "keystore",
    "der",
    "not-text",
    "age-file",
    "merge-markers",
    "pointer",
    "control",
    "blank",
    "mark",
    "encrypted",
    "pem-in-base64",
    "kubernetes",
    "web-key",
    "base64",
    "masked",
    "private-key",
    "json",
    "secret-id",
    "line-breaks",
    "invisible-end",
    "blank-end",
    "assignment",
    "no-certificate",
    "no-key",
    "encrypted-key",
    "openssh-key",
];

/// A field for a secret of one kind.
pub(super) struct SecretField {
    pub(super) kind: &'static str,
    pub(super) destination: &'static str,
    pub(super) when: &'static str,
    /// The age file that was made before, if the form is shown again.
    pub(super) sealed: String,
}

/// The recipients that a value of the form is encrypted for.
pub(super) struct RecipientsView {
    /// One recipient a line, as `seal.js` reads them.
    pub(super) lines: String,
    /// That of the service first.
    pub(super) sealed: Vec<RecipientRow>,
    pub(super) left_out: Vec<RecipientRow>,
    pub(super) is_known: bool,
    /// True if an operator could encrypt the value again.
    pub(super) has_operator: bool,
}

/// A recipient.
pub(super) struct RecipientRow {
    /// The name in `recipients.txt`, or the beginning of the recipient.
    pub(super) name: String,
    pub(super) fingerprint: String,
}

impl RecipientsView {
    pub(super) fn new(recipients: &SealingRecipients) -> Self {
        let row = |one: &SecretRecipient| RecipientRow {
            name: shown(one.name.as_deref().unwrap_or(&shorten_recipient(&one.recipient))),
            fingerprint: one.fingerprint(),
        };
        let lines: Vec<&str> = recipients.sealed.iter().map(|one| one.recipient.as_str()).collect();
        Self {
            lines: lines.join("\n"),
            sealed: recipients.sealed.iter().map(row).collect(),
            left_out: recipients.left_out.iter().map(row).collect(),
            is_known: recipients.is_known,
            has_operator: recipients.has_operator(),
        }
    }
}

/// Returns the fields for the secrets of a provider.
pub(super) fn secret_fields(service: &Service, entry: &Entry, provider: &str) -> Vec<SecretField> {
    let field = |kind: &'static str, destination: &'static str, when: &'static str| {
        // Nothing but an age file is shown again, and only if it would be accepted.
        let sealed = Some(entry.sealed(kind)).filter(|text| service.is_sealed_for_page(text));
        SecretField { kind, destination, when, sealed: sealed.unwrap_or_default() }
    };
    match provider {
        "smtp" => vec![
            field("password", "smtp", "when-password"),
            field("client-secret", "smtp entra", "when-oauth when-client-secret"),
            field("certificate", "smtp entra", "when-oauth when-certificate"),
        ],
        "microsoft-graph-direct" => {
            vec![
                field("client-secret", "entra", "when-client-secret"),
                field("certificate", "entra", "when-certificate"),
            ]
        }
        _ => Vec::new(),
    }
}
