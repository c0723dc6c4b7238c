//! `mailwright rollout`: a change to many environments in waves, with checks in between.
//!
//! One file a subcommand; `work` is what those do that work on a run: they hold the lease, listen, and tell.

mod abort;
mod pause;
mod plan;
mod resume;
mod start;
mod status;
mod work;

use std::{path::PathBuf, sync::Arc};

use crate::{
    cli::{self, CliError, Context, ErrorFormat, Exit, Runnable, ServiceOptions, environment, variables},
    config::{Repository, RolloutFile, suggest},
    git,
    model::{Code, InvalidName, RolloutName},
    rollout::{
        Material, Problem, Purpose, Reach,
        lock::{Folder, Locked},
    },
};
use work::Work;

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
        #[arg(long, value_enum, default_value_t = cli::Format::Human, value_name = "FORMAT")]
        format: cli::Format,
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
        /// With it: an environment that held nothing before holds nothing again
        #[arg(long, requires = "take_back")]
        to_nothing: bool,
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
    /// An origin that the tokens may be sent to: `https://mail.example.com`, or `ENV=https://...` for one environment (can be
    /// repeated) [default: `MAILWRIGHT_TOKEN_ORIGINS`]
    #[arg(long, value_name = "ORIGIN")]
    token_origin: Vec<String>,
    /// A PEM file with the certificate authority to trust, besides the machine's [default: `MAILWRIGHT_CA_FILE`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Send tokens over plain http to other machines
    #[arg(long)]
    allow_clear_text: bool,
}

impl Runnable for Rollout {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            RolloutCommand::Plan { format, .. } => (*format).into(),
            RolloutCommand::Status { format, .. } => ErrorFormat::json_if(*format == Format::Json),
            RolloutCommand::Start { work, .. }
            | RolloutCommand::Resume { work, .. }
            | RolloutCommand::Abort { work, .. } => work.error_format(),
            RolloutCommand::Pause { .. } => ErrorFormat::Text,
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.command {
            RolloutCommand::Plan { name, parallel, format, services } => {
                plan::show(context, name, (*parallel).into(), *format, services)
            }
            RolloutCommand::Start { name, yes, work } => start::start(context, name, *yes, work),
            RolloutCommand::Resume { name, accept_changes, work } => {
                resume::resume(context, name, *accept_changes, work)
            }
            RolloutCommand::Status { name, format, state } => status::status(context, name.as_deref(), *format, state),
            RolloutCommand::Pause { name, state } => pause::pause(context, name, state),
            RolloutCommand::Abort { name, take_back, to_nothing, yes, work } => {
                let reach = if *to_nothing { Reach::ToNothing } else { Reach::ToWhatWas };
                abort::abort(context, name, take_back.then_some(reach), *yes, work)
            }
        }
    }
}

impl Services {
    /// Makes clients by the environment's own address and token. They share what does not differ.
    fn connect(&self, context: &Context) -> crate::rollout::Connect {
        let options = |token_file: &Option<PathBuf>| ServiceOptions {
            service: None,
            token_file: token_file.clone(),
            token_origin: self.token_origin.clone(),
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
    text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::RolloutUnknown, format!("`{}` is not the name of a rollout", text.escape_debug()))
            .remedy(format!("{rule}."))
    })
}

/// The rollout's file, if it passes every rule. Otherwise the problems are printed.
fn file(context: &Context, repository: &Repository, name: &RolloutName) -> Result<RolloutFile, CliError> {
    match repository.load_rollout(name) {
        Some(Ok(file)) => Ok(file),
        Some(Err(report)) => Err(environment::problems(context, &report)),
        None => {
            let known = repository.rollout_names();
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
    let git::WorkTreeProvenance { provenance: mut source, refusal } = git::read_provenance(repository.root(), None);
    if let Some(refusal) = refusal {
        environment::warn_of_source(context, &refusal);
    }
    source.branch = source.branch.or_else(crate::cli::variables::branch);
    Material::read(repository, file, source, services.connect(context))
        .map_err(|report| environment::problems(context, &report))
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

fn not_begun(folder: &Folder, name: &RolloutName) -> CliError {
    CliError::coded(Code::RolloutNotStarted, format!("there is no run of `{name}` in `{}`", folder.path().display()))
        .remedy(format!("`mailwright rollout start {name}` begins one. A run's journal lies where it was started."))
}
