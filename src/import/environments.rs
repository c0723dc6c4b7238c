//! New environments as a partner lists its customers: a spreadsheet saved as CSV, one a row.
//!
//! The first line names the columns. A few are known by the words that people use; `label:NAME` is a label and
//! `set:NAME` a variable. Any other column is a variable that a layer has or takes, by its exact name; what is neither
//! is a problem, never a guess.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config::suggest,
    import::spreadsheet::{self, Sheet, TableProblem},
};

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Name,
    Base,
    Description,
    Service,
    Companies,
    Label(String),
    Variable(String),
}

/// Every word for a column, in small letters and without anything between them; the usual one first.
const COLUMNS: &[(Column, &[&str])] = &[
    (Column::Name, &["name", "environment", "env", "customer"]),
    (Column::Base, &["from", "extends", "base", "layer"]),
    (Column::Description, &["description", "comment", "notes"]),
    (Column::Service, &["service", "serviceaddress", "serviceurl"]),
    (Column::Companies, &["companies", "company", "companyid", "companyids"]),
];
/// What must not stand in a list.
const SECRETS: &[&str] =
    &["password", "pwd", "secret", "clientsecret", "smtppassword", "passphrase", "apppassword", "token", "apikey"];

/// An environment of a list; what has no cell is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its line, from 1.
    pub line: usize,
    /// Its name. Whether it is one is not known here, nor of anything else.
    pub name: String,
    /// What it extends.
    pub base: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The address of its service.
    pub service: Option<String>,
    /// Its companies.
    pub companies: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its variables.
    pub variables: BTreeMap<String, String>,
}

/// A list of environments.
#[derive(Clone, Debug)]
pub struct List {
    /// The environments, in order.
    pub rows: Vec<Row>,
    columns: Vec<(Column, String)>,
}

impl List {
    /// The column that a key of an environment's file came from, as the list calls it: `labels`, `region`.
    pub fn column(&self, section: &str, key: &str) -> Option<&str> {
        let wanted = match section {
            "labels" => Column::Label(key.to_owned()),
            "variables" => Column::Variable(key.to_owned()),
            "service" => Column::Service,
            "companies" => Column::Companies,
            "description" => Column::Description,
            "extends" => Column::Base,
            _ => return None,
        };
        self.named(&wanted)
    }

    /// What the list calls the column with the names.
    pub fn name_column(&self) -> &str {
        self.named(&Column::Name).unwrap_or("name")
    }

    fn named(&self, wanted: &Column) -> Option<&str> {
        self.columns.iter().find(|(column, _)| column == wanted).map(|(_, name)| name.as_str())
    }
}

/// Reads a list. `default` is what a row extends that does not say; `variables` are those that a layer has or takes.
pub fn read(
    bytes: &[u8],
    default: Option<&str>,
    mut variables: impl FnMut(&str) -> Vec<String>,
) -> Result<List, Vec<TableProblem>> {
    let text = spreadsheet::text(bytes)?;
    let sheet = Sheet::read(&text)?;
    let bases = sheet.names.iter().position(|name| word(name) == Some(Column::Base));
    let own = sheet.rows.iter().filter_map(|(_, row)| row.get(bases?).filter(|base| !base.is_empty()));
    let bases: BTreeSet<&str> = own.map(String::as_str).chain(default).collect();
    let known: BTreeSet<String> = bases.into_iter().flat_map(&mut variables).collect();
    let columns = columns(&sheet.names, &known)?;

    let rows: Vec<Row> = sheet.rows.iter().map(|(line, cells)| row(*line, &columns, cells)).collect();
    let mut problems = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let list = List { rows, columns };
    for row in &list.rows {
        let mut problem = |message: String, remedy: &str| {
            let column = list.name_column().to_owned();
            problems.push(TableProblem { line: row.line, column, message, remedy: remedy.to_owned() });
        };
        if row.name.is_empty() {
            problem("the environment has no name".to_owned(), "Give it one; it becomes the folder's.");
        } else if let Some(first) = seen.insert(row.name.to_ascii_lowercase(), row.line) {
            problem(
                format!("the environment `{}` stands in line {first} already", row.name.escape_debug()),
                "Take one of the lines out, or give it another name.",
            );
        }
    }
    if list.rows.is_empty() {
        let remedy = "Its first line names the columns; each other one is an environment.";
        problems.push(TableProblem::whole("the list has no environments", remedy));
    }
    if problems.is_empty() { Ok(list) } else { Err(problems) }
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// What a word that is known stands for.
fn word(name: &str) -> Option<Column> {
    let plain = plain(name);
    COLUMNS.iter().find(|(_, words)| words.contains(&plain.as_str())).map(|(column, _)| column.clone())
}

fn columns(names: &[String], known: &BTreeSet<String>) -> Result<Vec<(Column, String)>, Vec<TableProblem>> {
    let mut columns: Vec<(Column, String)> = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        let mut problem = |message: String, remedy: String| {
            problems.push(TableProblem { line: 1, column: name.clone(), message, remedy });
        };
        let shown = name.escape_debug();
        let prefixed = |prefix: &str| name.strip_prefix(prefix).map(|rest| rest.trim().to_owned());
        let own = prefixed("set:").or_else(|| known.contains(name).then(|| name.clone()));
        if SECRETS.contains(&plain(own.as_ref().unwrap_or(name)).as_str()) {
            problem(
                format!("the column `{shown}` holds secrets"),
                "Take it out of the list, and seal each value with `mailwright secrets set`.".to_owned(),
            );
            continue;
        }
        let column = prefixed("label:").map(Column::Label).or_else(|| word(name)).or_else(|| own.map(Column::Variable));
        match column {
            Some(Column::Label(inner) | Column::Variable(inner)) if inner.is_empty() => problem(
                format!("the column `{shown}` has no name after the colon"),
                "Write label:NAME or set:NAME.".to_owned(),
            ),
            Some(column) if columns.iter().any(|(other, _)| *other == column) => {
                problem(format!("the column `{shown}` says the same as another one"), "Keep one of them.".to_owned());
            }
            Some(column) => columns.push((column, name.clone())),
            None => {
                let words = COLUMNS.iter().flat_map(|(_, words)| words.iter().copied());
                let meant = suggest::nearest(name, words.chain(known.iter().map(String::as_str)));
                let meant = meant.map(|meant| format!("Did you mean `{meant}`? ")).unwrap_or_default();
                problem(
                    format!("no layer has or takes a variable `{shown}`"),
                    format!("{meant}Write label:{shown} for a label, set:{shown} for a variable all the same."),
                );
            }
        }
    }
    if problems.is_empty() && !columns.iter().any(|(column, _)| *column == Column::Name) {
        problems.push(TableProblem::whole("no column has the environments' names", "Call it `name`."));
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

fn row(line: usize, columns: &[(Column, String)], cells: &[String]) -> Row {
    let mut row = Row { line, ..Row::default() };
    for ((column, _), value) in columns.iter().zip(cells).filter(|(_, value)| !value.is_empty()) {
        let value = value.clone();
        match column {
            Column::Name => row.name = value,
            Column::Base => row.base = Some(value),
            Column::Description => row.description = Some(value),
            Column::Service => row.service = Some(value),
            Column::Companies => {
                let ids = value.split([';', ',', '|', ' ', '\n']).map(str::trim).filter(|id| !id.is_empty());
                row.companies = ids.map(str::to_owned).collect();
            }
            Column::Label(name) => drop(row.labels.insert(name.clone(), value)),
            Column::Variable(name) => drop(row.variables.insert(name.clone(), value)),
        }
    }
    row
}
