//! Raw messages (RFC 5322) as programs submit them.
//!
//! [`read_raw_message`] removes `Bcc`, `Resent-` and `X-Mailwright-` fields and those that only the receiving side or the transport
//! writes, converts the header to ASCII and line ends to CRLF, adds `Date` if it is missing and `Message-ID` if it is missing or
//! unusable, and removes signatures that this breaks. The rest stays as it is. A header that is missing or ambiguous (two `From`,
//! `Resent-To` without an envelope), or a message that fails a check, is [`Malformed`]. [`strip_byte_order_mark`] decodes a message
//! that a program saved in another encoding. Nothing here decides which profile sends the message.

use jiff::Timestamp;
use lettre::message::header;

use super::{
    Field, Malformed,
    address_list::{self, AddressList},
    ascii_field::ascii_field,
    content::{StoredContent, distinct_recipients, parse_entries, replace_header},
    content_check::{check_attachments, check_lines},
    dkim,
    field::split_header,
    part_limit::parse_bounded,
};
use crate::{model::delivery::Attachments, text};

/// The number of fields that the header of a raw message may have.
const FIELDS: usize = 2000;

/// Headers that are removed from a raw message: those that only the receiving side writes (RFC 5321, 4.4; RFC 8601;
/// RFC 7208; RFC 8617), because a submitted one would be forged, and `Bcc`.
pub(crate) const DROPPED: [&str; 12] = [
    "bcc",
    "return-path",
    "received",
    "authentication-results",
    "received-spf",
    "arc-authentication-results",
    "arc-message-signature",
    "arc-seal",
    "delivered-to",
    "envelope-to",
    "x-original-to",
    "apparently-to",
];

/// Headers that occur at most once in a message (RFC 5322, 3.6).
const ONCE: [&str; 11] =
    ["from", "to", "cc", "bcc", "subject", "date", "message-id", "sender", "reply-to", "mime-version", "content-type"];

/// Reads a raw message (RFC 5322) and removes the fields that only the transport and the sender write. `envelope` names the
/// recipients if they are not those of the header; `message_id` and `at` are used if the message has none.
pub fn read_raw_message(
    bytes: &[u8],
    envelope: &[String],
    message_id: &str,
    at: Timestamp,
    attachments: &Attachments,
) -> Result<StoredContent, Malformed> {
    // What is checked is what leaves: a lone carriage return becomes a line end on the way.
    let has_lone_return = has_lone_return(bytes);
    let ended = has_lone_return.then(|| end_lines(bytes));
    let bytes = ended.as_deref().unwrap_or(bytes);
    let (before, body_at) = split_header(bytes)?;
    // With recipients of its own, a text without a header is a message; otherwise its header is behind the empty line.
    if before.is_empty() && envelope.is_empty() && !bytes.is_empty() {
        return Err(Malformed::new(
            "the message begins with an empty line, which ends its header before the first field",
        )
        .remedy("Remove the empty lines at the beginning of the message."));
    }
    if before.len() > FIELDS {
        return Err(Malformed::new(format!("the message's header has {} fields; {FIELDS} are allowed", before.len())));
    }
    let parsed = parse_bounded(bytes)?.ok_or_else(|| Malformed::new("the message has no header (RFC 5322)"))?;
    check_lines(bytes)?;
    for name in ONCE {
        if before.iter().filter(|field| field.is(name)).count() > 1 {
            return Err(Malformed::new(format!("the header `{name}` occurs more than once")));
        }
    }
    check_attachments(&parsed, attachments)?;
    let recipients = if envelope.is_empty() {
        header_recipients(&before)?
    } else {
        distinct_recipients(parse_entries(envelope, "recipients")?.into_iter().map(|entry| entry.address))?
    };
    let from = header_sender(&before)?;
    let own_id = parsed.message_id().filter(|id| id.bytes().all(|b| b.is_ascii_graphic()) && id.len() < 250);
    let message_id = own_id.map_or_else(|| message_id.to_owned(), |id| format!("<{id}>"));
    let is_kept = |field: &Field| {
        !(field.is_any(&DROPPED)
            || field.starts_with("resent-")
            || field.starts_with("x-mailwright-")
            || (from.is_none() && field.is("from")))
    };
    let mut fields = Vec::with_capacity(before.len());
    for field in before.iter().filter(|field| is_kept(field)) {
        fields.extend(ascii_field(field.clone().with_plain_name())?);
    }
    if own_id.is_none() {
        fields.retain(|field| !field.is("message-id"));
        fields.push(Field::new("Message-ID", &message_id));
    }
    if !fields.iter().any(|field| field.is("date")) {
        fields.push(Field::encoded(header::Date::from(std::time::SystemTime::from(at))));
    }
    let subject: String = parsed.subject().unwrap_or_default().chars().filter(|c| !c.is_control()).take(1000).collect();
    drop(parsed);
    // A signer sees CRLF line ends, whatever the file has; a lone carriage return is not a line end to it.
    dkim::remove_broken(&mut fields, &before, has_lone_return);
    let content = replace_header(&fields, bytes.to_vec(), body_at);
    check_lines(&content)?;
    Ok(StoredContent { content, recipients, subject, message_id, from })
}

/// Returns true if a message has a carriage return that is not followed by a line feed.
fn has_lone_return(message: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', message).any(|at| message.get(at + 1) != Some(&b'\n'))
}

/// Replaces every line end and every lone carriage return behind the header by CRLF.
fn end_lines(message: &[u8]) -> Vec<u8> {
    // A header with a lone carriage return stays as it is, and is refused.
    let body_at = split_header(message).map_or(message.len(), |(_, body_at)| body_at);
    let mut ended = Vec::with_capacity(message.len() + message.len() / 64);
    ended.extend_from_slice(&message[..body_at]);
    let mut rest = &message[body_at..];
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        ended.extend_from_slice(&rest[..at]);
        ended.extend_from_slice(b"\r\n");
        rest = rest[at..].strip_prefix(b"\r\n").unwrap_or(&rest[at + 1..]);
    }
    ended.extend_from_slice(rest);
    ended
}

/// Removes the byte order mark of a raw message, and converts UTF-16, which PowerShell writes when it redirects output, to
/// UTF-8. UTF-16 with characters beyond ASCII is refused, because the message then declares wrong character sets.
pub fn strip_byte_order_mark(mut bytes: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
        return Ok(bytes);
    }
    let Some(encoding) = text::detect_encoding(&bytes) else { return Ok(bytes) };
    match text::decode(&bytes) {
        Ok(text) if text.is_ascii() => Ok(text.into_bytes()),
        _ => Err(Malformed::new(format!("the message is {encoding}"))
            .remedy("Save the unchanged bytes of the message. In PowerShell, let the program write the file instead of redirecting with `>`.")),
    }
}

/// Returns the recipients that a header names.
fn header_recipients(fields: &[Field]) -> Result<Vec<String>, Malformed> {
    if fields.iter().any(|field| field.is_any(&["resent-to", "resent-cc", "resent-bcc"])) {
        return Err(Malformed::new("the message was resent (`Resent-To`), so its header does not name the recipients")
            .remedy("Name the recipients: the query parameter `recipients`, or `--to`."));
    }
    let mut addresses = Vec::new();
    for name in ["to", "cc", "bcc"] {
        for field in fields.iter().filter(|field| field.is(name)) {
            addresses.extend(parse_addresses(field)?.entries.into_iter().map(|entry| entry.address));
        }
    }
    distinct_recipients(addresses.into_iter())
}

/// Returns the sender that a header names: the address, and the display name if there is one.
fn header_sender(fields: &[Field]) -> Result<Option<(String, Option<String>)>, Malformed> {
    let Some(field) = fields.iter().find(|field| field.is("from")) else { return Ok(None) };
    let mut entries = parse_addresses(field)?.entries;
    if entries.len() > 1 {
        return Err(Malformed::new("`From` names more than one sender"));
    }
    Ok(entries.pop().map(|entry| (entry.address.to_string(), entry.name)))
}

/// Parses the addresses of a field.
fn parse_addresses(field: &Field) -> Result<AddressList, Malformed> {
    let name = field.name();
    address_list::parse(&field.unfolded())
        .map_err(|error| Malformed::new(format!("`{name}` cannot be read: {error}")).remedy(error.remedy))
}
