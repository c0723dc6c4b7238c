//! E-mail addresses: the one parser that files, the API, the headers of raw messages, guards and the command line share.
//!
//! [`Address`] is an addr-spec (RFC 5321, RFC 6531) in the form of SMTP commands: the domain in A-labels, the local part without
//! needless quotes. [`NamedAddress`] is an address with or without a display name. Errors name the position and what to write
//! instead, and do not quote the address. Blanks and invisible characters at both ends are dropped; a local part over 64 bytes, a
//! domain over 253 or a text over 1000 is refused. `mime::address_list` reads header fields, with folding, comments and groups, and
//! parses each address in them with this module.
//!
//! Fields of documents stay strings: the `deserialize` functions bring an address into this form, and leave a text that is not
//! an address as it is, for the rules to refuse. A pattern of a guard is an address or `*@domain`.
//!
//! Addresses are compared without regard to case, also in the local part. RFC 5321 lets a server distinguish local parts by case;
//! no known server does, and a guard or a check for duplicates that depended on case could be evaded.

mod named;

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer};

pub use named::NamedAddress;

/// The longest local part, in bytes (RFC 5321, 4.5.3.1.1).
const LOCAL_LIMIT: usize = 64;
/// The longest domain, in bytes.
const DOMAIN_LIMIT: usize = 253;
/// The longest text that is parsed, in bytes: an address with a display name.
const TEXT_LIMIT: usize = 1000;

/// An e-mail address in the form in which it is transmitted.
#[derive(Clone, Debug)]
pub struct Address {
    text: String,
    /// The index of the `@`.
    at: usize,
}

/// The reason why a text is not an address, its place, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// The character that is wrong, counted from 1; none if the problem is the text as a whole.
    pub position: Option<usize>,
    /// The reason.
    pub reason: String,
    /// The remedy.
    pub remedy: &'static str,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.position.map_or(Ok(()), |position| write!(f, " (character {position})"))
    }
}

impl std::error::Error for AddressError {}

impl AddressError {
    /// Creates an error about a character, counted from 0.
    pub(crate) fn at(position: usize, reason: impl Into<String>, remedy: &'static str) -> Self {
        Self { position: Some(position + 1), reason: reason.into(), remedy }
    }

    pub(crate) fn whole(reason: impl Into<String>, remedy: &'static str) -> Self {
        Self { position: None, reason: reason.into(), remedy }
    }

    /// Returns this error for a text that begins so many characters later.
    pub(crate) fn shifted(self, by: usize) -> Self {
        Self { position: self.position.map(|position| position + by), ..self }
    }
}

const PLAIN: &str = "Write it as name@example.com.";
const EACH: &str = "Write each address as an entry of its own.";
const RETYPE: &str = "Type the address again instead of copying it.";
const UNQUOTED: &str = "Remove it, or type the address again: name@example.com.";
const BRACKETS: &str = "Write an IP address in brackets: name@[192.0.2.1] or name@[IPv6:2001:db8::1].";

/// Names a character so that it is safe to show.
pub(crate) fn describe(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        c if c.is_ascii_graphic() => format!("`{c}`"),
        c if c.is_control() => format!("a control character (U+{:04X})", u32::from(c)),
        c if is_unseen(c) => format!("an invisible character (U+{:04X})", u32::from(c)),
        c if c.is_whitespace() => format!("a blank (U+{:04X})", u32::from(c)),
        c => format!("`{c}` (U+{:04X})", u32::from(c)),
    }
}

/// Removes blanks of every kind, byte order marks and invisible characters from both ends: what spreadsheets and master
/// data leave there. Returns how many characters went at the beginning, and the rest.
fn trim(text: &str) -> (usize, &str) {
    let is_blank = |c: char| c.is_whitespace() || (is_unseen(c) && !c.is_control());
    let rest = text.trim_start_matches(is_blank);
    let skipped = text.chars().count() - rest.chars().count();
    (skipped, rest.trim_end_matches(is_blank))
}

/// Parses a text without the blanks at both ends. The positions in an error count from the start of the whole text.
fn parse_within_limit<T>(
    text: &str,
    parse_trimmed: impl FnOnce(&str) -> Result<T, AddressError>,
) -> Result<T, AddressError> {
    if text.len() > TEXT_LIMIT {
        return Err(AddressError::whole(format!("it has more than {TEXT_LIMIT} bytes"), PLAIN));
    }
    let (skipped, text) = trim(text);
    parse_trimmed(text).map_err(|error| error.shifted(skipped))
}

/// Returns true for the characters of an atom (RFC 5322, 3.2.3; RFC 6532 adds everything beyond ASCII).
pub(crate) fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_beyond_ascii(c)
}

/// Returns true for characters that take no room when a name is shown: controls, joiners, marks of direction, and similar ones.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn is_beyond_ascii(c: char) -> bool {
    !c.is_ascii() && !c.is_whitespace() && !is_unseen(c) && c != char::REPLACEMENT_CHARACTER
}

/// Returns true for the quotation marks of word processors, which are copied along with an address. An address can contain
/// them (RFC 6531), and none that is in use does.
pub(crate) fn is_typographic_quote(c: char) -> bool {
    matches!(c, '\u{ab}' | '\u{b4}' | '\u{bb}' | '\u{2018}'..='\u{201f}' | '\u{2032}'..='\u{2037}' | '\u{2039}' | '\u{203a}'
        | '\u{300c}'..='\u{300f}' | '\u{301d}'..='\u{301f}' | '\u{ff02}' | '\u{ff07}')
}

/// Prefixes of addresses in links, and in programs that know several kinds of addresses (Exchange, Outlook, some ERP systems).
const PREFIXES: [&str; 12] =
    ["mailto", "smtp", "http", "https", "ftp", "sip", "sips", "im", "xmpp", "x400", "x500", "ex"];

/// Returns the error for an address behind such a prefix, which is given without its colon; none for another text.
pub(crate) fn prefix_error(prefix: &str) -> Option<AddressError> {
    const REMEDY: &str = "Write the address alone: name@example.com.";
    let known = PREFIXES.iter().find(|known| prefix.eq_ignore_ascii_case(known))?;
    let is_link = !["smtp", "x400", "x500", "ex"].contains(known);
    let reason = if is_link { format!("it is a `{known}:` link") } else { format!("`{prefix}:` before the address") };
    Some(AddressError::at(0, reason, REMEDY))
}

impl Address {
    /// Parses an address without a display name. Blanks at both ends are ignored.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        parse_within_limit(text, Self::parse_trimmed)
    }

    fn parse_trimmed(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::whole("it is empty", PLAIN));
        }
        if let Some(error) = text.split_once(':').and_then(|(prefix, _)| prefix_error(prefix)) {
            return Err(error);
        }
        let (local, domain, domain_at) = if text.starts_with('"') {
            let (local, length) = quoted_local_part(text)?;
            let rest: Vec<char> = text.chars().skip(length).take(1).collect();
            if rest != ['@'] {
                return Err(AddressError::at(length, "an `@` must follow the quoted local part", PLAIN));
            }
            let domain = text.char_indices().nth(length + 1).map_or("", |(index, _)| &text[index..]);
            (local, domain, length + 1)
        } else {
            let Some((local, domain)) = text.split_once('@') else { return Err(without_at(text)) };
            let local_length = local.chars().count();
            check_local_part(local)?;
            (local.to_owned(), domain, local_length + 1)
        };
        // In a header, some programs decode such a local part, and read another address.
        if local.contains("=?") {
            return Err(AddressError::whole("the part before the `@` looks like an encoded word (`=?`)", PLAIN));
        }
        if local.len() > LOCAL_LIMIT {
            let reason = format!("the part before the `@` has {} bytes; {LOCAL_LIMIT} are allowed", local.len());
            return Err(AddressError::whole(reason, PLAIN));
        }
        let domain = parse_domain(domain).map_err(|error| error.shifted(domain_at))?;
        let at = local.len();
        Ok(Self { text: format!("{local}@{domain}"), at })
    }

    /// Returns the address as it is transmitted.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the part before the `@`: a dot-atom, or a quoted string.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// Returns the part after the `@`, in ASCII.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// Returns true if a server must offer SMTPUTF8 (RFC 6531) to accept the address.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local_part().is_ascii()
    }

    /// Returns the form in which addresses are compared.
    pub fn key(&self) -> String {
        self.text.to_lowercase()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq_ignore_ascii_case(&other.text) || self.key() == other.key()
    }
}

impl Eq for Address {}

impl std::hash::Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

fn without_at(text: &str) -> AddressError {
    let full_width = text.chars().position(|c| c == '\u{ff20}');
    full_width.map_or_else(
        || AddressError::whole("it has no `@`", PLAIN),
        |position| AddressError::at(position, format!("{} is not an `@`", describe('\u{ff20}')), PLAIN),
    )
}

fn check_local_part(local: &str) -> Result<(), AddressError> {
    if local.is_empty() {
        return Err(AddressError::at(0, "the part before the `@` is empty", PLAIN));
    }
    let mut before = '.';
    for (position, c) in local.chars().enumerate() {
        match c {
            '.' if before == '.' && position == 0 => {
                let remedy = "Remove the dot, or put the part before the `@` in quotes.";
                return Err(AddressError::at(position, "an address cannot begin with a dot", remedy));
            }
            '.' if before == '.' => {
                let remedy = "Remove one, or put the part before the `@` in quotes.";
                return Err(AddressError::at(position, "two dots in a row", remedy));
            }
            '.' => {}
            c if is_typographic_quote(c) => {
                let reason = format!("{} is a typographic quotation mark", describe(c));
                return Err(AddressError::at(position, reason, UNQUOTED));
            }
            c if is_atext(c) => {}
            ';' | ',' => {
                let reason = format!("{} cannot be part of an address", describe(c));
                return Err(AddressError::at(position, reason, EACH));
            }
            c => {
                let remedy = if c.is_ascii() { PLAIN } else { RETYPE };
                let reason = format!("{} cannot stand before the `@`", describe(c));
                return Err(AddressError::at(position, reason, remedy));
            }
        }
        before = c;
    }
    if before == '.' {
        let remedy = "Remove the dot, or put the part before the `@` in quotes.";
        return Err(AddressError::at(local.chars().count() - 1, "there is a dot before the `@`", remedy));
    }
    Ok(())
}

/// Reads a quoted local part. Returns it without needless quotes, and its length in characters with the quotes.
fn quoted_local_part(text: &str) -> Result<(String, usize), AddressError> {
    let mut content = String::new();
    let mut is_escaped = false;
    for (position, c) in text.chars().enumerate().skip(1) {
        let is_allowed = c == ' ' || c.is_ascii_graphic() || is_beyond_ascii(c);
        match c {
            '"' if !is_escaped => {
                if content.is_empty() {
                    return Err(AddressError::at(position, "the quotes are empty", PLAIN));
                }
                let is_dot_atom = content.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext));
                let local = if is_dot_atom { content } else { quoted(&content) };
                return Ok((local, position + 1));
            }
            '\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            c if is_allowed => content.push(c),
            c => {
                let reason = format!("{} cannot stand between the quotes", describe(c));
                return Err(AddressError::at(position, reason, RETYPE));
            }
        }
        is_escaped = false;
    }
    Err(AddressError::at(0, "the quote is not closed", PLAIN))
}

/// Returns a quoted string (RFC 5322, 3.2.4).
pub(crate) fn quoted(content: &str) -> String {
    let mut text = String::with_capacity(content.len() + 2);
    text.push('"');
    for c in content.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

fn parse_domain(domain: &str) -> Result<Cow<'_, str>, AddressError> {
    if let Some(literal) = domain.strip_prefix('[') {
        return parse_literal(literal).map(Cow::Owned);
    }
    for (position, c) in domain.chars().enumerate() {
        let reason = match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' => continue,
            c if is_typographic_quote(c) => {
                let reason = format!("{} is a typographic quotation mark", describe(c));
                return Err(AddressError::at(position, reason, UNQUOTED));
            }
            c if is_beyond_ascii(c) => continue,
            ' ' | '/' | '|' | ';' | ',' if domain.chars().skip(position + 1).any(|c| c == '@') => {
                let reason = format!("{} separates it from a second address", describe(c));
                return Err(AddressError::at(position, reason, EACH));
            }
            ';' | ',' => {
                let reason = format!("{} follows the address", describe(c));
                return Err(AddressError::at(position, reason, EACH));
            }
            '@' => return Err(AddressError::at(position, "a second `@`", PLAIN)),
            '(' => {
                let remedy = "Write the name in front of the address: John Doe <john@example.com>.";
                return Err(AddressError::at(position, "a comment in parentheses", remedy));
            }
            c => format!("{} cannot be part of a domain", describe(c)),
        };
        return Err(AddressError::at(position, reason, if c.is_ascii() { PLAIN } else { RETYPE }));
    }
    if domain.is_empty() {
        return Err(AddressError::whole("the part after the `@` is empty", PLAIN));
    }
    if domain.parse::<IpAddr>().is_ok() {
        return Err(AddressError::at(0, "an IP address without brackets", BRACKETS));
    }
    let ascii = ascii_domain(domain)
        .ok_or_else(|| AddressError::at(0, "the domain is not an internationalised domain name (IDNA)", RETYPE))?;
    let mut position = 0;
    for label in ascii.split('.') {
        let wrong = |reason: &str| Err(AddressError::at(position.min(domain.chars().count()), reason, PLAIN));
        match label {
            "" if position == 0 => return wrong("the domain begins with a dot"),
            "" if position >= ascii.len() => return wrong("the domain ends with a dot"),
            "" => return wrong("two dots in a row"),
            label if label.len() > 63 => return wrong("a part of the domain has more than 63 characters"),
            label if label.starts_with('-') || label.ends_with('-') => {
                return wrong("a part of the domain begins or ends with a hyphen");
            }
            label if label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--")) => {
                let (unicode, decoded) = idna::domain_to_unicode(label);
                if decoded.is_err() || unicode.starts_with('-') || unicode.ends_with('-') {
                    return wrong("a part of the domain is not an internationalised name (IDNA)");
                }
                position += label.len() + 1;
            }
            label => position += label.len() + 1,
        }
    }
    if ascii.len() > DOMAIN_LIMIT {
        return Err(AddressError::at(0, format!("the domain has more than {DOMAIN_LIMIT} characters"), PLAIN));
    }
    Ok(ascii)
}

/// Returns a domain in A-labels (`xn--...`), an ASCII domain unchanged; none if there is no such form.
fn ascii_domain(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() {
        return Some(Cow::Borrowed(domain));
    }
    idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::URL).ok().filter(|ascii| !ascii.is_empty())
}

/// Parses an address literal (RFC 5321, 4.1.3) behind its opening bracket.
fn parse_literal(literal: &str) -> Result<String, AddressError> {
    let wrong = || AddressError::at(0, "the text in brackets is not an IP address", BRACKETS);
    let content = literal.strip_suffix(']').ok_or_else(wrong)?;
    let six = content.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:")).and(content.get(5..));
    match (six, content.parse::<IpAddr>()) {
        (Some(six), _) => six.parse::<std::net::Ipv6Addr>().map(|six| format!("[IPv6:{six}]")).map_err(|_| wrong()),
        (None, Ok(IpAddr::V4(four))) => Ok(format!("[{four}]")),
        (None, _) => Err(wrong()),
    }
}

/// Returns the form in which an address is transmitted. A text that is not an address stays as it is, and the rules refuse it.
pub fn canonical(text: &str) -> String {
    Address::parse(text).map_or_else(|_| text.to_owned(), |address| address.text)
}

/// Returns the form in which a pattern of a guard is compared: an address, or `*@domain`.
pub fn canonical_pattern(text: &str) -> String {
    let (_, trimmed) = trim(text);
    match trimmed.strip_prefix("*@") {
        Some(domain) => ascii_domain(domain).map_or_else(|| text.to_owned(), |domain| format!("*@{domain}")),
        None => canonical(text),
    }
}

/// Deserializes an address into the form in which it is transmitted.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| canonical(&text))
}

/// Deserializes an optional address into the form in which it is transmitted.
pub(crate) fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(|text| canonical(&text)))
}

/// Deserializes a list of addresses into the form in which they are transmitted.
pub(crate) fn deserialize_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Vec::<String>::deserialize(deserializer).map(|texts| texts.iter().map(|text| canonical(text)).collect())
}

/// Deserializes patterns of a guard into the form in which they are compared.
pub(crate) fn deserialize_patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Vec::<String>::deserialize(deserializer).map(|texts| texts.iter().map(|text| canonical_pattern(text)).collect())
}
