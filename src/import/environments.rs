//! Lists of new environments: a spreadsheet saved as CSV, one environment per row.
//!
//! The first line names the columns. Some have well-known names; `label:NAME` is a label and `set:NAME` a variable. Any other
//! column is a variable that a layer defines or uses, by its exact name. An unknown column is a problem with a suggestion; a list
//! with any problem is refused as a whole. Names and values are not validated here.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config::suggest,
    import::spreadsheet::{self, Sheet, TableProblem, normalize},
};

/// The meaning of a column.
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

/// The names of each column in lower case and without separators, the usual name first.
const COLUMNS: &[(Column, &[&str])] = &[
    (Column::Name, &["name", "environment", "env", "customer"]),
    (Column::Base, &["from", "extends", "base", "layer"]),
    (Column::Description, &["description", "comment", "notes"]),
    (Column::Service, &["service", "serviceaddress", "serviceurl"]),
    (Column::Companies, &["companies", "company", "companyid", "companyids"]),
];
/// Columns that a list must not contain.
const SECRETS: &[&str] =
    &["password", "pwd", "secret", "clientsecret", "smtppassword", "passphrase", "apppassword", "token", "apikey"];

/// An environment of a list. An empty cell is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentRow {
    /// The line, from 1.
    pub line: usize,
    /// The name. Values are not validated here.
    pub name: String,
    /// The layer that the environment extends.
    pub base: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The address of the service.
    pub service: Option<String>,
    /// The companies.
    pub companies: Vec<String>,
    /// True if the cell of companies is not empty.
    names_companies: bool,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The variables.
    pub variables: BTreeMap<String, String>,
}

/// A list of environments.
#[derive(Clone, Debug)]
pub struct EnvironmentList {
    /// The environments, in order.
    pub rows: Vec<EnvironmentRow>,
    columns: Vec<(Column, String)>,
}

impl EnvironmentList {
    /// Returns the name that the list has for the column of a section and key, such as `labels`, `region`.
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
        self.find_column(&wanted)
    }

    /// Returns the name that the list has for the column of names.
    pub fn name_column(&self) -> &str {
        self.find_column(&Column::Name).unwrap_or("name")
    }

    fn find_column(&self, wanted: &Column) -> Option<&str> {
        self.columns.iter().find(|(column, _)| column == wanted).map(|(_, name)| name.as_str())
    }
}

/// Reads a list. `default` is the layer of rows without one; `variables` returns those that a layer defines or uses.
pub fn read_environments(
    bytes: &[u8],
    default: Option<&str>,
    mut variables: impl FnMut(&str) -> Vec<String>,
) -> Result<EnvironmentList, Vec<TableProblem>> {
    let text = spreadsheet::decode(bytes)?;
    let sheet = Sheet::read(&text)?;
    let bases = sheet.names.iter().position(|name| known_column(name) == Some(Column::Base));
    let own = sheet.rows.iter().filter_map(|(_, row)| row.get(bases?).filter(|base| !base.is_empty()));
    let bases: BTreeSet<&str> = own.map(String::as_str).chain(default).collect();
    let known: BTreeSet<String> = bases.into_iter().flat_map(&mut variables).collect();
    let columns = parse_columns(&sheet.names, &known)?;

    let rows: Vec<EnvironmentRow> = sheet.rows.iter().map(|(line, cells)| parse_row(*line, &columns, cells)).collect();
    let mut problems = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let list = EnvironmentList { rows, columns };
    for row in &list.rows {
        if row.companies.is_empty() && row.names_companies {
            problems.push(TableProblem {
                line: row.line,
                column: list.column("companies", "").unwrap_or("companies").to_owned(),
                message: "the cell has separators and names no company".to_owned(),
                remedy: "Name the companies, or leave the cell empty to keep those of the base.".to_owned(),
            });
        }
        let mut problem = |message: String, remedy: &str| {
            let column = list.name_column().to_owned();
            problems.push(TableProblem { line: row.line, column, message, remedy: remedy.to_owned() });
        };
        if row.name.is_empty() {
            problem("the environment has no name".to_owned(), "Give it a name, which is also the name of its folder.");
        } else if let Some(first) = seen.insert(row.name.to_ascii_lowercase(), row.line) {
            let shown = spreadsheet::quote_name(&row.name).map_or_else(String::new, |name| format!(" {name}"));
            problem(
                format!("the environment{shown} is already in line {first}"),
                "Remove one of the lines, or rename one.",
            );
        }
    }
    if list.rows.is_empty() {
        let remedy = "The first line names the columns; every other line is an environment.";
        problems.push(TableProblem::of_list("the list has no environments", remedy));
    }
    if problems.is_empty() { Ok(list) } else { Err(problems) }
}

/// Returns the meaning of a well-known column name.
fn known_column(name: &str) -> Option<Column> {
    let plain = normalize(name);
    COLUMNS.iter().find(|(_, words)| words.contains(&plain.as_str())).map(|(column, _)| column.clone())
}

fn parse_columns(names: &[String], known: &BTreeSet<String>) -> Result<Vec<(Column, String)>, Vec<TableProblem>> {
    let mut columns: Vec<(Column, String)> = Vec::new();
    let mut problems = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let is_prefixed = ["set:", "label:"].iter().any(|prefix| name.starts_with(prefix));
        let is_known = is_prefixed || known.contains(name) || known_column(name).is_some();
        let shown = spreadsheet::column_label(name, index + 1, is_known);
        let mut problem = |message: String, remedy: String| {
            problems.push(TableProblem { line: 1, column: shown.clone(), message, remedy });
        };
        let prefixed = |prefix: &str| name.strip_prefix(prefix).map(|rest| rest.trim().to_owned());
        let own = prefixed("set:").or_else(|| known.contains(name).then(|| name.clone()));
        if SECRETS.contains(&normalize(own.as_ref().unwrap_or(name)).as_str()) {
            problem(
                format!("the column `{shown}` holds secrets"),
                "Remove it from the list, and seal each value with `mailwright secrets set`.".to_owned(),
            );
            continue;
        }
        let column =
            prefixed("label:").map(Column::Label).or_else(|| known_column(name)).or_else(|| own.map(Column::Variable));
        match column {
            Some(Column::Label(inner) | Column::Variable(inner)) if inner.is_empty() => problem(
                format!("the column `{shown}` has no name after the colon"),
                "Write label:NAME or set:NAME.".to_owned(),
            ),
            Some(column) if columns.iter().any(|(other, _)| *other == column) => {
                problem(format!("the column `{shown}` duplicates another one"), "Keep one of them.".to_owned());
            }
            Some(column) => columns.push((column, name.clone())),
            None => {
                let words = COLUMNS.iter().flat_map(|(_, words)| words.iter().copied());
                let meant = suggest::nearest(name, words.chain(known.iter().map(String::as_str)));
                let meant = meant.map(|meant| format!("Did you mean `{meant}`? ")).unwrap_or_default();
                if spreadsheet::is_words(name) {
                    problem(
                        format!("no layer defines or uses a variable `{shown}`"),
                        format!("{meant}Write label:{shown} for a label, set:{shown} for a variable all the same."),
                    );
                } else {
                    problem(
                        spreadsheet::describe_unknown_column(name),
                        format!("{meant}Write label:NAME for a label, set:NAME for a variable."),
                    );
                }
            }
        }
    }
    if problems.is_empty() && !columns.iter().any(|(column, _)| *column == Column::Name) {
        problems.push(TableProblem::of_list("no column has the environments' names", "Call it `name`."));
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

fn parse_row(line: usize, columns: &[(Column, String)], cells: &[String]) -> EnvironmentRow {
    let mut row = EnvironmentRow { line, ..EnvironmentRow::default() };
    for ((column, _), value) in columns.iter().zip(cells).filter(|(_, value)| !value.is_empty()) {
        let value = value.clone();
        match column {
            Column::Name => row.name = value,
            Column::Base => row.base = Some(value),
            Column::Description => row.description = Some(value),
            Column::Service => row.service = Some(value),
            Column::Companies => {
                row.names_companies = true;
                let ids = value.split([';', ',', '|', ' ', '\n']).map(str::trim).filter(|id| !id.is_empty());
                row.companies = ids.map(str::to_owned).collect();
            }
            Column::Label(name) => drop(row.labels.insert(name.clone(), value)),
            Column::Variable(name) => drop(row.variables.insert(name.clone(), value)),
        }
    }
    row
}
