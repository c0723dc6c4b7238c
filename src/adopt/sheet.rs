//! A spreadsheet saved as CSV: its text, its columns' names, its rows with their lines. What they mean is known elsewhere.

/// The largest list, in bytes.
pub const SIZE_LIMIT: usize = 16 * 1024 * 1024;
/// The most rows.
pub(super) const ROW_LIMIT: usize = 100_000;

/// Something in a list that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TableProblem {
    /// The line, from 1.
    pub line: usize,
    /// The column, if it is about one.
    pub column: String,
    /// What is wrong. Never a value that may be a secret.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl TableProblem {
    /// One of the list as a whole.
    pub(super) fn whole(message: &str, remedy: &str) -> Self {
        Self::of_line(1, message.to_owned(), remedy)
    }

    /// One of a line as a whole.
    pub(super) fn of_line(line: usize, message: String, remedy: &str) -> Self {
        Self { line, column: String::new(), message, remedy: remedy.to_owned() }
    }
}

/// The text of a list, however its program encoded it.
pub(super) fn text(bytes: &[u8]) -> Result<String, Vec<TableProblem>> {
    if bytes.len() > SIZE_LIMIT {
        return Err(vec![TableProblem::whole("the list is larger than 16 MiB", "Split it.")]);
    }
    crate::text::decoded(bytes)
        .ok_or_else(|| vec![TableProblem::whole("the list is neither UTF-8 nor UTF-16", "Save it as `CSV UTF-8`.")])
}

/// The first line and the others. No row has more cells than there are names; empty ones are left out.
pub(super) struct Sheet {
    /// The first line.
    pub(super) names: Vec<String>,
    /// The others, each with its line, from 1.
    pub(super) rows: Vec<(usize, Vec<String>)>,
}

impl Sheet {
    /// Reads it; values are separated by commas, semicolons or tabs, whichever the first line has most of.
    pub(super) fn read(text: &str) -> Result<Self, Vec<TableProblem>> {
        let head = text.lines().next().unwrap_or_default();
        let count = |delimiter: &u8| head.bytes().filter(|byte| byte == delimiter).count();
        let delimiter = [b';', b'\t', b','].into_iter().max_by_key(count).unwrap_or(b',');
        let mut builder = csv::ReaderBuilder::new();
        let mut reader = builder.delimiter(delimiter).trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let malformed = |line: usize| {
            let remedy = "A value with a separator or a quote stands in quotes.";
            vec![TableProblem::of_line(line, "this is not well-formed CSV".to_owned(), remedy)]
        };
        let line = |position: Option<&csv::Position>| {
            position.map_or(1, |position| usize::try_from(position.line()).unwrap_or(1))
        };
        let names = reader.headers().map_err(|_| malformed(1))?.iter().map(str::to_owned).collect::<Vec<_>>();
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
            rows.push((line, record.iter().map(str::to_owned).collect()));
            if rows.len() > ROW_LIMIT {
                break;
            }
        }
        if problems.is_empty() { Ok(Self { names, rows }) } else { Err(problems) }
    }
}
