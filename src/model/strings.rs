//! Visits every string of a document with its position. Rules about strings use it, so that they hold for all fields that
//! there will be.
//!
//! A document is looked at as `serde_json` writes it, text by text, and nothing of it is kept: ten thousand profiles are
//! looked at with every change.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Calls `visit` with each text: its JSON pointer, the key that it belongs to (the nearest one, for an item of a
/// list), and the text itself. Keys of maps are not visited.
pub fn visit_strings(document: &impl Serialize, visit: impl FnMut(&str, &str, &str)) {
    let texts = Texts {
        visit,
        pointer: String::new(),
        steps: Vec::new(),
        items: Vec::new(),
        text: String::new(),
        is_key: false,
    };
    // What cannot be written is not there to be read, and nothing is written anywhere.
    drop(document.serialize(&mut Serializer::with_formatter(io::sink(), texts)));
}

struct Texts<F> {
    visit: F,
    pointer: String,
    steps: Vec<Step>,
    /// How many items each open list has had.
    items: Vec<usize>,
    text: String,
    is_key: bool,
}

/// A step down: how long the pointer was before it, and the position of the nearest key in it.
struct Step {
    before: usize,
    key: std::ops::Range<usize>,
}

impl<F> Texts<F> {
    fn key(&self) -> std::ops::Range<usize> {
        self.steps.last().map_or(0..0, |step| step.key.clone())
    }

    fn up(&mut self) {
        if let Some(step) = self.steps.pop() {
            self.pointer.truncate(step.before);
        }
    }
}

impl<F: FnMut(&str, &str, &str)> Formatter for Texts<F> {
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
        self.steps.push(Step { before, key: before + 1..self.pointer.len() });
        Ok(())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.up();
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
        self.steps.push(Step { before, key });
        Ok(())
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.up();
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
