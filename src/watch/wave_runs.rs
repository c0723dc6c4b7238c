//! The rollouts that passes have requested, and the state of their last runs.
//!
//! Passes call [`WaveRuns::request`]. `waves` takes the runs that are requested or due again, works on them, and records how they
//! ended. A run that failed is tried again after pauses that grow to 5 minutes; one that ended is not, until the files or its
//! journal change. Nothing is stored. Nothing here loads files or asks a service.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    model::{Problem, RolloutName},
    rollout::{ControlSignal, PauseOrigin, folder::RolloutFolder},
};

/// The pause before a run that failed is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a run that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

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
    /// True if a process is known to work on the rollout. It is not known before the journal is read and the lease is acquired.
    works: bool,
    /// A newer version, which is requested when the run has ended.
    next: Option<u64>,
    /// The reason for which the run is tried again, until it works.
    failure: Option<Problem>,
    /// The number of failures in succession.
    failures: u32,
}

enum WaveState {
    Requested,
    /// The sender ends the run.
    Running(watch::Sender<ControlSignal>),
    /// Another process works on the rollout, an operator's perhaps.
    Elsewhere,
    /// The run failed, and is tried again at a time.
    Failed(Instant),
    Ended {
        /// The reason for which the environments that were not changed wait.
        problem: Problem,
        /// The journal at the end. Another one means that an operator resumed or aborted the run.
        journal: Option<JournalVersion>,
    },
}

/// The end of a run.
pub(super) enum RunEnd {
    /// The run can be requested again.
    Done,
    /// Another process works on the rollout.
    Elsewhere,
    /// The run could not begin, or lost its lease. It is tried again.
    Failed(Problem),
    /// The run ended, and is not repeated with these files.
    Ended {
        /// The reason for which the environments that were not changed wait.
        problem: Problem,
        /// The journal at the end.
        journal: Option<JournalVersion>,
    },
}

/// The length of a journal and the time of its last entry; both change with every entry.
pub(super) type JournalVersion = (u64, SystemTime);

/// The answer to a request for a run.
pub(super) enum RunAnswer {
    /// The run works.
    Works,
    /// The journal is not read yet, so it is not known if the run works.
    Undecided,
    /// The run cannot work now for this reason, and is tried again.
    Fails(Problem),
    /// The run has ended, and the environment waits for this reason.
    Waits(Problem),
}

impl WaveRun {
    fn requested(revision: u64, works: bool) -> Self {
        Self { revision, state: WaveState::Requested, works, next: None, failure: None, failures: 0 }
    }

    fn answer(&self) -> RunAnswer {
        match &self.failure {
            _ if self.works => RunAnswer::Works,
            Some(problem) => RunAnswer::Fails(problem.clone()),
            None => RunAnswer::Undecided,
        }
    }
}

impl WaveRuns {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RolloutName, WaveRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests a run with a version of the files. `data` is the folder of the watch.
    pub(super) fn request(&self, rollout: &RolloutName, revision: u64, data: &Path) -> RunAnswer {
        let mut runs = self.lock();
        if let Some(run) = runs.get_mut(rollout) {
            match &run.state {
                WaveState::Ended { problem, journal }
                    if run.revision >= revision && *journal == journal_version(data, rollout) =>
                {
                    return RunAnswer::Waits(problem.clone());
                }
                WaveState::Running(signals) => {
                    if run.revision < revision {
                        run.next = Some(revision);
                        pause("a newer commit", signals);
                    }
                    return run.answer();
                }
                WaveState::Requested | WaveState::Failed(_) if run.revision >= revision => return run.answer(),
                _ => {}
            }
        }
        let works = runs.get(rollout).is_some_and(|run| matches!(run.state, WaveState::Elsewhere));
        let requested = WaveRun::requested(revision, works);
        let answer = requested.answer();
        runs.insert(rollout.clone(), requested);
        self.changed.notify_one();
        answer
    }

    /// Returns the rollouts that are requested or due again, which are running from now on.
    pub(super) fn take_requested(&self) -> Vec<(RolloutName, watch::Sender<ControlSignal>)> {
        let (mut runs, now) = (self.lock(), Instant::now());
        let is_due = |run: &WaveRun| match run.state {
            WaveState::Requested => true,
            WaveState::Failed(until) => until <= now,
            _ => false,
        };
        let due = runs.iter_mut().filter(|(_, run)| is_due(run));
        let start = |(name, run): (&RolloutName, &mut WaveRun)| {
            let signals = watch::Sender::new(ControlSignal::Continue);
            run.state = WaveState::Running(signals.clone());
            (name.clone(), signals)
        };
        due.map(start).collect()
    }

    /// Waits until a rollout is requested or due again.
    pub(super) async fn changed(&self) {
        let until = |run: &WaveRun| match run.state {
            WaveState::Failed(until) => Some(until),
            _ => None,
        };
        let next = self.lock().values().filter_map(until).min();
        let due = async {
            match next {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.changed.notified() => {}
            () = due => {}
        }
    }

    /// Records the end of a run.
    pub(super) fn end(&self, name: &RolloutName, end: RunEnd) {
        let mut runs = self.lock();
        let Some(run) = runs.get_mut(name) else { return };
        if let Some(revision) = run.next.take() {
            *run = WaveRun::requested(revision, false);
            self.changed.notify_one();
            return;
        }
        match end {
            RunEnd::Done => drop(runs.remove(name)),
            RunEnd::Elsewhere => run.state = WaveState::Elsewhere,
            RunEnd::Ended { problem, journal } => run.state = WaveState::Ended { problem, journal },
            RunEnd::Failed(problem) => {
                let wait = FIRST_PAUSE.saturating_mul(1 << run.failures.min(12)).min(LONGEST_PAUSE);
                run.failures += 1;
                (run.failure, run.works) = (Some(problem), false);
                run.state = WaveState::Failed(Instant::now() + wait);
            }
        }
    }

    /// Records the version of the files that a run has.
    pub(super) fn set_revision(&self, name: &RolloutName, revision: u64) {
        if let Some(run) = self.lock().get_mut(name) {
            run.revision = revision;
            run.next = run.next.filter(|next| *next > revision);
        }
    }

    /// Records that a run works: it holds the lease.
    pub(super) fn set_works(&self, name: &RolloutName) {
        if let Some(run) = self.lock().get_mut(name) {
            (run.works, run.failure, run.failures) = (true, None, 0);
        }
    }

    /// Has every run finish the steps that have started, and end.
    pub(super) fn pause_all(&self) {
        for run in self.lock().values() {
            if let WaveState::Running(signals) = &run.state {
                pause("the watch ends", signals);
            }
        }
    }
}

fn pause(reason: &str, signals: &watch::Sender<ControlSignal>) {
    ControlSignal::Pause { reason: reason.to_owned(), by: PauseOrigin::Watch }.send(signals);
}

/// Returns the version of a journal; none if there is none.
pub(super) fn journal_version(data: &Path, name: &RolloutName) -> Option<JournalVersion> {
    let metadata = std::fs::metadata(RolloutFolder::new(data, name).journal()).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
