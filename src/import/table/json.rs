//! Lists of profiles in JSON: a list of objects, or an object with the list `profiles`.
//!
//! [`from_json`] returns the rows. An item whose `provider` is an object is a profile in the format of its file; any other item has
//! the columns of a spreadsheet as keys. Each column accepts text; lists of companies and functions may be JSON lists of texts,
//! flags may be true or false, and a port may be a number. `null` and an empty text are an empty cell, except for companies, where
//! they are a problem. Every other value, a duplicate key and a key next to `profiles` are problems: nothing is left out or
//! converted.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{Column, ProfileRow, parse_columns, row::RowParser};
use crate::{
    import::spreadsheet::{self, ROW_LIMIT, TableProblem},
    text::{printable, shortened},
};

/// The message of the error for a key that an object has twice.
const DUPLICATE: &str = "an object has the same key twice";

/// Reads a list in JSON.
pub(in crate::import) fn from_json(text: &str) -> Result<Vec<ProfileRow>, Vec<TableProblem>> {
    let at = TableProblem::of_line;
    let UniqueKeys(document) = serde_json::from_str(text).map_err(|error| {
        vec![if error.is_data() {
            at(error.line(), DUPLICATE.to_owned(), "Keep one of them.")
        } else {
            at(error.line(), "this is not well-formed JSON".to_owned(), "Write a list of objects, one per profile.")
        }]
    })?;
    let items = match document {
        Value::Array(items) => items,
        Value::Object(mut map) => match map.remove("profiles") {
            Some(Value::Array(_)) if !map.is_empty() => {
                let remedy = "Write only `profiles` there; the environment of a profile is a key of the profile.";
                return Err(vec![at(1, "there are other keys next to `profiles`".to_owned(), remedy)]);
            }
            Some(Value::Array(items)) => items,
            _ => return Err(vec![not_a_list()]),
        },
        _ => return Err(vec![not_a_list()]),
    };
    if items.len() > ROW_LIMIT {
        return Err(vec![spreadsheet::too_many_rows(ROW_LIMIT + 1)]);
    }
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        let line = index + 1;
        match item {
            Value::Object(map) if map.get("provider").is_some_and(Value::is_object) => {
                read_whole_profile(line, map, &mut rows, &mut problems);
            }
            Value::Object(map) => read_cells(line, &map, &mut rows, &mut problems),
            _ => problems.push(at(line, "this item is not an object".to_owned(), "Each profile is an object.")),
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

fn not_a_list() -> TableProblem {
    TableProblem::of_list("this is not a list", "Write a list of objects, one per profile.")
}

/// Reads an item whose keys are columns.
fn read_cells(line: usize, map: &Map<String, Value>, rows: &mut Vec<ProfileRow>, problems: &mut Vec<TableProblem>) {
    let columns = match parse_columns(map.keys().map(String::as_str)) {
        Ok(columns) => columns,
        Err(found) => return problems.extend(found.into_iter().map(|problem| TableProblem { line, ..problem })),
    };
    let (mut cells, before) = (BTreeMap::new(), problems.len());
    for (column, (name, value)) in columns.into_iter().zip(map) {
        match cell_text(line, name, column, value) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => drop(cells.insert(column, (name.as_str(), text))),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.len() == before {
        RowParser { line, cells, problems: Vec::new() }.finish(rows, problems);
    }
}

/// Reads an item that is a profile in the format of its file, with its name and perhaps its environment.
fn read_whole_profile(
    line: usize,
    mut document: Map<String, Value>,
    rows: &mut Vec<ProfileRow>,
    problems: &mut Vec<TableProblem>,
) {
    let own = [("name", Column::Name), ("environment", Column::Environment)];
    let own = own.map(|(key, column)| (key, column, document.remove(key).unwrap_or_default()));
    let mut parser = RowParser { line, cells: BTreeMap::new(), problems: Vec::new() };
    for (key, column, value) in &own {
        match cell_text(line, key, *column, value) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => drop(parser.cells.insert(*column, (*key, text))),
            Err(problem) => return problems.push(problem),
        }
    }
    let (environment, name) = (parser.parse_environment(), parser.parse_name());
    if let Some(name) = name {
        rows.push(ProfileRow { environment, name, document: Value::Object(document), line });
    }
    problems.extend(parser.problems);
}

/// Returns the text that the cell of a spreadsheet would have; an empty one is an empty cell.
fn cell_text<'v>(line: usize, name: &str, column: Column, value: &'v Value) -> Result<Cow<'v, str>, TableProblem> {
    let problem = |message: String, remedy: &str| TableProblem {
        line,
        column: printable(&shortened(name, 60)).into_owned(),
        message,
        remedy: remedy.to_owned(),
    };
    let is_flag = matches!(column, Column::Enabled | Column::AddressBook | Column::Encryption);
    let text = match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text.trim()),
        Value::Bool(flag) if is_flag => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Number(number) if is_flag || column == Column::Port => Cow::Owned(number.to_string()),
        Value::Array(items) if column.limits_companies() || column == Column::Functions => {
            let mut texts = Vec::new();
            for (index, item) in items.iter().enumerate() {
                match item.as_str().map(str::trim) {
                    Some(text) if !text.is_empty() => texts.push(text),
                    found => {
                        let kind = found.map_or_else(|| describe_kind(item), |_| "an empty text");
                        let message = format!("item {} of the list is {kind}, not a text", index + 1);
                        return Err(problem(message, remedy_for(item)));
                    }
                }
            }
            Cow::Owned(texts.join(";"))
        }
        other => return Err(problem(format!("this is {}, not a text", describe_kind(other)), remedy_for(other))),
    };
    if text.is_empty() && column.limits_companies() {
        let message = "this names no company, and the profile would be for every company".to_owned();
        return Err(problem(message, "Name the companies, or write `system-wide`."));
    }
    Ok(text)
}

fn describe_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn remedy_for(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "Write it in quotes, with the zeros that it begins with.",
        Value::Bool(_) => "Write it in quotes.",
        _ => "Write a text in quotes.",
    }
}

/// A JSON document in which no object has a key twice. `serde_json` alone keeps the last value and drops the others.
struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor).map(Self)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(UniqueKeys(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, UniqueKeys(value))) = object.next_entry::<String, _>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(map))
    }
}
