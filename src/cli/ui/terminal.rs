//! The width in columns of standard output and standard error: that of the terminal, or the variable `COLUMNS`.
//!
//! Without either, text is not folded. The folding itself is in `wrap`.

use std::os::fd::AsFd;

use crate::cli::variables;

/// The smallest width that text is folded to. Narrower windows show it as a terminal does.
const MIN_WIDTH: usize = 40;

/// Returns the width of standard output in columns: that of the terminal, otherwise `COLUMNS`. Returns none if neither is
/// known; text is not folded then, so that programs that read it find whole lines.
pub(crate) fn output_width() -> Option<usize> {
    width(std::io::stdout())
}

/// Returns the width of standard error, like [`output_width`].
pub(crate) fn message_width() -> Option<usize> {
    width(std::io::stderr())
}

fn width(stream: impl AsFd + std::io::IsTerminal) -> Option<usize> {
    let of_window = if stream.is_terminal() { terminal_size::terminal_size_of(stream) } else { None };
    let width = match of_window {
        Some((terminal_size::Width(width), _)) => usize::from(width),
        None => variables::read(variables::COLUMNS)?.parse().ok()?,
    };
    (width >= MIN_WIDTH).then_some(width)
}
