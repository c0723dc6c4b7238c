//! `mailwright rollout start`.

use std::sync::Arc;

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{
            material,
            plan::planned,
            rollout_name, somebody,
            work::{Session, Work, order},
        },
        ui::confirm::confirm,
    },
    model::Code,
    rollout::{Event, Run, journal, render},
};

pub(super) fn start(context: &Context, name: &str, yes: bool, work: &Work) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let repository = context.repository()?;
    let mut material = material(context, &repository, &name, &work.services)?;
    let locked = work.state.lock(context, &name)?;
    let contents = journal::read(&locked.folder().journal())?;
    if let Some(last) = Run::of(&contents.entries)
        && !last.standing.is_final()
    {
        return Err(CliError::coded(
            Code::RolloutUnfinished,
            format!("run {} of `{name}`, begun at {}, has not come to its end", last.id, last.begun_at),
        )
        .remedy(format!(
            "`mailwright rollout status {name}` shows how far it is; then `mailwright rollout resume {name}`, or `mailwright rollout abort {name}`."
        )));
    }
    // One for plan and work: connections that are kept open belong to it.
    let runtime = context.runtime()?;
    if !yes {
        let shared = Arc::new(material);
        let plan = planned(context, runtime, &repository, Arc::clone(&shared), 16);
        context.printer.note(&render::plan(&plan));
        let count = shared.file.environments().count();
        let question = format!("Roll this out to {count} environments in {} waves?", shared.file.waves.len());
        confirm(context, false, &question, "Give `--yes`; `mailwright rollout plan` shows what it does.")?;
        material = Arc::into_inner(shared).ok_or_else(|| CliError::new("the plan is not done"))?;
    }
    let by = somebody();
    let begun = Event::Begun {
        run: uuid::Uuid::now_v7(),
        rollout: name,
        mailwright: env!("CARGO_PKG_VERSION").to_owned(),
        by: by.clone(),
        order: order(&material),
    };
    work.work(context, runtime, Session { locked, contents, first: begun, material, by })
}
