//! What the subcommands do that work on a run: hold the lease, listen to whoever wants something, tell, and end.

use std::time::Duration;

use tokio::{runtime::Runtime, sync::watch};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Printer,
        commands::rollout::{Format, Services, StateFolder, named},
    },
    model::Code,
    rollout::{
        Engine, Event, Journal, Material, Reach, Run, Wish,
        journal::{Contents, Order, OrderedWave},
        lock::{Folder, Lasting, Lease, Locked, Request, Want},
        render,
        run::Standing,
    },
};

/// What working on a rollout needs.
#[derive(Debug, clap::Args)]
pub(super) struct Work {
    /// How to print progress
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) state: StateFolder,
    #[command(flatten)]
    pub(super) services: Services,
    /// How long the lease lasts without being renewed
    #[arg(long, hide = true, default_value_t = Lasting::default().seconds, value_parser = clap::value_parser!(u32).range(3..=600))]
    lease_seconds: u32,
}

impl Work {
    /// Returns the format of an error: with JSON, progress is one document per line, and an error is the last line.
    pub(super) fn error_format(&self) -> ErrorFormat {
        if self.format == Format::Json { ErrorFormat::JsonLine } else { ErrorFormat::Text }
    }
}

/// What is to be done in which waves, as the journal keeps it.
pub(super) fn order(material: &Material) -> Order {
    let mut digests = material.digests();
    let waves = material.file.waves.iter().map(|wave| OrderedWave {
        name: wave.name.clone(),
        environments: wave
            .environments
            .iter()
            .map(|name| (name.clone(), digests.remove(name).unwrap_or_default()))
            .collect(),
    });
    Order {
        file: material.file.digest.clone(),
        waves: waves.collect(),
        source: material.source.clone(),
        coordinator: material.file.coordinator.clone(),
    }
}

/// What a process works with.
pub(super) struct Session {
    pub(super) locked: Locked,
    pub(super) contents: Contents,
    /// What is written first: that it begins, or that it goes on.
    pub(super) first: Event,
    pub(super) material: Material,
    pub(super) by: String,
}

/// What is to be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Work,
    TakeBack(Reach),
}

impl Work {
    pub(super) fn work(&self, context: &Context, runtime: &Runtime, session: Session) -> Result<Exit, CliError> {
        let name = session.material.file.name.clone();
        let result = runtime.block_on(self.at_it(context, session, Task::Work));
        let run = result.map_err(|error| CliError {
            remedy: error.remedy.map(|r| r.replace(" NAME", &format!(" {name}"))),
            ..error
        })?;
        self.end(context, &run)
    }

    /// Holds the lease, works, and gives the lease back, however that ends.
    pub(super) async fn at_it(&self, context: &Context, session: Session, task: Task) -> Result<Run, CliError> {
        let name = session.material.file.name.clone();
        let lasting = Lasting { seconds: self.lease_seconds };
        let holder = session.locked.holder(&session.by)?;
        let lease = Lease::take(session.material.coordinator()?, &format!("rollout:{name}"), holder, lasting).await?;
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
        let Session { locked, mut contents, first, material, by } = session;
        let name = material.file.name.clone();
        // Only now is it sure that nobody else is at it.
        locked.forget_requests();
        if matches!(first, Event::Begun { .. })
            && let Some(last) = Run::of(&contents.entries)
        {
            locked.put_journal_aside(last.id)?;
            contents = Contents::default();
        }
        let (wishes, wish) = watch::channel(Wish::GoOn);
        let journal = Journal::open(&locked.folder().journal(), &contents, context.clock.clone())?;
        let begun = journal.append(first).await?;
        contents.entries.push(begun.clone());
        let mut run =
            Run::of(&contents.entries).ok_or_else(|| CliError::new("the journal does not begin with a run"))?;
        let leased = journal.append(Event::Leased { token: lease.token() }).await?;
        run.take(&leased);
        let tell = self.teller(context);
        tell(&begun, &run);
        let engine = Engine::new(material, journal, run, context.clock.clone(), (wish, lease.held()), tell);
        let (ended_at_once, mut at_once) = watch::channel(false);
        let listening = [
            tokio::spawn(listen_to_signals(context.printer.clone(), wishes.clone(), ended_at_once)),
            tokio::spawn(listen_to_requests(locked.folder().clone(), wishes.clone())),
            tokio::spawn(listen_to_lease(lease.lost(), wishes)),
        ];
        let work = async {
            match task {
                Task::Work => engine.work().await,
                Task::TakeBack(reach) => engine.abort(&by, Some(reach)).await,
            }
        };
        let result = tokio::select! {
            result = work => result.map_err(CliError::from),
            _ = at_once.wait_for(|now| *now) => Err(CliError::coded(
                Code::RolloutStopped,
                "ended at once; what was under way may have been done",
            )
            .remedy(format!("mailwright rollout resume {name} asks the services, and repeats nothing."))),
        };
        listening.iter().for_each(tokio::task::JoinHandle::abort);
        locked.forget_requests();
        result
    }

    fn teller(&self, context: &Context) -> crate::rollout::engine::Tell {
        let (printer, format) = (context.printer.clone(), self.format);
        Box::new(move |entry, run| match format {
            Format::Human => {
                if let Some(line) = render::entry(entry, run) {
                    printer.out(&line);
                }
            }
            Format::Json => printer.out(&serde_json::to_string(entry).unwrap_or_default()),
        })
    }

    /// Says how it ended.
    fn end(&self, context: &Context, run: &Run) -> Result<Exit, CliError> {
        let failed = run.problems().count();
        if self.format == Format::Human {
            context.printer.out(&format!("\n{}", render::run(run, false, context.clock.now())));
        }
        match &run.standing {
            Standing::Finished if failed > 0 => Ok(Exit::Code(2)),
            Standing::Finished => Ok(Exit::Done),
            Standing::Aborted { .. } if failed == 0 => Ok(Exit::Done),
            Standing::Aborted { .. } => Err(CliError::coded(
                Code::RolloutStopped,
                format!("given up; {failed} environments have problems, see above"),
            )),
            Standing::Paused { problem: Some(problem), .. } | Standing::Stopped { problem } => {
                Err(named(problem.clone(), &run.rollout))
            }
            Standing::Paused { .. } | Standing::UnderWay => Ok(Exit::Code(3)),
        }
    }
}

/// The first Ctrl-C (or SIGTERM) pauses, the second ends at once.
async fn listen_to_signals(printer: Printer, wishes: watch::Sender<Wish>, at_once: watch::Sender<bool>) {
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
        printer.note("\nPausing: what is under way is brought to its end. Once more ends at once.");
        want(&wishes, Wish::Pause { why: name.to_owned() });
    }
}

/// What somebody at another terminal wants.
async fn listen_to_requests(folder: Folder, wishes: watch::Sender<Wish>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let Some(Request { want: wanted, by }) = folder.asked() else { continue };
        let wish = match wanted {
            Want::Pause => Wish::Pause { why: format!("{by} asked for it") },
            Want::Abort => Wish::Abort { by, take_back: None },
            Want::TakeBack => Wish::Abort { by, take_back: Some(Reach::ToWhatWas) },
            Want::TakeBackToNothing => Wish::Abort { by, take_back: Some(Reach::ToNothing) },
        };
        want(&wishes, wish);
    }
}

async fn listen_to_lease(mut lost: watch::Receiver<bool>, wishes: watch::Sender<Wish>) {
    if lost.wait_for(|lost| *lost).await.is_ok() {
        want(&wishes, Wish::LeaseLost);
    }
}

/// The stronger wish stays: whoever gave it up does not want a pause any more, and without the lease nothing goes on.
fn want(wishes: &watch::Sender<Wish>, wish: Wish) {
    let rank = |wish: &Wish| match wish {
        Wish::GoOn => 0,
        Wish::Pause { .. } => 1,
        Wish::Abort { take_back: None, .. } => 2,
        Wish::Abort { take_back: Some(Reach::ToWhatWas), .. } => 3,
        Wish::Abort { take_back: Some(Reach::ToNothing), .. } => 4,
        Wish::LeaseLost => 5,
    };
    wishes.send_if_modified(|present| {
        let stronger = rank(&wish) > rank(present);
        if stronger {
            *present = wish;
        }
        stronger
    });
}
