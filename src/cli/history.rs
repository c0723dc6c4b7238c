//! `mailwright history`.

use super::{CliError, Context, Exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct History {}

impl History {
    pub(crate) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        Err(CliError::new("not written yet"))
    }
}
