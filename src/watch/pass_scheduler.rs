//! Decides when the files are polled and when each environment has its next pass: on change, on a timer, and after failures with
//! growing pauses. A slow environment delays the others for 3 seconds at most.
//!
//! [`PassScheduler::run`] ends when the watch ends, or after one pass each with `--once`. The pauses after failures grow to 30
//! minutes; new files end them. If the files cannot be polled, passes go on and the status has the reason. A pass that panics
//! counts as failed. It does not know what a pass does.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    LONGEST_PAUSE, Shared,
    environment::{EnvironmentWatch, PassOutcome},
};
use crate::{
    git::Cancellation,
    model::{EnvironmentName, Problem},
    watch::checkout::{Files, FilesVersion},
};

/// The time after which a pass releases its permit: it waits for its service, and other passes need not wait for it.
const PERMIT_TIME: Duration = Duration::from_secs(3);
/// The time limit for releasing all leases at the end.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// The result of polling the files: the source, and the version if it is new.
type PollResult = (Files, Result<Option<FilesVersion>, Problem>);

/// The next pass of an environment.
struct Turn {
    /// The environment; none during a pass.
    watched: Option<EnvironmentWatch>,
    at: Instant,
    failures: u32,
    /// True if the files changed during the pass.
    is_outdated: bool,
    /// True after the first pass.
    done: bool,
}

/// Schedules the passes of `watch`; a pass plans an environment, and applies if so configured.
pub(super) struct PassScheduler {
    shared: Arc<Shared>,
    once: bool,
    /// The files; none while they are polled.
    files: Option<Files>,
    stop: Cancellation,
    poll_at: Instant,
    timer_at: Instant,
    /// The last version of the files.
    version: Option<FilesVersion>,
    polling: JoinSet<PollResult>,
    turns: BTreeMap<EnvironmentName, Turn>,
    passes: JoinSet<(EnvironmentName, EnvironmentWatch, PassOutcome)>,
    permits: Arc<Semaphore>,
    releasing: JoinSet<()>,
}

impl PassScheduler {
    pub(super) fn new(shared: Arc<Shared>, files: Files, once: bool) -> Self {
        let permits = Arc::new(Semaphore::new(shared.options.parallel.max(1)));
        Self {
            shared,
            once,
            stop: files.stop(),
            files: Some(files),
            poll_at: Instant::now(),
            timer_at: Instant::now(),
            version: None,
            polling: JoinSet::new(),
            turns: BTreeMap::new(),
            passes: JoinSet::new(),
            permits,
            releasing: JoinSet::new(),
        }
    }

    /// Runs until the watch must end, or until every environment had one pass.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            self.start_due();
            if self.once && self.is_done() {
                break;
            }
            let pause = self.pause();
            tokio::select! {
                () = shared.stopped() => break,
                Some(ended) = self.passes.join_next(), if !self.passes.is_empty() => {
                    if let Ok((name, watched, outcome)) = ended {
                        self.end_pass(&name, watched, outcome);
                    }
                }
                Some(polled) = self.polling.join_next(), if !self.polling.is_empty() => match polled {
                    Ok((files, found)) => self.end_poll(files, found),
                    Err(error) => {
                        tracing::error!(%error, "cannot follow the files any more");
                        break;
                    }
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.end().await;
    }

    /// Starts everything that is due.
    fn start_due(&mut self) {
        let now = Instant::now();
        if now >= self.poll_at
            && let Some(mut files) = self.files.take()
        {
            let is_timer = now >= self.timer_at;
            if is_timer {
                self.timer_at = now + self.shared.options.every;
            }
            let shared = Arc::clone(&self.shared);
            self.polling.spawn(async move {
                let found = files.poll(&shared, is_timer).await;
                (files, found)
            });
        }
        for (name, turn) in &mut self.turns {
            if now < turn.at || self.once && turn.done {
                continue;
            }
            let Some(watched) = turn.watched.take() else { continue };
            self.passes.spawn(run_pass(name.clone(), watched, Arc::clone(&self.shared), Arc::clone(&self.permits)));
        }
    }

    /// Returns true if every environment had its pass.
    fn is_done(&self) -> bool {
        let is_read = self.version.is_some() || self.shared.status().files.problem.is_some();
        is_read && self.polling.is_empty() && self.passes.is_empty()
    }

    fn pause(&self) -> Duration {
        let next = self.turns.values().filter(|turn| turn.watched.is_some()).map(|turn| turn.at);
        let next = next.chain(self.files.is_some().then_some(self.poll_at)).min();
        next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(Instant::now()))
    }

    fn end_pass(&mut self, name: &EnvironmentName, watched: EnvironmentWatch, outcome: PassOutcome) {
        let Some(turn) = self.turns.get_mut(name) else {
            self.releasing.spawn(watched.release());
            return;
        };
        turn.failures = if outcome == PassOutcome::Failed { turn.failures + 1 } else { 0 };
        let options = &self.shared.options;
        let wait = if turn.failures == 0 {
            options.every
        } else {
            // The first repetition comes soon, so that a short outage has a short effect.
            let first = options.every.min(options.poll.max(Duration::from_millis(200)));
            first.saturating_mul(1 << (turn.failures - 1).min(12)).min(LONGEST_PAUSE)
        };
        let wait = if std::mem::take(&mut turn.is_outdated) { Duration::ZERO } else { wait };
        turn.at = Instant::now() + wait;
        turn.watched = Some(watched);
        turn.done = true;
    }

    fn end_poll(&mut self, files: Files, found: Result<Option<FilesVersion>, Problem>) {
        self.poll_at = Instant::now() + self.shared.options.poll;
        self.files = Some(files);
        match found {
            Ok(version) => {
                if let Some(version) = version {
                    self.use_version(version);
                }
                let now = self.shared.options.clock.now();
                self.shared.set(|status| {
                    status.files.problem = None;
                    status.files.looked_at = Some(now);
                });
            }
            Err(problem) => {
                tracing::warn!(
                    code = problem.code.id(),
                    problem = problem.message,
                    remedy = problem.remedy,
                    "cannot follow the files"
                );
                // Environments show a new problem at once, not at their next regular pass.
                let is_new = self.shared.status().files.problem.is_none_or(|known| known != problem);
                self.shared.set(|status| status.files.problem = Some(problem));
                if is_new {
                    self.schedule_all_now();
                }
            }
        }
    }

    /// Adds and removes environments as the files have them, and schedules passes if the files changed.
    fn use_version(&mut self, version: FilesVersion) {
        let is_new = self.version.as_ref().is_none_or(|old| !old.is_same(&version));
        let gone: Vec<_> = self.turns.keys().filter(|name| !version.names.contains(*name)).cloned().collect();
        for name in gone {
            if let Some(watched) = self.turns.remove(&name).and_then(|turn| turn.watched) {
                self.releasing.spawn(watched.release());
            }
        }
        for name in &version.names {
            let new = || Turn {
                watched: Some(EnvironmentWatch::new(name.clone())),
                at: Instant::now(),
                failures: 0,
                is_outdated: false,
                done: false,
            };
            self.turns.entry(name.clone()).or_insert_with(new);
        }
        let had_problem = self.shared.status().files.problem.is_some();
        if is_new || had_problem {
            tracing::info!(
                commit = version.commit,
                dirty = version.dirty,
                environments = version.names.len(),
                "new files"
            );
            self.schedule_all_now();
        }
        self.shared.set(|status| {
            status.files.commit.clone_from(&version.commit);
            status.files.dirty = version.dirty;
            status.environments.retain(|name, _| version.names.contains(name));
            for name in &version.names {
                status.environments.entry(name.clone()).or_default();
            }
        });
        self.shared.reports.retain_environments(&version.names);
        self.version = Some(version);
    }

    /// Schedules a pass of every environment now, also after failures.
    fn schedule_all_now(&mut self) {
        for turn in self.turns.values_mut() {
            turn.at = Instant::now();
            turn.is_outdated = turn.watched.is_none();
        }
    }

    /// Waits for the passes that are running, and releases the leases.
    async fn end(mut self) {
        tracing::info!("waiting for running passes");
        self.stop.cancel();
        drop(tokio::time::timeout(RELEASE_LIMIT, self.polling.join_next()).await);
        while let Some(ended) = self.passes.join_next().await {
            if let Ok((name, watched, _)) = ended {
                match self.turns.get_mut(&name) {
                    Some(turn) => turn.watched = Some(watched),
                    None => drop(self.releasing.spawn(watched.release())),
                }
            }
        }
        for watched in self.turns.into_values().filter_map(|turn| turn.watched) {
            self.releasing.spawn(watched.release());
        }
        let all = async { while self.releasing.join_next().await.is_some() {} };
        drop(tokio::time::timeout(RELEASE_LIMIT, all).await);
    }
}

/// Runs one pass when there is a permit for it.
async fn run_pass(
    name: EnvironmentName,
    watched: EnvironmentWatch,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
) -> (EnvironmentName, EnvironmentWatch, PassOutcome) {
    let permit = tokio::select! {
        permit = permits.acquire_owned() => permit,
        () = shared.stopped() => return (name, watched, PassOutcome::Stopped),
    };
    let mut running = tokio::spawn(watched.pass(shared));
    let ended = if let Ok(ended) = tokio::time::timeout(PERMIT_TIME, &mut running).await {
        ended
    } else {
        drop(permit);
        running.await
    };
    match ended {
        Ok((watched, outcome)) => (name, watched, outcome),
        Err(error) => {
            tracing::error!(environment = %name, %error, "a pass ended unexpectedly");
            (name.clone(), EnvironmentWatch::new(name), PassOutcome::Failed)
        }
    }
}
