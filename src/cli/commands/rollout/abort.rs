//! `mailwright rollout abort`: ends a run, after a rollback of the changed environments if one is requested.
//!
//! If a process works on the run, the request is sent to it; otherwise this process does the work. Environments are rolled
//! back by [`crate::rollout::engine`].

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{
            Format, current_operator, load_rollout_of_run, no_run, pause::send_and_wait, resume::read_unfinished,
            rollout_name, work::Work,
        },
        ui::confirm::confirm,
    },
    model::Code,
    rollout::{
        Event, Journal, RollbackScope, Run,
        folder::ControlCommand,
        journal, render,
        run::{RollbackStatus, RunStatus},
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
    let run = Run::from_entries(&journal::read(&folder.journal())?.entries);
    if run.is_none() {
        return Err(no_run(&folder, &name));
    }
    confirm(context, yes, &question, "Pass `--yes` to skip the prompt.")?;
    if folder.is_locked() {
        let command = match rollback {
            Some(RollbackScope::IncludingEmpty) => ControlCommand::AbortAndRollBackToEmpty,
            Some(RollbackScope::PreviousGenerations) => ControlCommand::AbortAndRollBack,
            None => ControlCommand::Abort,
        };
        return send_and_wait(context, &folder, &name, command);
    }
    let locked = work.state.lock(context, &name)?;
    let contents = journal::read(&locked.folder().journal())?;
    let run = Run::from_entries(&contents.entries).ok_or_else(|| no_run(locked.folder(), &name))?;
    // A finished run can still be rolled back, once.
    let has_ended = match &run.status {
        RunStatus::Finished => rollback.is_none(),
        status => status.is_final(),
    };
    if has_ended {
        return read_unfinished(&locked, &name).map(|_| Exit::Done);
    }
    let by = current_operator();
    let Some(scope) = rollback else {
        let journal = Journal::open(&locked.folder().journal(), &contents, context.clock.clone())?;
        let runtime = context.runtime()?;
        let mut run = run;
        run.apply_entry(&runtime.block_on(journal.append(Event::Aborted { by }))?);
        return work.report_abort(context, &run);
    };
    let repository = context.repository()?;
    let rollout = load_rollout_of_run(context, &repository, &run, true, &work.services)?;
    let session =
        Session { locked, contents, first: Event::Resumed { by: by.clone(), watch: false, spec: None }, rollout, by };
    let run = context.runtime()?.block_on(work.run_with_lease(context, session, Task::RollBack(scope)))?;
    work.report_abort(context, &run)
}

impl Work {
    /// Prints the run. The abort itself cannot fail; a rollback that was refused is a failure.
    fn report_abort(&self, context: &Context, run: &Run) -> Result<Exit, CliError> {
        if self.format == Format::Human {
            context.printer.out(&render::render_run(run, false, context.clock.now()));
        }
        let refused = run
            .environments
            .values()
            .filter(|environment| environment.rollback == Some(RollbackStatus::Refused))
            .count();
        if refused == 0 {
            return Ok(Exit::Done);
        }
        Err(CliError::coded(
            Code::RolloutStopped,
            format!("{refused} environments were not rolled back; the reasons are above"),
        ))
    }
}
