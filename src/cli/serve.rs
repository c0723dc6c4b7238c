//! `mailwright serve`.

use super::{CliError, Context, Exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {}

impl Serve {
    pub(crate) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        Err(CliError::new("not written yet"))
    }
}
