//! `mailwright completions` and `mailwright man`: generated from the command definitions.

use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::cli::{Cli, CliError, Context, Exit, Runnable};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright completions bash > ~/.local/share/bash-completion/completions/mailwright\n  \
    mailwright completions zsh > ~/.zfunc/_mailwright\n  \
    mailwright completions fish > ~/.config/fish/completions/mailwright.fish")]
pub(crate) struct Completions {
    /// Shell
    shell: clap_complete::Shell,
}

impl Runnable for Completions {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mailwright", &mut script);
        context.printer.out(&String::from_utf8_lossy(&script));
        Ok(Exit::Done)
    }
}

/// Write man pages into a folder
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Existing folder
    folder: PathBuf,
}

impl Runnable for Man {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        clap_mangen::generate_to(Cli::command(), &self.folder).map_err(|error| {
            CliError::new(format!("cannot write man pages into `{}`: {error}", self.folder.display()))
        })?;
        context.printer.note(&format!("Wrote man pages to {}.", self.folder.display()));
        Ok(Exit::Done)
    }
}
