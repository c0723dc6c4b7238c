//! Checks of a finished message: lines that mail can carry, and attachments that the environment allows.
//!
//! Composed and raw messages pass the same checks. A NUL, a line of more than 998 bytes, a forbidden file at any depth, or messages
//! nested more than 20 deep are [`Malformed`]. Nothing is removed or rewritten. Without forbidden kinds, files are not looked at.

use std::{borrow::Cow, collections::HashSet};

use mail_parser::{Message, MessagePart, MimeHeaders as _};

use super::{
    Malformed,
    field::split_header,
    file_names::{find_stated_name, readings},
    part_limit::{PARTS, parse_bounded},
};
use crate::model::delivery::Attachments;

/// The depth to which files that are messages may be nested.
const ENCLOSED: usize = 20;
/// The number of names of files that a message may state: a name is stated in up to four ways, some of which are read as several.
const NAMES: usize = 16 * PARTS;
/// The number of bytes that a line may have, without its end (RFC 5322, 2.1.1).
const LINE_LIMIT: usize = 998;

/// The remedy for an attachment that is not allowed.
pub(super) const FORBIDDEN: &str = "`delivery.attachments.forbidden` of the environment lists the kinds.";

/// Refuses NUL and lines that are too long: the next server might fold such a line, which changes the text, or refuse the
/// message.
pub(super) fn check_lines(message: &[u8]) -> Result<(), Malformed> {
    if memchr::memchr(0, message).is_some() {
        return Err(Malformed::new("the message has a NUL character (U+0000), which mail must not have (RFC 5322)")
            .remedy("Remove it, or encode that part as base64."));
    }
    let (fields, body_at) = split_header(message)?;
    if let Some(field) = fields.iter().find(|field| field.as_str().lines().any(|line| line.len() > LINE_LIMIT)) {
        return Err(Malformed::new(format!(
            "a line of the header `{}` has more than {LINE_LIMIT} bytes, which mail must not have (RFC 5322)",
            field.name().chars().take(70).collect::<String>()
        ))
        .remedy("Shorten it."));
    }
    let mut from = body_at;
    let ends = memchr::memchr2_iter(b'\r', b'\n', &message[body_at..]).map(|at| at + body_at);
    for end in ends.chain([message.len()]) {
        if end - from > LINE_LIMIT {
            return Err(Malformed::new(format!(
                "a line has more than {LINE_LIMIT} bytes, which mail must not have (RFC 5322)"
            ))
            .remedy("Encode that part as quoted-printable or base64."));
        }
        from = end + 1;
    }
    Ok(())
}

/// Refuses a message with a file that the environment forbids, also in a message that is attached.
pub(super) fn check_attachments(message: &Message<'_>, attachments: &Attachments) -> Result<(), Malformed> {
    if attachments.forbidden.is_empty() { Ok(()) } else { check_files(message, attachments, 0, &mut 0) }
}

/// Checks the files of one message. `count` is the number of parts in the messages that contain it.
fn check_files(
    message: &Message<'_>,
    attachments: &Attachments,
    depth: usize,
    count: &mut usize,
) -> Result<(), Malformed> {
    if depth > ENCLOSED {
        return Err(Malformed::new(format!("attached messages are nested more than {ENCLOSED} deep")));
    }
    check_stated_names(message.raw_message(), attachments)?;
    // Without recursion: parts may be nested a thousand deep.
    let mut messages = vec![message];
    while let Some(message) = messages.pop() {
        *count += message.parts.len();
        if *count > PARTS {
            return Err(Malformed::new(format!("the message has more than {PARTS} parts")));
        }
        let files: HashSet<usize> =
            message.attachments.iter().filter_map(|index| usize::try_from(*index).ok()).collect();
        for (index, part) in message.parts.iter().enumerate() {
            let is_file = files.contains(&index);
            if let Some(rule) = find_rule(part, is_file, attachments) {
                return Err(forbidden(rule));
            }
            if let Some(within) = part.message() {
                // Others are a part of the bytes that were checked.
                if matches!(within.raw_message, Cow::Owned(_)) {
                    check_stated_names(within.raw_message(), attachments)?;
                }
                messages.push(within);
            } else if is_file
                && is_encoded_message(part)
                && let Some(within) = parse_bounded(part.contents())?
            {
                check_files(&within, attachments, depth + 1, count)?;
            }
        }
    }
    Ok(())
}

/// Checks the names that fields of a message state in any way, whatever the parser makes of them.
fn check_stated_names(message: &[u8], attachments: &Attachments) -> Result<(), Malformed> {
    let mut count = 0;
    let refused = find_stated_name(message, |name| {
        count += 1;
        if count > NAMES {
            return Some(Malformed::new(format!("the message states more than {NAMES} names of files")));
        }
        attachments.rule_against(name, "").map(forbidden)
    });
    refused.map_or(Ok(()), Err)
}

/// Returns the refusal of an attachment by a rule.
fn forbidden(rule: &str) -> Malformed {
    Malformed::new(format!("the environment forbids attachments of this kind (`{}`)", rule.escape_debug()))
        .remedy(FORBIDDEN)
}

/// Returns the rule that forbids a part, under any of its names: mail programs differ in which of them they show.
fn find_rule<'a>(part: &MessagePart<'_>, is_file: bool, attachments: &'a Attachments) -> Option<&'a str> {
    let kind = part.content_type();
    let attributes = [part.content_disposition(), kind].into_iter().flatten();
    let attributes = attributes.filter_map(|field| field.attributes()).flatten();
    let names = attributes.filter(|attribute| {
        let name = attribute.name.to_ascii_lowercase();
        name.starts_with("name") || name.starts_with("filename")
    });
    let media_type = kind
        .filter(|_| is_file)
        .map_or(String::new(), |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
    let mut names = names.map(|attribute| attribute.value.as_ref()).chain(is_file.then_some(""));
    names.find_map(|name| readings(name).iter().find_map(|name| attachments.rule_against(name, &media_type)))
}

/// Returns true if a file is a message, by its name or type, that the parser left encoded.
fn is_encoded_message(part: &MessagePart<'_>) -> bool {
    part.attachment_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(".eml"))
        || part.content_type().is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("message"))
}
