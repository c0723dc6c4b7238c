//! Works through the waves of a rollout: apply, soak, check, and the reaction to failures.
//!
//! A request that changes an environment is recorded in the journal before it is sent, and the outcome of each step after it, so
//! the engine has no state that is not in the journal. A [`ControlSignal`] pauses or aborts it: steps that have started are
//! finished, and nothing new is started.
//!
//! An environment that fails does not stop the others of its wave until more have failed than are tolerated; then the run stops, or
//! the wave is rolled back first. A lost lease pauses the run. If the journal cannot be written, the engine ends with an error. An
//! environment that cannot be rolled back is recorded with the reason, and the others are rolled back.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    ControlSignal, Entry, Event, Journal, JournalWriter, LoadedRollout, RollbackScope, Run,
    checks::run_checks,
    environment::{EnvironmentTask, StepError},
    journal::ApplyOutcome,
    run::{EnvironmentOutcome, EnvironmentRun, RollbackStatus, RunStatus, WaveRun},
};
use crate::{
    model::{
        Code, EnvironmentName, Problem,
        rollout::{Terms, Then},
    },
    operations::LeaseMonitor,
    time::Clock,
};

/// Receives each entry once it is durable.
pub type Reporter = Box<dyn Fn(&Entry, &Run) + Send + Sync>;

/// Works through a rollout.
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    rollout: LoadedRollout,
    journal: Journal,
    run: Mutex<Run>,
    clock: Clock,
    signal: watch::Receiver<ControlSignal>,
    lease: LeaseMonitor,
    report: Reporter,
}

impl Shared {
    fn run<T>(&self, read: impl FnOnce(&Run) -> T) -> T {
        read(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn environment(&self, name: &EnvironmentName) -> EnvironmentRun {
        self.run(|run| run.environments.get(name).cloned().unwrap_or_default())
    }

    fn signal(&self) -> ControlSignal {
        // A process that was suspended for a while finds out here that its lease may have expired.
        if self.lease.is_held() { self.signal.borrow().clone() } else { ControlSignal::LeaseLost }
    }

    /// Returns true if a step may start. A rollback goes on after the abort that requested it.
    fn may_start(&self, rolling_back: bool) -> bool {
        match self.signal() {
            ControlSignal::Continue => true,
            ControlSignal::Abort { .. } => rolling_back,
            ControlSignal::Pause { .. } | ControlSignal::LeaseLost => false,
        }
    }
}

impl JournalWriter for Shared {
    async fn write(&self, event: Event) -> Result<(), Problem> {
        let entry = self.journal.append(event).await?;
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.apply_entry(&entry);
        (self.report)(&entry, &run);
        Ok(())
    }
}

/// A step in one environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Apply,
    Check,
    RollBack,
}

impl Engine {
    /// Creates an engine for a run whose journal is open. It starts with [`Engine::work`] or [`Engine::abort`].
    pub fn new(
        rollout: LoadedRollout,
        journal: Journal,
        run: Run,
        clock: Clock,
        (signal, lease): (watch::Receiver<ControlSignal>, LeaseMonitor),
        report: Reporter,
    ) -> Self {
        Self { shared: Arc::new(Shared { rollout, journal, run: Mutex::new(run), clock, signal, lease, report }) }
    }

    /// Works until the run is finished, stopped, aborted or paused, and returns its state. An error means that the journal
    /// cannot be written; every step that started is recorded in it.
    pub async fn work(self) -> Result<Run, Problem> {
        if self.shared.run(|run| run.rollback.is_some()) {
            self.resume_rollback().await?;
            return Ok(self.shared.run(Run::clone));
        }
        let count = self.shared.run(|run| run.waves.len());
        for index in 0..count {
            if !self.run_wave(index).await? {
                // An abort that arrives while the run stops by itself still counts.
                let stopped = self.shared.run(|run| matches!(run.status, RunStatus::Stopped { .. }));
                if stopped && matches!(self.shared.signal(), ControlSignal::Abort { .. }) {
                    self.handle_signal().await?;
                }
                return Ok(self.shared.run(Run::clone));
            }
        }
        self.shared.write(Event::Finished).await?;
        Ok(self.shared.run(Run::clone))
    }

    /// Aborts the run, after a rollback if one was requested.
    pub async fn abort(self, by: &str, rollback: Option<RollbackScope>) -> Result<Run, Problem> {
        if let Some(scope) = rollback {
            self.shared.write(start_full_rollback(by, scope)).await?;
            if !self.roll_back_all().await? {
                return Ok(self.shared.run(Run::clone));
            }
        }
        self.shared.write(Event::Aborted { by: by.to_owned() }).await?;
        Ok(self.shared.run(Run::clone))
    }

    /// Runs one wave. Returns false if the run ends or pauses in it.
    async fn run_wave(&self, index: usize) -> Result<bool, Problem> {
        let Some(wave) = self.shared.run(|run| run.waves.get(index).cloned()) else { return Ok(true) };
        if wave.ended {
            return Ok(true);
        }
        if self.handle_signal().await? {
            return Ok(false);
        }
        let terms = self.terms(&wave.name);
        if !wave.started {
            self.shared.write(Event::WaveStarted { wave: wave.name.clone() }).await?;
        }
        self.run_step_in_each(&wave, &terms, Step::Apply).await?;
        if self.handle_signal().await? || self.stop_if_too_many_failed(index, &terms).await? {
            return Ok(false);
        }
        if !self.soak(index, &terms).await? {
            return Ok(false);
        }
        if terms.checks.as_ref().is_some_and(|checks| !checks.is_empty()) {
            self.run_step_in_each(&wave, &terms, Step::Check).await?;
            if self.handle_signal().await? || self.stop_if_too_many_failed(index, &terms).await? {
                return Ok(false);
            }
        }
        self.shared.write(Event::WaveEnded { wave: wave.name }).await?;
        Ok(true)
    }

    /// Runs a step in every environment of a wave that needs it, several at once. Starts no more once too many have failed.
    async fn run_step_in_each(&self, wave: &WaveRun, terms: &Terms, step: Step) -> Result<(), Problem> {
        let permits = Arc::new(Semaphore::new(terms.parallel()));
        let tolerated = terms.failures().tolerate as usize;
        let mut running: JoinSet<Result<(), Problem>> = JoinSet::new();
        let mut result = Ok(());
        for name in &wave.environments {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            while let Some(ended) = running.try_join_next() {
                result = result.and(flatten_join(ended));
            }
            let too_many_failed = step != Step::RollBack && self.shared.run(|run| run.failures(wave)) > tolerated;
            if result.is_err() || too_many_failed || !self.shared.may_start(step == Step::RollBack) {
                break;
            }
            if !needs_step(&self.shared.environment(name), step, self.shared.run(Run::rolls_back_to_empty)) {
                continue;
            }
            let (shared, name, terms) = (Arc::clone(&self.shared), name.clone(), terms.clone());
            running.spawn(async move {
                let _permit = permit;
                run_step(&shared, &name, &terms, step).await
            });
        }
        // Steps that have started are finished.
        while let Some(ended) = running.join_next().await {
            result = result.and(flatten_join(ended));
        }
        result
    }

    /// Waits for the soak time of a wave, counted from its start in the journal, so that a restart does not prolong it.
    /// Returns false if the run ends or pauses meanwhile.
    async fn soak(&self, index: usize, terms: &Terms) -> Result<bool, Problem> {
        let wave = |run: &Run| run.waves.get(index).cloned();
        let Some(before) = self.shared.run(wave) else { return Ok(true) };
        let seconds = terms.soak.map_or(0, |soak| soak.duration().as_secs());
        // Without changes there is nothing to wait for.
        let changed = self.shared.run(|run| run.changed_in(&before).next().is_some());
        if before.soaked || seconds == 0 || !changed {
            return Ok(true);
        }
        if before.soak.is_none() {
            self.shared.write(Event::SoakStarted { wave: before.name.clone(), seconds }).await?;
        }
        let Some((since, seconds)) = self.shared.run(wave).and_then(|wave| wave.soak) else { return Ok(true) };
        let mut signals = self.shared.signal.clone();
        loop {
            let passed = self.shared.clock.now().as_millisecond().saturating_sub(since.as_millisecond());
            // A clock that was set back does not make the soak time longer.
            let passed = u64::try_from(passed).unwrap_or(0);
            let left = Duration::from_millis((seconds * 1000).saturating_sub(passed));
            if left.is_zero() {
                break;
            }
            let changed = tokio::time::timeout(left.min(Duration::from_secs(5)), signals.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                // Without a sender there are no more signals.
                tokio::time::sleep(left.min(Duration::from_secs(5))).await;
            }
            if self.handle_signal().await? {
                return Ok(false);
            }
        }
        self.shared.write(Event::SoakEnded { wave: before.name }).await?;
        Ok(true)
    }

    /// Obeys the signal. Returns true if the run ends or pauses.
    async fn handle_signal(&self) -> Result<bool, Problem> {
        if let ControlSignal::Abort { by, rollback } = self.shared.signal() {
            if let Some(scope) = rollback {
                self.shared.write(start_full_rollback(&by, scope)).await?;
                if !self.roll_back_all().await? {
                    return Ok(true);
                }
            }
            self.shared.write(Event::Aborted { by }).await?;
            return Ok(true);
        }
        self.pause_if_signalled().await
    }

    /// Pauses if the signal says so or the lease is lost. Returns true if it did.
    async fn pause_if_signalled(&self) -> Result<bool, Problem> {
        let event = match self.shared.signal() {
            ControlSignal::Continue | ControlSignal::Abort { .. } => return Ok(false),
            ControlSignal::Pause { reason, by } => Event::Paused { reason, by: Some(by), problem: None },
            ControlSignal::LeaseLost => {
                let problem = Problem::new(
                    Code::LeaseLost,
                    "the lease could not be renewed in time, so another process may start; nothing new was started",
                )
                .remedy(format!(
                    "When the service of the coordinator answers again: `mailwright rollout resume {}`.",
                    self.shared.rollout.file.name
                ));
                Event::Paused { reason: "the lease was lost".to_owned(), by: None, problem: Some(problem) }
            }
        };
        self.shared.write(event).await?;
        Ok(true)
    }

    /// Stops the run if more environments of a wave failed than the rollout tolerates, and rolls the wave back if it says so.
    async fn stop_if_too_many_failed(&self, index: usize, terms: &Terms) -> Result<bool, Problem> {
        let failures = terms.failures();
        let Some(wave) = self.shared.run(|run| run.waves.get(index).cloned()) else { return Ok(false) };
        let (failed, first) = self.shared.run(|run| {
            let first = wave.environments.iter().find_map(|name| {
                let environment = run.environments.get(name)?;
                Some((name.clone(), environment.problem.clone().filter(|_| environment.has_failed())?))
            });
            (run.failures(&wave), first)
        });
        if failed <= failures.tolerate as usize {
            return Ok(false);
        }
        let tolerated = failures.tolerate;
        let cause = first.map(|(name, problem)| format!("; `{name}`: {}", problem.message)).unwrap_or_default();
        let problem = Problem::new(
            Code::RolloutStopped,
            format!(
                "{failed} of {} environments of the wave `{}` failed; {tolerated} are tolerated{cause}",
                wave.environments.len(),
                wave.name
            ),
        )
        .remedy(format!(
            "Fix the cause, then `mailwright rollout resume {name}`; or `mailwright rollout abort {name} --take-back`.",
            name = self.shared.rollout.file.name
        ));
        if failures.then == Then::Stop {
            self.shared.write(Event::Stopped { problem }).await?;
            return Ok(true);
        }
        self.shared.write(Event::RollbackStarted { wave: Some(wave.name), reason: problem, to_empty: false }).await?;
        self.resume_rollback().await?;
        Ok(true)
    }

    /// Carries out the rollback that the journal has, and ends the run.
    async fn resume_rollback(&self) -> Result<(), Problem> {
        let Some(rollback) = self.shared.run(|run| run.rollback.clone()) else { return Ok(()) };
        let Some(wave) = rollback.wave else {
            if self.roll_back_all().await? {
                self.shared.write(Event::Aborted { by: rollback.reason.message }).await?;
            }
            return Ok(());
        };
        let Some(index) = self.shared.run(|run| run.waves.iter().position(|own| own.name == wave)) else {
            return self.shared.write(Event::Stopped { problem: rollback.reason }).await;
        };
        if self.roll_back_wave(index).await? {
            self.shared.write(Event::Stopped { problem: rollback.reason }).await?;
        }
        Ok(())
    }

    /// Rolls back all waves, the last one first. Returns false if it pauses.
    async fn roll_back_all(&self) -> Result<bool, Problem> {
        let count = self.shared.run(|run| run.waves.len());
        for index in (0..count).rev() {
            if !self.roll_back_wave(index).await? {
                return Ok(false);
            }
        }
        self.report_removed_environments().await
    }

    /// Reports the environments that the run changed and that are in no wave any more. They are not rolled back.
    async fn report_removed_environments(&self) -> Result<bool, Problem> {
        let rest = self.shared.run(|run| {
            let in_a_wave = |name: &EnvironmentName| run.waves.iter().any(|wave| wave.environments.contains(name));
            run.environments.keys().filter(|name| !in_a_wave(name)).cloned().collect::<Vec<_>>()
        });
        for name in rest {
            let problem = Problem::new(
                Code::RolloutFilesChanged,
                "the rollout no longer has this environment, so it is not rolled back".to_owned(),
            )
            .remedy(format!("mailwright history {name}; mailwright rollback {name} --to N"));
            if needs_step(&self.shared.environment(&name), Step::RollBack, self.shared.run(Run::rolls_back_to_empty)) {
                let event = Event::RollbackEnded { environment: name, generation: None, problem: Some(problem) };
                self.shared.write(event).await?;
            }
        }
        Ok(true)
    }

    /// Returns the terms of a wave. The waves of a run that is rolled back can differ from those of the file.
    fn terms(&self, wave: &str) -> Terms {
        let found = self.shared.rollout.file.waves.iter().find(|own| own.name == wave);
        found.map(|wave| wave.terms.clone()).unwrap_or_default()
    }

    /// Rolls back one wave. Returns false if it pauses.
    async fn roll_back_wave(&self, index: usize) -> Result<bool, Problem> {
        let Some(wave) = self.shared.run(|run| run.waves.get(index).cloned()) else { return Ok(true) };
        let terms = self.terms(&wave.name);
        self.run_step_in_each(&wave, &terms, Step::RollBack).await?;
        Ok(!self.pause_if_signalled().await?)
    }
}

fn start_full_rollback(by: &str, scope: RollbackScope) -> Event {
    let reason = Problem::new(Code::RolloutStopped, by.to_owned());
    Event::RollbackStarted { wave: None, reason, to_empty: scope == RollbackScope::IncludingEmpty }
}

fn flatten_join(ended: Result<Result<(), Problem>, tokio::task::JoinError>) -> Result<(), Problem> {
    ended.unwrap_or_else(|error| Err(Problem::new(Code::Internal, format!("a step ended unexpectedly: {error}"))))
}

/// Returns true if an environment needs a step.
fn needs_step(environment: &EnvironmentRun, step: Step, to_empty: bool) -> bool {
    match step {
        Step::Apply => !environment.is_applied() && !environment.has_failed(),
        Step::Check => environment.is_applied() && environment.checks_passed.is_none(),
        // A changeset whose apply failed may have been accepted.
        Step::RollBack => {
            let changed =
                matches!(environment.outcome, EnvironmentOutcome::Applied { .. }) || !environment.open.is_empty();
            // A rollback that was refused because the environment was empty before is tried again if emptying it is requested.
            let was_empty = matches!(environment.outcome, EnvironmentOutcome::Applied { before: 0, .. });
            let again = to_empty && was_empty && environment.rollback == Some(RollbackStatus::Refused);
            changed && (again || matches!(environment.rollback, None | Some(RollbackStatus::Requested { .. })))
        }
    }
}

/// Runs a step in one environment, and records its outcome in the journal.
async fn run_step(shared: &Shared, name: &EnvironmentName, terms: &Terms, step: Step) -> Result<(), Problem> {
    let known = shared.environment(name);
    let Shared { rollout, clock, lease, .. } = shared;
    let (obeys_watch, deadline) = (shared.run(|run| run.watch), terms.deadline());
    let task = EnvironmentTask { name, rollout, clock, lease: Some(lease), obeys_watch, deadline };
    let environment = name.clone();
    let event = match step {
        Step::Apply => match StepError::split(task.apply(&known, shared).await)? {
            // The intent is in the journal: a run that is resumed finds out from the service if it was accepted.
            Err(problem) if problem.code == Code::LeaseLost => return Ok(()),
            Ok(outcome) => Event::Ended { environment, outcome },
            Err(problem) => Event::Ended { environment, outcome: ApplyOutcome::Failed { problem } },
        },
        Step::Check => {
            let checks = terms.checks.clone().unwrap_or_default();
            let unchanged = matches!(known.outcome, EnvironmentOutcome::Unchanged { .. });
            let run = shared.run(|run| (run.id, unchanged && run.unsoaked.contains(&environment)));
            Event::Checked { environment, problem: run_checks(&task, &checks, &known, run).await.err() }
        }
        Step::RollBack => {
            match StepError::split(task.roll_back(&known, shared, shared.run(Run::rolls_back_to_empty)).await)? {
                Err(problem) if problem.code == Code::LeaseLost => return Ok(()),
                Ok(generation) => Event::RollbackEnded { environment, generation, problem: None },
                Err(problem) => Event::RollbackEnded { environment, generation: None, problem: Some(problem) },
            }
        }
    };
    shared.write(event).await
}
