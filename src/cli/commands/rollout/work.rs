//! Work on a run, for `start`, `resume` and `abort`: holds the lease, listens for signals, prints progress and the result.
//!
//! [`Work`] has the options, `run_with_lease` does the work. The first Ctrl-C pauses the run, the second ends the process. The
//! waves are [`crate::rollout::session`]'s and the engine's. A run that was stopped, or paused by a problem, is an error (1); one
//! with tolerated failures ends with 2, a paused one with 4.

use tokio::sync::watch;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Printer,
        commands::rollout::{Format, Services, StateFolder, current_operator, with_rollout_name},
    },
    model::{Code, Problem},
    operations::LeaseDuration,
    rollout::{
        ControlSignal, PauseOrigin, Run, render,
        run::RunStatus,
        session::{Session, Task},
    },
    text::printable,
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

impl Work {
    pub(super) fn work(&self, context: &Context, session: Session<'_>) -> Result<Exit, CliError> {
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
        session: Session<'_>,
        task: Task,
    ) -> Result<Run, CliError> {
        let name = session.rollout.file.name.clone();
        let duration = LeaseDuration { seconds: self.lease_seconds };
        let (signals, signal) = watch::channel(ControlSignal::Continue);
        let (ended_at_once, mut at_once) = watch::channel(false);
        let listening = tokio::spawn(listen_to_signals(context.printer.clone(), signals.clone(), ended_at_once));
        let interrupted = async {
            if at_once.wait_for(|now| *now).await.is_err() {
                std::future::pending::<()>().await;
            }
            Problem::new(
                Code::RolloutStopped,
                "ended at once; steps that had started may have been finished by the services",
            )
            .remedy(format!("`mailwright rollout resume {name}` asks the services, and repeats nothing."))
        };
        let report = self.reporter(context);
        let result = session.run(task, duration, &context.clock, (signals, signal), report, interrupted).await;
        listening.abort();
        result.map_err(CliError::from)
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
            context.printer.out(&format!("\n{}", self.state.render(context, run, false)));
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
        let by = PauseOrigin::Operator(printable(&current_operator()).into_owned());
        ControlSignal::Pause { reason: name.to_owned(), by }.send(&signals);
    }
}
