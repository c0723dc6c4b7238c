//! Applies changes in the waves of a rollout, for environments with `watch: { apply: rollout NAME }`.
//!
//! A pass that finds such changes requests the rollout. [`run`] works on the rollouts that were requested: one run per rollout and
//! version of the files, with the waves, soak times and checks of `rollouts/NAME.yaml`, limited to environments that name the
//! rollout. A run that failed is not repeated: its environments wait for an operator or for another commit. A newer commit ends the
//! run, and starts again with the first wave. A run that an operator paused stays paused until an operator resumes or aborts it,
//! also if a newer commit comes. A run that cannot begin, or that lost its lease, is tried again, unless an operator must act
//! first: an unknown rollout, invalid files, a missing address, a token without a fixed origin, or a damaged journal.
//!
//! The journal is below the watch's own folder, where `mailwright rollout status NAME --state DIR` finds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    Shared,
    checkout::blocking,
    reports::ReportKind,
    wave_runs::{JournalVersion, RunEnd, journal_version},
};
use crate::{
    model::{
        Code, EnvironmentName, Problem, RolloutName,
        watch_settings::{ApplyMode, Notify as Receivers},
    },
    rollout::{
        ControlSignal, Entry, Event, Journal, LoadedRollout, PauseOrigin, Run,
        engine::Reporter,
        folder::{LockedFolder, RolloutFolder},
        journal::{self, ApplyOutcome, JournalContents, RolloutSpec},
        run::RunStatus,
        session::{Session, Task},
    },
    text::shell::quote_posix,
};

/// The operator in journals.
const WATCH: &str = "mailwright watch";

/// Works on the rollouts that are requested, until the watch ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    loop {
        for (name, signals) in shared.waves.take_requested() {
            running.spawn(run_waves(Arc::clone(&shared), name, signals));
        }
        tokio::select! {
            () = shared.stopped() => break,
            () = shared.waves.changed() => {}
            Some(_) = running.join_next(), if !running.is_empty() => {}
        }
    }
    shared.waves.pause_all();
    while running.join_next().await.is_some() {}
}

/// Runs a rollout once, and records how it ended.
async fn run_waves(shared: Arc<Shared>, name: RolloutName, signals: watch::Sender<ControlSignal>) {
    let mut journal = journal_version(&shared.options.data, &name);
    let end = match try_run(&shared, &name, signals, &mut journal).await {
        // Passes that read the state before the end may still request it; the journal answers them.
        Ok(WorkedRun { run, is_new: true, .. }) if run.status == RunStatus::Finished => RunEnd::Done,
        Ok(WorkedRun { run, is_outdated, .. }) => match (&run.status, describe_end(&run, is_outdated, &shared)) {
            (RunStatus::Paused { problem: Some(problem), .. }, _) if run.status.continues_by_itself() => {
                RunEnd::Failed(problem.clone())
            }
            (_, Some(problem)) => RunEnd::Ended { problem, journal },
            (_, None) => RunEnd::Done,
        },
        Err(problem) if problem.code == Code::LeaseHeld || problem.code == Code::RolloutRunning => {
            tracing::info!(rollout = %name, reason = problem.message, "another process works on the rollout");
            RunEnd::Elsewhere
        }
        Err(problem) if needs_operator(problem.code) => RunEnd::Ended { problem, journal },
        Err(problem) => RunEnd::Failed(problem),
    };
    match &end {
        RunEnd::Ended { problem, .. } => {
            let (code, remedy) = (problem.code.id(), problem.remedy.as_str());
            tracing::warn!(rollout = %name, code, problem = problem.message, remedy, "the rollout ended");
        }
        RunEnd::Failed(problem) => {
            let (code, remedy) = (problem.code.id(), problem.remedy.as_str());
            tracing::warn!(rollout = %name, code, problem = problem.message, remedy, "the rollout is tried again");
        }
        RunEnd::Done => tracing::info!(rollout = %name, "the rollout ended"),
        RunEnd::Elsewhere => {}
    }
    shared.waves.end(&name, end);
}

/// Returns true if a run that failed would fail again until an operator acts: with another commit, with another start of the watch, or
/// in the folder of the journal.
fn needs_operator(code: Code) -> bool {
    matches!(
        code,
        Code::RolloutUnknown
            | Code::FilesInvalid
            | Code::AddressMissing
            | Code::TokenUnpinned
            | Code::TokenOfAnotherOrigin
            | Code::JournalDamaged
    )
}

/// Returns the reason for which environments that were not changed wait; none if the run goes on later.
fn describe_end(run: &Run, is_outdated: bool, shared: &Shared) -> Option<Problem> {
    let (name, state) = (&run.rollout, quote_posix(&shared.options.data.to_string_lossy()));
    if run.status.is_paused_by_operator() {
        let by = match &run.status {
            RunStatus::Paused { by: Some(PauseOrigin::Operator(by)), .. } => format!(" by {by}"),
            _ => String::new(),
        };
        let command = |verb: &str| format!("`mailwright rollout {verb} {name} --state {state}`");
        let remedy = if is_outdated {
            format!("{} ends it; then the watch begins again with the newer commit.", command("abort"))
        } else {
            format!("{} continues it, and {} ends it.", command("resume"), command("abort"))
        };
        return Some(Problem::new(Code::RolloutStopped, format!("the rollout `{name}` is paused{by}")).remedy(remedy));
    }
    let remedy = format!(
        "`mailwright rollout status {name} --state {state}` shows the run. Push a commit that corrects it, or apply by hand."
    );
    let message = match &run.status {
        RunStatus::Running | RunStatus::Paused { problem: None, .. } => return None,
        RunStatus::Paused { problem: Some(problem), .. } => format!("the rollout `{name}` paused: {}", problem.message),
        RunStatus::Stopped { problem } => format!("the rollout `{name}` stopped: {}", problem.message),
        RunStatus::Aborted { by } => format!("the rollout `{name}` was aborted by {by}"),
        RunStatus::Finished => format!("the rollout `{name}` has finished, and this environment was not changed"),
    };
    Some(Problem::new(Code::RolloutStopped, message).remedy(remedy))
}

/// A run that was worked on, or that had ended before.
struct WorkedRun {
    run: Run,
    /// False if the run had ended before.
    is_new: bool,
    /// True if the files are newer than those of the run.
    is_outdated: bool,
}

/// Works on a run, unless the journal says that it ended or that an operator paused it. Sets the version of the journal at the end.
async fn try_run(
    shared: &Arc<Shared>,
    name: &RolloutName,
    signals: watch::Sender<ControlSignal>,
    journal: &mut Option<JournalVersion>,
) -> Result<WorkedRun, Problem> {
    let snapshot = shared.snapshot().await?;
    shared.waves.set_revision(name, snapshot.revision);
    let (wanted, connect) = (name.clone(), Arc::clone(&shared.options.connect));
    let (followed, folder) = (shared.status().environments, RolloutFolder::new(&shared.options.data, name));
    let rollout = blocking(move || {
        let repository = &snapshot.repository;
        let mut file = match repository.load_rollout(&wanted) {
            Some(Ok(file)) => file,
            Some(Err(report)) => return Err(report.to_problem()),
            None => {
                let message = format!("there is no file `rollouts/{wanted}.yaml`");
                return Err(Problem::new(Code::RolloutUnknown, message).remedy("Create it, or correct `watch.apply`."));
            }
        };
        let source = (snapshot.source.clone(), snapshot.source_refusal.clone());
        let last = Run::from_entries(&journal::read(&folder.journal())?.entries);
        let named = ApplyMode::Rollout(wanted.clone());
        // If files are so broken that the mode cannot be read, the environment fails if it was in the last run, or may be new.
        let takes_part = |name: &EnvironmentName| match repository.apply_mode(name) {
            Some(mode) => mode == named,
            None => last.as_ref().is_none_or(|run| run.includes(name)),
        };
        file.retain(|name| followed.contains_key(name) && takes_part(name));
        if file.waves.is_empty() {
            let message = format!("rollouts/{wanted}.yaml has no wave with an environment that names the rollout");
            return Err(Problem::new(Code::RolloutUnknown, message)
                .remedy("Add the environments to a wave, or correct `watch.apply`."));
        }
        Ok(LoadedRollout::load_each(repository, file, source, connect, |_, report| report.to_problem()))
    })
    .await??;
    let receivers =
        rollout.desired.iter().map(|(name, desired)| (name.clone(), desired.watch.notify.clone())).collect();
    let (data, wanted) = (shared.options.data.clone(), name.clone());
    let locked = blocking(move || RolloutFolder::new(&data, &wanted).lock()).await??;
    let result = run_locked(&locked, rollout, receivers, shared, signals).await;
    // While the folder is locked, no operator changes the journal.
    *journal = journal_version(&shared.options.data, name);
    result
}

async fn run_locked(
    locked: &LockedFolder,
    rollout: LoadedRollout,
    receivers: BTreeMap<EnvironmentName, Receivers>,
    shared: &Arc<Shared>,
    signals: watch::Sender<ControlSignal>,
) -> Result<WorkedRun, Problem> {
    let (contents, first) = begin(locked, &rollout, shared).await?;
    let Some(first) = first else {
        let run = Run::from_entries(&contents.entries);
        let run = run.ok_or_else(|| Problem::new(Code::Internal, "the journal does not begin with a run"))?;
        let is_outdated = !has_same_files(&run, &rollout.spec());
        return Ok(WorkedRun { run, is_new: false, is_outdated });
    };
    let signal = signals.subscribe();
    let session = Session { locked, contents, first, rollout, by: WATCH.to_owned() };
    let (duration, clock) = (shared.options.lease_duration, &shared.options.clock);
    let report = reporter(Arc::clone(shared), receivers);
    let run = session.run(Task::Work, duration, clock, (signals, signal), report, std::future::pending()).await?;
    Ok(WorkedRun { run, is_new: true, is_outdated: false })
}

fn has_same_files(run: &Run, spec: &RolloutSpec) -> bool {
    run.spec.file == spec.file && run.spec.waves == spec.waves
}

/// Returns the entries of the journal, and the first entry to write: the run is started or resumed. None if the last run
/// with these files has ended, and is not repeated, or if an operator paused the last run, also with other files.
async fn begin(
    locked: &LockedFolder,
    rollout: &LoadedRollout,
    shared: &Shared,
) -> Result<(JournalContents, Option<Event>), Problem> {
    let path = locked.folder().journal();
    let mut contents = journal::read(&path)?;
    let spec = rollout.spec();
    let mut unsoaked = BTreeSet::new();
    if let Some(last) = Run::from_entries(&contents.entries) {
        let is_same = has_same_files(&last, &spec);
        unsoaked = last.not_soaked();
        match &last.status {
            status if status.is_paused_by_operator() => return Ok((contents, None)),
            status if is_same && status.continues_by_itself() => {
                return Ok((contents, Some(Event::Resumed { by: WATCH.to_owned(), watch: true, spec: None })));
            }
            _ if is_same => return Ok((contents, None)),
            status if !status.is_final() => {
                // What was applied stays; the first wave gets the newer commit first.
                let journal = Journal::open(&path, &contents, shared.options.clock.clone())?;
                let aborted = journal.append(Event::Aborted { by: format!("{WATCH}, for a newer commit") }).await?;
                contents.entries.push(aborted);
            }
            _ => {}
        }
    } else if let Some(archive) = locked.newest_archive() {
        // A process ended after it had archived the journal, and before it began the next one.
        unsoaked = Run::from_entries(&journal::read(&archive)?.entries).map(|run| run.not_soaked()).unwrap_or_default();
    }
    let first = Event::Started {
        run: uuid::Uuid::now_v7(),
        rollout: rollout.file.name.clone(),
        mailwright: env!("CARGO_PKG_VERSION").to_owned(),
        by: WATCH.to_owned(),
        watch: true,
        unsoaked,
        spec,
    };
    Ok((contents, Some(first)))
}

/// Logs each wave, and reports each environment that was changed.
fn reporter(shared: Arc<Shared>, receivers: BTreeMap<EnvironmentName, Receivers>) -> Reporter {
    Box::new(move |entry: &Entry, run: &Run| {
        let rollout = &run.rollout;
        match &entry.event {
            Event::Started { .. } | Event::Resumed { .. } => {
                tracing::info!(%rollout, "the rollout runs");
                shared.waves.set_works(rollout);
            }
            Event::WaveStarted { wave } => tracing::info!(%rollout, wave, "a wave starts"),
            Event::SoakStarted { wave, .. } => tracing::info!(%rollout, wave, "a wave soaks"),
            Event::Ended { environment, outcome: ApplyOutcome::Applied { generation, summary, .. } } => {
                let message = format!("{summary} (generation {generation}), rollout `{rollout}`");
                let none = Receivers::default();
                let receivers = receivers.get(environment).unwrap_or(&none);
                shared.reports.report_event(environment, receivers, ReportKind::ApplyDone, &message);
                shared.set(|status| {
                    if let Some(status) = status.environments.get_mut(environment) {
                        status.applies += 1;
                        status.applied = Some(message);
                        status.applied_at = Some(entry.at);
                    }
                });
            }
            _ => {}
        }
    })
}
