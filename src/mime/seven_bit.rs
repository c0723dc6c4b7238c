//! Conversion of a message to ASCII, for a server that offers neither 8BITMIME (RFC 6152) nor SMTPUTF8 (RFC 6531).
//!
//! Text becomes quoted-printable and everything else base64 (RFC 2045, 6), header fields get encoded words, and an address whose
//! local part is not ASCII becomes an empty group with that name (RFC 6857, 3.2.1). Ids of messages that are not ASCII, and text
//! around the parts, are dropped. Signed and encrypted content that is not ASCII is refused, because it would arrive broken, and so
//! are parts that contradict their declared encoding.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    Malformed,
    address_list::{self, is_address_field},
    ascii_field::ascii_field,
    dkim,
    field::{Field, encode_words, join_fields, split_header},
    parameter::MediaType,
};

/// The depth to which parts may be nested.
const DEPTH: usize = 50;
/// The longest line of an encoded body.
const LINE: usize = 76;

/// Converts a message for a server that lacks SMTPUTF8, or 8BITMIME as well. Fails if the message would arrive broken: signed
/// content is not re-encoded.
pub fn downgrade(message: &[u8], offers_eight_bit: bool) -> Result<Vec<u8>, Malformed> {
    if offers_eight_bit { convert_header(message) } else { convert(message) }
}

/// Converts a message to ASCII. The line ends of the message must be CRLF.
pub fn convert(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    if message.is_ascii() {
        return Ok(message.to_vec());
    }
    let mut out = Vec::with_capacity(message.len() + message.len() / 8);
    write_entity(message, 0, true, &mut out)?;
    Ok(out)
}

/// Converts only the header to ASCII, for a server that offers 8BITMIME but not SMTPUTF8.
pub fn convert_header(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (fields, body_at) = split_header(message)?;
    let mut converted = ascii_fields(fields.clone())?;
    dkim::remove_broken(&mut converted, &fields, false);
    let mut out = join_fields(&converted);
    out.extend_from_slice(&message[body_at..]);
    Ok(out)
}

fn ascii_fields(fields: Vec<Field>) -> Result<Vec<Field>, Malformed> {
    let converted = fields.into_iter().map(|field| ascii_field(without_utf8_addresses(field)?));
    converted.filter_map(Result::transpose).collect()
}

/// Replaces addresses that have no form in ASCII by an empty group (RFC 6857, 3.2.1).
fn without_utf8_addresses(field: Field) -> Result<Field, Malformed> {
    if field.as_str().is_ascii() || !is_address_field(field.name()) {
        return Ok(field);
    }
    let list = address_list::parse(&field.unfolded())
        .map_err(|error| Malformed::new(format!("`{}`: {error}", field.name())).remedy(error.remedy))?;
    if !list.entries.iter().any(|entry| entry.address.needs_smtputf8()) {
        return Ok(field);
    }
    let texts: Vec<String> = list
        .entries
        .iter()
        .map(|entry| {
            if entry.address.needs_smtputf8() {
                format!("\r\n {} :;", encode_words(entry.address.as_str(), " :;,".len()))
            } else {
                address_list::field("To", std::slice::from_ref(entry)).value().to_owned()
            }
        })
        .collect();
    Ok(Field::new(field.name(), &texts.join(",\r\n ")))
}

/// Writes a message, or a part of one.
fn write_entity(bytes: &[u8], depth: usize, is_message: bool, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if bytes.is_ascii() {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    if depth > DEPTH {
        return Err(Malformed::new("the message has parts that are nested too deeply to be converted to ASCII"));
    }
    let (fields, body_at) = split_header(bytes)?;
    let body = &bytes[body_at..];
    let mut converted = ascii_fields(fields.clone())?;
    let stated = fields.iter().find(|field| field.is("content-type"));
    let parsed = stated.and_then(|field| MediaType::parse(&field.unfolded()));
    let essence = match (&parsed, stated) {
        (Some(parsed), _) => parsed.essence.clone(),
        // A malformed type means bytes; a missing one means text.
        (None, Some(_)) => "application/octet-stream".to_owned(),
        (None, None) => "text/plain".to_owned(),
    };
    if body.is_ascii() {
        write_header(&mut converted, &fields, false, out);
        out.extend_from_slice(body);
        return Ok(());
    }
    if matches!(essence.as_str(), "multipart/signed" | "multipart/encrypted") {
        return Err(Malformed::new(
            "the message is signed and not ASCII, and the server accepts only ASCII (it does not offer 8BITMIME)",
        )
        .remedy("Sign it in quoted-printable or base64 (RFC 8551, 3.1.2)."));
    }
    if essence.starts_with("multipart/") {
        let boundary = parsed.as_ref().and_then(|parsed| parsed.parameter("boundary")).unwrap_or_default();
        set_encoding(&mut converted, "7bit");
        write_header(&mut converted, &fields, true, out);
        return write_parts(body, boundary, depth, out);
    }
    if essence == "message/rfc822" || essence == "message/global" {
        set_encoding(&mut converted, "7bit");
        write_header(&mut converted, &fields, true, out);
        return write_entity(body, depth + 1, true, out);
    }
    let encoding = fields.iter().find(|field| field.is("content-transfer-encoding"));
    let encoding = encoding.map(|field| field.unfolded().to_ascii_lowercase()).unwrap_or_default();
    if matches!(encoding.as_str(), "base64" | "quoted-printable") {
        return Err(Malformed::new("a part is declared as base64 or quoted-printable, and is not ASCII"));
    }
    if stated.is_none() && is_message {
        let charset = if std::str::from_utf8(body).is_ok() { "utf-8" } else { "unknown-8bit" };
        if !converted.iter().any(|field| field.is("mime-version")) {
            converted.push(Field::new("MIME-Version", "1.0"));
        }
        converted.push(Field::new("Content-Type", &format!("text/plain; charset={charset}")));
    }
    let is_text = essence.starts_with("text/");
    set_encoding(&mut converted, if is_text { "quoted-printable" } else { "base64" });
    write_header(&mut converted, &fields, true, out);
    if is_text {
        write_quoted_printable(body, out);
    } else {
        write_base64(body, out);
    }
    Ok(())
}

fn write_header(converted: &mut Vec<Field>, before: &[Field], is_body_changed: bool, out: &mut Vec<u8>) {
    dkim::remove_broken(converted, before, is_body_changed);
    out.extend_from_slice(&join_fields(converted));
}

fn set_encoding(fields: &mut Vec<Field>, encoding: &str) {
    fields.retain(|field| !field.is("content-transfer-encoding"));
    fields.push(Field::new("Content-Transfer-Encoding", encoding));
}

/// Writes the body of a multipart without the text before the first and after the last part, which mail programs do not show.
fn write_parts(body: &[u8], boundary: &str, depth: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if boundary.is_empty() {
        return Err(Malformed::new("a multipart without a boundary cannot be converted to ASCII"));
    }
    let delimiter = format!("--{boundary}");
    let mut part_from: Option<usize> = None;
    let mut at = 0;
    while at < body.len() {
        let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |found| at + found + 1);
        let line = body[at..end].trim_ascii_end();
        let rest = line.strip_prefix(delimiter.as_bytes());
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || *rest == b"--") {
            if let Some(from) = part_from {
                // The line end before a delimiter belongs to it.
                let part = &body[from..at];
                write_entity(part.strip_suffix(b"\r\n").unwrap_or(part), depth + 1, false, out)?;
                if !out.ends_with(b"\r\n") || part.ends_with(b"\r\n\r\n") || part == b"\r\n" {
                    out.extend_from_slice(b"\r\n");
                }
            }
            out.extend_from_slice(delimiter.as_bytes());
            out.extend_from_slice(rest);
            out.extend_from_slice(b"\r\n");
            if rest == b"--" {
                return Ok(());
            }
            part_from = Some(end);
        }
        at = end;
    }
    match part_from {
        Some(from) => {
            write_entity(&body[from..], depth + 1, false, out)?;
            if !out.ends_with(b"\r\n") {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(format!("{delimiter}--\r\n").as_bytes());
            Ok(())
        }
        None => Err(Malformed::new("a multipart without parts cannot be converted to ASCII")),
    }
}

fn write_base64(body: &[u8], out: &mut Vec<u8>) {
    for chunk in body.chunks(LINE / 4 * 3) {
        out.extend_from_slice(BASE64_STANDARD.encode(chunk).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes text in quoted-printable (RFC 2045, 6.7).
fn write_quoted_printable(body: &[u8], out: &mut Vec<u8>) {
    let mut text = String::with_capacity(body.len() * 2);
    let mut rest = body;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        let mut length = 0;
        for (index, byte) in line.iter().enumerate() {
            let is_last = index + 1 == line.len();
            let is_plain = match byte {
                b' ' | b'\t' => !is_last,
                b'=' => false,
                // Some programs take a lone dot for the end of a message, and `From ` for the beginning of one.
                b'.' | b'F' => index > 0,
                byte => byte.is_ascii_graphic(),
            };
            let width = if is_plain { 1 } else { 3 };
            if length + width > LINE - 1 {
                text.push_str("=\r\n");
                length = 0;
            }
            if is_plain {
                text.push(char::from(*byte));
            } else {
                let _ = write!(text, "={byte:02X}");
            }
            length += width;
        }
        rest = match behind.strip_prefix(b"\r\n") {
            Some(behind) => {
                text.push_str("\r\n");
                behind
            }
            None => behind,
        };
    }
    out.extend_from_slice(text.as_bytes());
}
