//! Work on a run, for the subcommands that do it: holds the lease, listens for signals, prints progress and the result.

use std::time::Duration;

use tokio::sync::watch;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Printer,
        commands::rollout::{Format, Services, StateFolder, with_rollout_name},
    },
    model::Code,
    operations::{Lease, LeaseDuration},
    rollout::{
        ControlSignal, Engine, Event, Journal, LoadedRollout, RollbackScope, Run,
        folder::{ControlCommand, ControlRequest, LockedFolder, RolloutFolder},
        journal::{JournalContents, RolloutSpec, WaveSpec},
        render,
        run::RunStatus,
    },
};

/// The options of commands that work on a run.
#[derive(Debug, clap::Args)]
pub(super) struct Work {
    /// Output format of progress
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) state: StateFolder,
    #[command(flatten)]
    pub(super) services: Services,
    /// Lease duration in seconds
    #[arg(long, hide = true, default_value_t = LeaseDuration::default().seconds, value_parser = clap::value_parser!(u32).range(3..=600))]
    lease_seconds: u32,
}

impl Work {
    /// Returns the format of an error: with JSON, progress is one document per line, and an error is the last line.
    pub(super) fn error_format(&self) -> ErrorFormat {
        if self.format == Format::Json { ErrorFormat::JsonLine } else { ErrorFormat::Text }
    }
}

/// Returns the waves and environments of a rollout, as the journal keeps them.
pub(super) fn rollout_spec(rollout: &LoadedRollout) -> RolloutSpec {
    let mut digests = rollout.digests();
    let waves = rollout.file.waves.iter().map(|wave| WaveSpec {
        name: wave.name.clone(),
        environments: wave
            .environments
            .iter()
            .map(|name| (name.clone(), digests.remove(name).unwrap_or_default()))
            .collect(),
    });
    RolloutSpec {
        file: rollout.file.digest.clone(),
        waves: waves.collect(),
        source: rollout.source.clone(),
        coordinator: rollout.file.coordinator.clone(),
    }
}

/// The run that a process works on.
pub(super) struct Session {
    pub(super) locked: LockedFolder,
    pub(super) contents: JournalContents,
    /// The first entry that this process writes: the run is started or resumed.
    pub(super) first: Event,
    pub(super) rollout: LoadedRollout,
    pub(super) by: String,
}

/// The task of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Work,
    RollBack(RollbackScope),
}

impl Work {
    pub(super) fn work(&self, context: &Context, session: Session) -> Result<Exit, CliError> {
        let name = session.rollout.file.name.clone();
        let result = context.runtime()?.block_on(self.run_with_lease(context, session, Task::Work));
        let run = result.map_err(|error| CliError {
            remedy: error.remedy.map(|r| r.replace(" NAME", &format!(" {name}"))),
            ..error
        })?;
        self.report_result(context, &run)
    }

    /// Acquires the lease, works on the run, and releases the lease.
    pub(super) async fn run_with_lease(
        &self,
        context: &Context,
        session: Session,
        task: Task,
    ) -> Result<Run, CliError> {
        let name = session.rollout.file.name.clone();
        let duration = LeaseDuration { seconds: self.lease_seconds };
        let holder = session.locked.lease_holder(&session.by)?;
        let lease =
            Lease::acquire(session.rollout.coordinator()?, &format!("rollout:{name}"), holder, duration).await?;
        let result = self.with_lease(context, session, &lease, task).await;
        lease.release().await;
        result
    }

    async fn with_lease(
        &self,
        context: &Context,
        session: Session,
        lease: &Lease,
        task: Task,
    ) -> Result<Run, CliError> {
        let Session { locked, mut contents, first, rollout, by } = session;
        let name = rollout.file.name.clone();
        // With lock and lease, no other process works on the run.
        locked.clear_requests();
        if matches!(first, Event::Started { .. })
            && let Some(last) = Run::from_entries(&contents.entries)
        {
            locked.archive_journal(last.id)?;
            contents = JournalContents::default();
        }
        let (signals, signal) = watch::channel(ControlSignal::Continue);
        let journal = Journal::open(&locked.folder().journal(), &contents, context.clock.clone())?;
        let first = journal.append(first).await?;
        contents.entries.push(first.clone());
        let mut run = Run::from_entries(&contents.entries)
            .ok_or_else(|| CliError::new("the journal does not begin with a run"))?;
        let leased = journal.append(Event::LeaseAcquired { token: lease.token() }).await?;
        run.apply_entry(&leased);
        let report = self.reporter(context);
        report(&first, &run);
        let engine = Engine::new(rollout, journal, run, context.clock.clone(), (signal, lease.monitor()), report);
        let (ended_at_once, mut at_once) = watch::channel(false);
        let listening = [
            tokio::spawn(listen_to_signals(context.printer.clone(), signals.clone(), ended_at_once)),
            tokio::spawn(listen_to_requests(locked.folder().clone(), signals.clone())),
            tokio::spawn(listen_to_lease(lease.lost(), signals)),
        ];
        let work = async {
            match task {
                Task::Work => engine.work().await,
                Task::RollBack(scope) => engine.abort(&by, Some(scope)).await,
            }
        };
        let result = tokio::select! {
            result = work => result.map_err(CliError::from),
            _ = at_once.wait_for(|now| *now) => Err(CliError::coded(
                Code::RolloutStopped,
                "ended at once; steps that had started may have been finished by the services",
            )
            .remedy(format!("`mailwright rollout resume {name}` asks the services, and repeats nothing."))),
        };
        listening.iter().for_each(tokio::task::JoinHandle::abort);
        locked.clear_requests();
        result
    }

    fn reporter(&self, context: &Context) -> crate::rollout::engine::Reporter {
        let (printer, format) = (context.printer.clone(), self.format);
        Box::new(move |entry, run| match format {
            Format::Human => {
                if let Some(line) = render::render_entry(entry, run) {
                    printer.out(&line);
                }
            }
            Format::Json => printer.document(&serde_json::to_string(entry).unwrap_or_default()),
        })
    }

    /// Prints the state of the run, and returns the exit code.
    fn report_result(&self, context: &Context, run: &Run) -> Result<Exit, CliError> {
        let failed = run.problems().count();
        if self.format == Format::Human {
            context.printer.out(&format!("\n{}", render::render_run(run, false, context.clock.now())));
        }
        match &run.status {
            RunStatus::Finished if failed > 0 => Ok(Exit::Attention),
            RunStatus::Finished => Ok(Exit::Done),
            RunStatus::Aborted { .. } if failed == 0 => Ok(Exit::Done),
            RunStatus::Aborted { .. } => Err(CliError::coded(
                Code::RolloutStopped,
                format!("aborted; {failed} environments have problems, which are above"),
            )),
            RunStatus::Paused { problem: Some(problem), .. } | RunStatus::Stopped { problem } => {
                Err(with_rollout_name(problem.clone(), &run.rollout))
            }
            RunStatus::Paused { .. } | RunStatus::Running => Ok(Exit::Unfinished),
        }
    }
}

/// Listens for Ctrl-C and SIGTERM: the first one pauses the run, the second one ends it at once.
async fn listen_to_signals(printer: Printer, signals: watch::Sender<ControlSignal>, at_once: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    for count in 1.. {
        let name = tokio::select! {
            _ = interrupt.recv() => "Ctrl-C",
            _ = terminate.recv() => "SIGTERM",
        };
        if count > 1 {
            at_once.send_replace(true);
            return;
        }
        printer.note("\nPausing: steps that have started are finished. Press Ctrl-C again to end at once.");
        ControlSignal::Pause { reason: name.to_owned() }.send(&signals);
    }
}

/// Passes on the requests from other terminals.
async fn listen_to_requests(folder: RolloutFolder, signals: watch::Sender<ControlSignal>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let Some(ControlRequest { command, by }) = folder.pending_request() else { continue };
        let signal = match command {
            ControlCommand::Pause => ControlSignal::Pause { reason: format!("requested by {by}") },
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
