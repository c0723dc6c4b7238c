//! The line that a problem shows, with what could be a secret masked.

use super::{
    diagnostic::Excerpt,
    sources::{Source, Span},
    suggest, tripwire,
};
use crate::model::SecretReference;

/// How much of a line is shown.
const WIDTH: usize = 120;

/// What is written over a value.
const MASK: &str = "*****";

/// The line where a stretch begins. With `conceal`, the stretch itself is masked.
pub(super) fn excerpt(source: &Source, span: Span, conceal: bool) -> Option<Excerpt> {
    let line = source.text.lines().nth((span.line as usize).checked_sub(1)?)?;
    let line: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = (span.column as usize).min(line.len());
    let to = if span.end_line == span.line { (span.end_column as usize).clamp(from, line.len()) } else { line.len() };
    let (line, from, to) = if conceal {
        // To the end of the line: a list or a map says only where it begins.
        let mut masked: Vec<char> = line[..from].to_vec();
        masked.extend(MASK.chars());
        (masked, from, from + MASK.len())
    } else {
        mask_after_keys(line, from, to)
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

/// Masks a line from the value on whose key sounds like a secret, or is nearly one, unless the value only names one.
/// A line that looks like a key or a token by itself is masked as a whole.
fn mask_after_keys(line: Vec<char>, from: usize, to: usize) -> (Vec<char>, usize, usize) {
    let text: String = line.iter().collect();
    let keep = match value_of_secret_key(&line) {
        Some(at) => at,
        None if tripwire::alarm(&text).is_some() => line.iter().take_while(|c| c.is_whitespace()).count(),
        None => return (line, from, to),
    };
    let mut masked: Vec<char> = line[..keep].to_vec();
    masked.extend(MASK.chars());
    let end = masked.len();
    let from = from.min(keep);
    (masked, from, to.clamp(from, end))
}

/// Where the value begins of the first key in the line that sounds like a secret.
fn value_of_secret_key(line: &[char]) -> Option<usize> {
    line.iter().enumerate().filter(|(_, c)| matches!(c, ':' | '=')).find_map(|(colon, _)| {
        let is_key = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let before = line[..colon].iter().rev().skip_while(|c| matches!(c, '"' | '\'' | ' '));
        let key: String = before.take_while(|c| is_key(c)).collect::<Vec<_>>().into_iter().rev().collect();
        let value = colon + 1 + line[colon + 1..].iter().take_while(|c| c.is_whitespace()).count();
        let rest: String = line.get(value..)?.iter().collect();
        (sounds_secret(&key) && !rest.is_empty() && !only_names_one(&key, &rest)).then_some(value)
    })
}

fn sounds_secret(key: &str) -> bool {
    is_word_for_secret(key) || suggest::nearest(&plain(key), WORDS).is_some()
}

const WORDS: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "clientsecret", "certificate", "privatekey", "token", "apikey"];

/// Whether a name says of itself that it stands for a secret.
pub(super) fn is_word_for_secret(key: &str) -> bool {
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
