//! The confirmation prompt. It is shown on a terminal only.

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
