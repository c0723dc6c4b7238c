//! `mailwright rollout pause`: has the process that works on the rollout pause it, and waits until that process has ended; or records
//! the pause if there is none.
//!
//! It can only reach a process on this machine. Steps that have begun are finished first. It waits for at most 10 minutes; a run
//! that has finished, stopped or was aborted cannot be paused.

use std::time::{Duration, Instant};

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{StateFolder, current_operator, no_run, rollout_name},
    },
    model::{Code, RolloutName},
    rollout::{
        Event, Journal, Run,
        folder::{ControlCommand, ControlRequest, LockedFolder, RolloutFolder},
        journal,
        run::RunStatus,
    },
    text::printable,
};

/// The longest time that a command waits for the process to end.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(600);

pub(super) fn pause(context: &Context, name: &str, state: &StateFolder) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let folder = state.folder(context, &name)?;
    if !folder.journal().exists() && !folder.is_locked() {
        return Err(no_run(&folder, &name));
    }
    let until = Instant::now() + LONGEST_WAIT;
    // A process that ended without obeying leaves the rest to this one.
    let run = loop {
        if let Some(locked) = state.try_lock(context, &name)? {
            break record_pause(context, &locked, &name)?;
        }
        send_and_wait(context, &folder, &name, ControlCommand::Pause, until)?;
        match Run::from_entries(&journal::read(&folder.journal())?.entries) {
            Some(run) if !run.status.can_be_paused() => break run,
            _ => {}
        }
    };
    if run.status.is_paused_by_operator() {
        context.printer.out(&state.render(context, &run, false));
        return Ok(Exit::Done);
    }
    let problem = match &run.status {
        RunStatus::Stopped { problem } => format!("it stopped: {}", problem.message),
        RunStatus::Aborted { by } => format!("it was aborted by {by}"),
        _ => "it has finished".to_owned(),
    };
    Err(CliError::coded(Code::RolloutNotStarted, format!("cannot pause the run of `{name}`: {problem}"))
        .remedy(format!("`mailwright rollout status {name}` shows the state of the run.")))
}

/// Records the pause in the journal of a run that no process works on.
fn record_pause(context: &Context, locked: &LockedFolder, name: &RolloutName) -> Result<Run, CliError> {
    let path = locked.folder().journal();
    let contents = journal::read(&path)?;
    let mut run = Run::from_entries(&contents.entries).ok_or_else(|| no_run(locked.folder(), name))?;
    if run.status.can_be_paused() {
        let journal = Journal::open(&path, &contents, context.clock.clone())?;
        let event = Event::paused_by_operator(printable(&current_operator()).into_owned());
        run.apply_entry(&context.runtime()?.block_on(journal.append(event))?);
    }
    Ok(run)
}

/// Sends a request, and waits for the process to end.
pub(super) fn send_and_wait(
    context: &Context,
    folder: &RolloutFolder,
    name: &RolloutName,
    command: ControlCommand,
    until: Instant,
) -> Result<(), CliError> {
    let request = ControlRequest { command, by: current_operator() };
    folder.send_request(&request)?;
    context.printer.note("Requested. Steps that have started are finished first ...");
    while folder.is_locked() {
        if Instant::now() > until {
            return Err(CliError::coded(Code::DeadlineExceeded, "the process that works on the rollout has not ended")
                .remedy(format!(
                    "It ends after the steps that have started; `mailwright rollout status {name}` shows the state of the run."
                )));
        }
        // Another process that began meanwhile has not seen the request.
        if folder.pending_request().is_none() {
            folder.send_request(&request)?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
