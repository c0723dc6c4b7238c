//! `mailwright rollout resume`: continues a run that was paused, stopped or killed. Rejects files that changed since the start,
//! unless `--accept-changes` is passed. A run that has ended cannot be resumed; a run that another process works on is an error.

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{current_operator, load_rollout_of_run, no_run, rollout_name, work::Work},
    },
    model::{Code, EnvironmentName, RolloutName},
    rollout::{
        Event, LoadedRollout, Run,
        folder::LockedFolder,
        journal::{self, JournalContents, RolloutSpec},
        session::Session,
    },
    text::enumerate,
    time::local::format_time,
};

pub(super) fn resume(context: &Context, name: &str, accept_changes: bool, work: &Work) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let repository = context.repository()?;
    let folder = work.state.folder(context, &name)?;
    if !folder.journal().exists() {
        return Err(no_run(&folder, &name));
    }
    let locked = work.state.lock(context, &name)?;
    let (contents, run) = read_unfinished(&locked, &name)?;
    let rollout = load_rollout_of_run(context, &repository, &run, run.rollback.is_some(), &work.services)?;
    let present = rollout.spec();
    // A rollback does not depend on the files.
    let changed = if run.rollback.is_some() { None } else { describe_difference(&run, &rollout, &present) };
    if let Some(difference) = &changed
        && !accept_changes
    {
        return Err(CliError::coded(
            Code::RolloutFilesChanged,
            format!("{difference} since the run was started"),
        )
        .remedy(
            "Check out the commit that was reviewed, or pass `--accept-changes` to apply the present files to the environments that are not done.",
        ));
    }
    let by = current_operator();
    let first = Event::Resumed { by: by.clone(), watch: false, spec: changed.map(|_| present) };
    work.work(context, Session { locked: &locked, contents, first, rollout, by })
}

/// Describes the difference between the files of a run and the present ones; none if there is none. Files that became invalid do not
/// matter to an environment whose wave is done.
fn describe_difference(run: &Run, rollout: &LoadedRollout, present: &RolloutSpec) -> Option<String> {
    let before = &run.spec;
    let matters = |name: &EnvironmentName| !(run.is_done(name) && rollout.invalid.contains_key(name));
    let digests = |spec: &RolloutSpec| {
        let waves = spec.waves.iter().flat_map(|wave| {
            wave.environments.iter().map(|(name, digest)| (name.clone(), (wave.name.clone(), digest.clone())))
        });
        waves.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (digests(before), digests(present));
    let differing: std::collections::BTreeSet<_> =
        old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name) && matters(name)).collect();
    if !differing.is_empty() {
        let names = enumerate(differing.iter().map(|name| format!("`{name}`")), 5);
        return Some(format!("the files of {names} changed"));
    }
    (before.file != present.file).then(|| "the rollout's own file changed".to_owned())
}

/// Reads the journal of a run that has not ended; an error if it has, or if there is none.
pub(super) fn read_unfinished(locked: &LockedFolder, name: &RolloutName) -> Result<(JournalContents, Run), CliError> {
    let contents = journal::read(&locked.folder().journal())?;
    match Run::from_entries(&contents.entries) {
        Some(run) if !run.status.is_final() => Ok((contents, run)),
        Some(run) => Err(CliError::coded(
            Code::RolloutNotStarted,
            format!("the last run of `{name}` ({}) ended at {}", run.id, format_time(run.last_at)),
        )
        .remedy(format!(
            "`mailwright rollout start {name}` starts another run; environments that are done are skipped."
        ))),
        None => Err(no_run(locked.folder(), name)),
    }
}
