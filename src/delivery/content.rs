//! What a message holds: made from parts or taken as it comes, kept without what is only known when it is sent.
//!
//! Kept contents are a header and a body with CRLF line ends, and have neither `From`, `Sender` nor `Bcc`: who sends is
//! decided by the profile at the time of each attempt, so a message can never leave under an address that the profile
//! does not have. [`Sender::outgoing`] puts in what is missing.

use std::fmt::Write as _;

use jiff::Timestamp;
use lettre::{
    Address,
    message::{
        Attachment, Body, Mailbox, Mailboxes, Message, MultiPart, SinglePart,
        header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue, Headers},
    },
};

use crate::model::delivery::{Attachments, RecipientGuard};

/// How many recipients a message may have.
const RECIPIENTS: usize = 500;
/// How many bytes a header may have.
const HEADER_LIMIT: usize = 256 * 1024;
/// How many parts a raw message may have.
const PARTS: usize = 1000;
/// How many bytes a line may have, without its end.
const LINE_LIMIT: usize = 998;

/// Headers that submitters may set besides `X-...`.
const ALLOWED: [&str; 12] = [
    "auto-submitted",
    "comments",
    "importance",
    "in-reply-to",
    "keywords",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "organization",
    "priority",
    "references",
    "sensitivity",
];

/// Headers that are never kept of a raw message: the sender's, and those that only transport writes.
const DROPPED: [&str; 6] = ["from", "sender", "bcc", "return-path", "resent-bcc", "received"];

/// What a message is made of.
#[derive(Debug, Default)]
pub struct Parts {
    /// `To`: addresses, with or without a name.
    pub to: Vec<String>,
    /// `Cc`.
    pub cc: Vec<String>,
    /// Recipients that nobody else sees.
    pub bcc: Vec<String>,
    /// `Reply-To`.
    pub reply_to: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The body as text.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// Files.
    pub attachments: Vec<Attached>,
    /// Other headers.
    pub headers: Vec<(String, String)>,
}

/// A file.
#[derive(Debug)]
pub struct Attached {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The id under which the HTML refers to it (`cid:...`); none for a file beside it.
    pub content_id: Option<String>,
}

/// Contents as they are kept, and what a header tells of them.
#[derive(Debug)]
pub struct Kept {
    /// The header and the body.
    pub content: Vec<u8>,
    /// Everybody whom it is for, each once, in order.
    pub recipients: Vec<String>,
    /// The subject.
    pub subject: String,
    /// `Message-ID`, with its angle brackets.
    pub message_id: String,
    /// Who it says that it is from, for a raw message: the address, and the name beside it.
    pub from: Option<(String, Option<String>)>,
}

/// Why a message cannot be taken. Says where; never quotes contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

fn malformed(text: impl Into<String>) -> Malformed {
    Malformed(text.into())
}

fn mailbox(text: &str, place: &str) -> Result<Mailbox, Malformed> {
    let wrong = || malformed(format!("`{place}` is not an e-mail address"));
    if text.len() > 1000 || text.chars().any(char::is_control) {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

fn mailboxes(texts: &[String], place: &str) -> Result<Vec<Mailbox>, Malformed> {
    texts.iter().enumerate().map(|(index, text)| mailbox(text, &format!("{place}/{index}"))).collect()
}

impl Parts {
    /// Makes a message of the parts.
    pub fn compose(self, message_id: &str, at: Timestamp, attachments: &Attachments) -> Result<Kept, Malformed> {
        let to = mailboxes(&self.to, "to")?;
        let cc = mailboxes(&self.cc, "cc")?;
        let bcc = mailboxes(&self.bcc, "bcc")?;
        let recipients = distinct(to.iter().chain(&cc).chain(&bcc).map(|mailbox| mailbox.email.to_string()))?;
        if self.subject.chars().any(char::is_control) || self.subject.len() > 2000 {
            return Err(malformed("`subject` has control characters or more than 2000 bytes"));
        }
        // Only what has a sender is a message to lettre; it is taken out again below.
        let nobody = Address::new("nobody", "mailwright.invalid").map_err(|_| malformed("no sender"))?;
        let mut builder = Message::builder()
            .from(Mailbox::new(None, nobody))
            .date(at.into())
            .message_id(Some(message_id.to_owned()))
            .subject(self.subject.clone());
        builder = to.into_iter().fold(builder, lettre::message::MessageBuilder::to);
        builder = cc.into_iter().fold(builder, lettre::message::MessageBuilder::cc);
        for reply_to in mailboxes(&self.reply_to, "replyTo")? {
            builder = builder.reply_to(reply_to);
        }
        for (name, value) in self.headers {
            builder = builder.raw_header(custom_header(&name, &value)?);
        }
        for (index, file) in self.attachments.iter().enumerate() {
            file.check(index, attachments)?;
        }
        let (related, others): (Vec<_>, Vec<_>) =
            self.attachments.into_iter().partition(|file| file.content_id.is_some());
        if !related.is_empty() && self.html.is_none() {
            return Err(malformed("an inline attachment belongs to `html`, and there is none"));
        }
        let body = body(self.text, self.html, related)?;
        let others: Vec<SinglePart> = others.into_iter().map(Attached::part).collect::<Result<_, _>>()?;
        let mut others = others.into_iter();
        let message = match (body, others.next()) {
            (Readable::Single(part), None) => builder.singlepart(part),
            (Readable::Multi(part), None) => builder.multipart(part),
            (body, Some(first)) => {
                let mixed = match body {
                    Readable::Single(part) => MultiPart::mixed().singlepart(part),
                    Readable::Multi(part) => MultiPart::mixed().multipart(part),
                };
                builder.multipart(others.fold(mixed.singlepart(first), MultiPart::singlepart))
            }
        };
        let message =
            message.map_err(|_| malformed("the parts make no message: is anybody in `to`, `cc` or `bcc`?"))?;
        let formatted = message.formatted();
        drop(message);
        let (mut fields, body_at) = split(&formatted)?;
        fields.retain(|field| !field.is_any(&DROPPED));
        Ok(Kept {
            content: with_header(&fields, formatted, body_at),
            recipients,
            subject: self.subject,
            message_id: message_id.to_owned(),
            from: None,
        })
    }
}

impl Attached {
    fn check(&self, index: usize, attachments: &Attachments) -> Result<(), Malformed> {
        let bad = |text: &str| text.is_empty() || text.len() > 255 || text.chars().any(char::is_control);
        if bad(&self.name) || self.name.contains(['/', '\\']) {
            return Err(malformed(format!("`attachments/{index}/name` is not the name of a file")));
        }
        if self
            .content_id
            .as_ref()
            .is_some_and(|id| bad(id) || !id.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b)))
        {
            return Err(malformed(format!("`attachments/{index}/contentId` is not an id that HTML could refer to")));
        }
        let is_message = self.name.to_ascii_lowercase().ends_with(".eml")
            || self.media_type.to_ascii_lowercase().trim_start().starts_with("message/");
        let has_forbidden = || -> Result<bool, Malformed> {
            let Some(message) = parsed(&self.bytes)? else { return Ok(false) };
            has_forbidden(&message, attachments)
        };
        if attachments.forbids(&self.name, &self.media_type) || (is_message && has_forbidden()?) {
            return Err(malformed(format!("`attachments/{index}`: the environment forbids files of this kind")));
        }
        Ok(())
    }

    fn part(self) -> Result<SinglePart, Malformed> {
        let media_type =
            ContentType::parse(&self.media_type).map_err(|_| malformed("an attachment's `mediaType` is not one"))?;
        let attachment = match self.content_id {
            Some(id) => Attachment::new_inline_with_name(id, self.name),
            None => Attachment::new(self.name),
        };
        // Always base64: as text, its line ends would be changed on the way, and with them every checksum.
        let body = Body::new_with_encoding(self.bytes, ContentTransferEncoding::Base64)
            .map_err(|_| malformed("an attachment cannot be encoded"))?;
        Ok(attachment.body(body, media_type))
    }
}

/// The part that people read.
enum Readable {
    Single(SinglePart),
    Multi(MultiPart),
}

fn body(text: Option<String>, html: Option<String>, related: Vec<Attached>) -> Result<Readable, Malformed> {
    let plain = |text: String| SinglePart::builder().header(ContentType::TEXT_PLAIN).body(encoded(text));
    let Some(html) = html else { return Ok(Readable::Single(plain(text.unwrap_or_default()))) };
    let html = SinglePart::builder().header(ContentType::TEXT_HTML).body(encoded(html));
    let html = if related.is_empty() {
        Readable::Single(html)
    } else {
        let mut part = MultiPart::related().singlepart(html);
        for file in related {
            part = part.singlepart(file.part()?);
        }
        Readable::Multi(part)
    };
    Ok(match (text, html) {
        (None, html) => html,
        (Some(text), html) => {
            let both = MultiPart::alternative().singlepart(plain(text));
            Readable::Multi(match html {
                Readable::Single(part) => both.singlepart(part),
                Readable::Multi(part) => both.multipart(part),
            })
        }
    })
}

/// A text as it travels. Its line ends are made CRLF here: lettre puts them in one by one, and moves the rest of the text
/// each time, which costs hours where a text of megabytes has short lines.
fn encoded(text: String) -> Body {
    let text = with_crlf(text.as_bytes()).unwrap_or_else(|| text.into_bytes());
    if text.is_ascii() {
        return Body::new(text);
    }
    match String::from_utf8(text) {
        Ok(text) => Body::new(text),
        // Cannot be: what was UTF-8 still is.
        Err(bytes) => Body::new(bytes.into_bytes()),
    }
}

fn custom_header(name: &str, value: &str) -> Result<HeaderValue, Malformed> {
    let lower = name.to_ascii_lowercase();
    let is_token = !name.is_empty() && name.len() <= 70 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let own = lower.starts_with("x-mailwright-") || lower.starts_with("x-ms-exchange-");
    if !is_token || own || !(lower.starts_with("x-") || ALLOWED.contains(&lower.as_str())) {
        return Err(malformed(format!(
            "the header `{}` cannot be set; `X-...` can, and {}",
            name.escape_debug().to_string().chars().take(70).collect::<String>(),
            ALLOWED.join(", ")
        )));
    }
    if value.len() > 2000 || value.chars().any(char::is_control) {
        return Err(malformed(format!("the header `{name}` has control characters or more than 2000 bytes")));
    }
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| malformed("a header's name is not one"))?;
    Ok(HeaderValue::new(name, value.to_owned()))
}

fn distinct(addresses: impl Iterator<Item = String>) -> Result<Vec<String>, Malformed> {
    let mut seen = std::collections::HashSet::new();
    let recipients: Vec<String> = addresses.filter(|address| seen.insert(address.to_lowercase())).collect();
    match recipients.len() {
        0 => Err(malformed("the message has no recipient")),
        many if many > RECIPIENTS => {
            Err(malformed(format!("the message has {many} recipients; {RECIPIENTS} are allowed")))
        }
        _ => Ok(recipients),
    }
}

/// Takes a raw message (RFC 5322) as it is, but for what transport and sender write. `envelope` names the recipients
/// where they are not those of the header.
pub fn raw(
    bytes: &[u8],
    envelope: &[String],
    message_id: &str,
    at: Timestamp,
    attachments: &Attachments,
) -> Result<Kept, Malformed> {
    let (mut fields, body_at) = split(bytes)?;
    let parsed = parsed(bytes)?.ok_or_else(|| malformed("this is not a message with a header (RFC 5322)"))?;
    // Whoever takes it might fold such a line, and with that change what it says, or refuse it after all.
    if fields.iter().flat_map(|field| field.0.lines()).any(|line| line.len() > LINE_LIMIT)
        || bytes[body_at..].split(|byte| matches!(byte, b'\r' | b'\n')).any(|line| line.len() > LINE_LIMIT)
    {
        return Err(malformed(format!(
            "a line has more than {LINE_LIMIT} bytes, and mail may not (RFC 5322): encode that part as quoted-printable or base64"
        )));
    }
    for name in
        ["from", "to", "cc", "subject", "date", "message-id", "sender", "reply-to", "mime-version", "content-type"]
    {
        if fields.iter().filter(|field| field.is(name)).count() > 1 {
            return Err(malformed(format!("the header `{name}` stands twice")));
        }
    }
    if has_forbidden(&parsed, attachments)? {
        return Err(malformed("the environment forbids attachments of this kind"));
    }
    let recipients = if envelope.is_empty() {
        let all =
            [parsed.to(), parsed.cc(), parsed.bcc()].into_iter().flatten().flat_map(|list| list.clone().into_list());
        let addresses = all.filter_map(|address| address.address.map(std::borrow::Cow::into_owned));
        let addresses: Vec<String> = addresses.collect();
        distinct(mailboxes(&addresses, "recipients")?.into_iter().map(|mailbox| mailbox.email.to_string()))?
    } else {
        distinct(mailboxes(envelope, "recipients")?.into_iter().map(|mailbox| mailbox.email.to_string()))?
    };
    let from = parsed
        .from()
        .and_then(mail_parser::Address::first)
        .and_then(|from| Some((from.address()?.to_owned(), from.name().map(str::to_owned))));
    if parsed.from().is_some_and(|from| from.clone().into_list().len() > 1) {
        return Err(malformed("`From` names more than one sender"));
    }
    let own_id = parsed.message_id().filter(|id| id.bytes().all(|b| b.is_ascii_graphic()) && id.len() < 250);
    let message_id = own_id.map_or_else(|| message_id.to_owned(), |id| format!("<{id}>"));
    fields.retain(|field| !field.is_any(&DROPPED) && !field.starts_with("x-mailwright-"));
    if own_id.is_none() {
        fields.retain(|field| !field.is("message-id"));
        fields.push(Field::new("Message-ID", &message_id));
    }
    if !fields.iter().any(|field| field.is("date")) {
        let date = header::Date::from(std::time::SystemTime::from(at));
        fields.push(Field::encoded(date));
    }
    let subject: String = parsed.subject().unwrap_or_default().chars().filter(|c| !c.is_control()).take(1000).collect();
    drop(parsed);
    let content = with_header(&fields, bytes.to_vec(), body_at);
    Ok(Kept { content, recipients, subject, message_id, from })
}

/// A raw message taken apart; none if it is no message. One with very many parts is refused: the parser goes as deep as
/// messages are put into messages.
fn parsed(bytes: &[u8]) -> Result<Option<mail_parser::Message<'_>>, Malformed> {
    let is_type = |line: &[u8]| line.get(..12).is_some_and(|name| name.eq_ignore_ascii_case(b"content-type"));
    if bytes.split(|byte| *byte == b'\n').filter(|line| is_type(line)).count() > PARTS {
        return Err(malformed(format!("the message has more than {PARTS} parts")));
    }
    Ok(mail_parser::MessageParser::default().parse(bytes))
}

/// Whether a part of a message is a file that the environment forbids, or a part of a message within it.
fn has_forbidden(message: &mail_parser::Message<'_>, attachments: &Attachments) -> Result<bool, Malformed> {
    use mail_parser::MimeHeaders as _;
    if attachments.forbidden.is_empty() {
        return Ok(false);
    }
    for (index, part) in message.parts.iter().enumerate() {
        let kind = part.content_type();
        // Whoever takes it may believe either name.
        let names = [
            part.content_disposition().and_then(|disposition| disposition.attribute("filename")),
            kind.and_then(|kind| kind.attribute("name")),
        ];
        let is_file = message.attachments.iter().any(|own| usize::try_from(*own).is_ok_and(|own| own == index));
        let media_type = kind
            .filter(|_| is_file)
            .map_or(String::new(), |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
        let names = names.into_iter().flatten().chain(is_file.then_some(""));
        if names.into_iter().any(|name| attachments.forbids(name, &media_type)) {
            return Ok(true);
        }
        if let Some(within) = part.message() {
            if has_forbidden(within, attachments)? {
                return Ok(true);
            }
        } else if names_message(part) {
            let Some(within) = parsed(part.contents())? else { continue };
            if has_forbidden(&within, attachments)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether a file is a message that was not taken apart, by its name.
fn names_message(part: &mail_parser::MessagePart<'_>) -> bool {
    use mail_parser::MimeHeaders as _;
    part.attachment_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(".eml"))
}

/// One header field with its line ends, folded as it was.
#[derive(Clone, Debug)]
struct Field(String);

impl Field {
    fn new(name: &str, value: &str) -> Self {
        Self(format!("{name}: {value}\r\n"))
    }

    /// Encoded and folded as lettre does.
    fn encoded(header: impl header::Header) -> Self {
        let mut headers = Headers::new();
        headers.set(header);
        Self(headers.to_string())
    }

    fn value(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, value)| value.trim())
    }

    fn name(&self) -> &str {
        self.0.split(':').next().unwrap_or_default().trim_end()
    }

    fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    fn is_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    fn starts_with(&self, prefix: &str) -> bool {
        self.name().to_ascii_lowercase().starts_with(prefix)
    }
}

/// The fields of a message's header, and where its body begins. The header's line ends become CRLF.
fn split(bytes: &[u8]) -> Result<(Vec<Field>, usize), Malformed> {
    let mut fields: Vec<Field> = Vec::new();
    let mut rest = bytes;
    let mut length = 0;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        length += line.len() + 2;
        if length > HEADER_LIMIT {
            return Err(malformed("the message's header is too long"));
        }
        let text = std::str::from_utf8(line).map_err(|_| malformed("the message's header is not UTF-8"))?;
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(malformed("the message's header has control characters"));
        }
        if text.starts_with([' ', '\t']) {
            let field = fields.last_mut().ok_or_else(|| malformed("the message begins with a folded line"))?;
            let _ = write!(field.0, "{text}\r\n");
            continue;
        }
        let name = text.split_once(':').map(|(name, _)| name.trim_end()).unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed("the message's header has a line that is no field"));
        }
        fields.push(Field(format!("{text}\r\n")));
        if rest.is_empty() {
            break;
        }
    }
    Ok((fields, bytes.len() - rest.len()))
}

/// Makes every line end CRLF; none if all are. A carriage return alone counts as one: it is no line end of mail, and servers
/// differ about it.
fn with_crlf(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_alone = |at: &usize| match bytes[*at] {
        b'\n' => *at == 0 || bytes[*at - 1] != b'\r',
        _ => bytes.get(*at + 1) != Some(&b'\n'),
    };
    let alone = memchr::memchr2_iter(b'\r', b'\n', bytes).filter(is_alone);
    let count = alone.clone().count();
    if count == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() + count);
    let mut copied = 0;
    for end in alone {
        out.extend_from_slice(&bytes[copied..end]);
        out.extend_from_slice(b"\r\n");
        copied = end + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}

/// Puts another header before a body, whose line ends become CRLF. Where they are, which is nearly always, there is never
/// a second copy of it.
fn with_header(fields: &[Field], mut message: Vec<u8>, body_at: usize) -> Vec<u8> {
    if let Some(body) = with_crlf(&message[body_at..]) {
        message.truncate(body_at);
        message.extend_from_slice(&body);
    }
    if message.len() > body_at && !message.ends_with(b"\n") {
        message.extend_from_slice(b"\r\n");
    }
    let fields: Vec<&str> = fields.iter().map(|field| field.0.as_str()).chain(["\r\n"]).collect();
    drop(message.splice(..body_at, fields.concat().into_bytes()));
    message
}

/// A message as it leaves.
#[derive(Debug)]
pub struct Outgoing {
    /// Header and body.
    pub bytes: Vec<u8>,
    /// Whom it goes to: as accepted, or whom the environment writes to instead.
    pub recipients: Vec<String>,
}

/// What is only known when a message is sent.
#[derive(Debug)]
pub struct Sender<'a> {
    /// The profile's address.
    pub address: &'a str,
    /// The name beside it.
    pub name: Option<&'a str>,
    /// Whom the environment may write to.
    pub guard: &'a RecipientGuard,
    /// Whether recipients that the header does not name must stand in it, because the route has no envelope.
    pub names_everybody: bool,
}

impl Sender<'_> {
    /// Puts in what kept contents lack. `recipients` are those that are still to be reached.
    pub fn outgoing(&self, content: Vec<u8>, recipients: &[String]) -> Result<Outgoing, Malformed> {
        let (mut fields, body_at) = split(&content)?;
        let address: Address = self.address.parse().map_err(|_| malformed("the profile's address is not one"))?;
        let from = Mailboxes::new().with(Mailbox::new(self.name.map(str::to_owned), address));
        fields.insert(0, Field::encoded(header::From::from(from)));
        if let Some(tag) = &self.guard.subject_tag {
            tag_subject(&mut fields, tag);
        }
        let mut recipients = recipients.to_vec();
        if let Some(instead) = &self.guard.rewrite_to {
            fields.retain(|field| !field.is_any(&["to", "cc"]));
            fields.push(Field::new("To", instead));
            for recipient in &recipients {
                fields.push(Field::new("X-Mailwright-Recipient", recipient));
            }
            recipients = vec![instead.clone()];
        }
        if self.names_everybody {
            let named: String =
                fields.iter().filter(|field| field.is_any(&["to", "cc"])).map(|field| field.0.to_lowercase()).collect();
            let hidden: Vec<&String> =
                recipients.iter().filter(|address| !named.contains(&address.to_lowercase())).collect();
            if !hidden.is_empty() {
                let all: Vec<&str> = hidden.iter().map(|address| address.as_str()).collect();
                fields.push(Field::new("Bcc", &all.join(",\r\n ")));
            }
        }
        Ok(Outgoing { bytes: with_header(&fields, content, body_at), recipients })
    }
}

fn tag_subject(fields: &mut Vec<Field>, tag: &str) {
    let encoded = |text: String| Field::encoded(header::Subject::from(text));
    match fields.iter_mut().find(|field| field.is("subject")) {
        Some(field) if tag.is_ascii() => field.0 = format!("Subject: {tag} {}\r\n", field.value()),
        // A space between two encoded words is not shown, so both are encoded as one.
        Some(field) => {
            let subject = mail_parser::MessageParser::default()
                .parse_headers(field.0.as_bytes())
                .and_then(|header| header.subject().map(str::to_owned));
            *field = encoded(format!("{tag} {}", subject.unwrap_or_default()));
        }
        None => fields.push(encoded(tag.to_owned())),
    }
}

/// Whether a header names somebody whose address needs `SMTPUTF8`, and whether there is more than ASCII at all.
pub fn needs(bytes: &[u8], recipients: &[String], from: &str) -> (bool, bool) {
    let header_end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let utf8 =
        !from.is_ascii() || recipients.iter().any(|recipient| !recipient.is_ascii()) || !bytes[..header_end].is_ascii();
    (utf8, !bytes.is_ascii())
}
