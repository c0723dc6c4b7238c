//! Lists that a spreadsheet program saved as CSV: decodes the bytes and splits them into column names and rows.
//!
//! `decode` accepts UTF-8, and UTF-16 with a byte order mark. `Sheet::read` finds the separator and returns the rows with their
//! line numbers; [`TableProblem`] is a problem in a list. The caller interprets names and values, with `normalize`. A list over 16
//! MiB, 100,000 rows or 200 columns, or with a malformed line, is refused as a whole. Does not read `.xlsx`. Messages quote a cell
//! only through `quote_name` and `is_words`, because a cell in the wrong column can be a secret.

use crate::{
    model::{ProfileName, secret_detection},
    text::{is_hidden, printable, shortened},
};

/// The maximum size of a list, in bytes.
pub const SIZE_LIMIT: usize = 16 * 1024 * 1024;
/// The maximum number of rows.
pub(super) const ROW_LIMIT: usize = 100_000;
/// The maximum number of columns.
const COLUMN_LIMIT: usize = 200;

/// A problem in a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TableProblem {
    /// The line, from 1.
    pub line: usize,
    /// The column; empty if the problem concerns the whole line.
    pub column: String,
    /// The cause. Never quotes a value that may be a secret.
    pub message: String,
    /// The remedy.
    pub remedy: String,
}

impl TableProblem {
    /// Describes a problem of the whole list.
    pub(super) fn of_list(message: &str, remedy: &str) -> Self {
        Self::of_line(1, message.to_owned(), remedy)
    }

    /// Describes a problem of a whole line.
    pub(super) fn of_line(line: usize, message: String, remedy: &str) -> Self {
        Self { line, column: String::new(), message, remedy: remedy.to_owned() }
    }
}

/// Describes a list with more rows than are read; `line` is the first one too many.
pub(super) fn too_many_rows(line: usize) -> TableProblem {
    let message = format!("the list has more than {ROW_LIMIT} rows");
    TableProblem::of_line(line, message, "Split it into several lists.")
}

/// Returns a word of a list in lower case and without separators, for comparison with known words.
pub(super) fn normalize(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// Returns a cell in backticks if it has the form of a name and does not look like a secret. A cell can be in the wrong column,
/// so a message quotes no other cell.
pub(crate) fn quote_name(cell: &str) -> Option<String> {
    (cell.parse::<ProfileName>().is_ok() && secret_detection::detect(cell).is_none()).then(|| format!("`{cell}`"))
}

/// Returns true if a cell is one or a few words of letters, as the names of columns and functions are. Few passwords are.
pub(super) fn is_words(cell: &str) -> bool {
    const LONGEST: usize = 40;
    let is_letter = |c: char| c.is_alphabetic() || matches!(c, ' ' | '-' | '_' | '.' | ':' | '/' | '(' | ')');
    cell.chars().count() <= LONGEST
        && cell.chars().any(char::is_alphabetic)
        && cell.chars().all(|c| is_letter(c) && !is_hidden(c))
        && secret_detection::detect(cell).is_none()
}

/// Returns the name of a column for messages: its own name, or its number, since a list without a first line has values there.
pub(super) fn column_label(name: &str, number: usize, is_known: bool) -> String {
    if is_known || is_words(name) { printable(&shortened(name, 60)).into_owned() } else { number.to_string() }
}

/// Describes a column whose meaning is not known.
pub(super) fn describe_unknown_column(name: &str) -> String {
    if is_words(name) {
        format!("unknown column `{name}`")
    } else {
        "unknown column; its name is not shown, because it may be a value".to_owned()
    }
}

/// Decodes a list in any of the usual encodings.
pub(super) fn decode(bytes: &[u8]) -> Result<String, Vec<TableProblem>> {
    if bytes.len() > SIZE_LIMIT {
        return Err(vec![TableProblem::of_list("the list is larger than 16 MiB", "Split it.")]);
    }
    crate::text::decode(bytes)
        .map_err(|encoding| vec![TableProblem::of_list(&format!("the list is {encoding}"), "Save it as `CSV UTF-8`.")])
}

/// Returns the separator that Excel states in a first line `sep=;`, and the text after that line.
fn stated_separator(text: &str) -> Option<(u8, &str)> {
    let (line, rest) = text.split_once('\n')?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
    let (word, separator) = line.split_once('=')?;
    match separator.as_bytes() {
        [separator] if separator.is_ascii() && word.eq_ignore_ascii_case("sep") => Some((*separator, rest)),
        _ => None,
    }
}

/// The first line and the rows. No row has more cells than there are names; empty rows are left out.
pub(super) struct Sheet {
    /// The first line.
    pub(super) names: Vec<String>,
    /// The rows, each with its line number from 1.
    pub(super) rows: Vec<(usize, Vec<String>)>,
}

impl Sheet {
    /// Reads a list. The separator is the one that a first line `sep=` states, or else comma, semicolon or tab, whichever is most
    /// frequent in the first line.
    pub(super) fn read(text: &str) -> Result<Self, Vec<TableProblem>> {
        let stated = stated_separator(text);
        let (text, skipped) = stated.map_or((text, 0), |(_, rest)| (rest, 1));
        let head = text.lines().next().unwrap_or_default();
        let count = |delimiter: &u8| head.bytes().filter(|byte| byte == delimiter).count();
        let likely = || [b';', b'\t', b','].into_iter().max_by_key(count).unwrap_or(b',');
        let delimiter = stated.map_or_else(likely, |(separator, _)| separator);
        let mut builder = csv::ReaderBuilder::new();
        let mut reader = builder.delimiter(delimiter).trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let malformed = |line: usize| {
            let remedy = "Put a value with a separator or a quote into quotes.";
            vec![TableProblem::of_line(line, "this is not well-formed CSV".to_owned(), remedy)]
        };
        let line = |position: Option<&csv::Position>| {
            let Some(position) = position else { return skipped + 1 };
            // The reader reports a record as beginning between the CR and the LF before it.
            let at = usize::try_from(position.byte()).unwrap_or_default();
            let is_between = at > 0 && text.as_bytes().get(at - 1..=at) == Some(b"\r\n");
            skipped + usize::from(is_between) + usize::try_from(position.line()).unwrap_or(1)
        };
        let names = reader.headers().map_err(|_| malformed(skipped + 1))?;
        if names.len() > COLUMN_LIMIT {
            let message = format!("the list has {} columns, and at most {COLUMN_LIMIT} are read", names.len());
            return Err(vec![TableProblem::of_line(skipped + 1, message, "Remove the columns that are not needed.")]);
        }
        let names = names.iter().map(str::to_owned).collect::<Vec<_>>();
        let (mut rows, mut problems) = (Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(|error| malformed(line(error.position())))?;
            let line = line(record.position());
            if record.iter().all(str::is_empty) {
                continue;
            }
            if record.len() > names.len() {
                let message = format!("the line has {} values, and there are {} columns", record.len(), names.len());
                let remedy = "Put a value that has the separator in it into quotes.";
                problems.push(TableProblem::of_line(line, message, remedy));
                continue;
            }
            if rows.len() == ROW_LIMIT {
                return Err(vec![too_many_rows(line)]);
            }
            rows.push((line, record.iter().map(str::to_owned).collect()));
        }
        if problems.is_empty() { Ok(Self { names, rows }) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::{COLUMN_LIMIT, ROW_LIMIT, Sheet, decode};

    #[test]
    fn the_separator_that_excel_states_is_no_row_and_lines_stay_those_of_the_file() {
        for list in ["sep=;\r\nname,a;from\r\nx;y\r\n", "\"SEP=;\"\nname,a;from\nx;y\n", "sep=|\nname,a|from\nx|y"] {
            let sheet = Sheet::read(list).unwrap_or_else(|problems| panic!("{problems:?}"));
            assert_eq!(sheet.names, ["name,a", "from"], "{list}");
            assert_eq!(sheet.rows, [(3, vec!["x".to_owned(), "y".to_owned()])], "{list}");
        }
    }

    #[test]
    fn a_list_with_too_many_columns_is_one_problem() {
        let list = |columns: usize| format!("{}\n", vec!["name"; columns].join(","));
        assert!(Sheet::read(&list(COLUMN_LIMIT)).is_ok());
        let problems = Sheet::read(&list(500_001)).err().unwrap_or_default();
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn a_list_with_too_many_rows_is_refused_and_not_cut() {
        let list = |rows: usize| format!("name\n{}", "x\n".repeat(rows));
        assert_eq!(Sheet::read(&list(ROW_LIMIT)).map(|sheet| sheet.rows.len()), Ok(ROW_LIMIT));
        let problems = Sheet::read(&list(ROW_LIMIT + 1)).err().unwrap_or_default();
        assert_eq!((problems.len(), problems[0].line), (1, ROW_LIMIT + 2), "{problems:?}");
        let items = format!("[{}{{}}]", "{},".repeat(ROW_LIMIT));
        let problems = crate::import::table::from_json(&items).err().unwrap_or_default();
        assert!(problems[0].message.contains("more than 100000 rows"), "{}", problems[0].message);
    }

    #[test]
    fn another_encoding_is_named() {
        let wide: Vec<u8> = "name,from\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let problems = decode(&wide).err().unwrap_or_default();
        assert!(problems[0].message.contains("UTF-16 without a byte order mark"), "{problems:?}");
        assert_eq!(decode(&[b"\xff\xfe", &wide[..]].concat()).as_deref(), Ok("name,from\n"));
    }
}
