//! The line that a problem shows, with what could be a secret masked.

use super::{
    diagnostic::Excerpt,
    sources::{Source, Span},
};

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
        let mut masked: Vec<char> = line[..from].to_vec();
        masked.extend(MASK.chars());
        masked.extend(&line[to..]);
        (masked, from, from + MASK.len())
    } else {
        mask_after_keys(&line, from, to)
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

/// Masks what stands behind a key that sounds like a secret, unless it is the form that only names one.
fn mask_after_keys(line: &[char], from: usize, to: usize) -> (Vec<char>, usize, usize) {
    let text: String = line.iter().collect();
    let lower = text.to_ascii_lowercase();
    let keys = [
        "password",
        "passwd",
        "clientsecret",
        "client_secret",
        "certificate",
        "privatekey",
        "private_key",
        "token",
        "apikey",
        "api_key",
        "secret",
    ];
    let names_one = lower.contains("secret:") && !lower.contains("clientsecret:")
        || lower.contains("{ secret")
        || lower.contains("{secret");
    let looks_random = super::tripwire::alarm(&text).is_some();
    let key = keys.iter().filter_map(|key| lower.find(key)).min();
    let Some(key) = key.filter(|_| !names_one || looks_random) else {
        if !looks_random {
            return (line.to_vec(), from, to);
        }
        return (
            format!("{}{MASK}", text.chars().take_while(|c| c.is_whitespace()).collect::<String>()).chars().collect(),
            0,
            0,
        );
    };
    let Some(colon) = text.get(key..).and_then(|rest| rest.find([':', '='])) else { return (line.to_vec(), from, to) };
    let keep = text.get(..=key + colon).map_or(0, |kept| kept.chars().count());
    if line.get(keep..).is_none_or(|rest| rest.iter().all(|c| c.is_whitespace())) {
        return (line.to_vec(), from, to);
    }
    let mut masked: Vec<char> = line[..keep].to_vec();
    masked.push(' ');
    masked.extend(MASK.chars());
    let end = masked.len();
    (masked, from.min(end.saturating_sub(MASK.len())), to.min(end).max(from.min(end)))
}
