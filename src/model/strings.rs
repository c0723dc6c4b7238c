//! Visits every string of a document with its JSON pointer, so that rules about strings apply to all fields, later ones
//! included.
//!
//! The document is serialized into a visitor and not copied, because every change searches all new profiles. Of a value that cannot
//! be serialized, what follows the fault is not visited.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Calls `visit` with each string: its JSON pointer, its key (of the nearest map, for an item of a list), and the string. Keys
/// of maps are not visited.
pub fn visit_strings(document: &impl Serialize, visit: impl FnMut(&str, &str, &str)) {
    let visitor = StringVisitor {
        visit,
        pointer: String::new(),
        segments: Vec::new(),
        items: Vec::new(),
        text: String::new(),
        is_key: false,
    };
    // The sink accepts everything; a value that cannot be serialized has no strings.
    drop(document.serialize(&mut Serializer::with_formatter(io::sink(), visitor)));
}

struct StringVisitor<F> {
    visit: F,
    pointer: String,
    segments: Vec<PathSegment>,
    /// The number of items that each open list has had.
    items: Vec<usize>,
    text: String,
    is_key: bool,
}

/// A segment of the pointer: the length of the pointer before it, and the range of the nearest key in it.
struct PathSegment {
    before: usize,
    key: std::ops::Range<usize>,
}

impl<F> StringVisitor<F> {
    fn key(&self) -> std::ops::Range<usize> {
        self.segments.last().map_or(0..0, |segment| segment.key.clone())
    }

    fn pop(&mut self) {
        if let Some(segment) = self.segments.pop() {
            self.pointer.truncate(segment.before);
        }
    }
}

impl<F: FnMut(&str, &str, &str)> Formatter for StringVisitor<F> {
    fn begin_object_key<W: ?Sized + Write>(&mut self, _: &mut W, _first: bool) -> io::Result<()> {
        self.is_key = true;
        Ok(())
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.is_key = false;
        let before = self.pointer.len();
        self.pointer.push('/');
        if self.text.contains(['~', '/']) {
            self.pointer.push_str(&self.text.replace('~', "~0").replace('/', "~1"));
        } else {
            self.pointer.push_str(&self.text);
        }
        self.segments.push(PathSegment { before, key: before + 1..self.pointer.len() });
        Ok(())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.pop();
        Ok(())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.items.push(0);
        Ok(())
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, _: &mut W, _first: bool) -> io::Result<()> {
        let (before, key) = (self.pointer.len(), self.key());
        self.pointer.push('/');
        if let Some(index) = self.items.last_mut() {
            self.pointer.push_str(&index.to_string());
            *index += 1;
        }
        self.segments.push(PathSegment { before, key });
        Ok(())
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.pop();
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.items.pop();
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.text.clear();
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, _: &mut W, fragment: &str) -> io::Result<()> {
        self.text.push_str(fragment);
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, _: &mut W, escape: CharEscape) -> io::Result<()> {
        self.text.push(match escape {
            CharEscape::Quote => '"',
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Solidus => '/',
            CharEscape::Backspace => '\u{8}',
            CharEscape::FormFeed => '\u{c}',
            CharEscape::LineFeed => '\n',
            CharEscape::CarriageReturn => '\r',
            CharEscape::Tab => '\t',
            CharEscape::AsciiControl(byte) => char::from(byte),
        });
        Ok(())
    }

    fn end_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        if !self.is_key {
            let key = self.key();
            (self.visit)(&self.pointer, &self.pointer[key], &self.text);
        }
        Ok(())
    }
}
