//! Lists of values for `mailwright secrets set --from-csv`: environment, secret, value.
//!
//! The values are wiped from memory after use and never quoted in a problem. A list with a problem, or above 16 MiB, is refused as
//! a whole.

use std::path::Path;

use zeroize::Zeroizing;

use crate::{
    cli::{CliError, list_file::list_error},
    import::spreadsheet::{SIZE_LIMIT, TableProblem},
    model::Code,
};

/// The names of the columns.
const COLUMNS: [&str; 3] = ["environment", "secret", "value"];

/// A line of a list.
pub(super) struct ValueRow {
    /// The line, from 1.
    pub(super) line: usize,
    pub(super) environment: String,
    pub(super) secret: String,
    pub(super) value: Zeroizing<String>,
}

impl ValueRow {
    /// Describes a problem of this line.
    pub(super) fn problem(&self, column: &str, error: CliError) -> TableProblem {
        TableProblem {
            line: self.line,
            column: column.to_owned(),
            message: error.message,
            remedy: error.remedy.unwrap_or_default(),
        }
    }
}

/// Parses a list. All problems are reported together.
pub(super) fn parse_list(list: &Path, bytes: &[u8]) -> Result<Vec<ValueRow>, CliError> {
    let failed = |problems: Vec<TableProblem>| list_error(Code::ListMalformed, list, problems);
    let of_list = |message: &str, remedy: &str| {
        failed(vec![TableProblem {
            line: 1,
            column: String::new(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        }])
    };
    if bytes.len() > SIZE_LIMIT {
        return Err(of_list("the list is larger than 16 MiB", "Split it."));
    }
    let text = crate::text::decode(bytes)
        .map_err(|encoding| of_list(&format!("the list is {encoding}"), "Save it as `CSV UTF-8`."))?;
    let text = Zeroizing::new(text);
    let separator = separator_of(&text);
    let mut records = Records { rest: text.trim_start_matches('\u{feff}'), line: 1, separator };
    let Some((_, head)) = records.next().transpose().map_err(|line| failed(vec![malformed(line)]))? else {
        return Err(of_list("the list is empty", "Its first line is: environment,secret,value"));
    };
    let position = |column: &str| head.iter().position(|name| name.trim().eq_ignore_ascii_case(column));
    let [Some(environment), Some(secret), Some(value)] = COLUMNS.map(position) else {
        return Err(of_list("the first line does not name the columns", "Write: environment,secret,value"));
    };
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for record in records {
        let (line, mut cells) = match record {
            Ok(record) => record,
            Err(line) => {
                problems.push(malformed(line));
                break;
            }
        };
        if cells.iter().all(|cell| cell.is_empty()) {
            continue;
        }
        if cells.len() != head.len() {
            problems.push(TableProblem {
                line,
                column: String::new(),
                message: format!("the line has {} cells, and the first one {}", cells.len(), head.len()),
                remedy: "Put a value with a separator, a quote or a line break into quotes.".to_owned(),
            });
            continue;
        }
        let value = std::mem::take(&mut cells[value]);
        let name = |index: usize| cells[index].trim().to_owned();
        rows.push(ValueRow { line, environment: name(environment), secret: name(secret), value });
    }
    if problems.is_empty() { Ok(rows) } else { Err(failed(problems)) }
}

fn malformed(line: usize) -> TableProblem {
    TableProblem {
        line,
        column: String::new(),
        message: "a quote is not closed, or text follows it".to_owned(),
        remedy: "Double each quote within a value: \"a \"\"quoted\"\" word\".".to_owned(),
    }
}

/// Returns the separator that is most frequent in the first line: comma, semicolon or tab.
fn separator_of(text: &str) -> char {
    let head = text.lines().next().unwrap_or_default();
    let count = |separator: &char| head.matches(*separator).count();
    [';', '\t', ','].into_iter().max_by_key(count).unwrap_or(',')
}

/// The records of a list (RFC 4180), each with its line. An error is the line that is not well formed.
struct Records<'a> {
    rest: &'a str,
    line: usize,
    separator: char,
}

impl Iterator for Records<'_> {
    type Item = Result<(usize, Vec<Zeroizing<String>>), usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            let Some(cell) = self.cell() else {
                self.rest = "";
                return Some(Err(line));
            };
            cells.push(cell);
            let rest = self.rest.strip_prefix('\r').filter(|rest| rest.starts_with('\n')).unwrap_or(self.rest);
            if let Some(rest) = rest.strip_prefix(self.separator) {
                self.rest = rest;
                continue;
            }
            // The cell ended at a line break, or at the end of the list.
            self.rest = rest.strip_prefix('\n').unwrap_or(rest);
            self.line += 1;
            return Some(Ok((line, cells)));
        }
    }
}

impl Records<'_> {
    /// Reads a cell up to its separator or line break. Returns none if it is not well formed.
    fn cell(&mut self) -> Option<Zeroizing<String>> {
        let ends = |text: &str| text.starts_with([self.separator, '\n']) || text.starts_with("\r\n") || text.is_empty();
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end =
                self.rest.char_indices().find(|(at, _)| ends(&self.rest[*at..])).map_or(self.rest.len(), |(at, _)| at);
            let (cell, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(Zeroizing::new(cell.to_owned()));
        };
        // Its capacity is enough, so that no copy of a part is left behind.
        let mut cell = Zeroizing::new(String::with_capacity(quoted.len()));
        let mut rest = quoted;
        loop {
            let (part, after) = rest.split_once('"')?;
            cell.push_str(part);
            self.line += part.matches('\n').count();
            if let Some(next) = after.strip_prefix('"') {
                cell.push('"');
                rest = next;
            } else {
                self.rest = after;
                return ends(after).then_some(cell);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(usize, String, String, String)>, CliError> {
        let rows = parse_list(Path::new("-"), text.as_bytes())?;
        Ok(rows.into_iter().map(|row| (row.line, row.environment, row.secret, row.value.to_string())).collect())
    }

    #[test]
    fn quotes_separators_and_line_breaks_are_part_of_a_quoted_value() {
        let rows = parse(
            "Environment;secret;value\r\na;relay/password;\" x \"\"y\"\"; z\"\r\nb;tls/key;\"one\ntwo\"\nc;k/v; w ",
        )
        .unwrap();
        let row = |line, environment: &str, secret: &str, value: &str| {
            (line, environment.to_owned(), secret.to_owned(), value.to_owned())
        };
        assert_eq!(
            rows,
            [
                row(2, "a", "relay/password", " x \"y\"; z"),
                row(3, "b", "tls/key", "one\ntwo"),
                row(5, "c", "k/v", " w ")
            ]
        );
        assert_eq!(parse("value,environment,secret\n,,\nx,a,b/c\n").unwrap(), [row(3, "a", "b/c", "x")]);
    }

    #[test]
    fn problems_name_the_line_and_quote_no_value() {
        for (list, line) in [
            ("", 1),
            ("environment,secret\na,b/c\n", 1),
            ("environment,secret,value\na,b/c,hunter2,more\n", 2),
            ("environment,secret,value\na,b/c,\"hunter2\n", 2),
            ("environment,secret,value\na,b/c,\"hunter2\"x\n", 2),
        ] {
            let error = parse(list).unwrap_err();
            let text = format!("{} {}", error.message, error.details.join(" "));
            assert!(text.contains(&format!("line {line}")) && !text.contains("hunter2"), "{text}");
        }
    }
}
