//! The folder of journals, `--state DIR`: finds and locks the folder of a rollout, and completes the commands in messages.
//!
//! `lock` fails if another process has the lock; `try_lock` (pause, abort) returns none. The default folder is kept out of Git; a
//! folder given with `--state` is not. Without `--state`, messages stay as they are.

use std::path::PathBuf;

use crate::{
    cli::{CliError, Context, commands::rollout::with_rollout_name},
    fs::write_new,
    model::RolloutName,
    rollout::{
        Run,
        folder::{LockedFolder, RolloutFolder},
        render,
    },
    text::shell::quote_posix,
};

/// The subcommands that messages name and that read a journal.
const SUBCOMMANDS: [&str; 5] = ["start", "resume", "status", "pause", "abort"];

/// The folder of journals.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StateFolder {
    /// Folder of the journal [default: .mailwright in the repository]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state: Option<PathBuf>,
}

impl StateFolder {
    pub(super) fn path(&self, context: &Context) -> Result<PathBuf, CliError> {
        Ok(match &self.state {
            Some(path) => path.clone(),
            None => context.project()?.join(".mailwright"),
        })
    }

    pub(super) fn folder(&self, context: &Context, name: &RolloutName) -> Result<RolloutFolder, CliError> {
        Ok(RolloutFolder::new(&self.path(context)?, name))
    }

    /// Locks the folder. Fails while another process has the lock.
    pub(super) fn lock(&self, context: &Context, name: &RolloutName) -> Result<LockedFolder, CliError> {
        let locked = self.folder(context, name)?.lock().map_err(|problem| with_rollout_name(problem, name))?;
        self.ignore(context)?;
        Ok(locked)
    }

    /// Locks the folder; none while another process has the lock.
    pub(super) fn try_lock(&self, context: &Context, name: &RolloutName) -> Result<Option<LockedFolder>, CliError> {
        let locked = self.folder(context, name)?.try_lock().map_err(|problem| with_rollout_name(problem, name))?;
        self.ignore(context)?;
        Ok(locked)
    }

    /// Keeps journals out of Git: they belong to this machine.
    fn ignore(&self, context: &Context) -> Result<(), CliError> {
        if self.state.is_none() {
            drop(write_new(&self.path(context)?.join(".gitignore"), b"*\n"));
        }
        Ok(())
    }

    /// Renders the state of a run. `running` is true if a process of this machine works on it.
    pub(super) fn render(&self, context: &Context, run: &Run, running: bool) -> String {
        let text = render::render_run(run, running, context.clock.now());
        self.complete_commands(&text, run.rollout.as_str())
    }

    /// Adds `--state DIR` to the commands in an error.
    pub(super) fn complete_error(&self, error: CliError, name: &str) -> CliError {
        let complete = |text: String| self.complete_commands(&text, name);
        CliError {
            details: error.details.into_iter().map(complete).collect(),
            remedy: error.remedy.map(complete),
            message: complete(error.message),
            ..error
        }
    }

    /// Adds `--state DIR` to the commands in a text, so that they find the journal.
    fn complete_commands(&self, text: &str, name: &str) -> String {
        let Some(state) = &self.state else { return text.to_owned() };
        let state = quote_posix(&state.to_string_lossy());
        let complete = |text: String, subcommand: &&str| {
            let command = format!("mailwright rollout {subcommand} {name}");
            let text = text.replace(&command, &format!("{command} --state {state}"));
            // A command without a name is about all rollouts of the folder.
            let of_all = format!("mailwright rollout {subcommand}");
            text.replace(&format!("{of_all}`"), &format!("{of_all} --state {state}`"))
        };
        SUBCOMMANDS.iter().fold(text.to_owned(), complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_with_and_without_a_name_get_the_folder() {
        let folder = |state: Option<&str>| StateFolder { state: state.map(PathBuf::from) };
        let text = "`mailwright rollout status` shows all; `mailwright rollout abort relay` ends it; `mailwright rollout status other`";
        assert_eq!(folder(None).complete_commands(text, "relay"), text);
        assert_eq!(
            folder(Some("runs")).complete_commands(text, "relay"),
            "`mailwright rollout status --state runs` shows all; `mailwright rollout abort relay --state runs` ends it; `mailwright rollout status other`"
        );
    }
}
