//! Excerpts: the line of a file that a problem is about, for display, with possible secrets masked.
//!
//! [`render_excerpt`] returns none if the line has more than 2048 bytes, because it could not be masked reliably; of other lines
//! 120 characters are shown. What counts as the name of a secret is decided by [`names_a_secret`].

use serde::{Deserialize, Serialize};

use super::{
    schema,
    sources::{SourceFile, Span},
    suggest,
};
use crate::model::{SecretReference, secret_detection};

/// The maximum number of characters of a line that are shown.
const WIDTH: usize = 120;

/// The maximum length of a line that is shown, in bytes. No part of a longer line is shown: the mask can depend on everything
/// before it, and searching a long line once per problem would be slow.
const LONGEST_LINE: usize = 2048;

/// The text that replaces a possible secret.
const MASK: &str = "*****";

/// A line of a file for display.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excerpt {
    /// The text; a long line is cut.
    pub text: String,
    /// The first character that is underlined, from 0.
    pub from: usize,
    /// The first character that is not underlined any more.
    pub to: usize,
}

/// Returns the line where a span begins; none if there is no such line or it is too long. With `conceal`, the value that begins
/// at the span is masked. The cost does not depend on the length of the file.
pub(super) fn render_excerpt(source: &SourceFile, span: Span, conceal: bool) -> Option<Excerpt> {
    let line = source.line(span.line as usize).filter(|line| line.len() <= LONGEST_LINE)?;
    let line: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = (span.column as usize).min(line.len());
    let to = if span.end_line == span.line { (span.end_column as usize).clamp(from, line.len()) } else { line.len() };
    let (line, from, to) = if conceal {
        let mut line = line;
        line.splice(from..end_of_value(&line, from), MASK.chars());
        mask_secret_values(line, from, from + MASK.len(), from + MASK.len())
    } else {
        mask_secret_values(line, from, to, 0)
    };
    // A long line is cut around the span.
    let start = if to > WIDTH { from.saturating_sub(20) } else { 0 };
    let end = (start + WIDTH).min(line.len());
    let text: String = line.get(start..end).unwrap_or_default().iter().collect();
    let text = text.trim_end().to_owned();
    let length = text.chars().count();
    let from = (from - start).min(length);
    Some(Excerpt { text, from, to: (to - start).clamp(from, length.max(from)) })
}

/// Masks every value after `done` whose key names a secret, or resembles such a key, unless the value is a reference to a
/// secret. A line that looks like a key or a token by itself is masked as a whole.
fn mask_secret_values(
    mut line: Vec<char>,
    mut from: usize,
    mut to: usize,
    mut done: usize,
) -> (Vec<char>, usize, usize) {
    while let Some(start) = find_secret_value(&line, done) {
        let end = end_of_value(&line, start);
        line.splice(start..end, MASK.chars());
        done = start + MASK.len();
        // A position after the value moves with it; a position inside it moves to the end of the mask.
        let moved = |at: usize| match at {
            at if at <= start => at,
            at if at >= end => at - end + done,
            _ => done,
        };
        (from, to) = (if from < end { from.min(start) } else { moved(from) }, moved(to));
    }
    let text: String = line.iter().collect();
    if secret_detection::detect(&text).is_some() {
        let keep = line.iter().take_while(|c| c.is_whitespace()).count();
        line.truncate(keep);
        line.extend(MASK.chars());
        (from, to) = (from.min(keep), to.clamp(from.min(keep), line.len()));
    }
    (line, from, to)
}

/// Returns the start of the value of the first key after `start` that resembles the name of a secret.
fn find_secret_value(line: &[char], start: usize) -> Option<usize> {
    line.iter().enumerate().skip(start).filter(|(_, c)| matches!(c, ':' | '=')).find_map(|(colon, _)| {
        let key = last_word(&line[..colon]);
        if !resembles_secret_key(&key) {
            return None;
        }
        let value = colon + 1 + line[colon + 1..].iter().take_while(|c| c.is_whitespace()).count();
        let rest: String = line.get(value..)?.iter().collect();
        (!rest.is_empty() && !is_reference(&key, &rest)).then_some(value)
    })
}

/// Returns the last word of a text, without its quotes.
fn last_word(text: &[char]) -> String {
    let is_key = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let before = text.iter().rev().skip_while(|c| matches!(c, '"' | '\'' | ' '));
    before.take_while(|c| is_key(c)).collect::<Vec<_>>().into_iter().rev().collect()
}

/// Returns the end of a value. The end is certain only for a plain word in a map in braces that is followed by nothing but
/// keys, values and braces; for any other value, the end of the line is returned.
fn end_of_value(line: &[char], start: usize) -> usize {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '!' | '@' | '*');
    let end = start + line[start..].iter().take_while(|c| is_plain(c)).count();
    let rest: String = line[end..].iter().collect();
    let opened = line[..start].contains(&'{');
    let Some(next) = rest.trim_start().chars().next() else { return line.len() };
    let further = |part: &str| {
        let part = part.trim();
        part.is_empty()
            || part.split_once(": ").is_some_and(|(key, _)| key.chars().all(|c| c.is_alphanumeric() || c == '-'))
    };
    let mut parts = rest.split(['{', '}', ',', '[', ']']);
    let clear = end > start && opened && matches!(next, ',' | '}') && parts.all(further);
    if clear { end } else { line.len() }
}

/// Returns true if a key is named like a secret, or is a likely misspelling of such a name.
fn resembles_secret_key(key: &str) -> bool {
    // A key of the schema that resembles such a name is not misspelt.
    names_a_secret(key) || !schema::is_key(key) && suggest::nearest(&normalize(key), SECRET_WORDS).is_some()
}

const SECRET_WORDS: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "clientsecret", "certificate", "privatekey", "token", "apikey"];

/// Returns true if a key or a variable is named like a secret.
pub(super) fn names_a_secret(key: &str) -> bool {
    let key = normalize(key);
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

fn normalize(key: &str) -> String {
    key.to_lowercase().replace(['_', '-'], "")
}

/// Returns true for a reference to a secret: `{ secret: NAME/KEY }`, or the NAME/KEY after `secret:`.
fn is_reference(key: &str, value: &str) -> bool {
    let end = value.find(['}', ',', '#']).unwrap_or(value.len());
    let name = value[..end].trim().trim_start_matches('{').trim();
    let name = if key == "secret" { name } else { name.strip_prefix("secret:").unwrap_or_default().trim() };
    name.trim_matches(['"', '\'']).parse::<SecretReference>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sources::Sources;

    fn show(text: &str, line: u32, column: u32) -> Option<Excerpt> {
        let sources = Sources::default();
        let file = sources.add("a.yaml".to_owned(), text.to_owned());
        let span = Span { file, line, column, end_line: line, end_column: column + 1 };
        render_excerpt(&sources.get(file).unwrap(), span, false)
    }

    #[test]
    fn a_long_line_is_cut_and_a_too_long_one_is_not_shown() {
        let usual = format!("{{ a: {}, password: hunter2 }}", "x".repeat(1000));
        let excerpt = show(&usual, 1, 1006).unwrap();
        assert!(excerpt.text.chars().count() <= WIDTH && !excerpt.text.contains("hunter2"), "{excerpt:?}");
        // A line that is one character too long is not shown at all, since a key far before could mask the value.
        assert!(show(&"x".repeat(LONGEST_LINE), 1, 2000).is_some());
        assert_eq!(show(&"x".repeat(LONGEST_LINE + 1), 1, 2000), None);
        let text = format!("first: 1\r\n{}\nlast: 2\n", "k: v, ".repeat(100_000));
        assert_eq!(show(&text, 1, 0).unwrap().text, "first: 1");
        assert_eq!(show(&text, 2, 500_000), None);
        assert_eq!(show(&text, 3, 0).unwrap().text, "last: 2");
        assert_eq!(show(&text, 4, 0), None);
        assert_eq!(show(&text, 0, 0), None);
    }
}
