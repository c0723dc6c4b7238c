//! Lists of profiles: a spreadsheet saved as CSV, or a JSON list.
//!
//! [`read_profiles`] returns the rows as documents of profiles. A row is a profile. The first line names the columns, in any order
//! and in the usual terms of administrators ("SMTP server", "From address"). An unknown column or value is a problem with its line
//! and column; a list with a problem is refused as a whole. A cell that is there and names no company is a problem, so that no
//! profile becomes system-wide by it; an empty cell of a CSV list is as good as none. A column with passwords is rejected: secrets
//! are sealed with `mailwright secrets set` instead. Nothing is written here.

mod json;
mod row;

use std::{borrow::Cow, collections::BTreeMap};

pub(super) use json::from_json;
use serde_json::Value;

use crate::{
    config::suggest,
    import::spreadsheet::{self, Sheet, TableProblem, normalize},
    model::{EnvironmentName, ProfileName},
};

use row::RowParser;

/// A profile of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRow {
    /// The environment, if the list has a column for it.
    pub environment: Option<EnvironmentName>,
    /// The profile.
    pub name: ProfileName,
    /// The document of the profile's file. Strings are literal, not interpolated.
    pub document: Value,
    /// The line in the list, from 1; for JSON, the number of the item.
    pub line: usize,
}

/// The meaning of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Name,
    Environment,
    Description,
    Enabled,
    Provider,
    Host,
    Port,
    Encryption,
    Username,
    From,
    FromName,
    Functions,
    /// System-wide, selected companies, or a list of companies.
    Scope,
    Companies,
    Cloud,
    Tenant,
    Client,
    Credential,
    Platform,
    Redirect,
    AddressBook,
    /// A secret, which a list must not contain.
    Secret,
}

impl Column {
    /// Returns true if the column decides for which companies a profile is.
    fn limits_companies(self) -> bool {
        matches!(self, Self::Scope | Self::Companies)
    }
}

/// The names of each column in lower case and without separators, the usual name first.
const COLUMNS: &[(Column, &[&str])] = &[
    (Column::Name, &["name", "profile", "profilename"]),
    (Column::Environment, &["environment", "env", "site", "customer"]),
    (Column::Description, &["description", "comment", "notes", "purpose", "profiledescription"]),
    (Column::Enabled, &["enabled", "active", "enable", "profileenabled"]),
    (
        Column::Provider,
        &["provider", "type", "method", "connection", "selectprovider", "emailprovider", "mailprovider"],
    ),
    (
        Column::Host,
        &[
            "host",
            "smtphostname",
            "smtpserver",
            "smtphost",
            "server",
            "mailserver",
            "hostname",
            "relay",
            "smtpservername",
        ],
    ),
    (Column::Port, &["port", "smtpport", "portnumber", "smtpportnumber"]),
    (
        Column::Encryption,
        &["encryption", "security", "tls", "ssl", "ssltls", "connectionsecurity", "usessl", "enablessl"],
    ),
    (Column::Username, &["username", "user", "login", "smtpuser", "smtpusername", "account", "loginname"]),
    (
        Column::From,
        &[
            "from",
            "outgoingemailaddress",
            "fromaddress",
            "sender",
            "senderaddress",
            "email",
            "emailaddress",
            "mailbox",
            "outgoingemail",
            "outgoingaddress",
            "fromemailaddress",
        ],
    ),
    (Column::FromName, &["fromname", "sendername", "displayname"]),
    (
        Column::Functions,
        &["functions", "function", "businessfunctions", "usedfor", "selectfunctions", "emailfunctions"],
    ),
    (Column::Scope, &["appliesto", "applyto", "scope"]),
    (Column::Companies, &["companies", "selectcompanies", "company", "companyid", "companyids", "selectedcompanies"]),
    (Column::Cloud, &["cloud", "nationalcloud"]),
    (Column::Tenant, &["tenant", "tenantid", "directoryid", "directory"]),
    (Column::Client, &["client", "clientid", "applicationid", "appid", "application"]),
    (Column::Credential, &["credential", "credentialtype"]),
    (Column::Platform, &["platform", "clienttype"]),
    (Column::Redirect, &["redirect", "redirecturi", "redirecturl"]),
    (Column::AddressBook, &["addressbook", "addressbooklookup"]),
    (
        Column::Secret,
        &[
            "password",
            "pwd",
            "secret",
            "clientsecret",
            "smtppassword",
            "passphrase",
            "apppassword",
            "userpassword",
            "emailpassword",
            "clientsecretvalue",
            "secretvalue",
            "clientkey",
            "apikey",
        ],
    ),
];

/// Reads a list. JSON begins with a bracket; everything else is CSV, with commas, semicolons or tabs.
pub fn read_profiles(bytes: &[u8]) -> Result<Vec<ProfileRow>, Vec<TableProblem>> {
    let text = spreadsheet::decode(bytes)?;
    let rows = if text.trim_start().starts_with(['[', '{']) { from_json(&text) } else { from_csv(&text) }?;
    let mut seen: BTreeMap<(Option<EnvironmentName>, String), usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for row in &rows {
        let key = (row.environment.clone(), row.name.as_str().to_ascii_lowercase());
        if let Some(first) = seen.insert(key, row.line) {
            problems.push(TableProblem {
                line: row.line,
                column: "name".to_owned(),
                message: format!("the profile `{}` is already in line {first}", row.name),
                remedy: "Give one of them another name, or put their functions into one row.".to_owned(),
            });
        }
    }
    match (rows.is_empty(), problems.is_empty()) {
        (true, _) => Err(vec![TableProblem::of_list(
            "the list has no profiles",
            "The first line names the columns; every other line is a profile.",
        )]),
        (_, true) => Ok(rows),
        (_, false) => Err(problems),
    }
}

fn from_csv(text: &str) -> Result<Vec<ProfileRow>, Vec<TableProblem>> {
    let sheet = Sheet::read(text)?;
    let columns = parse_columns(sheet.names.iter().map(String::as_str))?;
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for (line, row) in &sheet.rows {
        // A line that was cut would otherwise be a profile for every company.
        let mut cut = columns.iter().zip(&sheet.names).skip(row.len());
        if let Some((_, name)) = cut.find(|(column, _)| column.limits_companies()) {
            problems.push(TableProblem {
                line: *line,
                column: name.clone(),
                message: "the line ends before this column".to_owned(),
                remedy: "Write the separators of empty cells, too.".to_owned(),
            });
            continue;
        }
        let cells = columns.iter().zip(&sheet.names).zip(row).filter(|(_, value)| !value.is_empty());
        let cells = cells.map(|((column, name), value)| (*column, (name.as_str(), Cow::Borrowed(value.as_str()))));
        RowParser { line: *line, cells: cells.collect(), problems: Vec::new() }.finish(&mut rows, &mut problems);
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

/// Returns the meaning of each column. Unknown and duplicate columns, and those with secrets, are problems.
fn parse_columns<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<Column>, Vec<TableProblem>> {
    let mut columns = Vec::new();
    let mut problems = Vec::new();
    for (index, name) in names.enumerate() {
        let plain = normalize(name);
        let known = COLUMNS.iter().find(|(_, words)| words.contains(&plain.as_str())).map(|(column, _)| *column);
        let label = spreadsheet::column_label(name, index + 1, known.is_some());
        let (message, remedy) = match known {
            Some(Column::Secret) => (
                format!("the column `{label}` holds secrets"),
                "Remove the column from the list, and seal each value with `mailwright secrets set`.".to_owned(),
            ),
            Some(column) if columns.contains(&column) => {
                (format!("the column `{label}` duplicates another one"), "Keep one of them.".to_owned())
            }
            Some(column) => {
                columns.push(column);
                continue;
            }
            None => {
                let usual = COLUMNS.iter().filter(|(column, _)| *column != Column::Secret).map(|(_, words)| words[0]);
                let allowed = COLUMNS.iter().flat_map(|(_, words)| words.iter().copied());
                (
                    spreadsheet::describe_unknown_column(name),
                    match suggest::nearest(&plain, allowed) {
                        Some(meant) => format!("Did you mean `{meant}`?"),
                        None => format!("There are: {}.", usual.collect::<Vec<_>>().join(", ")),
                    },
                )
            }
        };
        problems.push(TableProblem { line: 1, column: label, message, remedy });
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}
