//! `mailwright rollout resume`.

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{
            material, not_begun, rollout_name, somebody,
            work::{Session, Work, order},
        },
    },
    model::{Code, RolloutName},
    rollout::{
        Event, Run,
        journal::{self, Contents, Order},
        lock::Locked,
    },
};

pub(super) fn resume(context: &Context, name: &str, accept_changes: bool, work: &Work) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let repository = context.repository()?;
    let folder = work.state.folder(context, &name)?;
    if !folder.journal().exists() {
        return Err(not_begun(&folder, &name));
    }
    let locked = work.state.lock(context, &name)?;
    let (contents, run) = unfinished(&locked, &name)?;
    let material = material(context, &repository, &name, &work.services)?;
    let now = order(&material);
    // What is being taken back goes back whatever the files say.
    let changed = if run.taking_back.is_some() { None } else { difference(&run.order, &now) };
    if let Some(what) = &changed
        && !accept_changes
    {
        return Err(CliError::coded(
            Code::RolloutFilesChanged,
            format!("{what} since the run began; nothing was begun"),
        )
        .remedy(
            "Check out what was reviewed, or say `--accept-changes`: what is not done yet gets what the files say now.",
        ));
    }
    let by = somebody();
    let first = Event::Resumed { by: by.clone(), order: changed.map(|_| now) };
    work.work(context, context.runtime()?, Session { locked, contents, first, material, by })
}

/// What of two orders differs, in a few words.
fn difference(before: &Order, now: &Order) -> Option<String> {
    let digests = |order: &Order| {
        let waves = order.waves.iter().flat_map(|wave| {
            wave.environments.iter().map(|(name, digest)| (name.clone(), (wave.name.clone(), digest.clone())))
        });
        waves.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (digests(before), digests(now));
    let differing: std::collections::BTreeSet<_> =
        old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect();
    if !differing.is_empty() {
        let names = differing.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if differing.len() > 5 { format!(" and {} more", differing.len() - 5) } else { String::new() };
        return Some(format!("the files of {names}{more} changed"));
    }
    (before.file != now.file).then(|| "the rollout's own file changed".to_owned())
}

/// The run that is to be gone on with.
pub(super) fn unfinished(locked: &Locked, name: &RolloutName) -> Result<(Contents, Run), CliError> {
    let contents = journal::read(&locked.folder().journal())?;
    match Run::of(&contents.entries) {
        Some(run) if !run.standing.is_final() => Ok((contents, run)),
        Some(run) => Err(CliError::coded(
            Code::RolloutNotStarted,
            format!("the last run of `{name}` ({}) came to its end at {}", run.id, run.last_at),
        )
        .remedy(format!("`mailwright rollout start {name}` begins another; what is so already is skipped."))),
        None => Err(not_begun(locked.folder(), name)),
    }
}
