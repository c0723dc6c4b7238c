//! Applies changes in the waves of a rollout, for environments with `watch: { apply: rollout NAME }`.
//!
//! A pass that finds such changes requests the rollout. [`run`] works on the rollouts that were requested: one run per
//! rollout and version of the files, with the waves, soak times and checks of `rollouts/NAME.yaml`, limited to environments
//! that name the rollout. A run that failed is not repeated: its environments wait for an operator or for another commit. A
//! newer commit ends the run, and starts again with the first wave.
//!
//! The journal is below the watch's own folder, where `mailwright rollout status NAME --state DIR` finds it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use super::{Shared, checkout::blocking, reports::ReportKind};
use crate::{
    model::{
        Code, EnvironmentName, Problem, RolloutName,
        watch_settings::{ApplyMode, Notify as Receivers},
    },
    rollout::{
        ControlSignal, Entry, Event, Journal, LoadedRollout, Run,
        engine::Reporter,
        folder::{LockedFolder, RolloutFolder},
        journal::{self, ApplyOutcome, JournalContents},
        run::RunStatus,
        session::{Session, Task},
    },
    watch::checkout::invalid_files,
};

/// The operator in journals.
const WATCH: &str = "mailwright watch";

/// The rollouts that passes have requested.
#[derive(Default)]
pub(super) struct WaveRuns {
    runs: Mutex<BTreeMap<RolloutName, WaveRun>>,
    changed: Notify,
}

/// The last run of a rollout.
struct WaveRun {
    /// The version of the files.
    revision: u64,
    state: WaveState,
    /// A newer version, which is requested when the run has ended.
    next: Option<u64>,
}

enum WaveState {
    Requested,
    /// The sender ends the run.
    Running(watch::Sender<ControlSignal>),
    /// The reason for which the environments that were not changed wait.
    Ended(Problem),
}

impl WaveRuns {
    /// Requests a run with a version of the files. Returns the reason for which there is none, if it has ended already.
    pub(super) fn request(&self, rollout: &RolloutName, revision: u64) -> Option<Problem> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        match runs.get_mut(rollout) {
            Some(run) if run.revision >= revision => match &run.state {
                WaveState::Ended(problem) => Some(problem.clone()),
                WaveState::Requested | WaveState::Running(_) => None,
            },
            Some(WaveRun { state: WaveState::Running(signals), next, .. }) => {
                *next = Some(revision);
                ControlSignal::Pause { reason: "a newer commit".to_owned() }.send(signals);
                None
            }
            _ => {
                runs.insert(rollout.clone(), WaveRun { revision, state: WaveState::Requested, next: None });
                self.changed.notify_one();
                None
            }
        }
    }

    /// Returns the requested rollouts, which are running from now on.
    fn take_requested(&self) -> Vec<(RolloutName, watch::Sender<ControlSignal>)> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let requested = runs.iter_mut().filter(|(_, run)| matches!(run.state, WaveState::Requested));
        let start = |(name, run): (&RolloutName, &mut WaveRun)| {
            let signals = watch::Sender::new(ControlSignal::Continue);
            run.state = WaveState::Running(signals.clone());
            (name.clone(), signals)
        };
        requested.map(start).collect()
    }

    /// Records the end of a run. Without a problem it can be requested again.
    fn end(&self, name: &RolloutName, problem: Option<Problem>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(run) = runs.get_mut(name) else { return };
        match (run.next.take(), problem) {
            (Some(revision), _) => {
                *run = WaveRun { revision, state: WaveState::Requested, next: None };
                self.changed.notify_one();
            }
            (None, Some(problem)) => run.state = WaveState::Ended(problem),
            (None, None) => drop(runs.remove(name)),
        }
    }

    /// Records the version of the files that a run has.
    fn set_revision(&self, name: &RolloutName, revision: u64) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = runs.get_mut(name) {
            run.revision = revision;
            run.next = run.next.filter(|next| *next > revision);
        }
    }

    /// Has every run finish the steps that have started, and end.
    fn pause_all(&self) {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        for run in runs.values() {
            if let WaveState::Running(signals) = &run.state {
                ControlSignal::Pause { reason: "the watch ends".to_owned() }.send(signals);
            }
        }
    }
}

/// Works on the rollouts that are requested, until the watch ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    loop {
        for (name, signals) in shared.waves.take_requested() {
            running.spawn(run_waves(Arc::clone(&shared), name, signals));
        }
        tokio::select! {
            () = shared.stopped() => break,
            () = shared.waves.changed.notified() => {}
            Some(_) = running.join_next(), if !running.is_empty() => {}
        }
    }
    shared.waves.pause_all();
    while running.join_next().await.is_some() {}
}

/// Runs a rollout once, and records how it ended.
async fn run_waves(shared: Arc<Shared>, name: RolloutName, signals: watch::Sender<ControlSignal>) {
    let ended = match try_run(&shared, &name, signals).await {
        // Passes that read the state before the end may still request it; the journal answers them.
        Ok((run, true)) if run.status == RunStatus::Finished => None,
        Ok((run, _)) => describe_end(&run, &shared),
        Err(problem) if problem.code == Code::LeaseHeld || problem.code == Code::RolloutRunning => {
            tracing::info!(rollout = %name, reason = problem.message, "another process works on the rollout");
            None
        }
        Err(problem) => Some(problem),
    };
    if let Some(problem) = &ended {
        let (code, remedy) = (problem.code.id(), problem.remedy.as_str());
        tracing::warn!(rollout = %name, code, problem = problem.message, remedy, "the rollout ended");
    } else {
        tracing::info!(rollout = %name, "the rollout ended");
    }
    shared.waves.end(&name, ended);
}

/// Returns the reason for which environments that were not changed wait; none if the run goes on later.
fn describe_end(run: &Run, shared: &Shared) -> Option<Problem> {
    let (name, state) = (&run.rollout, shared.options.data.display());
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

/// Works on a run. Returns false next to it if it had ended before.
async fn try_run(
    shared: &Arc<Shared>,
    name: &RolloutName,
    signals: watch::Sender<ControlSignal>,
) -> Result<(Run, bool), Problem> {
    let snapshot = shared.snapshot().await?;
    shared.waves.set_revision(name, snapshot.revision);
    let (wanted, connect) = (name.clone(), Arc::clone(&shared.options.connect));
    let rollout = blocking(move || {
        let repository = &snapshot.repository;
        let file = match repository.load_rollout(&wanted) {
            Some(Ok(file)) => file,
            Some(Err(report)) => return Err(invalid_files(&report)),
            None => {
                let message = format!("there is no file `rollouts/{wanted}.yaml`");
                return Err(Problem::new(Code::RolloutUnknown, message).remedy("Create it, or correct `watch.apply`."));
            }
        };
        let source = (snapshot.source.clone(), snapshot.source_refusal.clone());
        LoadedRollout::load(repository, file, source, connect).map_err(|report| invalid_files(&report))
    })
    .await??;
    let rollout = limit_to_watched(rollout, shared)?;
    let receivers =
        rollout.desired.iter().map(|(name, desired)| (name.clone(), desired.watch.notify.clone())).collect();
    let (data, wanted) = (shared.options.data.clone(), name.clone());
    let locked = blocking(move || RolloutFolder::new(&data, &wanted).lock()).await??;
    let (contents, first) = begin(&locked, &rollout, name, shared).await?;
    let Some(first) = first else {
        // The last run with these files ended already.
        let run = Run::from_entries(&contents.entries);
        let run = run.ok_or_else(|| Problem::new(Code::Internal, "the journal does not begin with a run"))?;
        return Ok((run, false));
    };
    let signal = signals.subscribe();
    let session = Session { locked, contents, first, rollout, by: WATCH.to_owned() };
    let (duration, clock) = (shared.options.lease_duration, &shared.options.clock);
    let report = reporter(Arc::clone(shared), receivers);
    let run = session.run(Task::Work, duration, clock, (signals, signal), report, std::future::pending()).await?;
    Ok((run, true))
}

/// Removes the environments that do not name the rollout, or that this watch does not follow.
fn limit_to_watched(mut rollout: LoadedRollout, shared: &Shared) -> Result<LoadedRollout, Problem> {
    let (name, status) = (rollout.file.name.clone(), shared.status());
    let mode = ApplyMode::Rollout(name.clone());
    let LoadedRollout { file, desired, .. } = &mut rollout;
    desired.retain(|name, desired| desired.watch.apply == mode && status.environments.contains_key(name));
    for wave in &mut file.waves {
        wave.environments.retain(|name| desired.contains_key(name));
    }
    file.waves.retain(|wave| !wave.environments.is_empty());
    if desired.is_empty() {
        let message = format!("rollouts/{name}.yaml has no wave with an environment that names the rollout");
        return Err(Problem::new(Code::RolloutUnknown, message)
            .remedy("Add the environments to a wave, or correct `watch.apply`."));
    }
    Ok(rollout)
}

/// Returns the entries of the journal, and the first entry to write: the run is started or resumed. None if the last run
/// with these files has ended, and is not repeated.
async fn begin(
    locked: &LockedFolder,
    rollout: &LoadedRollout,
    name: &RolloutName,
    shared: &Shared,
) -> Result<(JournalContents, Option<Event>), Problem> {
    let path = locked.folder().journal();
    let mut contents = journal::read(&path)?;
    let spec = rollout.spec();
    if let Some(last) = Run::from_entries(&contents.entries) {
        let is_same = last.spec.file == spec.file && last.spec.waves == spec.waves;
        match &last.status {
            RunStatus::Running | RunStatus::Paused { problem: None, .. } if is_same => {
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
    }
    let first = Event::Started {
        run: uuid::Uuid::now_v7(),
        rollout: name.clone(),
        mailwright: env!("CARGO_PKG_VERSION").to_owned(),
        by: WATCH.to_owned(),
        watch: true,
        spec,
    };
    Ok((contents, Some(first)))
}

/// Logs each wave, and reports each environment that was changed.
fn reporter(shared: Arc<Shared>, receivers: BTreeMap<EnvironmentName, Receivers>) -> Reporter {
    Box::new(move |entry: &Entry, run: &Run| {
        let rollout = &run.rollout;
        match &entry.event {
            Event::Started { .. } | Event::Resumed { .. } => tracing::info!(%rollout, "the rollout runs"),
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
