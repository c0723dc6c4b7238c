//! `mailwright token`.

use super::{CliError, Context, Exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Token {}

impl Token {
    pub(crate) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        Err(CliError::new("not written yet"))
    }
}
