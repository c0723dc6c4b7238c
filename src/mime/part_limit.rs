//! A limit for the number of parts: the parser needs far more memory for a part than the part has bytes.
//!
//! [`parse_bounded`] refuses a message with more than [`PARTS`] parts: before it is parsed if its delimiters, its declared boundaries
//! or its lines that begin with `Content-Type` are too many, otherwise after it. All of these count in text as well, so a message
//! that quotes more than [`PARTS`] such lines, or very many delimiters, is refused too. A message without a header is none.

use mail_parser::{Message, MessagePart};

use super::Malformed;
use crate::text;

/// The number of parts that a message may have, those of messages within it included.
pub(super) const PARTS: usize = 1000;
/// The number of bytes of a boundary that are compared (RFC 2046, 5.1.1: it has 70 at most).
const BOUNDARY: usize = 70;

/// Parses a message; returns none if it has no header. Fails if the message has more than [`PARTS`] parts.
pub(super) fn parse_bounded(bytes: &[u8]) -> Result<Option<Message<'_>>, Malformed> {
    let too_many = || Malformed::new(format!("the message has more than {PARTS} parts"));
    let is_type = |line: &[u8]| line.get(..12).is_some_and(|name| name.eq_ignore_ascii_case(b"content-type"));
    let types = bytes.split(|byte| *byte == b'\n').filter(|line| is_type(line)).count();
    // Each multipart has one delimiter more than it has parts.
    if types > PARTS || has_more_delimiters(bytes, 2 * PARTS) {
        return Err(too_many());
    }
    let message = mail_parser::MessageParser::default().parse(bytes);
    if message.as_ref().is_some_and(|message| count_parts(message) > PARTS) {
        return Err(too_many());
    }
    Ok(message)
}

/// Counts the parts of a message and of the messages within it.
fn count_parts(message: &Message<'_>) -> usize {
    let (mut count, mut messages) = (0, vec![message]);
    while let Some(message) = messages.pop() {
        count += message.parts.len();
        messages.extend(message.parts.iter().filter_map(MessagePart::message));
    }
    count
}

/// Returns true if the delimiters of parts, `--` and a boundary that the message declares, occur more than `limit` times.
/// They count wherever they are, in a line or in a nested message, because the parser accepts them there.
fn has_more_delimiters(message: &[u8], limit: usize) -> bool {
    let Some(boundaries) = boundaries(message) else { return true };
    if boundaries.is_empty() {
        return false;
    }
    let mut count = 0;
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(&message[at..], b"--") {
        let rest = &message[at + found + 2..];
        // No boundary of the list begins with another one, so the only candidate is the greatest that sorts before `rest`.
        let candidate = boundaries.partition_point(|boundary| boundary.as_slice() <= rest).checked_sub(1);
        let matched = candidate.map(|index| &boundaries[index]).filter(|boundary| rest.starts_with(boundary));
        count += usize::from(matched.is_some());
        if count > limit {
            return true;
        }
        at += found + matched.map_or(1, |boundary| 2 + boundary.len());
    }
    false
}

/// Collects the boundaries that a message declares anywhere, sorted, each up to [`BOUNDARY`] bytes and without those that
/// begin with another one; none if there are more than a message of [`PARTS`] parts can have.
fn boundaries(message: &[u8]) -> Option<Vec<Vec<u8>>> {
    const NAME: &[u8] = b"boundary";
    let mut found: Vec<Vec<u8>> = Vec::new();
    // `u` is the rarest letter of the name.
    for at in memchr::memchr2_iter(b'u', b'U', message) {
        let Some(from) = at.checked_sub(2) else { continue };
        let Some(rest) = message.get(from..).filter(|rest| rest.len() > NAME.len()) else { continue };
        let (name, rest) = rest.split_at(NAME.len());
        if name.eq_ignore_ascii_case(NAME)
            && let Some(boundary) = parameter_value(rest)
            && !boundary.is_empty()
        {
            found.push(boundary);
        }
        if found.len() > 8 * PARTS {
            keep_shortest(&mut found);
            if found.len() > 4 * PARTS {
                return None;
            }
        }
    }
    keep_shortest(&mut found);
    Some(found)
}

/// Sorts texts and removes those that begin with another one.
fn keep_shortest(texts: &mut Vec<Vec<u8>>) {
    texts.sort_unstable();
    texts.dedup_by(|next, kept| next.starts_with(kept));
}

/// Parses the text after the name of a parameter: `=value`, `="value"`, or the first section of an extended or continued
/// parameter (RFC 2231).
fn parameter_value(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|byte| *byte == b'=').filter(|end| *end <= 8)?;
    let mark: Vec<u8> = text[..end].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !mark.iter().all(|byte| matches!(byte, b'*' | b'0')) {
        return None;
    }
    let rest = text[end + 1..].trim_ascii_start();
    let mut value = Vec::new();
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let mut bytes = quoted.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => value.extend(bytes.next()),
                byte => value.push(*byte),
            }
            if value.len() >= BOUNDARY {
                break;
            }
        }
    } else {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
        let end = rest.iter().take(4 * BOUNDARY).position(is_end).unwrap_or(rest.len().min(4 * BOUNDARY));
        value.extend_from_slice(&rest[..end]);
    }
    if mark.last() == Some(&b'*') {
        let text = value.splitn(3, |byte| *byte == b'\'').nth(2).unwrap_or(&value);
        value = text::percent_decode(text);
    }
    value.truncate(BOUNDARY);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found_in_every_notation() {
        let message = b"Content-Type: multipart/mixed; boundary=plain\r\n\r\nBOUNDARY = \"quo\\ted\"; x\r\n\
            boundary*=utf-8''e%78t\r\nboundary*0=first; boundary*1=second\r\nboundary=plainer\r\nboundary of a field";
        let found: Vec<String> =
            boundaries(message).unwrap().into_iter().map(|boundary| String::from_utf8(boundary).unwrap()).collect();
        assert_eq!(found, ["ext", "first", "plain", "quoted"], "`plainer` begins with `plain`");
    }

    #[test]
    fn delimiters_count_wherever_the_parser_accepts_them() {
        let message = |delimiters: &str| format!("Content-Type: multipart/mixed; boundary=-b\r\n\r\n{delimiters}");
        for (delimiters, count) in
            [("---b\r\nx\r\n---b--\r\n", 2), ("in a line ---b and ---bcd\r\n", 2), ("----b\r\n--\r\n", 1), ("", 0)]
        {
            let message = message(delimiters);
            assert!(!has_more_delimiters(message.as_bytes(), count), "{delimiters}");
            assert!(count == 0 || has_more_delimiters(message.as_bytes(), count - 1), "{delimiters}");
        }
    }

    #[test]
    fn parts_are_counted_in_messages_within_the_message() {
        let digest = |count: usize| {
            let parts = "--b\r\n\r\nSubject: x\r\n\r\ntext\r\n".repeat(count);
            format!("Content-Type: multipart/digest; boundary=b\r\n\r\n{parts}--b--\r\n")
        };
        let few = digest(400);
        assert_eq!(parse_bounded(few.as_bytes()).unwrap().map(|message| count_parts(&message)), Some(801));
        assert!(parse_bounded(digest(600).as_bytes()).is_err(), "1201 parts");
    }
}
