//! The line that a problem shows, with what could be a secret masked.

use super::{
    diagnostic::Excerpt,
    schema,
    sources::{Source, Span},
    suggest,
};
use crate::model::{SecretReference, secret_detection};

/// How much of a line is shown.
const WIDTH: usize = 120;

/// The longest line that is shown, in bytes. What of a line is masked can depend on all that stands before it, so a
/// longer one is not shown in part either: looking through it for each of its problems would take long.
const LONGEST_LINE: usize = 2048;

/// What is written over a value.
const MASK: &str = "*****";

/// The line where a stretch begins; none if it is too long to be shown. With `conceal`, the stretch itself is masked.
/// The cost does not depend on the length of the file.
pub(super) fn excerpt(source: &Source, span: Span, conceal: bool) -> Option<Excerpt> {
    let line = source.line(span.line as usize).filter(|line| line.len() <= LONGEST_LINE)?;
    let line: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = (span.column as usize).min(line.len());
    let to = if span.end_line == span.line { (span.end_column as usize).clamp(from, line.len()) } else { line.len() };
    let (line, from, to) = if conceal {
        let mut line = line;
        line.splice(from..end_of_value(&line, from), MASK.chars());
        mask_after_keys(line, from, from + MASK.len(), from + MASK.len())
    } else {
        mask_after_keys(line, from, to, 0)
    };
    // A long line is cut around the spot.
    let start = if to > WIDTH { from.saturating_sub(20) } else { 0 };
    let end = (start + WIDTH).min(line.len());
    let text: String = line.get(start..end).unwrap_or_default().iter().collect();
    let text = text.trim_end().to_owned();
    let length = text.chars().count();
    let from = (from - start).min(length);
    Some(Excerpt { text, from, to: (to - start).clamp(from, length.max(from)) })
}

/// Masks every value behind `done` whose key sounds like a secret, or is nearly one, unless the value only names one.
/// A line that looks like a key or a token by itself is masked as a whole.
fn mask_after_keys(mut line: Vec<char>, mut from: usize, mut to: usize, mut done: usize) -> (Vec<char>, usize, usize) {
    while let Some(start) = value_of_secret_key(&line, done) {
        let end = end_of_value(&line, start);
        line.splice(start..end, MASK.chars());
        done = start + MASK.len();
        // What stands behind the value moves with it; what stands in it is the mask now.
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

/// Where the value begins of the first key behind `start` that sounds like a secret.
fn value_of_secret_key(line: &[char], start: usize) -> Option<usize> {
    line.iter().enumerate().skip(start).filter(|(_, c)| matches!(c, ':' | '=')).find_map(|(colon, _)| {
        let key = key_before(&line[..colon]);
        if !sounds_secret(&key) {
            return None;
        }
        let value = colon + 1 + line[colon + 1..].iter().take_while(|c| c.is_whitespace()).count();
        let rest: String = line.get(value..)?.iter().collect();
        (!rest.is_empty() && !only_names_one(&key, &rest)).then_some(value)
    })
}

/// The word that a text ends with, without its quotes.
fn key_before(text: &[char]) -> String {
    let is_key = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let before = text.iter().rev().skip_while(|c| matches!(c, '"' | '\'' | ' '));
    before.take_while(|c| is_key(c)).collect::<Vec<_>>().into_iter().rev().collect()
}

/// Where a value ends for certain: a plain word in a map in braces, with nothing but further keys, values and braces
/// behind it. Whatever is less clear ends with the line.
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

fn sounds_secret(written: &str) -> bool {
    // A key of ours that sounds a little like a secret's is spelt as it is meant.
    names_a_secret(written) || !schema::is_key(written) && suggest::nearest(&plain(written), WORDS).is_some()
}

const WORDS: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "clientsecret", "certificate", "privatekey", "token", "apikey"];

/// Whether a name says of itself that it stands for a secret.
pub(super) fn names_a_secret(key: &str) -> bool {
    let key = plain(key);
    WORDS.iter().any(|word| key.contains(word))
}

fn plain(key: &str) -> String {
    key.to_lowercase().replace(['_', '-'], "")
}

/// `{ secret: NAME/KEY }`, or the NAME/KEY behind `secret:`.
fn only_names_one(key: &str, value: &str) -> bool {
    let end = value.find(['}', ',', '#']).unwrap_or(value.len());
    let name = value[..end].trim().trim_start_matches('{').trim();
    let name = if key == "secret" { name } else { name.strip_prefix("secret:").unwrap_or_default().trim() };
    name.trim_matches(['"', '\'']).parse::<SecretReference>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sources::Sources;

    fn shown(text: &str, line: u32, column: u32) -> Option<Excerpt> {
        let sources = Sources::default();
        let file = sources.add("a.yaml".to_owned(), text.to_owned());
        let span = Span { file, line, column, end_line: line, end_column: column + 1 };
        excerpt(&sources.get(file).unwrap(), span, false)
    }

    #[test]
    fn a_line_is_shown_in_part_or_not_at_all() {
        let usual = format!("{{ a: {}, password: hunter2 }}", "x".repeat(1000));
        let excerpt = shown(&usual, 1, 1006).unwrap();
        assert!(excerpt.text.chars().count() <= WIDTH && !excerpt.text.contains("hunter2"), "{excerpt:?}");
        // One more than the longest: nothing of it, since a key far before could mask it.
        assert!(shown(&"x".repeat(LONGEST_LINE), 1, 2000).is_some());
        assert_eq!(shown(&"x".repeat(LONGEST_LINE + 1), 1, 2000), None);
        let text = format!("first: 1\r\n{}\nlast: 2\n", "k: v, ".repeat(100_000));
        assert_eq!(shown(&text, 1, 0).unwrap().text, "first: 1");
        assert_eq!(shown(&text, 2, 500_000), None);
        assert_eq!(shown(&text, 3, 0).unwrap().text, "last: 2");
        assert_eq!(shown(&text, 4, 0), None);
        assert_eq!(shown(&text, 0, 0), None);
    }
}
