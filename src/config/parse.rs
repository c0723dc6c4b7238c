//! Parses YAML, and JSON as a subset of it, into nodes with places.
//!
//! Stricter than YAML: a construct that YAML versions or people read differently is rejected, with the text to write instead. A
//! rejected value is reported and stays in the tree as invalid, so that the rest is checked; a file with a syntax error, a merge
//! key or too much content (32 levels, 20,000 values) has no tree.

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as YamlSpan};
use serde_json::Number;

use super::{
    located::LocatedProblem,
    node::{Entry, Node, Value},
    sources::{FileId, Span},
};
use crate::{
    model::Code,
    text::{printable, shortened},
};

/// The maximum nesting depth of a file.
const DEPTH_LIMIT: usize = 32;
/// The maximum number of values in a file, with aliases expanded.
const SIZE_LIMIT: u32 = 20_000;
/// The maximum number of open brackets, those in strings and comments included. The parser looks ahead to the end of the
/// outermost bracket, and examines every open bracket for each word.
const BRACKET_LIMIT: usize = 2 * DEPTH_LIMIT;
/// The maximum number of problems that are reported per file.
pub(super) const PROBLEM_LIMIT: usize = 100;
/// The number of keys from which a map is searched by a hash table.
const LINEAR_SEARCH_LIMIT: usize = 16;

/// The result of parsing a file.
pub(super) struct Parsed {
    /// The tree; none if its structure is unknown. A rejected value is [`Value::Invalid`] in it.
    pub(super) node: Option<Arc<Node>>,
    pub(super) problems: Vec<LocatedProblem>,
}

/// Parses a file, and continues after a problem as far as possible.
pub(super) fn parse(file: FileId, text: &str) -> Parsed {
    if let Some(problem) = find_deep_nesting(file, text) {
        return Parsed { node: None, problems: vec![problem] };
    }
    let mut builder = Builder {
        file,
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        problems: Vec::new(),
        size: 0,
        is_representable: true,
    };
    let node = match builder.parse_document() {
        Ok(node) => Some(node).filter(|_| builder.is_representable),
        Err(stopped) => {
            builder.problems.push(stopped);
            None
        }
    };
    Parsed { node, problems: builder.problems }
}

/// Returns a problem at the first place with more open brackets than any valid file has. Costs one pass.
fn find_deep_nesting(file: FileId, text: &str) -> Option<LocatedProblem> {
    let (mut open, mut line, mut line_start) = (0_usize, 1, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' => (line, line_start) = (line + 1, at + 1),
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > BRACKET_LIMIT {
            let column = to_u32(text.get(line_start..at).map_or(0, |before| before.chars().count()));
            let line = to_u32(line);
            return Some(failure(
                Code::TooDeep,
                Span { file, line, column, end_line: line, end_column: column + 1 },
                &format!("more than {BRACKET_LIMIT} brackets are open here"),
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
    /// False if a part of the file is not in the tree, such as a merge key.
    is_representable: bool,
}

/// A problem that ends parsing.
type FatalError = LocatedProblem;

impl<'a> Builder<'a> {
    fn parse_document(&mut self) -> Result<Arc<Node>, FatalError> {
        let empty = |span| {
            failure(
                Code::EmptyFile,
                span,
                "the file is empty",
                "Remove the file, or write `null` into it to remove an inherited profile.",
            )
        };
        self.next_event()?;
        let (event, span) = self.next_event()?;
        if !matches!(event, Event::DocumentStart(_)) {
            return Err(empty(span));
        }
        let (event, span) = self.next_event()?;
        if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty()) {
            return Err(empty(span));
        }
        let root = self.parse_node(event, span, 0)?;
        self.next_event()?;
        let (event, span) = self.next_event()?;
        if !matches!(event, Event::StreamEnd) {
            return Err(failure(
                Code::UnsupportedYaml,
                span,
                "a second document begins here",
                "Move it to another file.",
            ));
        }
        Ok(root)
    }

    fn next_event(&mut self) -> Result<(Event<'a>, Span), FatalError> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, self.span(span))),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span { file: self.file, line: 1, column: 0, end_line: 1, end_column: 0 })),
        }
    }

    fn syntax_error(&self, error: &ScanError) -> FatalError {
        let mark = error.marker();
        let (line, column) = (to_u32(mark.line()), to_u32(mark.col()));
        let span = Span { file: self.file, line, column, end_line: line, end_column: column + 1 };
        // The parser's message names the construct, and does not quote the file.
        let info: String = error.info().chars().filter(|c| !c.is_control()).take(120).collect();
        let remedy = if info.contains("tab") {
            "Indent with spaces: YAML does not allow tabs there."
        } else {
            "Check the indentation, and quotes and brackets that are not closed."
        };
        failure(Code::Syntax, span, &format!("this is not well-formed: {info}"), remedy)
    }

    fn span(&self, span: YamlSpan) -> Span {
        Span {
            file: self.file,
            line: to_u32(span.start.line()),
            column: to_u32(span.start.col()),
            end_line: to_u32(span.end.line()),
            end_column: to_u32(span.end.col()),
        }
    }

    fn parse_node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Arc<Node>, FatalError> {
        if depth > DEPTH_LIMIT {
            return Err(failure(
                Code::TooDeep,
                span,
                &format!("this is nested deeper than {DEPTH_LIMIT} levels"),
                "No profile needs that; is this the right file?",
            ));
        }
        let (anchor, value) = match event {
            Event::Alias(id) => return self.resolve_alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.reject_tag(tag.is_some(), span);
                (anchor, if tag.is_some() { Value::Invalid } else { self.parse_scalar(&text, style, span) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.reject_tag(tag.is_some(), span);
                (anchor, self.parse_list(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.reject_tag(tag.is_some(), span);
                (anchor, self.parse_map(depth)?)
            }
            _ => return Err(failure(Code::Syntax, span, "something is missing here", "Look at the lines above.")),
        };
        self.count_values(1, span)?;
        let node = Arc::new(Node::new(span, value));
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        Ok(node)
    }

    fn resolve_alias(&mut self, id: usize, span: Span) -> Result<Arc<Node>, FatalError> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(failure(Code::UnsupportedYaml, span, "recursive alias", "Write the value out."));
        };
        self.count_values(node.subtree.size, span)?;
        Ok(node)
    }

    fn count_values(&mut self, more: u32, span: Span) -> Result<(), FatalError> {
        self.size = self.size.saturating_add(more);
        if self.size > SIZE_LIMIT {
            return Err(failure(
                Code::TooDeep,
                span,
                &format!("the file holds more than {SIZE_LIMIT} values, aliases written out"),
                "No profile needs that; is this the right file?",
            ));
        }
        Ok(())
    }

    fn parse_list(&mut self, depth: usize) -> Result<Value, FatalError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next_event()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.parse_node(event, span, depth + 1)?);
        }
    }

    fn parse_map(&mut self, depth: usize) -> Result<Value, FatalError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        loop {
            let (event, key_span) = self.next_event()?;
            let (key, is_sure): (Arc<str>, bool) = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(text, style, _, tag) => {
                    self.reject_tag(tag.is_some(), key_span);
                    (Arc::from(text.as_ref()), self.check_key(&text, style, key_span))
                }
                _ => {
                    return Err(failure(
                        Code::UnsupportedYaml,
                        key_span,
                        "a key is a single word here",
                        "Write the key as plain or quoted text.",
                    ));
                }
            };
            let (event, mut span) = self.next_event()?;
            let is_empty = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty());
            if is_empty {
                span = key_span;
                self.report(
                    Code::AmbiguousScalar,
                    key_span,
                    format!("`{}` has no value", safe(&key)),
                    "Write the value, or `null` to remove an inherited one.",
                );
            }
            let mut node = self.parse_node(event, span, depth + 1)?;
            if is_empty {
                node = Arc::new(Node::new(span, Value::Invalid));
            }
            if !is_sure {
                continue;
            }
            let first = if entries.len() < LINEAR_SEARCH_LIMIT {
                entries.iter().find(|entry| entry.key == key)
            } else {
                if places.is_empty() {
                    places.extend(entries.iter().enumerate().map(|(at, entry)| (Arc::clone(&entry.key), at)));
                }
                places.get(&key).and_then(|at| entries.get(*at))
            };
            if let Some(first) = first {
                let line = first.key_span.line;
                self.report(
                    Code::DuplicateKey,
                    key_span,
                    format!("duplicate key `{}`; first defined on line {line}", safe(&key)),
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

    /// Reports an unsupported or ambiguous key. Returns true if the key is usable.
    fn check_key(&mut self, text: &str, style: ScalarStyle, span: Span) -> bool {
        if style != ScalarStyle::Plain {
            return true;
        }
        if text == "<<" {
            // The contents of the merge are unknown.
            self.is_representable = false;
            self.report(
                Code::UnsupportedYaml,
                span,
                "merge keys are not supported".to_owned(),
                "Use `extends` in environment.yaml, or write the values out.",
            );
        } else if is_ambiguous(text) || !matches!(parse_plain(text), PlainScalar::String) {
            self.report(
                Code::AmbiguousScalar,
                span,
                format!("the key `{}` is ambiguous: YAML parsers read it as text or as another type", safe(text)),
                &format!("Put it in quotes: \"{}\".", safe(text)),
            );
        } else {
            return true;
        }
        false
    }

    fn parse_scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Value {
        if style != ScalarStyle::Plain {
            return Value::String(Arc::from(text));
        }
        if is_ambiguous(text) {
            self.report(
                Code::AmbiguousScalar,
                span,
                format!("`{}` is read differently by different versions of YAML", safe(text)),
                &format!("Put it in quotes if it is text: \"{0}\". Otherwise write true, false, or the number in plain digits.", safe(text)),
            );
            return Value::Invalid;
        }
        match parse_plain(text) {
            PlainScalar::Null => Value::Null,
            PlainScalar::Bool(value) => Value::Bool(value),
            PlainScalar::Number(number) => Value::Number(number),
            PlainScalar::String => Value::String(Arc::from(text)),
        }
    }

    fn reject_tag(&mut self, has_tag: bool, span: Span) {
        if has_tag {
            self.report(
                Code::UnsupportedYaml,
                span,
                "tags are not supported".to_owned(),
                "Remove the tag; quotes make a value text.",
            );
        }
    }

    fn report(&mut self, code: Code, span: Span, message: String, remedy: &str) {
        // Of hundreds of problems in one file, most have the same cause.
        if self.problems.len() < PROBLEM_LIMIT {
            self.problems.push(LocatedProblem::new(span, code, message, remedy));
        } else if self.problems.len() == PROBLEM_LIMIT {
            self.problems.push(too_many_problems(span));
        }
    }
}

/// Returns the problem that a file has more problems than are listed.
pub(super) fn too_many_problems(span: Span) -> LocatedProblem {
    failure(
        Code::TooManyProblems,
        span,
        &format!("the file has more problems of this kind than the {PROBLEM_LIMIT} that are listed"),
        "Correct these first, and validate again.",
    )
}

fn failure(code: Code, span: Span, message: &str, remedy: &str) -> FatalError {
    LocatedProblem::new(span, code, message, remedy)
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns a word of the file for a message: escaped and bounded.
fn safe(text: &str) -> String {
    printable(&shortened(text, 40)).into_owned()
}

/// The type of a plain scalar in the core schema of YAML 1.2.
enum PlainScalar {
    Null,
    Bool(bool),
    Number(Number),
    String,
}

fn parse_plain(text: &str) -> PlainScalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => PlainScalar::Null,
        "true" | "True" | "TRUE" => PlainScalar::Bool(true),
        "false" | "False" | "FALSE" => PlainScalar::Bool(false),
        _ => parse_number(text).map_or(PlainScalar::String, PlainScalar::Number),
    }
}

/// Parses decimal integers and fractions, as JSON has them. Other forms of numbers are ambiguous.
fn parse_number(text: &str) -> Option<Number> {
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

/// Returns true if YAML 1.1 and 1.2 read a plain scalar differently, or if people and YAML do.
fn is_ambiguous(text: &str) -> bool {
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

/// Returns true for a date such as `2026-11-23`, with or without a time.
fn is_date(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    matches!(parts.as_slice(), [year, month, day]
        if year.len() == 4 && (1..=2).contains(&month.len()) && (1..=2).contains(&day.len())
            && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit())))
}
