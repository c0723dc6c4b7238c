//! `mailwright rollout`: rolls a change out to many environments in waves, with checks in between.
//!
//! Each subcommand has a file of its own; `work` is shared by those that work on a run. For `plan`, `start` and `resume` a rollout
//! without a file, or whose file breaks rules, is an error; `status`, `pause` and `abort` do not read that file.

mod abort;
mod pause;
mod plan;
mod resume;
mod start;
mod state_folder;
mod status;
mod work;

use std::{path::PathBuf, sync::Arc};

use crate::{
    cli::{self, CliError, Context, ErrorFormat, Exit, Runnable, ServiceArgs, environment, variables},
    config::{Repository, RolloutFile, suggest},
    git::WorkTreeProvenance,
    model::{Code, EnvironmentName, InvalidName, Problem, Provenance, RolloutName, watch_settings::ApplyMode},
    operations::{ClientPurpose, Connector},
    rollout::{LoadedRollout, RollbackScope, Run, folder::RolloutFolder, rollback_file},
};
use state_folder::StateFolder;
use work::Work;

/// Roll out a change to many environments in waves
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright rollout plan relay-587            the changes, equal ones grouped\n  \
    mailwright rollout start relay-587           shows the plan, asks, and works through the waves\n  \
    mailwright rollout status relay-587          the state of the run, from its journal\n  \
    mailwright rollout pause relay-587           from another terminal; so does Ctrl-C\n  \
    mailwright rollout resume relay-587          after a pause, a stop or a kill\n  \
    mailwright rollout abort relay-587 --take-back\n\n\
    The file is rollouts/NAME.yaml; `mailwright schema rollout` describes it. Each service has its own\n\
    token: `--token-file 'tokens/{environment}'`, or MAILWRIGHT_TOKEN_FILE.\n\n\
    Exit codes of start, resume and abort: 0 done; 1 stopped, refused or failed; 2 finished with failures that were\n\
    tolerated; 4 paused.")]
pub(crate) struct Rollout {
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RolloutCommand {
    /// Show the changes of a rollout, equal ones grouped
    Plan {
        /// Rollout
        name: String,
        /// Maximum number of environments planned in parallel
        #[arg(long, default_value_t = PARALLEL, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
        parallel: u16,
        /// Output format
        #[arg(long, value_parser = cli::Format::any(), default_value = cli::Format::HUMAN, value_name = "FORMAT")]
        format: cli::Format,
        #[command(flatten)]
        services: Services,
    },
    /// Start a run, and work through the waves
    Start {
        /// Rollout
        name: String,
        /// Skip the plan and the confirmation prompt
        #[arg(long, short = 'y')]
        yes: bool,
        #[command(flatten)]
        work: Work,
    },
    /// Resume a run that was paused, stopped or killed
    Resume {
        /// Rollout
        name: String,
        /// Apply the present files to environments that are not done, though the files changed
        #[arg(long)]
        accept_changes: bool,
        #[command(flatten)]
        work: Work,
    },
    /// Show the state of a run, or of all runs
    Status {
        /// Rollout
        name: Option<String>,
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        state: StateFolder,
    },
    /// Pause a run; steps that have started are finished
    Pause {
        /// Rollout
        name: String,
        #[command(flatten)]
        state: StateFolder,
    },
    /// Abort a run; changes that were applied stay unless they are rolled back
    Abort {
        /// Rollout
        name: String,
        /// Roll every environment back to the generation that it had
        #[arg(long)]
        take_back: bool,
        /// With `--take-back`: empty the environments that were empty before
        #[arg(long = "to-nothing", requires = "take_back")]
        to_empty: bool,
        /// Skip the confirmation prompt
        #[arg(long, short = 'y')]
        yes: bool,
        #[command(flatten)]
        work: Work,
    },
}

/// The default number of environments that are planned in parallel.
const PARALLEL: u16 = 16;

/// The output format of progress and runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a terminal.
    Human,
    /// One JSON document per line of progress.
    Json,
}

/// The options for the services. Their addresses are in the files of the environments; there is no option for them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Services")]
struct Services {
    /// File with the bearer token; `{environment}` in its name is replaced by the environment's name [default:
    /// `MAILWRIGHT_TOKEN_FILE`; or the token itself in `MAILWRIGHT_TOKEN`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// File with the token for the mail of `checks.probe`, of role `sender` or `admin` [default: that of `--token-file`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    probe_token_file: Option<PathBuf>,
    /// An origin that the tokens may be sent to: `https://mail.example.com`, or `ENV=https://...` for one environment (can be
    /// repeated) [default: `MAILWRIGHT_TOKEN_ORIGINS`]
    #[arg(long, value_name = "ORIGIN")]
    token_origin: Vec<String>,
    /// PEM file with the certificate authority to trust, in addition to the system's [default: `MAILWRIGHT_CA_FILE`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Send tokens over unencrypted HTTP to other machines
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
        self.command.run(context).map_err(|error| match self.command.state() {
            Some((name, state)) => state.complete_error(error, name),
            None => error,
        })
    }
}

impl RolloutCommand {
    /// Returns the name of the rollout, and the folder of its journal.
    fn state(&self) -> Option<(&str, &StateFolder)> {
        match self {
            Self::Plan { .. } | Self::Status { name: None, .. } => None,
            Self::Status { name: Some(name), state, .. } | Self::Pause { name, state } => Some((name, state)),
            Self::Start { name, work, .. } | Self::Resume { name, work, .. } | Self::Abort { name, work, .. } => {
                Some((name, &work.state))
            }
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Self::Plan { name, parallel, format, services } => {
                plan::show(context, name, (*parallel).into(), *format, services)
            }
            Self::Start { name, yes, work } => start::start(context, name, *yes, work),
            Self::Resume { name, accept_changes, work } => resume::resume(context, name, *accept_changes, work),
            Self::Status { name, format, state } => status::status(context, name.as_deref(), *format, state),
            Self::Pause { name, state } => pause::pause(context, name, state),
            Self::Abort { name, take_back, to_empty, yes, work } => {
                let reach = if *to_empty { RollbackScope::IncludingEmpty } else { RollbackScope::PreviousGenerations };
                abort::abort(context, name, take_back.then_some(reach), *yes, work)
            }
        }
    }
}

impl Services {
    /// Creates clients with the address and token of each environment.
    fn connect(&self, context: &Context) -> Connector {
        let options = |token_file: &Option<PathBuf>| ServiceArgs {
            service: None,
            token_file: token_file.clone(),
            token_origin: self.token_origin.clone(),
            ca_file: self.ca_file.clone(),
            allow_clear_text: self.allow_clear_text,
            ..ServiceArgs::default()
        };
        let deploy = options(&self.token_file);
        let probe = if self.probe_token_file.is_some() { options(&self.probe_token_file) } else { deploy.clone() };
        let context = context.clone();
        Arc::new(move |name, declared, purpose| {
            let Some(address) = declared else {
                let problem =
                    Problem::new(Code::AddressMissing, format!("the files of `{name}` have no service address"));
                return Err(problem.remedy(
                    "Write `service: { address: https://... }` into its environment.yaml, or into a layer with a variable.",
                ));
            };
            let options = if purpose == ClientPurpose::SendMail { &probe } else { &deploy };
            options.client_at(&context, name, address).map_err(|error| error.into_problem(Code::TokenMissing))
        })
    }
}

/// Puts the name of the rollout into the remedy of a problem.
fn with_rollout_name(problem: Problem, name: &RolloutName) -> CliError {
    let remedy = problem.remedy.replace(" NAME", &format!(" {name}"));
    CliError::from(Problem { remedy, ..problem })
}

fn rollout_name(text: &str) -> Result<RolloutName, CliError> {
    text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::RolloutUnknown, format!("`{}` is not the name of a rollout", text.escape_debug()))
            .remedy(format!("{rule}."))
    })
}

/// Reads the file of the rollout. If it breaks rules, the problems are printed.
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
                    let environments = repository.environments();
                    let first = environments.iter().find(|name| !repository.is_abstract(name));
                    let first = first.map_or("prod", EnvironmentName::as_str);
                    error.remedy(format!(
                        "Create it, for example: `waves: [{{ name: first, environments: [{first}] }}, {{ name: rest, environments: ['*'] }}]`. `mailwright schema rollout` describes it."
                    ))
                }
                None => {
                    let names = known.iter().map(RolloutName::as_str).collect::<Vec<_>>().join(", ");
                    error.remedy(format!("There are: {names}."))
                }
            })
        }
    }
}

fn load_rollout(
    context: &Context,
    repository: &Repository,
    name: &RolloutName,
    services: &Services,
) -> Result<LoadedRollout, CliError> {
    let file = file(context, repository, name)?;
    load_file(context, repository, file, services)
}

/// Loads the rollout of a run. That of a watch is limited to the environments that take part in it: those that name the
/// rollout. A rollback has the environments of the run. Files that break rules concern their environment alone: those of an
/// environment that has something left to do are reported, and it fails.
fn load_rollout_of_run(
    context: &Context,
    repository: &Repository,
    run: &Run,
    is_rollback: bool,
    services: &Services,
) -> Result<LoadedRollout, CliError> {
    let mut file = if is_rollback { rollback_file(repository, run) } else { file(context, repository, &run.rollout)? };
    if run.watch && !is_rollback {
        let named = ApplyMode::Rollout(run.rollout.clone());
        // An environment whose mode cannot be read is loaded, so that the errors of its files are shown.
        let is_named = |name: &EnvironmentName| repository.apply_mode(name).is_none_or(|mode| mode == named);
        file.retain(|name| run.includes(name) && is_named(name));
    }
    let source = source(context, repository);
    let connect = services.connect(context);
    let rollout = LoadedRollout::load_each(repository, file, source, connect, |_, report| report.to_problem());
    for (name, problem) in rollout.invalid.iter().filter(|(name, _)| !is_rollback && !run.is_done(name)) {
        context.printer.note(&format!("{name}: {} [{}]", problem.message, problem.code));
    }
    Ok(rollout)
}

fn load_file(
    context: &Context,
    repository: &Repository,
    file: RolloutFile,
    services: &Services,
) -> Result<LoadedRollout, CliError> {
    LoadedRollout::load(repository, file, source(context, repository), services.connect(context))
        .map_err(|report| environment::problems(context, &report))
}

/// Returns the commit, branch and author of the files, and the reason for which Git does not name them.
fn source(context: &Context, repository: &Repository) -> (Provenance, Option<Problem>) {
    let WorkTreeProvenance { provenance, refusal } = environment::read_source(context, repository.root(), None);
    (provenance, refusal)
}

/// Returns the operator and the host, for the journal and the lease.
fn current_operator() -> String {
    let host = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this-machine".to_owned());
    format!("{}@{host}", variables::user())
}

fn no_run(folder: &RolloutFolder, name: &RolloutName) -> CliError {
    CliError::coded(Code::RolloutNotStarted, format!("there is no run of `{name}` in `{}`", folder.path().display()))
        .remedy(format!("`mailwright rollout start {name}` starts one. The journal of a run is in the repository where it was started."))
}
