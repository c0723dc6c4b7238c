//! Composing: a message in parts becomes a header and a body (RFC 5322, RFC 2045 to 2047, RFC 5546).
//!
//! [`MessageParts::compose`] writes addresses, headers, texts, an invitation and files as MIME. The result has neither `From` nor
//! `Bcc`: the sender is decided by the profile when the message is sent. A part that cannot be written (an address, a header that
//! is not allowed, a second invitation, a forbidden file, more than 500 recipients) is [`Malformed`] with its place, and there is
//! no message. It does not decide who may send what.

use jiff::Timestamp;
use lettre::message::{
    Body, MultiPart, SinglePart,
    header::{self, ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue},
};

use super::{
    Field, Malformed, address_list,
    content::{StoredContent, distinct_recipients, normalize_line_ends, parse_entries, replace_header},
    content_check::{FORBIDDEN, check_attachments, check_lines},
    field::split_header,
    parameter::{self, MediaType},
    part_limit::parse_bounded,
};
use crate::model::delivery::Attachments;

/// Headers that submitters may set in addition to `X-...`, each with `true` if it is free text, which may be encoded.
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

/// The parts of a message.
#[derive(Debug, Default)]
pub struct MessageParts {
    /// `To`: addresses, with or without a name.
    pub to: Vec<String>,
    /// `Cc`: recipients of a copy.
    pub cc: Vec<String>,
    /// `Bcc`: recipients that the other recipients do not see.
    pub bcc: Vec<String>,
    /// `Reply-To`: addresses for replies.
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
    pub attachments: Vec<FilePart>,
    /// Other headers.
    pub headers: Vec<(String, String)>,
}

/// A file that is attached to a message.
#[derive(Debug)]
pub struct FilePart {
    /// The name of the file.
    pub name: String,
    /// The media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The id by which the HTML refers to it (`cid:...`); none for a file that the HTML does not show.
    pub content_id: Option<String>,
}

impl MessageParts {
    /// Composes the message. `attachments` states which files the environment allows.
    pub fn compose(
        self,
        message_id: &str,
        at: Timestamp,
        attachments: &Attachments,
    ) -> Result<StoredContent, Malformed> {
        let to = parse_entries(&self.to, "to")?;
        let cc = parse_entries(&self.cc, "cc")?;
        let bcc = parse_entries(&self.bcc, "bcc")?;
        let reply_to = parse_entries(&self.reply_to, "replyTo")?;
        let recipients = distinct_recipients(to.iter().chain(&cc).chain(&bcc).map(|entry| entry.address.clone()))?;
        if self.subject.chars().any(char::is_control) || self.subject.len() > 2000 {
            return Err(Malformed::new("`subject` has control characters or more than 2000 bytes"));
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
            fields.push(compose_header(name, value)?);
        }
        fields.push(Field::new("MIME-Version", "1.0"));
        let mut invitation = self.calendar.map(|text| Invitation::parse(text, None, "calendar")).transpose()?;
        let mut files = self.attachments;
        for (index, file) in files.iter_mut().enumerate() {
            let place = format!("attachments/{index}");
            file.check(&place, attachments)?;
            if let Some(parsed) = file.parse_invitation(&place)? {
                if invitation.is_some() {
                    return Err(Malformed::new("a message carries one invitation, and this one has more"));
                }
                invitation = Some(parsed);
                // The attached copy has no method: a mail program would ask for an answer twice.
                "text/calendar; charset=utf-8".clone_into(&mut file.media_type);
            }
        }
        let (related, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.content_id.is_some());
        if !related.is_empty() && self.html.is_none() {
            return Err(Malformed::new("an inline attachment belongs to `html`, which is missing"));
        }
        let body = compose_body(self.text, self.html, invitation, related)?;
        let others: Vec<SinglePart> = others.into_iter().map(FilePart::into_part).collect::<Result<_, _>>()?;
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
        let (body_fields, body_at) = split_header(&formatted)?;
        fields.extend(body_fields);
        let content = replace_header(&fields, formatted, body_at);
        check_lines(&content)?;
        if !attachments.forbidden.is_empty()
            && let Some(message) = parse_bounded(&content)?
        {
            check_attachments(&message, attachments)?;
        }
        Ok(StoredContent { content, recipients, subject: self.subject, message_id: message_id.to_owned(), from: None })
    }
}

/// A header of a part whose value is already in the form in which it is transmitted.
macro_rules! encoded_header {
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
encoded_header!(FileType, "Content-Type");
encoded_header!(FileDisposition, "Content-Disposition");

impl FilePart {
    fn parse_media_type(&self, place: &str) -> Result<MediaType, Malformed> {
        MediaType::parse(&self.media_type).ok_or_else(|| {
            Malformed::new(format!("`{place}/mediaType` is not a media type")).remedy("Write it as application/pdf.")
        })
    }

    fn check(&self, place: &str, attachments: &Attachments) -> Result<(), Malformed> {
        let bad = |text: &str| text.is_empty() || text.len() > 255 || text.chars().any(char::is_control);
        if bad(&self.name) || self.name.contains(['/', '\\']) {
            return Err(Malformed::new(format!("`{place}/name` is not a file name")));
        }
        if self
            .content_id
            .as_ref()
            .is_some_and(|id| bad(id) || !id.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b)))
        {
            return Err(Malformed::new(format!("`{place}/contentId` is not an id that HTML can refer to")));
        }
        let media_type = self.parse_media_type(place)?;
        if attachments.rule_against(&self.name, &media_type.essence).is_some() {
            return Err(
                Malformed::new(format!("`{place}`: the environment forbids files of this kind")).remedy(FORBIDDEN)
            );
        }
        // Mail programs differ in which of two names they show, so only one is allowed.
        let other = media_type.parameters.iter().find(|(name, value)| {
            name.starts_with("name") && *value != self.name || name == "boundary" || name.contains('*')
        });
        if let Some((name, _)) = other {
            let remedy = "State the file name in `name` alone.";
            return Err(Malformed::new(format!("`{place}/mediaType` has the parameter `{name}`")).remedy(remedy));
        }
        if media_type.essence.starts_with("multipart/") {
            return Err(Malformed::new(format!("`{place}/mediaType` is a type of messages, not of files")));
        }
        Ok(())
    }

    /// Parses a calendar file as an invitation. Returns none for other files, and for dates that are only published.
    fn parse_invitation(&self, place: &str) -> Result<Option<Invitation>, Malformed> {
        let media_type = self.parse_media_type(place)?;
        if media_type.essence != "text/calendar" || self.content_id.is_some() {
            return Ok(None);
        }
        let stated = media_type.parameter("method").map(str::to_ascii_uppercase);
        let Ok(text) = String::from_utf8(self.bytes.clone()) else {
            return match stated {
                Some(_) => Err(Malformed::new(format!("`{place}/content` is a calendar that is not UTF-8"))),
                None => Ok(None),
            };
        };
        let own_method = calendar_method(&text);
        // iTIP (RFC 5546): these ask for an answer or change an appointment. Published dates are a file to open.
        let is_scheduling = |method: &Option<String>| method.as_deref().is_some_and(|method| method != "PUBLISH");
        if !is_scheduling(&stated) && !is_scheduling(&own_method) {
            return Ok(None);
        }
        Invitation::parse(text, stated, &format!("{place}/content")).map(Some)
    }

    fn into_part(self) -> Result<SinglePart, Malformed> {
        let mut media_type = self.parse_media_type("attachments")?;
        media_type.parameters.retain(|(name, _)| name != "name");
        let mut builder = SinglePart::builder().header(FileType(media_type.content_type(Some(&self.name))));
        let kind = if self.content_id.is_some() { "inline" } else { "attachment" };
        if let Some(id) = self.content_id {
            builder = builder.header(header::ContentId::from(format!("<{id}>")));
        }
        builder = builder.header(FileDisposition(parameter::content_disposition(kind, &self.name)));
        // A calendar is always sent in base64: as text, its line ends and with them every checksum would be changed on the way.
        let body = Body::new_with_encoding(self.bytes, ContentTransferEncoding::Base64)
            .map_err(|_| Malformed::new("an attachment cannot be encoded"))?;
        Ok(builder.body(body))
    }
}

/// An invitation, its update or its cancellation.
#[derive(Debug)]
struct Invitation {
    /// The method: `REQUEST`, `CANCEL`, ... (RFC 5546).
    method: String,
    text: String,
}

impl Invitation {
    fn parse(text: String, stated: Option<String>, place: &str) -> Result<Self, Malformed> {
        let remedy = "Pass an iCalendar object (RFC 5545) with `METHOD:REQUEST` or `METHOD:CANCEL`.";
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let begins = text.trim_start().get(..15).is_some_and(|word| word.eq_ignore_ascii_case("BEGIN:VCALENDAR"));
        if !begins {
            return Err(Malformed::new(format!("`{place}` does not begin with `BEGIN:VCALENDAR`")).remedy(remedy));
        }
        let own_method = calendar_method(&text);
        if let (Some(stated), Some(own_method)) = (&stated, &own_method)
            && stated != own_method
        {
            return Err(Malformed::new(format!("`{place}`: the media type and the calendar's `METHOD` differ")));
        }
        let method =
            stated.or(own_method).ok_or_else(|| Malformed::new(format!("`{place}` has no `METHOD`")).remedy(remedy))?;
        if method.len() > 30 || !method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Malformed::new(format!("`{place}`: the calendar's `METHOD` is malformed")).remedy(remedy));
        }
        Ok(Self { method, text })
    }

    fn into_part(self) -> SinglePart {
        let kind = format!("text/calendar; charset=utf-8; method={}", self.method);
        SinglePart::builder().header(FileType(kind)).body(encode_text(self.text))
    }
}

/// Returns the `METHOD` of a calendar in upper case: a property of the calendar itself, folded or not, with or without
/// parameters (RFC 5545, 3.1 and 3.7.2).
fn calendar_method(text: &str) -> Option<String> {
    let mut depth = 0_usize;
    for line in unfold_calendar(text).lines() {
        let Some((name, value)) = split_property(line) else { continue };
        if name.eq_ignore_ascii_case("begin") {
            depth += 1;
        } else if name.eq_ignore_ascii_case("end") {
            depth = depth.saturating_sub(1);
        } else if depth <= 1 && name.eq_ignore_ascii_case("method") && !value.is_empty() {
            return Some(value.to_ascii_uppercase());
        }
    }
    None
}

/// Joins the lines of folded properties (RFC 5545, 3.1).
fn unfold_calendar(text: &str) -> String {
    let mut unfolded = String::with_capacity(text.len());
    for line in text.lines() {
        let rest = line.strip_prefix([' ', '\t']);
        if rest.is_none() {
            unfolded.push('\n');
        }
        unfolded.push_str(rest.unwrap_or(line));
    }
    unfolded
}

/// Splits a property into its name and its value. Its parameters are left out; one in quotes may have a colon.
fn split_property(line: &str) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let colon = line.find(|c| {
        is_quoted ^= c == '"';
        c == ':' && !is_quoted
    })?;
    let (before, value) = line.split_at(colon);
    let name = before.split(';').next().unwrap_or_default();
    Some((name.trim(), value[1..].trim()))
}

/// The part of a message that mail programs show.
enum Readable {
    Single(SinglePart),
    Multi(MultiPart),
}

fn compose_body(
    text: Option<String>,
    html: Option<String>,
    invitation: Option<Invitation>,
    related: Vec<FilePart>,
) -> Result<Readable, Malformed> {
    let plain = |text: String| SinglePart::builder().header(ContentType::TEXT_PLAIN).body(encode_text(text));
    let html = html.map(|html| SinglePart::builder().header(ContentType::TEXT_HTML).body(encode_text(html)));
    let html = match html {
        Some(html) if !related.is_empty() => {
            let mut part = MultiPart::related().singlepart(html);
            for file in related {
                part = part.singlepart(file.into_part()?);
            }
            Some(Readable::Multi(part))
        }
        html => html.map(Readable::Single),
    };
    // The alternatives are ordered from the plainest to the richest; a mail program takes the last one that it knows (RFC 2046,
    // 5.1.4).
    let mut alternatives = Vec::new();
    if text.is_some() || html.is_none() {
        alternatives.push(Readable::Single(plain(text.unwrap_or_default())));
    }
    alternatives.extend(html);
    alternatives.extend(invitation.map(|invitation| Readable::Single(invitation.into_part())));
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

/// Encodes a text for transmission. Its line ends become CRLF here: lettre inserts them one by one and moves the rest of the
/// text each time, which takes hours for megabytes of short lines.
fn encode_text(text: String) -> Body {
    let text = normalize_line_ends(text.as_bytes()).unwrap_or_else(|| text.into_bytes());
    if text.is_ascii() {
        return Body::new(text);
    }
    match String::from_utf8(text) {
        Ok(text) => Body::new(text),
        // This is unreachable: changed line ends leave UTF-8 valid.
        Err(bytes) => Body::new(bytes.into_bytes()),
    }
}

fn compose_header(name: &str, value: &str) -> Result<Field, Malformed> {
    let lower = name.to_ascii_lowercase();
    let is_token = !name.is_empty() && name.len() <= 70 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let own = lower.starts_with("x-mailwright-") || lower.starts_with("x-ms-exchange-");
    let known = ALLOWED.iter().find(|(known, _)| *known == lower);
    if !is_token || own || !(lower.starts_with("x-") || known.is_some()) {
        let allowed: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        return Err(Malformed::new(format!(
            "the header `{}` cannot be set; `X-...` can, and {}",
            name.escape_debug().to_string().chars().take(70).collect::<String>(),
            allowed.join(", ")
        )));
    }
    if value.len() > 2000 || value.chars().any(char::is_control) {
        return Err(Malformed::new(format!("the header `{name}` has control characters or more than 2000 bytes")));
    }
    if known.is_none_or(|(_, is_text)| *is_text) {
        return Ok(Field::unstructured(name, value));
    }
    if !value.is_ascii() {
        return Err(Malformed::new(format!("the header `{name}` allows only ASCII")));
    }
    // The value is folded between words. `check_lines` finds a word that is too long for a line.
    Ok(Field::new(name, &value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("\r\n ")))
}
