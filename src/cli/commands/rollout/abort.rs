//! `mailwright rollout abort`: ends a run, after a rollback of the changed environments if one is requested.
//!
//! If a process works on the run, the request is sent to it; otherwise this process does the work. Environments are rolled back by
//! [`crate::rollout::engine`]. The request waits for at most 10 minutes for that process to end. A rollback that was refused, or
//! did not end, is an error.

use std::time::Instant;

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{
            Format, current_operator, load_rollout_of_run, no_run,
            pause::{LONGEST_WAIT, send_and_wait},
            resume::read_unfinished,
            rollout_name,
            work::Work,
        },
        ui::confirm::confirm,
    },
    model::{Code, RolloutName},
    rollout::{
        Event, Journal, RollbackScope, Run,
        folder::{ControlCommand, LockedFolder},
        journal,
        run::{EnvironmentOutcome, EnvironmentRun, RollbackStatus, RunStatus},
        session::{Session, Task},
    },
};

pub(super) fn abort(
    context: &Context,
    name: &str,
    rollback: Option<RollbackScope>,
    yes: bool,
    work: &Work,
) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let folder = work.state.folder(context, &name)?;
    let question = match rollback {
        Some(RollbackScope::IncludingEmpty) => {
            format!("Abort `{name}`, and roll every environment back, including those that were empty?")
        }
        Some(RollbackScope::PreviousGenerations) => format!("Abort `{name}`, and roll every environment back?"),
        None => format!("Abort `{name}`? Changes that were applied stay."),
    };
    let read = || journal::read(&folder.journal()).map(|contents| Run::from_entries(&contents.entries));
    let last = read()?;
    if last.is_none() && !folder.is_locked() {
        return Err(no_run(&folder, &name));
    }
    // The question is about this run; or, if it has ended, about the one that the process with the lock begins.
    let mut asked = last.filter(|run| !run.status.is_final() || !folder.is_locked()).map(|run| run.id);
    confirm(context, yes, &question, "Pass `--yes` to skip the prompt.")?;
    let until = Instant::now() + LONGEST_WAIT;
    // A process that ended without obeying leaves the rest to this one.
    loop {
        // No other run begins while the lock is held.
        let locked = work.state.try_lock(context, &name)?;
        if asked.is_some() && read()?.map(|run| run.id) != asked {
            return Err(CliError::coded(Code::RolloutNotStarted, "the run ended, and another one began")
                .remedy(format!("`mailwright rollout status {name}` shows it.")));
        }
        if let Some(locked) = locked {
            return abort_locked(context, &name, rollback, work, locked);
        }
        send_and_wait(context, &folder, &name, command(rollback), until)?;
        match read()? {
            Some(run) if matches!(run.status, RunStatus::Aborted { .. }) => {
                return work.report_abort(context, &run, rollback);
            }
            run => asked = asked.or(run.map(|run| run.id)),
        }
    }
}

fn command(rollback: Option<RollbackScope>) -> ControlCommand {
    match rollback {
        Some(RollbackScope::IncludingEmpty) => ControlCommand::AbortAndRollBackToEmpty,
        Some(RollbackScope::PreviousGenerations) => ControlCommand::AbortAndRollBack,
        None => ControlCommand::Abort,
    }
}

/// Aborts a run that no process works on.
fn abort_locked(
    context: &Context,
    name: &RolloutName,
    rollback: Option<RollbackScope>,
    work: &Work,
    locked: LockedFolder,
) -> Result<Exit, CliError> {
    let contents = journal::read(&locked.folder().journal())?;
    let run = Run::from_entries(&contents.entries).ok_or_else(|| no_run(locked.folder(), name))?;
    // A finished run can still be rolled back, once.
    let has_ended = match &run.status {
        RunStatus::Finished => rollback.is_none(),
        status => status.is_final(),
    };
    if has_ended {
        return read_unfinished(&locked, name).map(|_| Exit::Done);
    }
    let by = current_operator();
    let Some(scope) = rollback else {
        let journal = Journal::open(&locked.folder().journal(), &contents, context.clock.clone())?;
        let runtime = context.runtime()?;
        let mut run = run;
        run.apply_entry(&runtime.block_on(journal.append(Event::Aborted { by }))?);
        return work.report_abort(context, &run, rollback);
    };
    let repository = context.repository()?;
    let rollout = load_rollout_of_run(context, &repository, &run, true, &work.services)?;
    let session = Session {
        locked: &locked,
        contents,
        first: Event::Resumed { by: by.clone(), watch: false, spec: None },
        rollout,
        by,
    };
    let run = context.runtime()?.block_on(work.run_with_lease(context, session, Task::RollBack(scope)))?;
    work.report_abort(context, &run, rollback)
}

impl Work {
    /// Prints the run. The abort itself cannot fail; a rollback that was refused is a failure.
    fn report_abort(&self, context: &Context, run: &Run, rollback: Option<RollbackScope>) -> Result<Exit, CliError> {
        if self.format == Format::Human {
            context.printer.out(&self.state.render(context, run, false));
        }
        let refused = run
            .environments
            .values()
            .filter(|environment| environment.rollback == Some(RollbackStatus::Refused))
            .count();
        let is_left = |environment: &EnvironmentRun| {
            matches!(environment.outcome, EnvironmentOutcome::Applied { .. }) && environment.rollback.is_none()
        };
        let left = run.environments.values().filter(|environment| is_left(environment)).count();
        if rollback.is_some() && left > 0 {
            return Err(CliError::coded(
                Code::RolloutStopped,
                format!("{left} environments were not rolled back: the rollback did not end, or the run was aborted without one"),
            )
            .remedy(format!("`mailwright rollout status {}` shows the state of the run.", run.rollout)));
        }
        if refused == 0 {
            return Ok(Exit::Done);
        }
        Err(CliError::coded(
            Code::RolloutStopped,
            format!("{refused} environments were not rolled back; the reasons are above"),
        ))
    }
}
