//! Reads a list that an operator exported from a spreadsheet, and reports the problems of its lines as one error.
//!
//! The bytes are parsed in [`crate::import`]. Nothing is written if a line has a problem; of the problems, the first 50 are
//! reported.

use std::{io::Read as _, path::Path};

use super::{CliError, ui::wording::count_of};
use crate::{
    import::spreadsheet::{SIZE_LIMIT, TableProblem},
    model::Code,
    text::{printable, shortened},
};

/// The largest number of problems that are reported.
const REPORTED: usize = 50;

/// Reads a list, up to one byte more than its size limit.
pub(super) fn read_list_file(list: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    std::fs::File::open(list).and_then(|file| file.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut bytes)).map_err(
        |error| {
            CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", list.display()))
                .remedy("Give the name of a CSV or JSON file.")
        },
    )?;
    Ok(bytes)
}

/// Returns an error with the problems of a list, ordered by line.
pub(super) fn list_error(code: Code, list: &Path, mut problems: Vec<TableProblem>) -> CliError {
    problems.sort_by_key(|problem| problem.line);
    let message = format!("`{}` has {}; nothing was written", list.display(), count_of(problems.len(), "problem"));
    let mut error = CliError::coded(code, message);
    for problem in problems.into_iter().take(REPORTED) {
        let column = match problem.column.as_str() {
            "" => String::new(),
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => format!(", column {number}"),
            name => format!(", column `{}`", printable(&shortened(name, 60))),
        };
        error = error.detail(format!("line {}{column}: {}\n  {}", problem.line, problem.message, problem.remedy));
    }
    error
}
