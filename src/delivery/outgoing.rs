//! A message as it leaves: the stored content with the header fields that depend on the profile and on the recipients
//! that still wait.
//!
//! [`OutgoingMessage::build`] sets `From`, the tag of the subject and, for transports without an envelope, the recipients. It
//! removes signatures that this breaks. If the environment writes to one address instead, that address is the only recipient, and
//! the original ones are in `X-Mailwright-Recipient`. A header that cannot be split, or an address that cannot be parsed, is
//! returned as [`Malformed`], and the message fails. It does not connect and does not send.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{
    mime::{
        Field, Malformed,
        address_list::{self, Entry},
        content::replace_header,
        dkim,
        field::{decode_words, split_header},
        raw_message::DROPPED,
    },
    model::{address::Address, delivery::RecipientGuard},
};

/// Headers that name the sender. They are replaced unless they name the address of the profile.
const SENDER_FIELDS: [&str; 2] = ["from", "sender"];

/// A message as it leaves.
#[derive(Debug)]
pub struct OutgoingMessage {
    /// The header and the body.
    pub bytes: Bytes,
    /// The recipients of this attempt: those that still wait, or the one address that the environment writes to instead.
    pub recipients: Vec<String>,
    /// True if the environment replaces all recipients by one address.
    pub is_rewritten: bool,
    /// True if addresses that are not recipients of this attempt were removed from `To` or `Cc`.
    pub is_narrowed: bool,
}

/// Properties of a message that are only known when it is sent.
#[derive(Debug)]
pub struct SendOptions<'a> {
    /// The address of the profile.
    pub address: &'a str,
    /// The display name for it.
    pub name: Option<&'a str>,
    /// The recipients that the environment may write to.
    pub guard: &'a RecipientGuard,
    /// True if the transport has no envelope and reads the recipients from the header, which then names exactly them.
    pub header_is_envelope: bool,
}

impl OutgoingMessage {
    /// Completes stored content. `recipients` are those that still wait.
    pub fn build(content: Vec<u8>, recipients: &[String], options: &SendOptions<'_>) -> Result<Self, Malformed> {
        let (mut fields, body_at) = split_header(&content)?;
        let before = fields.clone();
        // A message that an earlier version accepted may have them.
        fields = fields.into_iter().map(Field::with_plain_name).collect();
        let address = Address::parse(options.address)
            .map_err(|error| Malformed::new(format!("the address of the profile is malformed: {error}")))?;
        set_sender(&mut fields, &address, options.name);
        if let Some(tag) = &options.guard.subject_tag {
            tag_subject(&mut fields, tag);
        }
        let mut recipients = recipients.to_vec();
        if let Some(instead) = &options.guard.rewrite_to {
            fields.retain(|field| !field.is_any(&["to", "cc"]));
            fields.push(Field::new("To", instead));
            for recipient in &recipients {
                fields.push(Field::unstructured("X-Mailwright-Recipient", recipient));
            }
            recipients = vec![instead.clone()];
        }
        let is_narrowed = options.header_is_envelope && restrict_recipients(&mut fields, &recipients)?;
        dkim::remove_broken(&mut fields, &before, false);
        let is_rewritten = options.guard.rewrite_to.is_some();
        let bytes = replace_header(&fields, content, body_at).into();
        Ok(Self { bytes, recipients, is_rewritten, is_narrowed })
    }
}

/// Sets `From`, and removes `Sender`, unless they name the address of the profile already: then they stay as they are, so
/// that a signature over them holds.
fn set_sender(fields: &mut Vec<Field>, address: &Address, name: Option<&str>) {
    let is_own = |field: &Field| {
        let list = address_list::parse(&field.unfolded()).unwrap_or_default();
        matches!(list.entries.as_slice(), [entry] if entry.address == *address)
    };
    fields.retain(|field| !field.is_any(&SENDER_FIELDS) || is_own(field));
    if !fields.iter().any(|field| field.is("from")) {
        let from = Entry::new(name.map(str::to_owned), address.clone());
        fields.insert(0, address_list::field("From", &[from]));
    }
}

/// Rewrites the fields that name recipients so that they name exactly these, each once: those of `To` and `Cc` stay there,
/// the others are added as `Bcc`, which the transport removes. Returns true if addresses were removed.
fn restrict_recipients(fields: &mut Vec<Field>, recipients: &[String]) -> Result<bool, Malformed> {
    let mut waiting = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let address = Address::parse(recipient).map_err(|error| Malformed::new(format!("a recipient: {error}")))?;
        waiting.push(address);
    }
    let mut missing: Vec<(String, Address)> = Vec::new();
    let mut seen = HashSet::new();
    for address in waiting {
        if seen.insert(address.key()) {
            missing.push((address.key(), address));
        }
    }
    let mut is_narrowed = false;
    let mut kept = Vec::with_capacity(fields.len() + 1);
    for field in fields.drain(..) {
        if field.starts_with("resent-") || field.is_any(&DROPPED) {
            continue;
        }
        if !field.is_any(&["to", "cc"]) {
            kept.push(field);
            continue;
        }
        // A field that cannot be parsed was accepted by an earlier version; its addresses are not used.
        let list = address_list::parse(&field.unfolded()).unwrap_or_default();
        let count = list.entries.len();
        let mut entries = list.entries;
        entries.retain(|entry| {
            let key = entry.address.key();
            let found = missing.iter().position(|(own, _)| *own == key);
            found.map(|found| missing.remove(found)).is_some()
        });
        if entries.len() == count && list.is_plain && count > 0 {
            kept.push(field);
            continue;
        }
        is_narrowed |= entries.len() < count;
        if !entries.is_empty() {
            kept.push(address_list::field(field.name(), &entries));
        }
    }
    if !missing.is_empty() {
        let hidden: Vec<Entry> = missing.into_iter().map(|(_, address)| Entry::new(None, address)).collect();
        kept.push(address_list::field("Bcc", &hidden));
    }
    *fields = kept;
    Ok(is_narrowed)
}

/// Sets a tag before the subject.
fn tag_subject(fields: &mut Vec<Field>, tag: &str) {
    match fields.iter_mut().find(|field| field.is("subject")) {
        Some(field) if tag.is_ascii() => *field = Field::new("Subject", &format!("{tag} {}", field.value())),
        // A space between two encoded words is not shown, so tag and subject are encoded together.
        Some(field) => {
            *field = Field::unstructured("Subject", &format!("{tag} {}", decode_words(&field.unfolded())));
        }
        None => fields.push(Field::unstructured("Subject", tag)),
    }
}

/// Returns whether a message needs SMTPUTF8, because an address or the header is not ASCII, and 8BITMIME, because any part
/// of it is not.
pub fn required_extensions(bytes: &[u8], recipients: &[String], from: &str) -> (bool, bool) {
    let header_end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let utf8 = needs_smtputf8(from)
        || recipients.iter().any(|recipient| needs_smtputf8(recipient))
        || !bytes[..header_end].is_ascii();
    (utf8, !bytes.is_ascii())
}

/// Returns true if an address can only be used with a server that offers SMTPUTF8 (RFC 6531).
pub fn needs_smtputf8(address: &str) -> bool {
    !address.is_ascii()
}
