//! `mailwright rollout pause`: asks the process that is at it.

use std::time::{Duration, Instant};

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{StateFolder, rollout_name, somebody},
    },
    model::{Code, RolloutName},
    rollout::{
        Run, journal,
        lock::{Folder, Request, Want},
        render,
    },
};

pub(super) fn pause(context: &Context, name: &str, state: &StateFolder) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let folder = state.folder(context, &name)?;
    if !folder.is_locked() {
        return Err(CliError::coded(
            Code::RolloutNotStarted,
            format!("no process on this machine is at work on `{name}`"),
        )
        .remedy(format!("`mailwright rollout status {name}` tells how it stands.")));
    }
    ask(context, &folder, &name, Want::Pause)
}

/// Writes the request, and waits a while for it to be followed.
pub(super) fn ask(context: &Context, folder: &Folder, name: &RolloutName, want: Want) -> Result<Exit, CliError> {
    folder.ask(&Request { want, by: somebody() })?;
    context.printer.note("Asked. What is under way there is brought to its end first ...");
    let begun = Instant::now();
    while folder.is_locked() {
        if begun.elapsed() > Duration::from_secs(600) {
            context.printer.note(&format!("It has not ended yet; `mailwright rollout status {name}` tells."));
            return Ok(Exit::Done);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let contents = journal::read(&folder.journal())?;
    if let Some(run) = Run::of(&contents.entries) {
        context.printer.out(&render::run(&run, false, context.clock.now()));
    }
    Ok(Exit::Done)
}
