//! An address with or without a display name, as people write it.
//!
//! [`NamedAddress::parse`] reads one address and explains a list or an ambiguous name. It does not read headers.

use super::{Address, AddressError, EACH, PLAIN, RETYPE, describe, parse_within_limit, trim};

const QUOTE: &str = "Put the name in quotes: \"Doe, John\" <john@example.com>.";

/// An address with or without a display name: `name@example.com`, or `John Doe <name@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAddress {
    /// The display name, without quotes.
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

impl NamedAddress {
    /// Parses one address. Blanks at both ends are ignored; a list, and a name that could be read in two ways, are
    /// refused.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        parse_within_limit(text, Self::parse_trimmed)
    }

    fn parse_trimmed(text: &str) -> Result<Self, AddressError> {
        if let Some(position) = text.chars().position(char::is_control) {
            let control = text.chars().nth(position).unwrap_or_default();
            let has_address = |part: &str| part.contains('@');
            if let Some((before, behind)) = text.split_once(control)
                && matches!(control, '\r' | '\n' | '\t')
                && has_address(before)
                && has_address(behind)
            {
                let what = if control == '\t' { "a tab" } else { "a line break" };
                return Err(AddressError::at(position, format!("{what} separates it from a second address"), EACH));
            }
            return Err(AddressError::at(position, describe(control), RETYPE));
        }
        let Some(open) = find_outside_quotes(text, '<') else {
            let named = Address::parse_trimmed(text).map(|address| Self { name: None, address });
            return named.map_err(|error| explain_list(text).unwrap_or(error));
        };
        let (name, rest) = (&text[..open], &text[open + 1..]);
        let name_length = name.chars().count();
        let name = display_name(name)?;
        let Some(close) = find_outside_quotes(rest, '>') else {
            return Err(AddressError::at(name_length, "the `<` is not closed", PLAIN));
        };
        let (address, behind) = (&rest[..close], &rest[close + 1..]);
        if let Some(found) = behind.chars().find(|c| !c.is_whitespace()) {
            let position = name_length + 2 + address.chars().count();
            let position = position + behind.chars().take_while(|c| c.is_whitespace()).count();
            let is_last = behind.trim().chars().count() == 1;
            let reason = match found {
                ';' | ',' if is_last => format!("{} follows the address", describe(found)),
                ';' | ',' => format!("{} separates it from a second address", describe(found)),
                _ => "a text follows the address".to_owned(),
            };
            let remedy = if matches!(found, ';' | ',') { EACH } else { PLAIN };
            return Err(AddressError::at(position, reason, remedy));
        }
        let address = Address::parse(address).map_err(|error| error.shifted(name_length + 1))?;
        Ok(Self { name, address })
    }
}

/// Explains a text without `<` that holds more than one address; none if it holds one.
fn explain_list(text: &str) -> Option<AddressError> {
    let separator = [';', ','].into_iter().find_map(|c| Some((find_outside_quotes(text, c)?, c)));
    let (index, c) = separator?;
    let position = text[..index].chars().count();
    let (before, behind) = (text[..index].trim(), text[index + 1..].trim());
    let reason = match (before.contains('@'), behind.contains('@'), behind.is_empty()) {
        (true, true, _) => format!("{} separates it from a second address", describe(c)),
        (true, false, true) => format!("{} follows the address", describe(c)),
        _ => return None,
    };
    Some(AddressError::at(position, reason, EACH))
}

/// Returns the byte index of a character that no quotes enclose.
fn find_outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            c if c == wanted && !is_quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// Reads the display name before `<`.
fn display_name(text: &str) -> Result<Option<String>, AddressError> {
    let (skipped, name) = trim(text);
    if name.is_empty() {
        return Ok(None);
    }
    if let Some(content) = name.strip_prefix('"') {
        let (mut unquoted, mut is_escaped) = (String::new(), false);
        for (index, c) in content.char_indices() {
            match c {
                _ if is_escaped => {
                    unquoted.push(c);
                    is_escaped = false;
                }
                '\\' => is_escaped = true,
                '"' if content[index + 1..].is_empty() => {
                    return Ok(Some(unquoted.trim().to_owned()).filter(|name| !name.is_empty()));
                }
                '"' => {
                    let position = skipped + 2 + content[..index].chars().count();
                    return Err(AddressError::at(position, "a text follows the quoted name", QUOTE));
                }
                c => unquoted.push(c),
            }
        }
        return Err(AddressError::at(skipped, "the quote is not closed", QUOTE));
    }
    for (position, c) in name.chars().enumerate() {
        let reason = match c {
            ',' | ';' if name[..name.char_indices().nth(position).map_or(0, |(index, _)| index)].contains('@') => {
                let reason = format!("{} separates it from a second address", describe(c));
                return Err(AddressError::at(skipped + position, reason, EACH));
            }
            ',' | ';' | ':' => format!("{} separates addresses, unless the name is in quotes", describe(c)),
            '(' | ')' => {
                let reason = "text in parentheses is a comment and not part of the name";
                let remedy = "Put the name in quotes: \"John (Sales)\" <john@example.com>.";
                return Err(AddressError::at(skipped + position, reason, remedy));
            }
            '"' => "a quote within the name".to_owned(),
            '>' => "a `>` before its `<`".to_owned(),
            _ => continue,
        };
        return Err(AddressError::at(skipped + position, reason, QUOTE));
    }
    Ok(Some(name.to_owned()))
}
