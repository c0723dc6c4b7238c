//! One process's work on a run: holds the lease, opens the journal, listens to requests from other terminals, and runs the
//! engine.
//!
//! `cli` and `watch` call [`Session::run`], which returns when the run has ended or paused. It decides nothing about waves.

use std::{future::Future, time::Duration};

use tokio::sync::watch;

use super::{
    ControlSignal, Engine, Event, Journal, LoadedRollout, PauseOrigin, RollbackScope, Run,
    engine::Reporter,
    folder::{ControlCommand, ControlRequest, LockedFolder, RolloutFolder},
    journal::{self, JournalContents, RolloutSpec, WaveSpec},
    run::RunStatus,
};
use crate::{
    model::{Code, Problem},
    operations::{Lease, LeaseDuration},
    time::Clock,
};

/// The interval in which requests from other terminals are read.
const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

/// The run that a process works on.
pub struct Session {
    /// The locked folder of the journal.
    pub locked: LockedFolder,
    /// The entries of the journal so far.
    pub contents: JournalContents,
    /// The first entry that this process writes: the run is started or resumed.
    pub first: Event,
    /// The files.
    pub rollout: LoadedRollout,
    /// The operator.
    pub by: String,
}

/// The task of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Work through the waves.
    Work,
    /// Roll back, and abort.
    RollBack(RollbackScope),
}

impl LoadedRollout {
    /// Returns the waves and environments, as the journal keeps them.
    pub fn spec(&self) -> RolloutSpec {
        let mut digests = self.digests();
        let waves = self.file.waves.iter().map(|wave| WaveSpec {
            name: wave.name.clone(),
            environments: wave
                .environments
                .iter()
                .map(|name| (name.clone(), digests.remove(name).unwrap_or_default()))
                .collect(),
        });
        RolloutSpec {
            file: self.file.digest.clone(),
            waves: waves.collect(),
            source: self.source.clone(),
            coordinator: self.file.coordinator.clone(),
        }
    }
}

impl Session {
    /// Acquires the lease, works on the run until it ends or pauses or `interrupted` returns, and releases the lease.
    pub async fn run(
        self,
        task: Task,
        duration: LeaseDuration,
        clock: &Clock,
        (signals, signal): (watch::Sender<ControlSignal>, watch::Receiver<ControlSignal>),
        report: Reporter,
        interrupted: impl Future<Output = Problem>,
    ) -> Result<Run, Problem> {
        let name = self.rollout.file.name.clone();
        let holder = self.locked.lease_holder(&self.by)?;
        let lease = Lease::acquire(self.rollout.coordinator()?, &format!("rollout:{name}"), holder, duration).await?;
        let result = self.run_with_lease(task, &lease, clock, (signals, signal), report, interrupted).await;
        lease.release().await;
        result
    }

    async fn run_with_lease(
        self,
        task: Task,
        lease: &Lease,
        clock: &Clock,
        (signals, signal): (watch::Sender<ControlSignal>, watch::Receiver<ControlSignal>),
        report: Reporter,
        interrupted: impl Future<Output = Problem>,
    ) -> Result<Run, Problem> {
        let Session { locked, mut contents, first, rollout, by } = self;
        // With lock and lease, no other process works on the run.
        locked.clear_requests();
        if matches!(first, Event::Started { .. })
            && let Some(last) = Run::from_entries(&contents.entries)
        {
            locked.archive_journal(last.id)?;
            contents = JournalContents::default();
        }
        let journal = Journal::open(&locked.folder().journal(), &contents, clock.clone())?;
        let first = journal.append(first).await?;
        contents.entries.push(first.clone());
        let mut run = Run::from_entries(&contents.entries)
            .ok_or_else(|| Problem::new(Code::Internal, "the journal does not begin with a run"))?;
        let leased = journal.append(Event::LeaseAcquired { token: lease.token() }).await?;
        run.apply_entry(&leased);
        report(&first, &run);
        let engine = Engine::new(rollout, journal, run, clock.clone(), (signal, lease.monitor()), report);
        let listening = [
            tokio::spawn(listen_to_requests(locked.folder().clone(), signals.clone())),
            tokio::spawn(listen_to_lease(lease.lost(), signals)),
        ];
        let work = async {
            match task {
                Task::Work => engine.work().await,
                Task::RollBack(scope) => engine.abort(&by, Some(scope)).await,
            }
        };
        let mut result = tokio::select! {
            result = work => result,
            problem = interrupted => Err(problem),
        };
        listening.iter().for_each(tokio::task::JoinHandle::abort);
        if let Ok(run) = &mut result {
            record_late_request(run, &locked, clock).await?;
        }
        locked.clear_requests();
        result
    }
}

/// Records a request that arrived while the run paused for its watch, which would resume it otherwise. A rollback is not
/// started any more: the run is paused then.
async fn record_late_request(run: &mut Run, locked: &LockedFolder, clock: &Clock) -> Result<(), Problem> {
    if !matches!(run.status, RunStatus::Paused { by: Some(PauseOrigin::Watch), .. }) {
        return Ok(());
    }
    let Some(ControlRequest { command, by }) = locked.folder().pending_request() else { return Ok(()) };
    let event = match command {
        ControlCommand::Abort => Event::Aborted { by },
        _ => Event::Paused { reason: format!("requested by {by}"), by: Some(PauseOrigin::Operator(by)), problem: None },
    };
    let path = locked.folder().journal();
    let journal = Journal::open(&path, &journal::read(&path)?, clock.clone())?;
    run.apply_entry(&journal.append(event).await?);
    Ok(())
}

/// Passes on the requests from other terminals.
async fn listen_to_requests(folder: RolloutFolder, signals: watch::Sender<ControlSignal>) {
    loop {
        tokio::time::sleep(REQUEST_INTERVAL).await;
        let Some(ControlRequest { command, by }) = folder.pending_request() else { continue };
        let signal = match command {
            ControlCommand::Pause => {
                ControlSignal::Pause { reason: format!("requested by {by}"), by: PauseOrigin::Operator(by) }
            }
            ControlCommand::Abort => ControlSignal::Abort { by, rollback: None },
            ControlCommand::AbortAndRollBack => {
                ControlSignal::Abort { by, rollback: Some(RollbackScope::PreviousGenerations) }
            }
            ControlCommand::AbortAndRollBackToEmpty => {
                ControlSignal::Abort { by, rollback: Some(RollbackScope::IncludingEmpty) }
            }
        };
        signal.send(&signals);
    }
}

async fn listen_to_lease(mut lost: watch::Receiver<bool>, signals: watch::Sender<ControlSignal>) {
    if lost.wait_for(|lost| *lost).await.is_ok() {
        ControlSignal::LeaseLost.send(&signals);
    }
}
