//! The addresses of a header field (RFC 5322, 3.4 and 4.4), read and written.
//!
//! [`parse`] supports folding, comments, quoted strings, groups and routes, and accepts display names without the quotes that they
//! need. It refuses other text with the place, and the whole list with it: nothing is dropped silently. An empty value is an empty
//! list. [`field`] writes a list so that every parser finds the same addresses in it.

use super::field::{ENCODED_LINE, Field, decode_words, encode_words};
use crate::model::address::{Address, AddressError, describe, is_atext, prefix_error, quoted};

/// Fields that hold addresses.
const ADDRESS_FIELDS: [&str; 10] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "disposition-notification-to",
];
/// The `@` of East Asian keyboards.
const FULL_WIDTH_AT: char = '\u{ff20}';
/// The longest name that is written as a quoted string.
const QUOTED_LIMIT: usize = 200;

const NAME: &str = "Write an address after each name: John Doe <john@example.com>; put a name with a comma in quotes.";
const FORM: &str = "Write it as name@example.com, or John Doe <name@example.com>; separate addresses by commas.";

const GROUP: &str = "Write the addresses alone, or close the group: Team: a@example.com, b@example.com;";

/// Returns true if a field of this name holds addresses.
pub fn is_address_field(name: &str) -> bool {
    ADDRESS_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// An address of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The display name as it is transmitted: an atom, a quoted string, or encoded words.
    display: Option<String>,
    /// The decoded display name.
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

impl Entry {
    /// Creates an entry with a decoded display name.
    pub fn new(name: Option<String>, address: Address) -> Self {
        let name = name.filter(|name| !name.trim().is_empty());
        Self { display: name.as_deref().map(encode_phrase), name, address }
    }

    fn as_transmitted(&self) -> String {
        match &self.display {
            Some(display) if display.len() > 60 || self.is_too_long_for(display) => {
                format!("{display}\r\n <{}>", self.address)
            }
            Some(display) => format!("{display} <{}>", self.address),
            None => self.address.to_string(),
        }
    }
}

impl Entry {
    /// Returns true if the last line of a display name is encoded, and has no room for the address and what surrounds both.
    fn is_too_long_for(&self, display: &str) -> bool {
        let last = display.rsplit("\r\n").next().unwrap_or_default();
        last.contains("=?") && last.len() + self.address.as_str().len() + "  <>,".len() > ENCODED_LINE
    }
}

/// The addresses of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    /// The addresses, including those in groups.
    pub entries: Vec<Entry>,
    /// True if the list has neither groups, comments nor routes and is ASCII, so that every parser reads it alike.
    pub is_plain: bool,
}

/// Encodes a display name for transmission.
pub fn encode_phrase(name: &str) -> String {
    let is_ascii = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    // A text that looks like an encoded word would be decoded.
    if !is_ascii || name.contains("=?") || name.len() > QUOTED_LIMIT {
        return encode_words(name, " ,".len());
    }
    let is_atoms = name.split(' ').all(|word| !word.is_empty() && word.chars().all(is_atext));
    if is_atoms { name.to_owned() } else { quoted(name) }
}

/// Creates a field with these addresses, one per line.
pub fn field(name: &str, entries: &[Entry]) -> Field {
    let entries: Vec<String> = entries.iter().map(Entry::as_transmitted).collect();
    let value = entries.join(",\r\n ");
    let first = value.lines().next().unwrap_or_default();
    // An encoded word fills its line, so it begins below the name.
    let is_too_long = first.contains("=?") && name.len() + ": ".len() + first.len() > ENCODED_LINE;
    Field::new(name, &if is_too_long { format!("\r\n {value}") } else { value })
}

/// Parses the value of a field, which is on one line.
pub fn parse(value: &str) -> Result<AddressList, AddressError> {
    let characters = value.char_indices().collect();
    Parser { value, characters, at: 0, is_plain: value.is_ascii() }.list()
}

/// A word of a display name or of a local part.
struct Word {
    /// The word as it is written.
    raw: String,
    /// The word without quotes.
    content: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Atom,
    Quoted,
    Dot,
}

struct Parser<'a> {
    value: &'a str,
    characters: Vec<(usize, char)>,
    at: usize,
    is_plain: bool,
}

fn is_special(c: char) -> bool {
    "()<>:;@,.\"".contains(c) || c == ' ' || c == '\t'
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).map(|(_, c)| *c)
    }

    /// Returns the text between two characters.
    fn between(&self, from: usize, to: usize) -> &str {
        let index = |at: usize| self.characters.get(at).map_or(self.value.len(), |(index, _)| *index);
        &self.value[index(from)..index(to)]
    }

    /// Skips blanks and comments.
    fn skip_blanks(&mut self) -> Result<(), AddressError> {
        loop {
            match self.peek() {
                Some(' ' | '\t') => self.at += 1,
                Some('(') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), AddressError> {
        let begin = self.at;
        let mut depth = 0_usize;
        self.is_plain = false;
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '\\' => self.at += 1,
                '(' => depth += 1,
                ')' if depth == 1 => return Ok(()),
                ')' => depth -= 1,
                _ => {}
            }
        }
        Err(AddressError::at(begin, "the comment is not closed", FORM))
    }

    fn list(mut self) -> Result<AddressList, AddressError> {
        let mut entries = Vec::new();
        let mut is_in_group = false;
        let mut group_at = 0;
        loop {
            self.skip_blanks()?;
            match self.peek() {
                None if is_in_group => {
                    return Err(AddressError::at(group_at, "a group that no `;` closes", GROUP));
                }
                None => break,
                Some(',') => {
                    self.is_plain = false;
                    self.at += 1;
                }
                Some(';') if is_in_group => {
                    is_in_group = false;
                    self.at += 1;
                    self.skip_blanks()?;
                    self.separator(false)?;
                }
                Some(_) => {
                    let begin = self.at;
                    if let Some(entry) = self.element(is_in_group)? {
                        entries.push(entry);
                        self.skip_blanks()?;
                        self.separator(is_in_group)?;
                    } else {
                        (is_in_group, group_at) = (true, begin);
                    }
                }
            }
        }
        Ok(AddressList { entries, is_plain: self.is_plain })
    }

    /// Reads the separator after an address.
    fn separator(&mut self, is_in_group: bool) -> Result<(), AddressError> {
        match self.peek() {
            None => Ok(()),
            Some(',') => {
                self.at += 1;
                Ok(())
            }
            Some(';') if is_in_group => Ok(()),
            Some(';') => {
                Err(AddressError::at(self.at, "`;` does not separate addresses", "Separate addresses by commas."))
            }
            Some(c) => Err(AddressError::at(self.at, format!("{} behind an address", describe(c)), FORM)),
        }
    }

    /// Reads an address; returns none at the beginning of a group.
    fn element(&mut self, is_in_group: bool) -> Result<Option<Entry>, AddressError> {
        let begin = self.at;
        let mut words: Vec<Word> = Vec::new();
        loop {
            self.skip_blanks()?;
            let Some(c) = self.peek() else { return Err(self.nameless(begin, &words)) };
            match c {
                '"' => words.push(self.quoted_string()?),
                '<' => {
                    let display = self.between(begin, self.at).trim().to_owned();
                    let address = self.angle_address()?;
                    return Ok(Some(self.named_entry(&words, &display, address)));
                }
                '@' => {
                    let address = self.bare_address(begin, &words)?;
                    self.skip_blanks()?;
                    if self.peek() != Some('<') {
                        return Ok(Some(Entry { display: None, name: None, address }));
                    }
                    // `a@example.com <a@example.com>`, as some programs write it.
                    self.is_plain = false;
                    words = vec![Word { raw: String::new(), content: address.to_string(), kind: Kind::Dot }];
                }
                ':' => {
                    if let Some(error) = self.prefix_error(&words) {
                        return Err(error.shifted(begin));
                    }
                    if is_in_group {
                        return Err(AddressError::at(self.at, "a group within a group", FORM));
                    }
                    if words.is_empty() {
                        return Err(AddressError::at(self.at, "a group without a name", FORM));
                    }
                    self.is_plain = false;
                    self.at += 1;
                    return Ok(None);
                }
                ',' | ';' => return Err(self.nameless(begin, &words)),
                ')' | '>' => {
                    return Err(AddressError::at(self.at, format!("{} that nothing opened", describe(c)), FORM));
                }
                '.' => {
                    self.at += 1;
                    words.push(Word { raw: ".".to_owned(), content: ".".to_owned(), kind: Kind::Dot });
                }
                _ => {
                    let from = self.at;
                    while self.peek().is_some_and(|c| !is_special(c)) {
                        self.at += 1;
                    }
                    let raw = self.between(from, self.at).to_owned();
                    words.push(Word { content: raw.clone(), raw, kind: Kind::Atom });
                }
            }
        }
    }

    /// Returns the error for `mailto:` and its like directly before a text, where a group would begin otherwise.
    fn prefix_error(&self, words: &[Word]) -> Option<AddressError> {
        let [Word { raw, kind: Kind::Atom, .. }] = words else { return None };
        let next = self.characters.get(self.at + 1).map(|(_, c)| *c)?;
        if matches!(next, ' ' | '\t' | ';') { None } else { prefix_error(raw) }
    }

    fn nameless(&self, begin: usize, words: &[Word]) -> AddressError {
        let read = self.characters.get(begin..self.at).unwrap_or_default();
        if let Some(position) = read.iter().position(|(_, c)| *c == FULL_WIDTH_AT) {
            let reason = format!("{} is not an `@`", describe(FULL_WIDTH_AT));
            return AddressError::at(begin + position, reason, FORM);
        }
        let reason = if words.is_empty() { "nothing where an address belongs" } else { "a name without an address" };
        AddressError::at(begin, reason, NAME)
    }

    fn quoted_string(&mut self) -> Result<Word, AddressError> {
        let begin = self.at;
        let mut content = String::new();
        self.at += 1;
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => {
                    let raw = self.between(begin, self.at).to_owned();
                    return Ok(Word { raw, content, kind: Kind::Quoted });
                }
                '\\' => {
                    content.extend(self.peek());
                    self.at += 1;
                }
                c => content.push(c),
            }
        }
        Err(AddressError::at(begin, "the quote is not closed", FORM))
    }

    /// Reads an address without angle brackets, whose local part was read.
    fn bare_address(&mut self, begin: usize, words: &[Word]) -> Result<Address, AddressError> {
        let adjacent = words.windows(2).any(|pair| pair[0].kind != Kind::Dot && pair[1].kind != Kind::Dot);
        if adjacent {
            return Err(AddressError::at(begin, "a name before an address without `<` and `>`", FORM));
        }
        let local: String = words.iter().map(|word| word.raw.as_str()).collect();
        self.at += 1;
        self.skip_blanks()?;
        let from = self.at;
        while self.peek().is_some_and(|c| c == '.' || c == ':' && self.is_literal(from) || !is_special(c)) {
            self.at += 1;
        }
        let mut domain = self.between(from, self.at).to_owned();
        // `example . com`, the obsolete form (RFC 5322, 4.4). A blank behind a dot alone may begin another sentence.
        loop {
            let end = self.at;
            self.skip_blanks()?;
            if self.peek() != Some('.') {
                self.at = end;
                break;
            }
            self.is_plain = false;
            self.at += 1;
            self.skip_blanks()?;
            let from = self.at;
            while self.peek().is_some_and(|c| !is_special(c)) {
                self.at += 1;
            }
            domain.push('.');
            domain.push_str(self.between(from, self.at));
        }
        Address::parse(&format!("{local}@{domain}")).map_err(|error| error.shifted(begin))
    }

    fn is_literal(&self, from: usize) -> bool {
        self.characters.get(from).is_some_and(|(_, c)| *c == '[')
    }

    /// Reads `<a@example.com>`, with or without a route (RFC 5322, 4.4).
    fn angle_address(&mut self) -> Result<Address, AddressError> {
        let open = self.at;
        self.at += 1;
        self.skip_blanks()?;
        if self.peek() == Some('@') {
            self.is_plain = false;
            while self.peek().is_some_and(|c| c != ':' && c != '>') {
                self.at += 1;
            }
            self.at += 1;
        }
        let mut kept: Vec<(usize, char)> = Vec::new();
        let (mut is_quoted, mut is_escaped) = (false, false);
        while let Some(c) = self.peek() {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                '>' if !is_quoted => break,
                ' ' | '\t' | '(' if !is_quoted => {
                    // Blanks and comments may surround the `@`, the dots and the whole (RFC 5322, 3.4.1 and 4.4).
                    let begin = self.at;
                    self.skip_blanks()?;
                    let is_boundary = |c: Option<char>| matches!(c, None | Some('@' | '.' | '>'));
                    self.is_plain = false;
                    if !is_boundary(kept.last().map(|(_, c)| *c)) && !is_boundary(self.peek()) {
                        kept.push((begin, c));
                    }
                    continue;
                }
                _ => {}
            }
            kept.push((self.at, c));
            self.at += 1;
        }
        if self.peek().is_none() {
            return Err(AddressError::at(open, "the `<` is not closed", FORM));
        }
        self.at += 1;
        let text: String = kept.iter().map(|(_, c)| *c).collect();
        Address::parse(&text).map_err(|error| {
            // The position in the text without blanks and comments becomes that in the value.
            let place = |position: usize| kept.get(position.saturating_sub(1)).map_or(self.at, |(at, _)| at + 1);
            AddressError { position: error.position.map(place), ..error }
        })
    }

    /// Creates the entry of an address after a display name.
    fn named_entry(&mut self, words: &[Word], display: &str, address: Address) -> Entry {
        if words.is_empty() {
            return Entry { display: None, name: None, address };
        }
        let mut name = String::new();
        let mut run: Vec<&str> = Vec::new();
        let push = |name: &mut String, part: &str| {
            if !name.is_empty() && !part.is_empty() {
                name.push(' ');
            }
            name.push_str(part);
        };
        for word in words {
            match word.kind {
                Kind::Quoted => {
                    push(&mut name, &decode_words(&run.join(" ")));
                    run.clear();
                    push(&mut name, &word.content);
                }
                Kind::Atom | Kind::Dot => run.push(&word.content),
            }
        }
        push(&mut name, &decode_words(&run.join(" ")).replace(" .", "."));
        let is_legal = |word: &Word| match word.kind {
            Kind::Atom => word.raw.is_ascii() && word.raw.chars().all(is_atext),
            Kind::Quoted => word.raw.is_ascii(),
            Kind::Dot => false,
        };
        if words.iter().all(is_legal) && !display.contains('(') {
            Entry { display: Some(display.to_owned()), name: Some(name), address }
        } else {
            self.is_plain = false;
            Entry::new(Some(name), address)
        }
    }
}
