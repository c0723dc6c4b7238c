//! [`edit_text`]: changes the text of a YAML or JSON file so that it has another document, and keeps comments, order and style.
//!
//! Values, keys and items are replaced, added or removed at their places. The result is parsed again: if it does not have exactly
//! the wanted document, as with anchors that other values use, the answer is none, and the caller writes a new file. Nothing is
//! read or written here.

use std::ops::Range;

use saphyr_parser::{Event, Parser, StrInput};
use serde_json::{Map, Value as Json};

use super::{parse::parse, sources::Sources};
use crate::model::file_text::{quote_key, render_entry, render_inline};

/// A value of a text: its place in bytes, and what is below it.
struct Part {
    /// The place, from its first to behind its last character.
    place: Range<usize>,
    /// The column of its first character.
    column: usize,
    kind: Kind,
}

enum Kind {
    /// A scalar, an alias or a list.
    Whole { is_block_list: bool },
    /// A map with its keys and values.
    Map { is_flow: bool, entries: Vec<MapEntry> },
}

/// A key of a map, its place, and its value.
type MapEntry = (String, Range<usize>, Part);

/// The replacement of a part of the text.
struct Change {
    place: Range<usize>,
    text: String,
}

/// Returns the document of a text, if it has one without a problem.
pub fn read_text(text: &str) -> Option<Json> {
    let file = Sources::default().add(String::new(), String::new());
    let parsed = parse(file, text.trim_start_matches('\u{feff}'));
    parsed.node.filter(|_| parsed.problems.is_empty()).map(|node| node.to_json())
}

/// Changes a text so that it has this document. `is_json` writes JSON.
pub fn edit_text(text: &str, wanted: &Json, is_json: bool) -> Option<String> {
    let current = read_text(text)?;
    let body = text.trim_start_matches('\u{feff}');
    let mark = text.strip_suffix(body).unwrap_or_default();
    let root = Reader::new(body).read()?;
    let mut editor = Editor { text: body, is_json, changes: Vec::new() };
    editor.change(&root, &current, wanted)?;
    let edited = format!("{mark}{}", editor.finish());
    (read_text(&edited).as_ref() == Some(wanted)).then_some(edited)
}

/// Reads the places of values.
struct Reader<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    /// The byte at which each character begins.
    bytes: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { text, events: Parser::new_from_str(text), bytes }
    }

    fn read(&mut self) -> Option<Part> {
        // The beginnings of the stream and of the document.
        self.next()?;
        self.next()?;
        let (event, place, column) = self.next()?;
        self.part(event, place, column, 0)
    }

    fn next(&mut self) -> Option<(Event<'a>, Range<usize>, usize)> {
        let (event, span) = self.events.next()?.ok()?;
        let byte = |index: usize| self.bytes.get(index).copied().unwrap_or(self.text.len());
        Some((event, byte(span.start.index())..byte(span.end.index()), span.start.col()))
    }

    /// Returns the end of a value in brackets. The parser counts blanks behind the last bracket to it.
    fn bracket_end(&self, start: &Range<usize>, end: &Range<usize>) -> Option<usize> {
        Some(start.start + self.text.get(start.start..end.end)?.trim_end().len())
    }

    fn part(&mut self, event: Event<'a>, place: Range<usize>, column: usize, depth: usize) -> Option<Part> {
        // `parse` has accepted the depth.
        if depth > 64 {
            return None;
        }
        let is_flow =
            |place: &Range<usize>| self.text.get(place.start..)?.chars().next().map(|c| matches!(c, '[' | '{'));
        match event {
            Event::Scalar(..) | Event::Alias(_) => {
                let end = place.start + self.text.get(place.clone())?.trim_end().len();
                Some(Part { place: place.start..end, column, kind: Kind::Whole { is_block_list: false } })
            }
            Event::SequenceStart(..) => {
                let is_flow = is_flow(&place)?;
                let mut end = place.end;
                loop {
                    let (event, own, column) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        let place = place.start..if is_flow { self.bracket_end(&place, &own)? } else { end };
                        return Some(Part { place, column, kind: Kind::Whole { is_block_list: !is_flow } });
                    }
                    end = self.part(event, own, column, depth + 1)?.place.end;
                }
            }
            Event::MappingStart(..) => {
                let is_flow = is_flow(&place)?;
                let mut entries: Vec<MapEntry> = Vec::new();
                loop {
                    let (event, own, _) = self.next()?;
                    let key = match event {
                        Event::MappingEnd => {
                            let last = entries.last().map_or(place.end, |(.., part)| part.place.end);
                            let place = place.start..if is_flow { self.bracket_end(&place, &own)? } else { last };
                            return Some(Part { place, column, kind: Kind::Map { is_flow, entries } });
                        }
                        Event::Scalar(text, ..) => text.into_owned(),
                        _ => return None,
                    };
                    let (event, value, value_column) = self.next()?;
                    entries.push((key, own, self.part(event, value, value_column, depth + 1)?));
                }
            }
            _ => None,
        }
    }
}

struct Editor<'a> {
    text: &'a str,
    is_json: bool,
    changes: Vec<Change>,
}

impl Editor<'_> {
    /// Notes the changes that make one value of another. None if that is not possible at its place.
    fn change(&mut self, part: &Part, current: &Json, wanted: &Json) -> Option<()> {
        if current == wanted {
            return Some(());
        }
        match (&part.kind, current, wanted) {
            (Kind::Map { is_flow, entries }, Json::Object(current), Json::Object(wanted)) => {
                self.change_map(part, (*is_flow, entries), current, wanted)
            }
            (Kind::Whole { is_block_list: true }, _, Json::Array(items)) if !items.is_empty() => {
                let start = self.line_start(part.place.start);
                let indent = self.text.get(start..part.place.start)?;
                // A list in a list does not begin its line.
                if !indent.trim().is_empty() {
                    return None;
                }
                let items: Vec<String> = items.iter().map(|item| format!("- {}", self.inline(item))).collect();
                self.replace(part.place.clone(), items.join(&format!("\n{indent}")));
                Some(())
            }
            _ => {
                self.replace(part.place.clone(), self.inline(wanted));
                Some(())
            }
        }
    }

    fn change_map(
        &mut self,
        part: &Part,
        (is_flow, entries): (bool, &[MapEntry]),
        current: &Map<String, Json>,
        wanted: &Map<String, Json>,
    ) -> Option<()> {
        let is_kept = |key: &str| wanted.contains_key(key);
        if !entries.iter().any(|(key, ..)| is_kept(key)) {
            // Nothing stays: an empty block has no text.
            self.replace(part.place.clone(), self.inline(&Json::Object(wanted.clone())));
            return Some(());
        }
        for (index, (key, key_place, value)) in entries.iter().enumerate() {
            match wanted.get(key) {
                Some(wanted) => self.change(value, current.get(key)?, wanted)?,
                None if is_flow => {
                    // With the comma behind it; the last one with the comma in front of it.
                    let next = entries.get(index + 1).map(|(_, place, _)| key_place.start..place.start);
                    let kept = entries.get(..index)?.iter().rev().find(|(key, ..)| is_kept(key));
                    let place = match (next, kept) {
                        (Some(place), _) => place,
                        (None, Some((.., before))) => before.place.end..value.place.end,
                        (None, None) => key_place.start..value.place.end,
                    };
                    self.changes.retain(|change| change.place.start < place.start);
                    self.replace(place, String::new());
                }
                None => {
                    let place = self.line_start(key_place.start)..self.line_end(value.place.end);
                    self.replace(place, String::new());
                }
            }
        }
        let added: Map<String, Json> =
            wanted.iter().filter(|(key, _)| !current.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if !added.is_empty() {
            self.add(part, is_flow, entries, &added)?;
        }
        Some(())
    }

    fn add(&mut self, part: &Part, is_flow: bool, entries: &[MapEntry], added: &Map<String, Json>) -> Option<()> {
        let (.., last) = entries.last()?;
        if is_flow {
            let text: String =
                added.iter().map(|(key, value)| format!(", {}: {}", self.key(key), self.inline(value))).collect();
            self.replace(last.place.end..last.place.end, text);
            return Some(());
        }
        let indent = " ".repeat(part.column);
        let lines: String = added.iter().map(|(key, value)| render_entry(key, value)).collect();
        let lines: String = lines.lines().map(|line| format!("{indent}{line}\n")).collect();
        let at = self.line_end(last.place.end);
        let is_ended = self.text.get(..at)?.ends_with('\n');
        self.replace(at..at, if is_ended { lines } else { format!("\n{lines}") });
        Some(())
    }

    fn replace(&mut self, place: Range<usize>, text: String) {
        let text = if self.text.contains("\r\n") { text.replace('\n', "\r\n") } else { text };
        self.changes.push(Change { place, text });
    }

    fn inline(&self, value: &Json) -> String {
        if self.is_json { value.to_string() } else { render_inline(value) }
    }

    fn key(&self, key: &str) -> String {
        if self.is_json { Json::from(key).to_string() } else { quote_key(key) }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
    }

    /// Returns the place behind the line end of a place.
    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    /// Returns the text with the changes. Of two that are at the same place, the one that was noted first comes first.
    fn finish(mut self) -> String {
        self.changes.sort_by_key(|change| change.place.start);
        let (mut out, mut at) = (String::new(), 0);
        for Change { place, text } in &self.changes {
            // One that lies in another one is checked by the caller: the document would not be the wanted one.
            out.push_str(self.text.get(at..place.start).unwrap_or_default());
            out.push_str(text);
            at = at.max(place.end);
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use serde_json::json;

    use super::*;

    #[test]
    fn values_keys_and_items_change_at_their_places() {
        let text = "# head\nfrom:\n  address: a@b.example # who\n  name: A\nfunctions:\n  - default\nlimits: { perMinute: 3, concurrency: 2 } # few\n";
        let wanted = json!({
            "from": { "address": "c@d.example" }, "functions": ["default", "all-documents"],
            "limits": { "perMinute": 4, "messageSize": 5 }, "provider": { "smtp": { "host": "h" } },
        });
        let edited = edit_text(text, &wanted, false).unwrap();
        assert_eq!(
            edited,
            "# head\nfrom:\n  address: c@d.example # who\nfunctions:\n  - default\n  - all-documents\nlimits: { perMinute: 4, messageSize: 5 } # few\nprovider:\n  smtp:\n    host: h\n"
        );
    }

    #[test]
    fn flow_style_and_json_stay_on_their_lines() {
        let text = "{ provider: { smtp: { host: a.example, port: 25 } }, enabled: false, functions: [default] }\n";
        let wanted =
            json!({ "provider": { "smtp": { "host": "b.example" } }, "functions": ["default"], "description": "d" });
        let edited = edit_text(text, &wanted, false).unwrap();
        assert_eq!(edited, "{ provider: { smtp: { host: b.example } }, functions: [default], description: d }\n");
        let text = "{\n  \"enabled\": true,\n  \"functions\": [\"default\"]\n}\n";
        let edited =
            edit_text(text, &json!({ "enabled": false, "functions": ["default"], "from": { "address": "a" } }), true);
        assert_eq!(
            edited.unwrap(),
            "{\n  \"enabled\": false,\n  \"functions\": [\"default\"], \"from\": {\"address\":\"a\"}\n}\n"
        );
    }

    #[test]
    fn what_cannot_be_changed_at_its_place_is_not_changed() {
        let shared = "a: &x { b: 1 }\nc: *x\n";
        assert_eq!(edit_text(shared, &json!({ "a": { "b": 2 }, "c": { "b": 1 } }), false), None);
        assert_eq!(edit_text("a: 1\na: 2\n", &json!({ "a": 1 }), false), None, "a file with a problem");
        assert_eq!(edit_text("a: 1\nb: 2", &json!({ "a": 1, "b": 2, "c": 3 }), false).unwrap(), "a: 1\nb: 2\nc: 3\n");
        assert_eq!(edit_text("a: 1\r\nb: 2\r\n", &json!({ "b": 2, "c": 3 }), false).unwrap(), "b: 2\r\nc: 3\r\n");
    }
}
