//! `mailwright audit`.

use super::{CliError, Context, Exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Audit {}

impl Audit {
    pub(crate) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        Err(CliError::new("not written yet"))
    }
}
