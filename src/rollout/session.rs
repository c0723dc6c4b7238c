//! One process's work on a run: holds the lease, opens the journal, listens to requests from other terminals, and runs the
//! engine.
//!
//! `cli` and `watch` call [`Session::run`], which returns when the run has ended or paused. If the lease cannot be acquired, it
//! returns the problem, and records a request that arrived meanwhile for the next process. If `interrupted` returns first, steps in
//! progress are cut off, and the journal has what may have been sent. It decides nothing about waves.

use std::{future::Future, time::Duration};

use tokio::sync::watch;

use super::{
    ControlSignal, Engine, Event, Journal, LoadedRollout, PauseOrigin, RollbackScope, Run,
    engine::Reporter,
    folder::{ControlCommand, ControlRequest, LockedFolder, RolloutFolder},
    journal::{self, JournalContents, RolloutSpec, WaveSpec},
};
use crate::{
    model::{Code, Problem},
    operations::{Lease, LeaseDuration},
    time::Clock,
};

/// The interval in which requests from other terminals are read.
const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

/// The run that a process works on.
pub struct Session<'a> {
    /// The locked folder of the journal.
    pub locked: &'a LockedFolder,
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

impl Session<'_> {
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
        let lease = match self.acquire_lease(duration).await {
            Ok(lease) => lease,
            Err(problem) => {
                self.record_request_before_start(clock).await?;
                return Err(problem);
            }
        };
        let result = self.run_with_lease(task, &lease, clock, (signals, signal), report, interrupted).await;
        lease.release().await;
        result
    }

    async fn acquire_lease(&self, duration: LeaseDuration) -> Result<Lease, Problem> {
        let file = &self.rollout.file;
        let holder = self.locked.lease_holder(&self.by)?;
        let acquire = async {
            let client = self.rollout.coordinator()?;
            Lease::acquire(client, &format!("rollout:{}", file.name), holder, duration).await
        };
        acquire.await.map_err(|problem: Problem| match problem.code {
            Code::LeaseHeld => problem,
            code => {
                let coordinator = &file.coordinator;
                let message = format!(
                    "cannot acquire the lease in the service of the coordinator `{coordinator}`: {}",
                    problem.message
                );
                let remedy = if code == Code::AddressMissing {
                    format!(
                        "Correct `service.address` of `{coordinator}`, or name another environment as `coordinator` in rollouts/{}.yaml.",
                        file.name
                    )
                } else {
                    problem.remedy
                };
                Problem { message, remedy, ..problem }
            }
        })
    }

    /// Records a request that arrived while the lease could not be acquired, so that the next process obeys it.
    async fn record_request_before_start(self, clock: &Clock) -> Result<(), Problem> {
        let Some(request) = self.locked.folder().pending_request() else { return Ok(()) };
        if matches!(self.first, Event::Resumed { .. }) {
            let run = Run::from_entries(&self.contents.entries);
            return match run {
                Some(mut run) => record_late_request(&mut run, self.locked, clock).await,
                None => Ok(()),
            };
        }
        let (journal, _) = open_journal(self.locked, self.contents, self.first, clock).await?;
        journal.append(event_of(request)).await.map(drop)
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
        let Session { locked, contents, first, rollout, by } = self;
        let (journal, contents) = open_journal(locked, contents, first, clock).await?;
        let mut run = Run::from_entries(&contents.entries)
            .ok_or_else(|| Problem::new(Code::Internal, "the journal does not begin with a run"))?;
        let leased = journal.append(Event::LeaseAcquired { token: lease.token() }).await?;
        run.apply_entry(&leased);
        if let Some(first) = contents.entries.last() {
            report(first, &run);
        }
        if let Some(request) = locked.folder().pending_request() {
            signal_of(request).send(&signals);
        }
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
            record_late_request(run, locked, clock).await?;
        }
        result
    }
}

/// Opens the journal and writes the first entry of this process. The journal of an ended run is archived if another run starts.
/// Returns the contents with the entry.
async fn open_journal(
    locked: &LockedFolder,
    mut contents: JournalContents,
    first: Event,
    clock: &Clock,
) -> Result<(Journal, JournalContents), Problem> {
    let ended = match &first {
        Event::Started { .. } => Run::from_entries(&contents.entries),
        _ => None,
    };
    let journal = match &ended {
        Some(_) => {
            contents = JournalContents::default();
            Journal::open(&locked.begun_journal(), &contents, clock.clone())?
        }
        None => Journal::open(&locked.folder().journal(), &contents, clock.clone())?,
    };
    contents.entries.push(journal.append(first).await?);
    if let Some(ended) = ended {
        locked.replace_journal(ended.id)?;
    }
    Ok((journal, contents))
}

/// Records a request that no engine has obeyed: it arrived while the run paused for its watch, which would resume it otherwise, or
/// while the lease was acquired.
async fn record_late_request(run: &mut Run, locked: &LockedFolder, clock: &Clock) -> Result<(), Problem> {
    let Some(request) = locked.folder().pending_request() else { return Ok(()) };
    let applies = match request.command {
        ControlCommand::Abort => !run.status.is_final(),
        _ => run.status.can_be_paused(),
    };
    if !applies {
        return Ok(());
    }
    let path = locked.folder().journal();
    let journal = Journal::open(&path, &journal::read(&path)?, clock.clone())?;
    run.apply_entry(&journal.append(event_of(request)).await?);
    Ok(())
}

/// Returns the entry that a request becomes without an engine. A rollback is not started: the run is paused instead.
fn event_of(ControlRequest { command, by }: ControlRequest) -> Event {
    match command {
        ControlCommand::Abort => Event::Aborted { by },
        _ => Event::paused_by_operator(by),
    }
}

fn signal_of(ControlRequest { command, by }: ControlRequest) -> ControlSignal {
    match command {
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
    }
}

/// Passes on the requests from other terminals.
async fn listen_to_requests(folder: RolloutFolder, signals: watch::Sender<ControlSignal>) {
    loop {
        tokio::time::sleep(REQUEST_INTERVAL).await;
        if let Some(request) = folder.pending_request() {
            signal_of(request).send(&signals);
        }
    }
}

async fn listen_to_lease(mut lost: watch::Receiver<bool>, signals: watch::Sender<ControlSignal>) {
    if lost.wait_for(|lost| *lost).await.is_ok() {
        ControlSignal::LeaseLost.send(&signals);
    }
}
