//! `mailwright rollout abort`.

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{
            Format, material, not_begun,
            pause::ask,
            resume::unfinished,
            rollout_name, somebody,
            work::{Session, Task, Work},
        },
        ui::confirm::confirm,
    },
    model::Code,
    rollout::{
        Event, Journal, Reach, Run, journal,
        lock::Want,
        render,
        run::{Back, Standing},
    },
};

pub(super) fn abort(
    context: &Context,
    name: &str,
    take_back: Option<Reach>,
    yes: bool,
    work: &Work,
) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let folder = work.state.folder(context, &name)?;
    let question = match take_back {
        Some(Reach::ToNothing) => {
            format!("Give `{name}` up, and bring every environment back to what it had, be it nothing?")
        }
        Some(Reach::ToWhatWas) => format!("Give `{name}` up, and bring every environment back to what it had?"),
        None => format!("Give `{name}` up? What is done stays."),
    };
    let run = Run::of(&journal::read(&folder.journal())?.entries);
    if run.is_none() {
        return Err(not_begun(&folder, &name));
    }
    confirm(context, yes, &question, "Give `--yes`.")?;
    if folder.is_locked() {
        let want = match take_back {
            Some(Reach::ToNothing) => Want::TakeBackToNothing,
            Some(Reach::ToWhatWas) => Want::TakeBack,
            None => Want::Abort,
        };
        return ask(context, &folder, &name, want);
    }
    let locked = work.state.lock(context, &name)?;
    let contents = journal::read(&locked.folder().journal())?;
    let run = Run::of(&contents.entries).ok_or_else(|| not_begun(locked.folder(), &name))?;
    // What came to its end can still be taken back, once.
    let already = match &run.standing {
        Standing::Finished => take_back.is_none(),
        standing => standing.is_final(),
    };
    if already {
        return unfinished(&locked, &name).map(|_| Exit::Done);
    }
    let by = somebody();
    let Some(reach) = take_back else {
        let journal = Journal::open(&locked.folder().journal(), &contents, context.clock.clone())?;
        let runtime = context.runtime()?;
        let mut run = run;
        run.take(&runtime.block_on(journal.append(Event::Aborted { by }))?);
        return work.end_of_abort(context, &run);
    };
    let repository = context.repository()?;
    let material = material(context, &repository, &name, &work.services)?;
    let session = Session { locked, contents, first: Event::Resumed { by: by.clone(), order: None }, material, by };
    let run = context.runtime()?.block_on(work.at_it(context, session, Task::TakeBack(reach)))?;
    work.end_of_abort(context, &run)
}

impl Work {
    /// Giving up is done when it is written; only what could not be taken back is a failure.
    fn end_of_abort(&self, context: &Context, run: &Run) -> Result<Exit, CliError> {
        if self.format == Format::Human {
            context.printer.out(&render::run(run, false, context.clock.now()));
        }
        let refused = run.environments.values().filter(|environment| environment.back == Some(Back::Refused)).count();
        if refused == 0 {
            return Ok(Exit::Done);
        }
        Err(CliError::coded(Code::RolloutStopped, format!("{refused} environments were not taken back, see above")))
    }
}
