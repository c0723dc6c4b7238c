//! The one question that is ever asked: whether to go on. Never without a terminal.

use std::io::IsTerminal as _;

use crate::{
    cli::{CliError, Context},
    model::Code,
};

/// Asks, unless `yes` was given. Whatever is not a plain `yes` changes nothing.
pub(crate) fn confirm(context: &Context, yes: bool, question: &str, remedy: &str) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::coded(Code::NotConfirmed, "nobody is there to confirm this, so nothing was changed")
            .remedy(remedy));
    }
    match context.printer.ask(&format!("\n{question} Only `yes` will do:")).as_deref() {
        Some("yes") => Ok(()),
        _ => Err(CliError::coded(Code::NotConfirmed, "not confirmed, so nothing was changed")),
    }
}
