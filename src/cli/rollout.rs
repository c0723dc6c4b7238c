//! `mailwright rollout`: a change to many environments in waves, with checks in between.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{runtime::Runtime, sync::watch};

use super::{CliError, Context, Exit, ServiceOptions, confirm::confirm, environment, plan, variables};
use crate::{
    config::{Repository, RolloutFile, suggest},
    git,
    model::{Code, RolloutName},
    rollout::{
        Engine, Event, Journal, Material, Problem, Purpose, Run, Wish,
        journal::{self, Contents, Order, OrderedWave},
        lock::{Folder, Lasting, Lease, Locked, Request, Want},
        plan as planning, render,
        run::Standing,
    },
};

/// Bring a change to many environments in waves, with checks in between
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright rollout plan relay-587            what would change, equal changes told once\n  \
    mailwright rollout start relay-587           shows the plan, asks, and works through the waves\n  \
    mailwright rollout status relay-587          how far it is, from its journal alone\n  \
    mailwright rollout pause relay-587           from another terminal; so does Ctrl-C\n  \
    mailwright rollout resume relay-587          after a pause, a stop, or when the process was killed\n  \
    mailwright rollout abort relay-587 --take-back\n\n\
    The file is rollouts/NAME.yaml; `mailwright schema rollout` describes it. Tokens: one a service, so give\n\
    `--token-file 'tokens/{environment}'` or set MAILWRIGHT_TOKEN_FILE so.\n\n\
    Exit codes of start, resume and abort: 0 done; 1 stopped, refused or failed; 2 finished, with failures that were\n\
    tolerated; 3 paused."
)]
pub(crate) struct Rollout {
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RolloutCommand {
    /// What would change in which environments, equal changes together
    Plan {
        /// The rollout
        name: String,
        /// How many services are asked at once
        #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
        parallel: u16,
        /// How to print it
        #[arg(long, value_enum, default_value_t = plan::Format::Human, value_name = "FORMAT")]
        format: plan::Format,
        #[command(flatten)]
        services: Services,
    },
    /// Begin, and work through the waves
    Start {
        /// The rollout
        name: String,
        /// Do not show the plan and ask
        #[arg(long, short = 'y')]
        yes: bool,
        #[command(flatten)]
        work: Work,
    },
    /// Go on with a run that was paused, stopped or killed
    Resume {
        /// The rollout
        name: String,
        /// The files changed since: give the environments that are not done what they say now
        #[arg(long)]
        accept_changes: bool,
        #[command(flatten)]
        work: Work,
    },
    /// How far a run is; without a name, all of them
    Status {
        /// The rollout
        name: Option<String>,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        state: StateFolder,
    },
    /// Ask the process that is at it to pause
    Pause {
        /// The rollout
        name: String,
        #[command(flatten)]
        state: StateFolder,
    },
    /// Give a run up; what is done stays, unless it is taken back
    Abort {
        /// The rollout
        name: String,
        /// Bring every environment back to the generation that it had
        #[arg(long)]
        take_back: bool,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
        #[command(flatten)]
        work: Work,
    },
}

/// How to print progress and runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a terminal.
    Human,
    /// For programs: progress as one document a line.
    Json,
}

/// Where journals lie.
#[derive(Clone, Debug, clap::Args)]
struct StateFolder {
    /// Where the journal lies [default: .mailwright in the repository]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state: Option<PathBuf>,
}

/// What working on a rollout needs.
#[derive(Debug, clap::Args)]
struct Work {
    /// How to print progress
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    state: StateFolder,
    #[command(flatten)]
    services: Services,
    /// How long the lease lasts without being renewed
    #[arg(long, hide = true, default_value_t = Lasting::default().seconds, value_parser = clap::value_parser!(u32).range(3..=600))]
    lease_seconds: u32,
}

/// How to reach the services. Each one's address stands in its environment's file: there is no option for it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Services")]
struct Services {
    /// A file with the bearer token; `{environment}` in it stands for the environment's name [default:
    /// `MAILWRIGHT_TOKEN_FILE`; or the token itself in `MAILWRIGHT_TOKEN`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// The same for the mail of `checks.probe`, which needs the role `sender` or `admin` [default: the other token]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    probe_token_file: Option<PathBuf>,
    /// A PEM file with the certificate authority to trust, besides the machine's [default: `MAILWRIGHT_CA_FILE`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Send tokens over plain http to other machines
    #[arg(long)]
    allow_clear_text: bool,
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        let error = CliError::coded(problem.code, problem.message);
        if problem.remedy.is_empty() { error } else { error.remedy(problem.remedy) }
    }
}

impl Rollout {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            RolloutCommand::Plan { name, parallel, format, services } => {
                plan::json_even_on_errors(context, format == plan::Format::Json, || {
                    show_plan(context, &name, parallel.into(), format, &services)
                })
            }
            RolloutCommand::Start { name, yes, work } => work.telling(context, || start(context, &name, yes, &work)),
            RolloutCommand::Resume { name, accept_changes, work } => {
                work.telling(context, || resume(context, &name, accept_changes, &work))
            }
            RolloutCommand::Status { name, format, state } => {
                plan::json_even_on_errors(context, format == Format::Json, || {
                    status(context, name.as_deref(), format, &state)
                })
            }
            RolloutCommand::Pause { name, state } => pause(context, &name, &state),
            RolloutCommand::Abort { name, take_back, yes, work } => {
                work.telling(context, || abort(context, &name, take_back, yes, &work))
            }
        }
    }
}

impl Work {
    /// With JSON asked for, a failure is the last line.
    fn telling(&self, context: &Context, work: impl FnOnce() -> Result<Exit, CliError>) -> Result<Exit, CliError> {
        work().inspect_err(|error| {
            if self.format == Format::Json && !error.in_json && !error.silent {
                context.printer.out(&error.to_json().to_string());
            }
        })
    }
}

impl Services {
    /// Makes clients by the environment's own address and token. They share what does not differ.
    fn connect(&self, context: &Context) -> crate::rollout::Connect {
        let options = |token_file: &Option<PathBuf>| ServiceOptions {
            service: None,
            token_file: token_file.clone(),
            ca_file: self.ca_file.clone(),
            allow_clear_text: self.allow_clear_text,
            ..ServiceOptions::default()
        };
        let deploy = options(&self.token_file);
        let probe = if self.probe_token_file.is_some() { options(&self.probe_token_file) } else { deploy.clone() };
        let context = context.clone();
        Arc::new(move |name, declared, purpose| {
            let Some(address) = declared else {
                let problem = Problem::new(Code::AddressMissing, format!("the files of `{name}` name no service"));
                return Err(problem.remedy(
                    "Write `service: { address: https://... }` into its environment.yaml, or into a layer with a variable.",
                ));
            };
            let options = if purpose == Purpose::Probe { &probe } else { &deploy };
            options.client_at(&context, name, address).map_err(|error| {
                Problem::new(error.code.unwrap_or(Code::TokenMissing), error.message)
                    .remedy(error.remedy.unwrap_or_default())
            })
        })
    }
}

impl StateFolder {
    fn path(&self, context: &Context) -> Result<PathBuf, CliError> {
        Ok(match &self.state {
            Some(path) => path.clone(),
            None => context.project()?.join(".mailwright"),
        })
    }

    fn folder(&self, context: &Context, name: &RolloutName) -> Result<Folder, CliError> {
        Ok(Folder::new(&self.path(context)?, name))
    }

    /// Takes the lock. The journal of a run belongs to a machine, so Git is told to leave the folder alone.
    fn lock(&self, context: &Context, name: &RolloutName) -> Result<Locked, CliError> {
        let locked = self.folder(context, name)?.lock().map_err(|problem| named(problem, name))?;
        let ignore = self.path(context)?.join(".gitignore");
        if self.state.is_none() && !ignore.exists() {
            drop(std::fs::write(ignore, "*\n"));
        }
        Ok(locked)
    }
}

/// A problem whose remedy names the rollout.
fn named(problem: Problem, name: &RolloutName) -> CliError {
    let remedy = problem.remedy.replace(" NAME", &format!(" {name}"));
    CliError::from(Problem { remedy, ..problem })
}

fn rollout_name(text: &str) -> Result<RolloutName, CliError> {
    text.parse().map_err(|_| {
        CliError::coded(Code::RolloutUnknown, format!("`{}` is not the name of a rollout", text.escape_debug()))
            .remedy(format!("{}.", RolloutName::RULE))
    })
}

/// The rollout's file, if it passes every rule. Otherwise the problems are printed.
fn file(context: &Context, repository: &Repository, name: &RolloutName) -> Result<RolloutFile, CliError> {
    match repository.rollout(name) {
        Some(Ok(file)) => Ok(file),
        Some(Err(report)) => Err(environment::problems(context, &report)),
        None => {
            let known = repository.rollouts();
            let error = CliError::coded(Code::RolloutUnknown, format!("there is no file `rollouts/{name}.yaml`"));
            Err(match suggest::nearest(name.as_str(), known.iter().map(RolloutName::as_str)) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None if known.is_empty() => {
                    error.remedy("Make it; docs/rollouts.md has an example, and `mailwright schema rollout` its form.")
                }
                None => {
                    let names = known.iter().map(RolloutName::as_str).collect::<Vec<_>>().join(", ");
                    error.remedy(format!("There are: {names}."))
                }
            })
        }
    }
}

fn material(
    context: &Context,
    repository: &Repository,
    name: &RolloutName,
    services: &Services,
) -> Result<Material, CliError> {
    let file = file(context, repository, name)?;
    let mut source = git::source(repository.root(), None);
    source.branch = source.branch.or_else(super::variables::branch);
    Material::read(repository, file, source, services.connect(context))
        .map_err(|report| environment::problems(context, &report))
}

fn show_plan(
    context: &Context,
    name: &str,
    parallel: usize,
    format: plan::Format,
    services: &Services,
) -> Result<Exit, CliError> {
    let repository = context.repository()?;
    let material = material(context, &repository, &rollout_name(name)?, services)?;
    let planned = planned(context, context.runtime()?, &repository, Arc::new(material), parallel);
    context.printer.out(&match format {
        plan::Format::Human => render::plan(&planned),
        plan::Format::Json => format!("{:#}", serde_json::to_value(&planned).unwrap_or_default()),
        plan::Format::Markdown => format!("```\n{}```", anstream::adapter::strip_str(&render::plan(&planned))),
    });
    if planned.failed.is_empty() { Ok(Exit::Done) } else { Err(CliError::already_told()) }
}

fn planned(
    context: &Context,
    runtime: &Runtime,
    repository: &Repository,
    material: Arc<Material>,
    parallel: usize,
) -> planning::RolloutPlan {
    runtime.block_on(planning::plan(material, repository, &context.clock, parallel, |_, _| {}))
}

/// Who is at this, for the journal and the lease.
fn somebody() -> String {
    let host = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this-machine".to_owned());
    format!("{}@{host}", variables::user())
}

fn order(material: &Material) -> Order {
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

fn start(context: &Context, name: &str, yes: bool, work: &Work) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let repository = context.repository()?;
    let mut material = material(context, &repository, &name, &work.services)?;
    let locked = work.state.lock(context, &name)?;
    let contents = journal::read(&locked.folder().journal())?;
    if let Some(last) = Run::of(&contents.entries)
        && !last.standing.is_final()
    {
        return Err(CliError::coded(
            Code::RolloutUnfinished,
            format!("run {} of `{name}`, begun at {}, has not come to its end", last.id, last.begun_at),
        )
        .remedy(format!(
            "`mailwright rollout status {name}` shows how far it is; then `mailwright rollout resume {name}`, or `mailwright rollout abort {name}`."
        )));
    }
    // One for plan and work: connections that are kept open belong to it.
    let runtime = context.runtime()?;
    if !yes {
        let shared = Arc::new(material);
        let plan = planned(context, runtime, &repository, Arc::clone(&shared), 16);
        context.printer.note(&render::plan(&plan));
        let count = shared.file.environments().count();
        let question = format!("Roll this out to {count} environments in {} waves?", shared.file.waves.len());
        confirm(context, false, &question, "Give `--yes`; `mailwright rollout plan` shows what it does.")?;
        material = Arc::into_inner(shared).ok_or_else(|| CliError::new("the plan is not done"))?;
    }
    let by = somebody();
    let begun = Event::Begun {
        run: uuid::Uuid::now_v7(),
        rollout: name,
        mailwright: env!("CARGO_PKG_VERSION").to_owned(),
        by: by.clone(),
        order: order(&material),
    };
    work.work(context, runtime, Session { locked, contents, first: begun, material, by })
}

fn resume(context: &Context, name: &str, accept_changes: bool, work: &Work) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let repository = context.repository()?;
    let folder = work.state.folder(context, &name)?;
    if !folder.journal().exists() {
        return Err(not_begun(&folder, &name));
    }
    let locked = work.state.lock(context, &name)?;
    let (contents, run) = unfinished(&locked, &name)?;
    let material = material(context, &repository, &name, &work.services)?;
    let now = order(&material);
    // What is being taken back goes back whatever the files say.
    let changed = if run.taking_back.is_some() { None } else { difference(&run.order, &now) };
    if let Some(what) = &changed
        && !accept_changes
    {
        return Err(CliError::coded(
            Code::RolloutFilesChanged,
            format!("{what} since the run began; nothing was begun"),
        )
        .remedy(
            "Check out what was reviewed, or say `--accept-changes`: what is not done yet gets what the files say now.",
        ));
    }
    let by = somebody();
    let first = Event::Resumed { by: by.clone(), order: changed.map(|_| now) };
    work.work(context, context.runtime()?, Session { locked, contents, first, material, by })
}

/// What of two orders differs, in a few words.
fn difference(before: &Order, now: &Order) -> Option<String> {
    let digests = |order: &Order| {
        let waves = order.waves.iter().flat_map(|wave| {
            wave.environments.iter().map(|(name, digest)| (name.clone(), (wave.name.clone(), digest.clone())))
        });
        waves.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (digests(before), digests(now));
    let differing: std::collections::BTreeSet<_> =
        old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect();
    if !differing.is_empty() {
        let names = differing.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if differing.len() > 5 { format!(" and {} more", differing.len() - 5) } else { String::new() };
        return Some(format!("the files of {names}{more} changed"));
    }
    (before.file != now.file).then(|| "the rollout's own file changed".to_owned())
}

/// The run that is to be gone on with.
fn unfinished(locked: &Locked, name: &RolloutName) -> Result<(Contents, Run), CliError> {
    let contents = journal::read(&locked.folder().journal())?;
    match Run::of(&contents.entries) {
        Some(run) if !run.standing.is_final() => Ok((contents, run)),
        Some(run) => Err(CliError::coded(
            Code::RolloutNotBegun,
            format!("the last run of `{name}` ({}) came to its end at {}", run.id, run.last_at),
        )
        .remedy(format!("`mailwright rollout start {name}` begins another; what is so already is skipped."))),
        None => Err(not_begun(locked.folder(), name)),
    }
}

fn not_begun(folder: &Folder, name: &RolloutName) -> CliError {
    CliError::coded(Code::RolloutNotBegun, format!("there is no run of `{name}` in `{}`", folder.path().display()))
        .remedy(format!("`mailwright rollout start {name}` begins one. A run's journal lies where it was started."))
}

/// What a process works with.
struct Session {
    locked: Locked,
    contents: Contents,
    /// What is written first: that it begins, or that it goes on.
    first: Event,
    material: Material,
    by: String,
}

/// What is to be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Work,
    TakeBack,
}

impl Work {
    fn work(&self, context: &Context, runtime: &Runtime, session: Session) -> Result<Exit, CliError> {
        let name = session.material.file.name.clone();
        let result = runtime.block_on(self.at_it(context, session, Task::Work));
        let run = result.map_err(|error| CliError {
            remedy: error.remedy.map(|r| r.replace(" NAME", &format!(" {name}"))),
            ..error
        })?;
        self.end(context, &run)
    }

    /// Holds the lease, works, and gives the lease back, however that ends.
    async fn at_it(&self, context: &Context, session: Session, task: Task) -> Result<Run, CliError> {
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
        let engine = Engine::new(material, journal, run, context.clock.clone(), wish, tell);
        let (ended_at_once, mut at_once) = watch::channel(false);
        let listening = [
            tokio::spawn(listen_to_signals(context.printer.clone(), wishes.clone(), ended_at_once)),
            tokio::spawn(listen_to_requests(locked.folder().clone(), wishes.clone())),
            tokio::spawn(listen_to_lease(lease.lost(), wishes)),
        ];
        let work = async {
            match task {
                Task::Work => engine.work().await,
                Task::TakeBack => engine.abort(&by, true).await,
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
async fn listen_to_signals(printer: super::Printer, wishes: watch::Sender<Wish>, at_once: watch::Sender<bool>) {
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
            Want::Abort => Wish::Abort { by, take_back: false },
            Want::TakeBack => Wish::Abort { by, take_back: true },
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
        Wish::Abort { take_back: false, .. } => 2,
        Wish::Abort { take_back: true, .. } => 3,
        Wish::LeaseLost => 4,
    };
    wishes.send_if_modified(|present| {
        let stronger = rank(&wish) > rank(present);
        if stronger {
            *present = wish;
        }
        stronger
    });
}

fn status(context: &Context, name: Option<&str>, format: Format, state: &StateFolder) -> Result<Exit, CliError> {
    let now = context.clock.now();
    let names = match name {
        Some(name) => vec![rollout_name(name)?],
        None => known(&state.path(context)?),
    };
    let (mut documents, mut texts) = (Vec::new(), Vec::new());
    for name in &names {
        let folder = state.folder(context, name)?;
        let contents = journal::read(&folder.journal())?;
        let Some(run) = Run::of(&contents.entries) else { continue };
        let running = folder.is_locked();
        texts.push(render::run(&run, running, now));
        documents.push(json!({ "run": run, "running": running, "source": run.order.source, "folder": folder.path() }));
    }
    match (name, documents.pop()) {
        (Some(_), None) => {
            let name = &names[0];
            return Err(not_begun(&state.folder(context, name)?, name));
        }
        (Some(_), Some(document)) if format == Format::Json => context.printer.out(&format!("{document:#}")),
        (None, last) if format == Format::Json => {
            documents.extend(last);
            context.printer.out(&format!("{:#}", json!({ "runs": documents })));
        }
        (None, None) => context.printer.out("No rollout was started here."),
        _ => context.printer.out(&texts.join("\n")),
    }
    Ok(Exit::Done)
}

/// The rollouts that have a folder.
fn known(state: &std::path::Path) -> Vec<RolloutName> {
    let entries = std::fs::read_dir(state.join("rollouts")).into_iter().flatten();
    let mut names: Vec<RolloutName> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    names
}

fn pause(context: &Context, name: &str, state: &StateFolder) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let folder = state.folder(context, &name)?;
    if !folder.is_locked() {
        return Err(CliError::coded(
            Code::RolloutNotBegun,
            format!("no process on this machine is at work on `{name}`"),
        )
        .remedy(format!("`mailwright rollout status {name}` tells how it stands.")));
    }
    ask(context, &folder, &name, Want::Pause)
}

/// Writes the request, and waits a while for it to be followed.
fn ask(context: &Context, folder: &Folder, name: &RolloutName, want: Want) -> Result<Exit, CliError> {
    folder.ask(&Request { want, by: somebody() })?;
    context.printer.note("Asked. What is under way there is brought to its end first ...");
    let begun = Instant::now();
    while folder.is_locked() {
        if begun.elapsed() > Duration::from_secs(600) {
            context.printer.note(&format!("It has not ended yet; `mailwright rollout status {name}` tells."));
            return Ok(Exit::Done);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let contents = journal::read(&folder.journal())?;
    if let Some(run) = Run::of(&contents.entries) {
        context.printer.out(&render::run(&run, false, context.clock.now()));
    }
    Ok(Exit::Done)
}

fn abort(context: &Context, name: &str, take_back: bool, yes: bool, work: &Work) -> Result<Exit, CliError> {
    let name = rollout_name(name)?;
    let folder = work.state.folder(context, &name)?;
    let question = if take_back {
        format!("Give `{name}` up, and bring every environment back to what it had?")
    } else {
        format!("Give `{name}` up? What is done stays.")
    };
    let run = Run::of(&journal::read(&folder.journal())?.entries);
    if run.is_none() {
        return Err(not_begun(&folder, &name));
    }
    confirm(context, yes, &question, "Give `--yes`.")?;
    if folder.is_locked() {
        return ask(context, &folder, &name, if take_back { Want::TakeBack } else { Want::Abort });
    }
    let locked = work.state.lock(context, &name)?;
    let contents = journal::read(&locked.folder().journal())?;
    let run = Run::of(&contents.entries).ok_or_else(|| not_begun(locked.folder(), &name))?;
    // What came to its end can still be taken back, once.
    let already = match &run.standing {
        Standing::Finished => !take_back,
        standing => standing.is_final(),
    };
    if already {
        return unfinished(&locked, &name).map(|_| Exit::Done);
    }
    let by = somebody();
    if !take_back {
        let journal = Journal::open(&locked.folder().journal(), &contents, context.clock.clone())?;
        let runtime = context.runtime()?;
        let mut run = run;
        run.take(&runtime.block_on(journal.append(Event::Aborted { by }))?);
        return work.end_of_abort(context, &run);
    }
    let repository = context.repository()?;
    let material = material(context, &repository, &name, &work.services)?;
    let session = Session { locked, contents, first: Event::Resumed { by: by.clone(), order: None }, material, by };
    let run = context.runtime()?.block_on(work.at_it(context, session, Task::TakeBack))?;
    work.end_of_abort(context, &run)
}

impl Work {
    /// Giving up is done when it is written; only what could not be taken back is a failure.
    fn end_of_abort(&self, context: &Context, run: &Run) -> Result<Exit, CliError> {
        if self.format == Format::Human {
            context.printer.out(&render::run(run, false, context.clock.now()));
        }
        let refused = run
            .environments
            .values()
            .filter(|environment| environment.back == Some(crate::rollout::run::Back::Refused))
            .count();
        if refused == 0 {
            return Ok(Exit::Done);
        }
        Err(CliError::coded(Code::RolloutStopped, format!("{refused} environments were not taken back, see above")))
    }
}
