//! The option `--format` of the commands that print text or JSON, and of those that write Markdown as well.
//!
//! A command flattens [`OutputArgs`] or [`MarkdownOutputArgs`] and passes `output.format` to the printer. Commands with other
//! formats, such as SARIF or YAML, have an option of their own. Nothing here renders a result.

use crate::cli::Format;

/// The output format of a command whose result has no form in Markdown.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(long, value_parser = Format::text_or_json(), default_value = Format::HUMAN, value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// The output format of a command that writes Markdown for a pull request as well.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct MarkdownOutputArgs {
    /// Output format
    #[arg(long, value_parser = Format::any(), default_value = Format::HUMAN, value_name = "FORMAT")]
    pub(crate) format: Format,
}
