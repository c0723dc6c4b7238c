//! Conversion of a message to a draft of Microsoft Graph, for messages that are too large for one request as MIME.
//!
//! [`Draft::read`] converts a message to a JSON document and files. It refuses a message that the draft cannot carry, such as a
//! signed or encrypted one, an invitation, or one with other headers; the message then fails. Some parts are dropped: the text
//! next to HTML, DKIM signatures, and headers about the sending program. A draft carries the texts, files, addresses,
//! `Importance`, `Sensitivity`, `In-Reply-To`, `References`, requests for receipts, and up to five `X-` headers. `In-Reply-To`,
//! `References` and `Sensitivity` have no field of their own and travel as the MAPI properties that Exchange writes these headers
//! from ([MS-OXCMAIL], 2.1.3.2). Nothing here connects or sends.

use std::collections::HashSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mail_parser::{
    Encoding, Message, MessageParser, MessagePart, MimeHeaders as _, PartType,
    decoders::{base64::base64_decode, charsets::map::charset_decoder, quoted_printable::quoted_printable_decode},
};
use serde_json::{Value, json};

use crate::mime::{
    Field, Malformed,
    address_list::{self, AddressList},
    field::{decode_words, split_header},
};

/// The number of custom headers that a draft can have (`internetMessageHeaders`); their names begin with `X-`.
const CUSTOM_HEADERS: usize = 5;

/// Headers that the document carries in its own fields, or that Exchange writes itself.
const CARRIED: [&str; 24] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "importance",
    "priority",
    "sensitivity",
    "in-reply-to",
    "references",
    "disposition-notification-to",
    "return-receipt-to",
    "user-agent",
    "thread-topic",
    "thread-index",
    "accept-language",
    // Exchange writes header and body again, which would break a signature.
    "dkim-signature",
    "autocrypt",
    "lines",
];

/// Types of content that must not be split into parts, each with its description.
const WHOLE: [(&str, &str); 6] = [
    ("multipart/signed", "a signed message"),
    ("multipart/encrypted", "an encrypted message"),
    ("application/pkcs7-mime", "a signed or encrypted message (S/MIME)"),
    ("application/x-pkcs7-mime", "a signed or encrypted message (S/MIME)"),
    ("application/pgp-encrypted", "an encrypted message (PGP)"),
    ("multipart/report", "a report"),
];

/// Endings of the names of S/MIME files (RFC 8551, 3.2.1).
const SMIME_FILES: [&str; 4] = [".p7m", ".p7s", ".p7c", ".p7z"];

/// A message as a draft.
#[derive(Debug)]
pub struct Draft {
    /// The document, without the files.
    pub document: Value,
    /// The files.
    pub attachments: Vec<Attachment>,
}

/// A file of a draft.
#[derive(Debug)]
pub struct Attachment {
    /// The name of the file.
    pub name: String,
    media_type: String,
    content_id: Option<String>,
    is_inline: bool,
    /// The bytes of the file.
    pub bytes: bytes::Bytes,
}

impl Attachment {
    /// Moves the decoded content out of a part. Of a text the bytes are kept in their character set, because it is a file.
    fn take(part: &mut MessagePart<'_>, message: &[u8]) -> Result<Self, Malformed> {
        let bytes = match &mut part.body {
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => std::mem::take(bytes).into_owned(),
            PartType::Message(message) => message.raw_message().to_vec(),
            _ => decode_file(part, message)?,
        };
        Ok(Self {
            name: part.attachment_name().unwrap_or("attachment").to_owned(),
            media_type: essence(part).unwrap_or_else(|| "application/octet-stream".to_owned()),
            content_id: part.content_id().map(str::to_owned),
            // Some programs give every file an id; an attachment is listed with the files nevertheless.
            is_inline: part.content_id().is_some()
                && !part.content_disposition().is_some_and(mail_parser::ContentType::is_attachment),
            bytes: bytes.into(),
        })
    }

    /// Returns the fields of `fileAttachment` and `attachmentItem` without the bytes.
    pub fn describe(&self) -> Value {
        let mut document = json!({ "name": self.name, "contentType": self.media_type, "isInline": self.is_inline });
        if let Some(id) = &self.content_id {
            document["contentId"] = json!(id);
        }
        document
    }

    /// Returns the `fileAttachment`, with the bytes.
    pub fn describe_with_bytes(&self) -> Value {
        let mut document = self.describe();
        document["@odata.type"] = json!("#microsoft.graph.fileAttachment");
        document["contentBytes"] = json!(BASE64_STANDARD.encode(&self.bytes));
        document
    }
}

/// Decodes the bytes of a part of `message` that the parser decoded as text.
fn decode_file(part: &MessagePart<'_>, message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let broken = || cannot("a file whose transfer encoding is broken");
    let place = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    let (from, to) = (place(part.raw_body_offset()), place(part.raw_end_offset()));
    let raw = message.get(from..to).ok_or_else(broken)?;
    match part.encoding {
        Encoding::None => Ok(raw.to_vec()),
        Encoding::QuotedPrintable => quoted_printable_decode(raw).ok_or_else(broken),
        Encoding::Base64 => base64_decode(raw).ok_or_else(broken),
    }
}

/// Returns the media type of a part in lower case.
fn essence(part: &MessagePart<'_>) -> Option<String> {
    let kind = part.content_type()?;
    Some(format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase())
}

/// Returns the error for content that a draft cannot carry.
fn cannot(what: &str) -> Malformed {
    Malformed::new(format!("the message is too large for one request to Graph, and a draft cannot carry {what}"))
}

impl Draft {
    /// Converts an outgoing message. Fails if the draft cannot carry a part of it.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (fields, _) = split_header(bytes)?;
        let mut message =
            MessageParser::default().parse(bytes).ok_or_else(|| Malformed::new("the message cannot be parsed"))?;
        check_parts(&message)?;
        let custom = convert_headers(&fields)?;
        let mut document = json!({
            "subject": message.subject().unwrap_or_default(),
            "body": body(&message)?,
        });
        for (name, key) in
            [("to", "toRecipients"), ("cc", "ccRecipients"), ("bcc", "bccRecipients"), ("reply-to", "replyTo")]
        {
            document[key] = convert_addresses(&fields, name)?;
        }
        if let Some(id) = message.message_id() {
            document["internetMessageId"] = json!(format!("<{id}>"));
        }
        if let Some(importance) = convert_importance(&fields)? {
            document["importance"] = json!(importance);
        }
        for (name, key) in [
            ("disposition-notification-to", "isReadReceiptRequested"),
            ("return-receipt-to", "isDeliveryReceiptRequested"),
        ] {
            if field(&fields, name).is_some() {
                document[key] = json!(true);
            }
        }
        let properties = convert_properties(&fields)?;
        if !properties.is_empty() {
            document["singleValueExtendedProperties"] = json!(properties);
        }
        if !custom.is_empty() {
            document["internetMessageHeaders"] = json!(custom);
        }
        let mut attachments = Vec::new();
        for index in std::mem::take(&mut message.attachments) {
            if let Some(part) = usize::try_from(index).ok().and_then(|index| message.parts.get_mut(index)) {
                attachments.push(Attachment::take(part, bytes)?);
            }
        }
        Ok(Self { document, attachments })
    }
}

/// Refuses content that would be split or shown in another way: signed and encrypted messages, reports, invitations, and
/// parts that a reader of the message would see as text while the draft has them as files.
fn check_parts(message: &Message<'_>) -> Result<(), Malformed> {
    let files: HashSet<usize> = message.attachments.iter().filter_map(|index| usize::try_from(*index).ok()).collect();
    for (index, part) in message.parts.iter().enumerate() {
        if let Some(encoding) = unknown_encoding(part) {
            return Err(cannot(&format!("a part in the transfer encoding `{encoding}`")));
        }
        if part.content_location().is_some() && part.content_id().is_none() {
            return Err(cannot("a part that HTML refers to by its address (`Content-Location`)"));
        }
        let essence = essence(part).unwrap_or_else(|| "text/plain".to_owned());
        if essence == "multipart/related" && starts_elsewhere(message, part) {
            return Err(cannot("a `multipart/related` whose first part is not its `start`"));
        }
        if let Some((_, what)) = WHOLE.iter().find(|(own, _)| *own == essence) {
            return Err(cannot(&format!("{what}: it would arrive split into parts")));
        }
        if let Some(what) = whole_by_name(part, index == 0) {
            return Err(cannot(&format!("{what}: it would arrive split into parts")));
        }
        let method = part.content_type().and_then(|kind| kind.attribute("method"));
        if essence == "text/calendar" && method.is_some() {
            return Err(cannot("an invitation: it would arrive as a file"));
        }
        if part.is_encoding_problem {
            return Err(cannot("a part whose transfer encoding is broken or whose end is missing"));
        }
        if files.contains(&index) && !is_declared_file(part) {
            return Err(cannot(&format!(
                "a part of the type {essence} that is neither a text of the message nor a file"
            )));
        }
    }
    Ok(())
}

/// Describes a part that must not be split according to its file name: some programs and gateways call S/MIME and PGP/MIME
/// `application/octet-stream`, and then the name decides (RFC 8551, 3.9). A file of another name is one among the files of a
/// message, such as a signed invoice.
fn whole_by_name(part: &MessagePart<'_>, is_message: bool) -> Option<&'static str> {
    let is_smime = |name: &str| {
        SMIME_FILES.iter().any(|ending| name.strip_suffix(ending).is_some_and(|stem| is_message || stem == "smime"))
    };
    let is_pgp = |name: &str| is_message && [".asc", ".pgp", ".gpg"].iter().any(|ending| name.ends_with(ending));
    let names = file_names(part);
    let (is_smime, is_pgp) = (names.iter().any(|name| is_smime(name)), names.iter().any(|name| is_pgp(name)));
    match (is_smime, is_pgp) {
        (true, _) => Some("a signed or encrypted message (S/MIME)"),
        (_, true) => Some("a signed or encrypted message (PGP)"),
        _ => None,
    }
}

/// Returns the names of a part in lower case: that of its disposition and that of its type, which can differ. Programs
/// disagree about which one counts.
fn file_names(part: &MessagePart<'_>) -> Vec<String> {
    let of_disposition = part.content_disposition().and_then(|disposition| disposition.attribute("filename"));
    let of_type = part.content_type().and_then(|kind| kind.attribute("name"));
    let names = [of_disposition, of_type].into_iter().flatten();
    // A name can be encoded in words, although parameters are not (RFC 2047, 5), and can be in quotes within quotes.
    let clean = |name: &str| {
        let name = decode_words(name);
        name.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '.')).to_lowercase()
    };
    names.map(clean).filter(|name| !name.is_empty()).collect()
}

/// Returns true if a part declares that it is a file, or HTML refers to it: by its disposition, name or id.
fn is_declared_file(part: &MessagePart<'_>) -> bool {
    part.content_disposition().is_some() || part.attachment_name().is_some() || part.content_id().is_some()
}

/// Returns the transfer encoding of a part, if the parser does not know it and so returns the encoded text as the content.
fn unknown_encoding(part: &MessagePart<'_>) -> Option<String> {
    let stated = part.content_transfer_encoding()?.trim();
    let is_known = ["7bit", "8bit", "binary", "base64", "quoted-printable"];
    let is_known = is_known.iter().any(|known| stated.eq_ignore_ascii_case(known));
    (!is_known).then(|| stated.chars().filter(char::is_ascii_graphic).take(40).collect())
}

/// Returns true if a `multipart/related` begins with another part than the one that it declares as the page.
fn starts_elsewhere(message: &Message<'_>, part: &MessagePart<'_>) -> bool {
    let start = part.content_type().and_then(|kind| kind.attribute("start"));
    let (Some(start), PartType::Multipart(parts)) = (start, &part.body) else { return false };
    let first = parts.first().and_then(|first| message.parts.get(usize::try_from(*first).ok()?));
    let bare = |id: &str| id.trim().trim_start_matches('<').trim_end_matches('>').to_owned();
    first.and_then(MessagePart::content_id).map(bare) != Some(bare(start))
}

/// Returns the body: the HTML if there is one, otherwise the text. The type of each part decides, because the parser lists HTML
/// without a text as both.
fn body(message: &Message<'_>) -> Result<Value, Malformed> {
    let mut shown: Vec<u32> = message.text_body.iter().chain(&message.html_body).copied().collect();
    shown.sort_unstable();
    shown.dedup();
    // Other parts between the texts are listed with the files.
    shown.retain(|part| !message.attachments.contains(part));
    let is_alternative =
        |text: u32, page: u32| !message.html_body.contains(&text) && !message.text_body.contains(&page);
    let (mut text, mut page) = (None, None);
    for index in shown {
        let Some(part) = usize::try_from(index).ok().and_then(|index| message.parts.get(index)) else { continue };
        let before = match &part.body {
            PartType::Html(content) => page.replace((index, part, content)),
            PartType::Text(content) => text.replace((index, part, content)),
            _ => None,
        };
        if before.is_some() {
            return Err(cannot("more than one text"));
        }
    }
    match (text, page) {
        (Some((text, ..)), Some((page, ..))) if !is_alternative(text, page) => Err(cannot("more than one text")),
        (_, Some((_, part, content))) => Ok(json!({ "contentType": "html", "content": read_text(part, content)? })),
        (Some((_, part, content)), None) => Ok(json!({ "contentType": "text", "content": read_text(part, content)? })),
        (None, None) => Ok(json!({ "contentType": "text", "content": "" })),
    }
}

/// Returns the text of a part. Refuses character sets that the parser does not know, because it reads such a text as UTF-8.
fn read_text<'a>(part: &MessagePart<'_>, content: &'a str) -> Result<&'a str, Malformed> {
    let charset = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or("us-ascii");
    let is_utf8 = charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8");
    let is_known = is_utf8 || charset_decoder(charset.as_bytes()).is_some();
    // Bytes that could not be decoded became U+FFFD. Text that is UTF-8 may contain that character.
    let is_broken = content.contains(char::REPLACEMENT_CHARACTER) && !is_utf8;
    if !is_known || is_broken || has_escapes(charset, content) {
        return Err(cannot("a text in an unknown character set"));
    }
    Ok(content)
}

/// Returns true if a text has the escape sequences of its character set: the parser leaves those of ISO 2022 and HZ as they are.
fn has_escapes(charset: &str, content: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    let is_iso_2022 = charset.starts_with("iso-2022") || charset.starts_with("csiso2022");
    is_iso_2022 && content.contains('\u{1b}') || charset.starts_with("hz-") && content.contains('~')
}

fn field<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.is(name))
}

/// Converts the addresses of every field of this name.
fn convert_addresses(fields: &[Field], name: &str) -> Result<Value, Malformed> {
    let mut addresses = Vec::new();
    for field in fields.iter().filter(|field| field.is(name)) {
        let list: AddressList = address_list::parse(&field.unfolded())
            .map_err(|error| Malformed::new(format!("`{}` cannot be read: {error}", field.name())))?;
        for entry in list.entries {
            let mut address = json!({ "address": entry.address.as_str() });
            if let Some(name) = entry.name {
                address["name"] = json!(name);
            }
            addresses.push(json!({ "emailAddress": address }));
        }
    }
    Ok(Value::Array(addresses))
}

/// Converts `Importance`, or `Priority` (RFC 2156) if there is only that.
fn convert_importance(fields: &[Field]) -> Result<Option<&'static str>, Malformed> {
    let Some(field) = field(fields, "importance").or_else(|| field(fields, "priority")) else { return Ok(None) };
    match field.unfolded().to_ascii_lowercase().as_str() {
        "high" | "urgent" => Ok(Some("high")),
        "normal" => Ok(Some("normal")),
        "low" | "non-urgent" => Ok(Some("low")),
        _ => Err(cannot(&format!("this value of the header `{}`", field.name()))),
    }
}

/// Converts headers without a field of their own to the MAPI properties from which Exchange writes them.
fn convert_properties(fields: &[Field]) -> Result<Vec<Value>, Malformed> {
    let mut properties = Vec::new();
    // PidTagInReplyToId and PidTagInternetReferences.
    for (name, id) in [("in-reply-to", "String 0x1042"), ("references", "String 0x1039")] {
        if let Some(field) = field(fields, name) {
            let value: Vec<String> = field.unfolded().split_whitespace().map(str::to_owned).collect();
            properties.push(json!({ "id": id, "value": value.join(" ") }));
        }
    }
    if let Some(field) = field(fields, "sensitivity") {
        // PidTagSensitivity.
        let value = match field.unfolded().to_ascii_lowercase().as_str() {
            "normal" => "0",
            "personal" => "1",
            "private" => "2",
            "company-confidential" => "3",
            _ => return Err(cannot("this value of the header `Sensitivity`")),
        };
        properties.push(json!({ "id": "Integer 0x0036", "value": value }));
    }
    Ok(properties)
}

/// Converts custom headers, and refuses other headers that a draft cannot carry.
fn convert_headers(fields: &[Field]) -> Result<Vec<Value>, Malformed> {
    let mut custom: Vec<(String, String)> = Vec::new();
    for field in fields {
        let name = field.name();
        if field.starts_with("x-") {
            let value = decode_words(&field.unfolded());
            // Graph accepts each name once.
            match custom.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
                Some((_, before)) => before.push_str(&format!(", {value}")),
                None => custom.push((name.to_owned(), value)),
            }
        } else if !field.is_any(&CARRIED) && !field.starts_with("content-") {
            let name: String = name.chars().take(70).collect();
            return Err(cannot(&format!("the header `{name}`")));
        }
    }
    if custom.len() > CUSTOM_HEADERS {
        let count = custom.len();
        return Err(cannot(&format!("{count} `X-` headers; {CUSTOM_HEADERS} are allowed")));
    }
    Ok(custom.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect())
}
