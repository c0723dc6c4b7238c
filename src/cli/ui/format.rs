//! Output formats that most commands share, and the format of errors on standard output.

/// The format of a command's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for a terminal.
    Human,
    /// One JSON document.
    Json,
    /// Markdown for a comment on a pull request.
    Markdown,
}

/// The format in which standard output reports an error. Standard error always has it as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorFormat {
    /// Standard output says nothing about errors.
    Text,
    /// One JSON document.
    Json,
    /// One JSON document on one line, after the lines that report progress.
    JsonLine,
}

impl ErrorFormat {
    /// Returns `Json` if the command's result is JSON.
    pub(crate) fn json_if(is_json: bool) -> Self {
        if is_json { Self::Json } else { Self::Text }
    }
}

impl From<Format> for ErrorFormat {
    fn from(format: Format) -> Self {
        Self::json_if(format == Format::Json)
    }
}
