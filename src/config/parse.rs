//! YAML (and JSON, which is a part of it) to the positioned tree. Stricter than YAML: what two readers could
//! understand differently is refused, with what to write instead.

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as YamlSpan};
use serde_json::Number;

use super::{
    located::LocatedProblem,
    node::{Entry, Node, Value},
    sources::{FileId, Span},
};
use crate::model::Code;

/// How deep a file may nest.
const DEPTH_LIMIT: usize = 32;
/// How many values a file may hold, aliases written out.
const SIZE_LIMIT: u32 = 20_000;
/// How many brackets may be open at once, in texts and comments too. The parser looks ahead to the end of the outermost
/// bracket, and for each word at every open one.
const OPEN_LIMIT: usize = 2 * DEPTH_LIMIT;
/// How many problems of a file are told.
pub(super) const PROBLEM_LIMIT: usize = 100;
/// How many keys a map has before they are looked up by a table.
const FEW_KEYS: usize = 16;

/// A file as far as it can be understood.
pub(super) struct Parsed {
    /// The tree; none if its shape is not known. A value that cannot be told for certain is unsure in it.
    pub(super) node: Option<Arc<Node>>,
    pub(super) problems: Vec<LocatedProblem>,
}

/// The text as a tree, and all problems that can be told apart.
pub(super) fn parse(file: FileId, text: &str) -> Parsed {
    if let Some(problem) = too_many_open(file, text) {
        return Parsed { node: None, problems: vec![problem] };
    }
    let mut builder = Builder {
        file,
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        problems: Vec::new(),
        size: 0,
        is_whole: true,
    };
    let node = match builder.whole_document() {
        Ok(node) => Some(node).filter(|_| builder.is_whole),
        Err(stopped) => {
            builder.problems.push(stopped);
            None
        }
    };
    Parsed { node, problems: builder.problems }
}

/// Where more brackets are open than any file of ours has, if there is such a place. Costs one pass.
fn too_many_open(file: FileId, text: &str) -> Option<LocatedProblem> {
    let (mut open, mut line, mut line_start) = (0_usize, 1, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' => (line, line_start) = (line + 1, at + 1),
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > OPEN_LIMIT {
            let column = narrow(text.get(line_start..at).map_or(0, |before| before.chars().count()));
            let line = narrow(line);
            return Some(stop(
                Code::TooDeep,
                Span { file, line, column, end_line: line, end_column: column + 1 },
                &format!("more than {OPEN_LIMIT} brackets are open here"),
                "No profile needs that; is this the right file?",
            ));
        }
    }
    None
}

struct Builder<'a> {
    file: FileId,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Arc<Node>>,
    problems: Vec<LocatedProblem>,
    size: u32,
    /// Whether the tree has all that the file says, as far as anybody can tell.
    is_whole: bool,
}

/// A problem after which nothing more can be read.
type Stop = LocatedProblem;

impl<'a> Builder<'a> {
    fn whole_document(&mut self) -> Result<Arc<Node>, Stop> {
        let empty = |span| {
            stop(
                Code::EmptyFile,
                span,
                "the file is empty",
                "Remove the file; or write `null` into it, if an inherited profile is meant to go.",
            )
        };
        self.next()?;
        let (event, span) = self.next()?;
        if !matches!(event, Event::DocumentStart(_)) {
            return Err(empty(span));
        }
        let (event, span) = self.next()?;
        if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty()) {
            return Err(empty(span));
        }
        let root = self.node(event, span, 0)?;
        self.next()?;
        let (event, span) = self.next()?;
        if !matches!(event, Event::StreamEnd) {
            return Err(stop(
                Code::UnsupportedYaml,
                span,
                "a second document begins here",
                "Put it into a file of its own.",
            ));
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, self.span(span))),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span { file: self.file, line: 1, column: 0, end_line: 1, end_column: 0 })),
        }
    }

    fn syntax(&self, error: &ScanError) -> Stop {
        let mark = error.marker();
        let (line, column) = (narrow(mark.line()), narrow(mark.col()));
        let span = Span { file: self.file, line, column, end_line: line, end_column: column + 1 };
        // The parser's own words name the construct; quotes of the text are left out.
        let info: String = error.info().chars().filter(|c| !c.is_control()).take(120).collect();
        let remedy = if info.contains("tab") {
            "Indent with spaces: YAML does not allow tabs there."
        } else {
            "Look at the indentation, and at quotes and brackets that are not closed."
        };
        stop(Code::Syntax, span, &format!("this is not well-formed: {info}"), remedy)
    }

    fn span(&self, span: YamlSpan) -> Span {
        Span {
            file: self.file,
            line: narrow(span.start.line()),
            column: narrow(span.start.col()),
            end_line: narrow(span.end.line()),
            end_column: narrow(span.end.col()),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Arc<Node>, Stop> {
        if depth > DEPTH_LIMIT {
            return Err(stop(
                Code::TooDeep,
                span,
                &format!("this is nested deeper than {DEPTH_LIMIT} levels"),
                "No profile needs that; is this the right file?",
            ));
        }
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.is_some(), span);
                (anchor, if tag.is_some() { Value::Invalid } else { self.scalar(&text, style, span) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.is_some(), span);
                (anchor, self.list(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.is_some(), span);
                (anchor, self.map(depth)?)
            }
            _ => return Err(stop(Code::Syntax, span, "something is missing here", "Look at the lines above.")),
        };
        self.count(1, span)?;
        let node = Arc::new(Node::new(span, value));
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Arc<Node>, Stop> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(stop(
                Code::UnsupportedYaml,
                span,
                "this alias is inside of what it stands for",
                "Write the value out.",
            ));
        };
        self.count(node.subtree.size, span)?;
        Ok(node)
    }

    fn count(&mut self, more: u32, span: Span) -> Result<(), Stop> {
        self.size = self.size.saturating_add(more);
        if self.size > SIZE_LIMIT {
            return Err(stop(
                Code::TooDeep,
                span,
                &format!("the file holds more than {SIZE_LIMIT} values, aliases written out"),
                "No profile needs that; is this the right file?",
            ));
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        loop {
            let (event, key_span) = self.next()?;
            let (key, is_sure): (Arc<str>, bool) = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(text, style, _, tag) => {
                    self.no_tag(tag.is_some(), key_span);
                    (Arc::from(text.as_ref()), self.key(&text, style, key_span))
                }
                _ => {
                    return Err(stop(
                        Code::UnsupportedYaml,
                        key_span,
                        "a key is a single word here",
                        "Write the key as plain or quoted text.",
                    ));
                }
            };
            let (event, mut span) = self.next()?;
            let is_empty = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty());
            if is_empty {
                span = key_span;
                self.problem(
                    Code::AmbiguousScalar,
                    key_span,
                    format!("nothing is written after `{}`", safe(&key)),
                    "Write the value; or `null`, if an inherited one is meant to go.",
                );
            }
            let mut node = self.node(event, span, depth + 1)?;
            if is_empty {
                node = Arc::new(Node::new(span, Value::Invalid));
            }
            if !is_sure {
                continue;
            }
            let first = if entries.len() < FEW_KEYS {
                entries.iter().find(|entry| entry.key == key)
            } else {
                if places.is_empty() {
                    places.extend(entries.iter().enumerate().map(|(at, entry)| (Arc::clone(&entry.key), at)));
                }
                places.get(&key).and_then(|at| entries.get(*at))
            };
            if let Some(first) = first {
                let line = first.key_span.line;
                self.problem(
                    Code::DuplicateKey,
                    key_span,
                    format!("the key `{}` stands here for the second time; the first is on line {line}", safe(&key)),
                    "Remove one of them.",
                );
            } else {
                if !places.is_empty() {
                    places.insert(Arc::clone(&key), entries.len());
                }
                entries.push(Entry { key, key_span, node });
            }
        }
    }

    /// Says what is wrong with a key, and whether it is known what it is.
    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> bool {
        if style != ScalarStyle::Plain {
            return true;
        }
        if text == "<<" {
            // What would be merged in is not known.
            self.is_whole = false;
            self.problem(
                Code::UnsupportedYaml,
                span,
                "merge keys are not supported".to_owned(),
                "Use `extends` in environment.yaml, or write the values out.",
            );
        } else if ambiguous(text) || !matches!(plain(text), Plain::String) {
            self.problem(
                Code::AmbiguousScalar,
                span,
                format!("as a key, `{}` is read as text by some and as something else by others", safe(text)),
                &format!("Put it in quotes: \"{}\".", safe(text)),
            );
        } else {
            return true;
        }
        false
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Value {
        if style != ScalarStyle::Plain {
            return Value::String(Arc::from(text));
        }
        if ambiguous(text) {
            self.problem(
                Code::AmbiguousScalar,
                span,
                format!("`{}` is read differently by different versions of YAML", safe(text)),
                &format!("Put it in quotes if it is text: \"{0}\". Otherwise write true, false, or the number in plain digits.", safe(text)),
            );
            return Value::Invalid;
        }
        match plain(text) {
            Plain::Null => Value::Null,
            Plain::Bool(value) => Value::Bool(value),
            Plain::Number(number) => Value::Number(number),
            Plain::String => Value::String(Arc::from(text)),
        }
    }

    fn no_tag(&mut self, has_tag: bool, span: Span) {
        if has_tag {
            self.problem(
                Code::UnsupportedYaml,
                span,
                "tags are not supported".to_owned(),
                "Remove the tag; quotes make a value text.",
            );
        }
    }

    fn problem(&mut self, code: Code, span: Span, message: String, remedy: &str) {
        // A file with a hundred problems has one that matters.
        if self.problems.len() < PROBLEM_LIMIT {
            self.problems.push(LocatedProblem::new(span, code, message, remedy));
        } else if self.problems.len() == PROBLEM_LIMIT {
            self.problems.push(too_many_problems(span));
        }
    }
}

/// Says that a file has more problems than are told, from here on.
pub(super) fn too_many_problems(span: Span) -> LocatedProblem {
    stop(
        Code::TooManyProblems,
        span,
        &format!("the file has more problems of this kind than the {PROBLEM_LIMIT} that are listed"),
        "Correct these first, and validate again.",
    )
}

fn stop(code: Code, span: Span, message: &str, remedy: &str) -> Stop {
    LocatedProblem::new(span, code, message, remedy)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A short word of a file in a message.
fn safe(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    cut.escape_debug().to_string()
}

/// What a plain scalar is in YAML 1.2's core schema.
enum Plain {
    Null,
    Bool(bool),
    Number(Number),
    String,
}

fn plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" => Plain::Bool(true),
        "false" | "False" | "FALSE" => Plain::Bool(false),
        _ => number(text).map_or(Plain::String, Plain::Number),
    }
}

/// Decimal integers and fractions, as JSON has them; what else YAML calls a number is ambiguous.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    if let Ok(integer) = text.parse::<i64>() {
        return Some(Number::from(integer));
    }
    if let Ok(integer) = text.parse::<u64>() {
        return Some(Number::from(integer));
    }
    let (_, fraction) = digits.split_once('.')?;
    if fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

/// Whether YAML 1.1 and 1.2 read a plain scalar differently, or people and YAML do.
fn ambiguous(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | ".inf" | "+.inf" | "-.inf" | ".nan" | "=") {
        return true;
    }
    let Some(first) = text.bytes().next() else { return false };
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return false;
    }
    let bare = text.trim_start_matches(['+', '-']);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = bare.len() > 1 && bare.starts_with('0') && digits(bare);
    let signed = text.starts_with('+') && digits(bare);
    let based = ["0x", "0o", "0b", "0X", "0O", "0B"].iter().any(|prefix| {
        bare.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_'))
    });
    let underscored = bare.contains('_')
        && bare.starts_with(|c: char| c.is_ascii_digit())
        && bare.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.'));
    let exponent = lower.contains('e') && lower.parse::<f64>().is_ok();
    let half = (bare.starts_with('.') && digits(&bare[1..])) || bare.strip_suffix('.').is_some_and(digits);
    let sexagesimal =
        bare.contains(':') && bare.split(':').all(|part| digits(part.split('.').next().unwrap_or_default()));
    let too_long = digits(bare) && text.parse::<i64>().is_err() && text.parse::<u64>().is_err();
    leading_zero || signed || based || underscored || exponent || half || sexagesimal || too_long || is_date(bare)
}

/// `2026-11-23`, with or without a time behind it.
fn is_date(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    matches!(parts.as_slice(), [year, month, day]
        if year.len() == 4 && (1..=2).contains(&month.len()) && (1..=2).contains(&day.len())
            && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit())))
}
