//! `mailwright rollout pause`: sends a request to the process that works on the rollout, and waits until that process has
//! ended.
//!
//! It can only reach a process on this machine. Steps that have begun are finished first.

use std::time::{Duration, Instant};

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{StateFolder, current_operator, rollout_name},
    },
    model::{Code, RolloutName},
    rollout::{
        Run,
        folder::{ControlCommand, ControlRequest, RolloutFolder},
        journal, render,
    },
};

/// The longest time that a command waits for the process to end.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

pub(super) fn pause(context: &Context, name: &str, state: &StateFolder) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let folder = state.folder(context, &name)?;
    if !folder.is_locked() {
        return Err(CliError::coded(Code::RolloutNotStarted, format!("no process of this machine works on `{name}`"))
            .remedy(format!("`mailwright rollout status {name}` shows the state of the run.")));
    }
    send_and_wait(context, &folder, &name, ControlCommand::Pause)
}

/// Sends a request, and waits for the process to end.
pub(super) fn send_and_wait(
    context: &Context,
    folder: &RolloutFolder,
    name: &RolloutName,
    command: ControlCommand,
) -> Result<Exit, CliError> {
    folder.send_request(&ControlRequest { command, by: current_operator() })?;
    context.printer.note("Requested. Steps that have started are finished first ...");
    let sent = Instant::now();
    while folder.is_locked() {
        if sent.elapsed() > LONGEST_WAIT {
            context.printer.note(&format!(
                "The process has not ended yet; `mailwright rollout status {name}` shows the state of the run."
            ));
            return Ok(Exit::Done);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let contents = journal::read(&folder.journal())?;
    if let Some(run) = Run::from_entries(&contents.entries) {
        context.printer.out(&render::render_run(&run, false, context.clock.now()));
    }
    Ok(Exit::Done)
}
