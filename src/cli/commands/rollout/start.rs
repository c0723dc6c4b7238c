//! `mailwright rollout start`: shows the plan, asks, opens a journal, and works through the waves.
//!
//! A rollout with an unfinished run is refused: `resume` continues it. The work itself is in `work`.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{PARALLEL, current_operator, load_rollout, plan::plan, rollout_name, work::Work},
        ui::confirm::confirm,
    },
    model::Code,
    rollout::{Event, Run, journal, render, session::Session},
    time::local::format_time,
};

pub(super) fn start(context: &Context, name: &str, yes: bool, work: &Work) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let repository = context.repository()?;
    let mut rollout = load_rollout(context, &repository, &name, &work.services)?;
    let locked = work.state.lock(context, &name)?;
    let contents = journal::read(&locked.folder().journal())?;
    if let Some(last) = Run::from_entries(&contents.entries)
        && !last.status.is_final()
    {
        return Err(CliError::coded(
            Code::RolloutUnfinished,
            format!("run {} of `{name}`, started at {}, has not ended", last.id, format_time(last.started_at)),
        )
        .remedy(format!(
            "`mailwright rollout status {name}` shows its state; then `mailwright rollout resume {name}`, or `mailwright rollout abort {name}`."
        )));
    }
    if !yes {
        let shared = Arc::new(rollout);
        let plan = plan(context, &repository, Arc::clone(&shared), PARALLEL.into())?;
        context.printer.note(&render::render_plan(&plan));
        let count = shared.file.environments().count();
        let question = format!("Roll this out to {count} environments in {} waves?", shared.file.waves.len());
        confirm(
            context,
            false,
            &question,
            "Pass `--yes` to skip the prompt; `mailwright rollout plan` shows the changes.",
        )?;
        rollout = Arc::into_inner(shared).ok_or_else(|| CliError::new("the plan has not ended"))?;
    }
    let by = current_operator();
    let first = Event::Started {
        run: uuid::Uuid::now_v7(),
        rollout: name,
        mailwright: env!("CARGO_PKG_VERSION").to_owned(),
        by: by.clone(),
        watch: false,
        unsoaked: BTreeSet::new(),
        spec: rollout.spec(),
    };
    work.work(context, Session { locked: &locked, contents, first, rollout, by })
}
