//! The prompt before a change: [`confirm`] shows a question on the terminal and returns an error unless the answer is `yes`.
//!
//! `--yes` skips it. Without a terminal it is an error that says so; nothing is assumed.

use std::io::IsTerminal as _;

use crate::{
    cli::{CliError, Context},
    model::Code,
};

/// Asks for confirmation unless `yes` is set. Returns an error unless the answer is `yes`.
pub(crate) fn confirm(context: &Context, yes: bool, question: &str, remedy: &str) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::coded(
            Code::NotConfirmed,
            "cannot ask for confirmation: standard input is not a terminal",
        )
        .remedy(remedy));
    }
    match context.printer.ask(&format!("\n{question} Type `yes` to continue:")).as_deref() {
        Some("yes") => Ok(()),
        _ => Err(CliError::coded(Code::NotConfirmed, "not confirmed; no changes were made")),
    }
}
