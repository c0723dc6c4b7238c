//! `mailwright schema`.

use super::{CliError, Context, Exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        Err(CliError::new("not written yet"))
    }
}
