//! The contents of a message: made from parts or taken as they come, kept without what is only known when they are sent.
//!
//! Kept contents are a header and a body with CRLF line ends. They never have `Bcc`, and `From` only as a raw message had
//! it: who sends is decided by the profile at the time of each attempt, so a message can never leave under an address
//! that the profile does not have. [`Sender::outgoing`] puts in what is missing. What was composed and what was submitted
//! as a whole pass the same check of the finished bytes.

use jiff::Timestamp;
use lettre::message::{
    Body, MultiPart, SinglePart,
    header::{self, ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue},
};

use crate::{
    mime::{
        address_list::{self, Entry},
        dkim,
        field::{decoded_words, joined, split},
        parameter::{self, MediaType},
        seven_bit,
    },
    model::{
        address::{Address, NamedAddress},
        delivery::{Attachments, RecipientGuard},
    },
    text,
};

pub use crate::mime::{Field, Malformed};

/// How many recipients a message may have.
const RECIPIENTS: usize = 500;
/// How many parts a raw message may have, those of messages within it included.
const PARTS: usize = 1000;
/// How many fields the header of a raw message may have.
const FIELDS: usize = 2000;
/// How many bytes of a boundary are compared (RFC 2046, 5.1.1: it has 70 at most).
const BOUNDARY: usize = 70;
/// How deep files that are messages may lie within one another.
const ENCLOSED: usize = 20;
/// How many bytes a line may have, without its end (RFC 5322, 2.1.1).
const LINE_LIMIT: usize = 998;

/// Headers that submitters may set besides `X-...`, and whether they are free text, which may be encoded.
const ALLOWED: [(&str, bool); 12] = [
    ("auto-submitted", false),
    ("comments", true),
    ("importance", false),
    ("in-reply-to", false),
    ("keywords", true),
    ("list-id", false),
    ("list-unsubscribe", false),
    ("list-unsubscribe-post", false),
    ("organization", true),
    ("priority", false),
    ("references", false),
    ("sensitivity", false),
];

/// Headers that are never kept of a raw message: those that only the receiving side writes (RFC 5321, 4.4; RFC 8601;
/// RFC 7208; RFC 8617), which a forged one would claim to be, and recipients that nobody else may see.
const DROPPED: [&str; 12] = [
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

/// Headers that say who sends. They are kept of a raw message as they are, and replaced when it leaves if they differ from
/// the profile's.
const SENDERS: [&str; 2] = ["from", "sender"];

/// Headers that stand in a message at most once (RFC 5322, 3.6).
const ONCE: [&str; 11] =
    ["from", "to", "cc", "bcc", "subject", "date", "message-id", "sender", "reply-to", "mime-version", "content-type"];

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
    /// An invitation, its update or its cancellation (iCalendar, RFC 5546).
    pub calendar: Option<String>,
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

fn malformed(text: impl Into<String>) -> Malformed {
    Malformed::new(text)
}

/// The entries of a list that was given one address at a time.
fn entries(texts: &[String], place: &str) -> Result<Vec<Entry>, Malformed> {
    let entry = |(index, text): (usize, &String)| {
        let named = NamedAddress::parse(text).map_err(|error| {
            malformed(format!("`{place}/{index}` is not an e-mail address: {error}")).remedy(error.remedy)
        })?;
        Ok(Entry::new(named.name.map(|name| decoded_words(&name)), named.address))
    };
    texts.iter().enumerate().map(entry).collect()
}

/// The addresses of the field of a raw message.
fn addresses_of(field: &Field) -> Result<address_list::AddressList, Malformed> {
    let name = field.name();
    address_list::parse(&field.unfolded())
        .map_err(|error| malformed(format!("`{name}` cannot be read: {error}")).remedy(error.remedy))
}

impl Parts {
    /// Makes a message of the parts.
    pub fn compose(self, message_id: &str, at: Timestamp, attachments: &Attachments) -> Result<Kept, Malformed> {
        let to = entries(&self.to, "to")?;
        let cc = entries(&self.cc, "cc")?;
        let bcc = entries(&self.bcc, "bcc")?;
        let reply_to = entries(&self.reply_to, "replyTo")?;
        let recipients = distinct(to.iter().chain(&cc).chain(&bcc).map(|entry| entry.address.clone()))?;
        if self.subject.chars().any(char::is_control) || self.subject.len() > 2000 {
            return Err(malformed("`subject` has control characters or more than 2000 bytes"));
        }
        let mut fields = vec![
            Field::encoded(header::Date::from(std::time::SystemTime::from(at))),
            Field::new("Message-ID", message_id),
            Field::unstructured("Subject", &self.subject),
        ];
        for (name, entries) in [("To", &to), ("Cc", &cc), ("Reply-To", &reply_to)] {
            if !entries.is_empty() {
                fields.push(address_list::field(name, entries));
            }
        }
        for (name, value) in &self.headers {
            fields.push(custom_header(name, value)?);
        }
        fields.push(Field::new("MIME-Version", "1.0"));
        let mut invitation = self.calendar.map(|text| Invitation::parse(text, None, "calendar")).transpose()?;
        let mut files = self.attachments;
        for (index, file) in files.iter_mut().enumerate() {
            let place = format!("attachments/{index}");
            file.check(&place, attachments)?;
            if let Some(of_file) = file.invitation(&place)? {
                if invitation.is_some() {
                    return Err(malformed("a message carries one invitation, and there are more"));
                }
                invitation = Some(of_file);
                // Beside the invitation it is a file; two that want an answer would be asked about twice.
                "text/calendar; charset=utf-8".clone_into(&mut file.media_type);
            }
        }
        let (related, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.content_id.is_some());
        if !related.is_empty() && self.html.is_none() {
            return Err(malformed("an inline attachment belongs to `html`, and there is none"));
        }
        let body = body(self.text, self.html, invitation, related)?;
        let others: Vec<SinglePart> = others.into_iter().map(Attached::part).collect::<Result<_, _>>()?;
        let mut others = others.into_iter();
        let formatted = match (body, others.next()) {
            (Readable::Single(part), None) => part.formatted(),
            (Readable::Multi(part), None) => part.formatted(),
            (body, Some(first)) => {
                let mixed = match body {
                    Readable::Single(part) => MultiPart::mixed().singlepart(part),
                    Readable::Multi(part) => MultiPart::mixed().multipart(part),
                };
                others.fold(mixed.singlepart(first), MultiPart::singlepart).formatted()
            }
        };
        let (of_body, body_at) = split(&formatted)?;
        fields.extend(of_body);
        let content = with_header(&fields, formatted, body_at);
        check_lines(&content)?;
        if !attachments.forbidden.is_empty()
            && let Some(message) = parsed(&content)?
        {
            check_forbidden(&message, attachments)?;
        }
        Ok(Kept { content, recipients, subject: self.subject, message_id: message_id.to_owned(), from: None })
    }
}

/// A header of a part that is already written as it is transmitted.
macro_rules! written {
    ($type:ident, $name:literal) => {
        #[derive(Clone)]
        struct $type(String);

        impl Header for $type {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($name)
            }
            fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self(text.to_owned()))
            }
            fn display(&self) -> HeaderValue {
                HeaderValue::dangerous_new_pre_encoded(Self::name(), self.0.clone(), self.0.clone())
            }
        }
    };
}
written!(FileType, "Content-Type");
written!(FileDisposition, "Content-Disposition");

impl Attached {
    fn media_type(&self, place: &str) -> Result<MediaType, Malformed> {
        MediaType::parse(&self.media_type).ok_or_else(|| {
            malformed(format!("`{place}/mediaType` is not a media type")).remedy("Write it as application/pdf.")
        })
    }

    fn check(&self, place: &str, attachments: &Attachments) -> Result<(), Malformed> {
        let bad = |text: &str| text.is_empty() || text.len() > 255 || text.chars().any(char::is_control);
        if bad(&self.name) || self.name.contains(['/', '\\']) {
            return Err(malformed(format!("`{place}/name` is not the name of a file")));
        }
        if self
            .content_id
            .as_ref()
            .is_some_and(|id| bad(id) || !id.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b)))
        {
            return Err(malformed(format!("`{place}/contentId` is not an id that HTML could refer to")));
        }
        let media_type = self.media_type(place)?;
        if attachments.rule_against(&self.name, &media_type.essence).is_some() {
            return Err(malformed(format!("`{place}`: the environment forbids files of this kind")).remedy(FORBIDDEN));
        }
        // The reader of the mail may believe either name, so there is one.
        let other = media_type.parameters.iter().find(|(name, value)| {
            name.starts_with("name") && *value != self.name || name == "boundary" || name.contains('*')
        });
        if let Some((name, _)) = other {
            let remedy = "The name of a file goes into `name` alone.";
            return Err(malformed(format!("`{place}/mediaType` has the parameter `{name}`")).remedy(remedy));
        }
        if media_type.essence.starts_with("multipart/") {
            return Err(malformed(format!("`{place}/mediaType` is the type of a message and of no file")));
        }
        Ok(())
    }

    /// The invitation that a calendar file is; none for other files, and for dates that are only published.
    fn invitation(&self, place: &str) -> Result<Option<Invitation>, Malformed> {
        let media_type = self.media_type(place)?;
        if media_type.essence != "text/calendar" || self.content_id.is_some() {
            return Ok(None);
        }
        let stated = media_type.parameter("method").map(str::to_ascii_uppercase);
        let Ok(text) = String::from_utf8(self.bytes.clone()) else {
            return match stated {
                Some(_) => Err(malformed(format!("`{place}/content` is a calendar that is not UTF-8"))),
                None => Ok(None),
            };
        };
        let of_text = calendar_method(&text);
        // iTIP (RFC 5546): these want an answer or change an appointment. What is published is a file to open.
        let is_scheduling = of_text.as_deref().is_some_and(|method| method != "PUBLISH");
        if stated.is_none() && !is_scheduling {
            return Ok(None);
        }
        Invitation::parse(text, stated, &format!("{place}/content")).map(Some)
    }

    fn part(self) -> Result<SinglePart, Malformed> {
        let mut media_type = self.media_type("attachments")?;
        media_type.parameters.retain(|(name, _)| name != "name");
        let mut builder = SinglePart::builder().header(FileType(media_type.content_type(Some(&self.name))));
        let kind = if self.content_id.is_some() { "inline" } else { "attachment" };
        if let Some(id) = self.content_id {
            builder = builder.header(header::ContentId::from(format!("<{id}>")));
        }
        builder = builder.header(FileDisposition(parameter::content_disposition(kind, &self.name)));
        // Always base64: as text, its line ends would be changed on the way, and with them every checksum.
        let body = Body::new_with_encoding(self.bytes, ContentTransferEncoding::Base64)
            .map_err(|_| malformed("an attachment cannot be encoded"))?;
        Ok(builder.body(body))
    }
}

const FORBIDDEN: &str = "`delivery.attachments.forbidden` of the environment lists the kinds.";

/// An invitation, its update or its cancellation.
#[derive(Debug)]
struct Invitation {
    /// What it asks for: `REQUEST`, `CANCEL`, ... (RFC 5546).
    method: String,
    text: String,
}

impl Invitation {
    fn parse(text: String, stated: Option<String>, place: &str) -> Result<Self, Malformed> {
        let remedy = "Give an iCalendar object (RFC 5545) with `METHOD:REQUEST`, or `CANCEL`.";
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let begins = text.trim_start().get(..15).is_some_and(|word| word.eq_ignore_ascii_case("BEGIN:VCALENDAR"));
        if !begins {
            return Err(malformed(format!("`{place}` does not begin with `BEGIN:VCALENDAR`")).remedy(remedy));
        }
        let of_text = calendar_method(&text);
        if let (Some(stated), Some(of_text)) = (&stated, &of_text)
            && stated != of_text
        {
            return Err(malformed(format!("`{place}`: the media type and the calendar's `METHOD` differ")));
        }
        let method =
            stated.or(of_text).ok_or_else(|| malformed(format!("`{place}` has no `METHOD`")).remedy(remedy))?;
        if method.len() > 30 || !method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(malformed(format!("`{place}`: the calendar's `METHOD` is not one")).remedy(remedy));
        }
        Ok(Self { method, text })
    }

    fn part(self) -> SinglePart {
        let kind = format!("text/calendar; charset=utf-8; method={}", self.method);
        SinglePart::builder().header(FileType(kind)).body(encoded(self.text))
    }
}

/// The `METHOD` of a calendar, in capitals.
fn calendar_method(text: &str) -> Option<String> {
    let lines = text.lines().take_while(|line| !line.trim().eq_ignore_ascii_case("BEGIN:VEVENT"));
    let mut methods = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("method").then(|| value.trim().to_ascii_uppercase())
    });
    methods.next()
}

/// The part that people read.
enum Readable {
    Single(SinglePart),
    Multi(MultiPart),
}

fn body(
    text: Option<String>,
    html: Option<String>,
    invitation: Option<Invitation>,
    related: Vec<Attached>,
) -> Result<Readable, Malformed> {
    let plain = |text: String| SinglePart::builder().header(ContentType::TEXT_PLAIN).body(encoded(text));
    let html = html.map(|html| SinglePart::builder().header(ContentType::TEXT_HTML).body(encoded(html)));
    let html = match html {
        Some(html) if !related.is_empty() => {
            let mut part = MultiPart::related().singlepart(html);
            for file in related {
                part = part.singlepart(file.part()?);
            }
            Some(Readable::Multi(part))
        }
        html => html.map(Readable::Single),
    };
    // From the plainest to the richest; a mail program takes the last one that it knows (RFC 2046, 5.1.4).
    let mut alternatives = Vec::new();
    if text.is_some() || html.is_none() {
        alternatives.push(Readable::Single(plain(text.unwrap_or_default())));
    }
    alternatives.extend(html);
    alternatives.extend(invitation.map(|invitation| Readable::Single(invitation.part())));
    if alternatives.len() == 1
        && let Some(only) = alternatives.pop()
    {
        return Ok(only);
    }
    let all = alternatives.into_iter().fold(MultiPart::alternative().build(), |all, part| match part {
        Readable::Single(part) => all.singlepart(part),
        Readable::Multi(part) => all.multipart(part),
    });
    Ok(Readable::Multi(all))
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

fn custom_header(name: &str, value: &str) -> Result<Field, Malformed> {
    let lower = name.to_ascii_lowercase();
    let is_token = !name.is_empty() && name.len() <= 70 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let own = lower.starts_with("x-mailwright-") || lower.starts_with("x-ms-exchange-");
    let known = ALLOWED.iter().find(|(known, _)| *known == lower);
    if !is_token || own || !(lower.starts_with("x-") || known.is_some()) {
        let allowed: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        return Err(malformed(format!(
            "the header `{}` cannot be set; `X-...` can, and {}",
            name.escape_debug().to_string().chars().take(70).collect::<String>(),
            allowed.join(", ")
        )));
    }
    if value.len() > 2000 || value.chars().any(char::is_control) {
        return Err(malformed(format!("the header `{name}` has control characters or more than 2000 bytes")));
    }
    if known.is_none_or(|(_, is_text)| *is_text) {
        return Ok(Field::unstructured(name, value));
    }
    if !value.is_ascii() {
        return Err(malformed(format!("the header `{name}` takes ASCII alone")));
    }
    // Folded between its words; a word that is too long for a line is found with the rest.
    Ok(Field::new(name, &value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("\r\n ")))
}

fn distinct(addresses: impl Iterator<Item = Address>) -> Result<Vec<String>, Malformed> {
    let mut seen = std::collections::HashSet::new();
    let recipients: Vec<String> =
        addresses.filter(|address| seen.insert(address.key())).map(|address| address.to_string()).collect();
    match recipients.len() {
        0 => Err(malformed("the message has no recipient")),
        many if many > RECIPIENTS => {
            Err(malformed(format!("the message has {many} recipients; {RECIPIENTS} are allowed")))
        }
        _ => Ok(recipients),
    }
}

/// Refuses NUL, and lines that mail cannot carry: the server that takes it might fold such a line, and with that change what it
/// says, or refuse it after all.
fn check_lines(message: &[u8]) -> Result<(), Malformed> {
    if memchr::memchr(0, message).is_some() {
        return Err(malformed("the message has a NUL character (U+0000), and mail may not (RFC 5322)")
            .remedy("Remove it, or encode that part as base64."));
    }
    let (fields, body_at) = split(message)?;
    if let Some(field) = fields.iter().find(|field| field.as_str().lines().any(|line| line.len() > LINE_LIMIT)) {
        return Err(malformed(format!(
            "a line of the header `{}` has more than {LINE_LIMIT} bytes, and mail may not (RFC 5322)",
            field.name().chars().take(70).collect::<String>()
        ))
        .remedy("Shorten it."));
    }
    let mut from = body_at;
    let ends = memchr::memchr2_iter(b'\r', b'\n', &message[body_at..]).map(|at| at + body_at);
    for end in ends.chain([message.len()]) {
        if end - from > LINE_LIMIT {
            return Err(malformed(format!("a line has more than {LINE_LIMIT} bytes, and mail may not (RFC 5322)"))
                .remedy("Encode that part as quoted-printable or base64."));
        }
        from = end + 1;
    }
    Ok(())
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
    let (before, body_at) = split(bytes)?;
    if before.len() > FIELDS {
        return Err(malformed(format!("the message's header has {} fields; {FIELDS} are allowed", before.len())));
    }
    let parsed = parsed(bytes)?.ok_or_else(|| malformed("this is not a message with a header (RFC 5322)"))?;
    check_lines(bytes)?;
    for name in ONCE {
        if before.iter().filter(|field| field.is(name)).count() > 1 {
            return Err(malformed(format!("the header `{name}` stands twice")));
        }
    }
    check_forbidden(&parsed, attachments)?;
    let recipients = if envelope.is_empty() {
        header_recipients(&before)?
    } else {
        distinct(entries(envelope, "recipients")?.into_iter().map(|entry| entry.address))?
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
        fields.push(field.clone().in_ascii()?);
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
    // Line ends are CRLF to a signer, whatever the file had; a carriage return alone was none to it.
    let body = &bytes[body_at..];
    let has_lone_return = memchr::memchr_iter(b'\r', body).any(|at| body.get(at + 1) != Some(&b'\n'));
    dkim::remove_broken(&mut fields, &before, has_lone_return);
    let content = with_header(&fields, bytes.to_vec(), body_at);
    check_lines(&content)?;
    Ok(Kept { content, recipients, subject, message_id, from })
}

/// The bytes of a raw message as a program saved it: without a byte order mark, and in UTF-8 where it is in UTF-16, as
/// PowerShell writes what it redirects. Text beyond ASCII is refused there: whether it is what the message says of its
/// character sets is not known any more.
pub fn without_byte_order_mark(mut bytes: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
        return Ok(bytes);
    }
    let Some(encoding) = text::detect_encoding(&bytes) else { return Ok(bytes) };
    match text::decode(&bytes) {
        Ok(text) if text.is_ascii() => Ok(text.into_bytes()),
        _ => Err(malformed(format!("the message is {encoding}"))
            .remedy("Save it as the bytes that it was; in PowerShell, not by `>` but by the program itself.")),
    }
}

/// The recipients that the header of a raw message names.
fn header_recipients(fields: &[Field]) -> Result<Vec<String>, Malformed> {
    if fields.iter().any(|field| field.is_any(&["resent-to", "resent-cc", "resent-bcc"])) {
        return Err(malformed("the message was resent (`Resent-To`), and does not say to whom it goes now")
            .remedy("Name the recipients: `recipients` in the address, or `--to`."));
    }
    let mut addresses = Vec::new();
    for name in ["to", "cc", "bcc"] {
        for field in fields.iter().filter(|field| field.is(name)) {
            addresses.extend(addresses_of(field)?.entries.into_iter().map(|entry| entry.address));
        }
    }
    distinct(addresses.into_iter())
}

/// The sender that the header of a raw message names.
fn header_sender(fields: &[Field]) -> Result<Option<(String, Option<String>)>, Malformed> {
    let Some(field) = fields.iter().find(|field| field.is("from")) else { return Ok(None) };
    let mut entries = addresses_of(field)?.entries;
    if entries.len() > 1 {
        return Err(malformed("`From` names more than one sender"));
    }
    Ok(entries.pop().map(|entry| (entry.address.to_string(), entry.name)))
}

/// Parses a raw message; none if it has no header. A message with very many parts is refused, before it is parsed where
/// that can be seen: the parser needs far more memory for a part than the part has bytes.
fn parsed(bytes: &[u8]) -> Result<Option<mail_parser::Message<'_>>, Malformed> {
    let too_many = || malformed(format!("the message has more than {PARTS} parts"));
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
fn count_parts(message: &mail_parser::Message<'_>) -> usize {
    let (mut count, mut messages) = (0, vec![message]);
    while let Some(message) = messages.pop() {
        count += message.parts.len();
        messages.extend(message.parts.iter().filter_map(mail_parser::MessagePart::message));
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
        // No boundary of the list begins with another one, so the only candidate is the greatest that is not behind `rest`.
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
    // The third letter is the rarest of them in texts.
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

/// Reads what follows the name of a parameter: `=value`, `="value"`, or the first section of an extended or continued one
/// (RFC 2231).
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
        value = percent_decoded(text);
    }
    value.truncate(BOUNDARY);
    Some(value)
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let hex = (*first == b'%').then(|| behind.get(..2)).flatten();
        let byte = hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    decoded
}

/// Refuses a message with a file that the environment forbids, or with a message that has one.
fn check_forbidden(message: &mail_parser::Message<'_>, attachments: &Attachments) -> Result<(), Malformed> {
    if attachments.forbidden.is_empty() { Ok(()) } else { check_files(message, attachments, 0, &mut 0) }
}

/// `count` is how many parts were looked at in the messages around this one.
fn check_files(
    message: &mail_parser::Message<'_>,
    attachments: &Attachments,
    depth: usize,
    count: &mut usize,
) -> Result<(), Malformed> {
    if depth > ENCLOSED {
        return Err(malformed(format!("messages are attached within messages, more than {ENCLOSED} deep")));
    }
    // Not by recursion: parts of a message may lie a thousand deep.
    let mut messages = vec![message];
    while let Some(message) = messages.pop() {
        *count += message.parts.len();
        if *count > PARTS {
            return Err(malformed(format!("the message has more than {PARTS} parts")));
        }
        let files: std::collections::HashSet<usize> =
            message.attachments.iter().filter_map(|index| usize::try_from(*index).ok()).collect();
        for (index, part) in message.parts.iter().enumerate() {
            let is_file = files.contains(&index);
            if let Some(rule) = rule_against(part, is_file, attachments) {
                let reason = format!("the environment forbids attachments of this kind (`{}`)", rule.escape_debug());
                return Err(malformed(reason).remedy(FORBIDDEN));
            }
            if let Some(within) = part.message() {
                messages.push(within);
            } else if is_file
                && names_message(part)
                && let Some(within) = parsed(part.contents())?
            {
                check_files(&within, attachments, depth + 1, count)?;
            }
        }
    }
    Ok(())
}

/// The rule that forbids a part, under any of its names: the reader of the mail may believe each.
fn rule_against<'a>(
    part: &mail_parser::MessagePart<'_>,
    is_file: bool,
    attachments: &'a Attachments,
) -> Option<&'a str> {
    use mail_parser::MimeHeaders as _;
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
    names.find_map(|name| attachments.rule_against(&decoded_words(name), &media_type))
}

/// Returns true for a file that is a message, by its name or type, and was not taken apart.
fn names_message(part: &mail_parser::MessagePart<'_>) -> bool {
    use mail_parser::MimeHeaders as _;
    part.attachment_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(".eml"))
        || part.content_type().is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("message"))
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
    drop(message.splice(..body_at, joined(fields)));
    message
}

/// A message as it leaves.
#[derive(Debug)]
pub struct Outgoing {
    /// Header and body.
    pub bytes: bytes::Bytes,
    /// The recipients of this attempt: those who still wait, or the one whom the environment writes to instead.
    pub recipients: Vec<String>,
    /// True if the environment writes to one address in the place of all recipients.
    pub is_rewritten: bool,
    /// True if `To` or `Cc` lost addresses that are not recipients of this attempt.
    pub is_narrowed: bool,
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
    /// True if the transport has no envelope and reads the recipients from the header, which then names exactly them.
    pub header_is_envelope: bool,
}

impl Sender<'_> {
    /// Puts in what kept contents lack. `recipients` are those that are still to be reached.
    pub fn outgoing(&self, content: Vec<u8>, recipients: &[String]) -> Result<Outgoing, Malformed> {
        let (mut fields, body_at) = split(&content)?;
        let before = fields.clone();
        let address = Address::parse(self.address)
            .map_err(|error| malformed(format!("the profile's address is not one: {error}")))?;
        self.put_sender(&mut fields, &address);
        if let Some(tag) = &self.guard.subject_tag {
            tag_subject(&mut fields, tag);
        }
        let mut recipients = recipients.to_vec();
        if let Some(instead) = &self.guard.rewrite_to {
            fields.retain(|field| !field.is_any(&["to", "cc"]));
            fields.push(Field::new("To", instead));
            for recipient in &recipients {
                fields.push(Field::unstructured("X-Mailwright-Recipient", recipient));
            }
            recipients = vec![instead.clone()];
        }
        let is_narrowed = self.header_is_envelope && address_exactly(&mut fields, &recipients)?;
        dkim::remove_broken(&mut fields, &before, false);
        let is_rewritten = self.guard.rewrite_to.is_some();
        let bytes = with_header(&fields, content, body_at).into();
        Ok(Outgoing { bytes, recipients, is_rewritten, is_narrowed })
    }

    /// Leaves `From` and `Sender` as they are if they name the profile's address, so that a signature over them holds.
    fn put_sender(&self, fields: &mut Vec<Field>, address: &Address) {
        let is_own = |field: &Field| {
            let list = address_list::parse(&field.unfolded()).unwrap_or_default();
            matches!(list.entries.as_slice(), [one] if one.address == *address)
        };
        fields.retain(|field| !field.is_any(&SENDERS) || is_own(field));
        if !fields.iter().any(|field| field.is("from")) {
            let from = Entry::new(self.name.map(str::to_owned), address.clone());
            fields.insert(0, address_list::field("From", &[from]));
        }
    }
}

/// Rewrites the fields that name recipients so that they name exactly these, each once: those of `To` and `Cc` stay where
/// they are, the others stand in `Bcc`, which the transport removes. Returns true if somebody was taken out.
fn address_exactly(fields: &mut Vec<Field>, recipients: &[String]) -> Result<bool, Malformed> {
    let mut waiting = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let address = Address::parse(recipient).map_err(|error| malformed(format!("a recipient: {error}")))?;
        waiting.push(address);
    }
    let mut missing: Vec<(String, Address)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
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
        // What cannot be read was accepted by an earlier version; nobody in it is addressed by it.
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

fn tag_subject(fields: &mut Vec<Field>, tag: &str) {
    match fields.iter_mut().find(|field| field.is("subject")) {
        Some(field) if tag.is_ascii() => *field = Field::new("Subject", &format!("{tag} {}", field.value())),
        // A space between two encoded words is not shown, so both are encoded as one.
        Some(field) => {
            *field = Field::unstructured("Subject", &format!("{tag} {}", decoded_words(&field.unfolded())));
        }
        None => fields.push(Field::unstructured("Subject", tag)),
    }
}

/// What a message asks of a mail server: SMTPUTF8, because an address or the header is not ASCII, and 8BITMIME, because
/// anything is not. A server that lacks one gets [`downgraded`] bytes, and only the recipients that it can take.
pub fn needs(bytes: &[u8], recipients: &[String], from: &str) -> (bool, bool) {
    let header_end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let utf8 = needs_smtputf8(from)
        || recipients.iter().any(|recipient| needs_smtputf8(recipient))
        || !bytes[..header_end].is_ascii();
    (utf8, !bytes.is_ascii())
}

/// Returns true if an address can only be written to through a server that offers SMTPUTF8 (RFC 6531).
pub fn needs_smtputf8(address: &str) -> bool {
    !address.is_ascii()
}

/// A message for a server that lacks SMTPUTF8, or 8BITMIME as well. Fails where it would arrive broken: what is signed is
/// not re-encoded.
pub fn downgraded(bytes: &[u8], offers_eight_bit: bool) -> Result<Vec<u8>, Malformed> {
    if offers_eight_bit { seven_bit::convert_header(bytes) } else { seven_bit::convert(bytes) }
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
        assert_eq!(parsed(few.as_bytes()).unwrap().map(|message| count_parts(&message)), Some(801));
        assert!(parsed(digest(600).as_bytes()).is_err(), "1201 parts");
    }
}
