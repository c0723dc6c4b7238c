//! `mailwright watch`: reads the arguments, opens the clone or folder to follow, and runs [`crate::watch`] until a signal, or
//! once.
//!
//! Decides the exit code of `--once` (0 as the files say, 1 failed, 2 waits for an operator) and prints its result; otherwise
//! writes the log and serves the status over HTTP. Only one watch can use a data folder: another one fails at its start.

use std::{
    fs::{File, TryLockError},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Runnable, ServiceArgs,
        args::{outbound, values::parse_listen_address},
        log::{LogFormat, start_log},
        signals::wait_for_stop,
        variables,
    },
    config::Selection,
    fs::{lock_remedy, open_lock, write_new},
    git::Follower,
    model::{Code, HumanDuration, Problem},
    net::{
        http_client::is_loopback_url,
        listener::{ConnectionLimits, ListenError, Listener, OpenConnections},
    },
    operations::{ClientPurpose, Connector, LeaseDuration},
    watch::{
        EnvironmentStatus, PassResult, ReportOptions, Role, Watch as Watching, WatchOptions, WatchStatus,
        checkout::Files, status_server,
    },
};

/// The time limit for loading the files of one environment.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// The largest number of connections of monitors.
const MONITORS: usize = 64;

/// Follow the files: plan, report drift and expiring credentials, apply where an environment says so
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright watch --token-file 'tokens/{environment}'   this folder; another program pulls\n  \
    mailwright watch --repository https://git.example.com/mail.git --branch main \\\n      \
    --data /var/lib/mailwright-watch\n  \
    mailwright watch 'prod-*' --once                       one pass, for cron\n\n\
    It applies only where environment.yaml says `watch: { apply: auto }`, and undoes changes\n\
    outside Git only where it says `drift: revert`. What stops an `apply` stops it here: verify,\n\
    guards, approvals, the source policy. Of several watches one acts in an environment: it holds\n\
    a lease in its service.\n\n\
    Exit codes with --once:\n  \
    0  every environment is as the files say\n  \
    1  something failed: a service that does not answer, files that break the rules, a change\n     \
    that verify or the service refused\n  \
    2  something waits for an operator: changes, drift, a guard, an approval, the source policy\n\
    Without --once: 0 after SIGTERM or Ctrl-C."
)]
pub(crate) struct Watch {
    /// Environments: names, or patterns such as 'prod-*' [default: all]
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
    /// Only environments with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Vec<String>,
    /// Repository to follow: a URL or a path that Git fetches from [default: the files of this repository]
    #[arg(long, value_name = "PATH|URL")]
    repository: Option<String>,
    /// Branch to follow [default: main]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Folder of the clone and the state [default: .mailwright/watch]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// Interval in which each environment is planned, even without changes
    #[arg(long, default_value = "5m", value_name = "TIME")]
    every: HumanDuration,
    /// Interval in which the repository is checked for a new commit
    #[arg(long, default_value = "30s", value_name = "TIME")]
    poll: HumanDuration,
    /// Address of health checks, metrics and status; port 0 takes a free port
    #[arg(long, default_value = "127.0.0.1:9470", value_name = "ADDRESS", value_parser = parse_listen_address)]
    listen: SocketAddr,
    /// Host name under which monitors reach the watch (can be repeated)
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Run one pass, and exit
    #[arg(long)]
    once: bool,
    /// Maximum number of environments processed in parallel; slow services do not count
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Lease duration in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(3..=600), hide = true)]
    lease_seconds: u32,
    /// Output format of `--once`
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    /// Log format [default: human on a terminal, json elsewhere]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Interval in which a condition that lasts is reported again
    #[arg(long, default_value = "1d", value_name = "TIME", help_heading = "Reports")]
    remind: HumanDuration,
    /// File with a token of role `sender`, for reports by mail; `{environment}` in its name is replaced
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Reports")]
    mail_token_file: Option<PathBuf>,
    /// PEM file with certificate authorities to trust for webhooks, in addition to the system's
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Reports")]
    outgoing_ca_file: Option<PathBuf>,
    /// Number of attempts after which a report is given up
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), hide = true)]
    report_tries: u32,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Human,
    Json,
}

impl Runnable for Watch {
    fn error_format(&self) -> ErrorFormat {
        ErrorFormat::json_if(self.once && self.format == Format::Json)
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let selection = Selection::parse(&self.environments, &self.selector)?;
        if selection.single_name().is_none() {
            self.service.check_for_several()?;
        }
        self.require_origins(context, &selection)?;
        // The status of one pass is printed; the log adds only what is not in the status.
        start_log(self.log_format, if self.once { "error" } else { "info" })?;
        let data = match &self.data {
            Some(data) => data.clone(),
            None => context.project().unwrap_or_else(|_| PathBuf::from(".")).join(".mailwright/watch"),
        };
        let _lock = self.lock(&data)?;
        let files = self.files(context, &data)?;
        let authorities = self.outgoing_ca_file.as_deref().map(outbound::read_authorities).transpose()?;
        let (stop, stopped) = watch::channel(false);
        let options = WatchOptions {
            selection,
            data,
            every: self.every.duration(),
            poll: self.poll.duration(),
            parallel: self.parallel.into(),
            load_limit: LOAD_LIMIT,
            lease_duration: LeaseDuration { seconds: self.lease_seconds },
            holder: format!("watch of {} {}", variables::user(), uuid::Uuid::now_v7()),
            connect: self.connect(context),
            clock: context.clock.clone(),
            reporting: ReportOptions { authorities, remind: self.remind.duration(), tries: self.report_tries },
            stop: stopped,
        };
        let watching = Watching::new(options, files)?;
        let status = context.runtime()?.block_on(self.work(context, watching, stop))?;
        if !self.once {
            return Ok(Exit::Done);
        }
        self.print_status(context, &status);
        Ok(pass_exit(&status))
    }
}

/// Returns the exit of `--once`.
fn pass_exit(status: &WatchStatus) -> Exit {
    match status.result() {
        PassResult::Done => Exit::Done,
        PassResult::Failed => Exit::Error,
        PassResult::Waiting => Exit::Attention,
    }
}

impl Watch {
    /// Refuses to start if only the files say where a token is sent. Services on this machine need no origin.
    fn require_origins(&self, context: &Context, selection: &Selection) -> Result<(), CliError> {
        if self.service.has_origins()? || self.repository.is_some() {
            return Ok(());
        }
        let repository = context.repository()?;
        for name in repository.select(selection).unwrap_or_default() {
            let address = repository.service_address(&name);
            let url = address.and_then(|address| reqwest::Url::parse(&address).ok());
            if url.is_some_and(|url| !is_loopback_url(&url)) {
                // The error names the address and the setting. Nothing is sent.
                self.service.client(context, &name, repository.service_address(&name).as_deref()).map(drop)?;
            }
        }
        Ok(())
    }

    /// Creates the folder, and locks it against other watches.
    fn lock(&self, data: &Path) -> Result<File, CliError> {
        let unusable = |why: &dyn std::fmt::Display| {
            CliError::coded(Code::WatchUnwritable, format!("cannot use the folder `{}`: {why}", data.display()))
                .remedy("Check its permissions, stop the other watch, or choose another folder with `--data DIR`.")
        };
        std::fs::create_dir_all(data).map_err(|error| unusable(&error))?;
        if self.data.is_none() {
            drop(write_new(&data.join(".gitignore"), b"*\n"));
        }
        let file = data.join("lock");
        let lock = open_lock(&file, 0o666).map_err(|error| match lock_remedy(&file, &error) {
            Some(remedy) => unusable(&error).remedy(remedy),
            None => unusable(&error),
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(unusable(&"another watch uses it")),
            Err(TryLockError::Error(error)) => Err(unusable(&error)),
        }
    }

    async fn work(
        &self,
        context: &Context,
        watching: Watching,
        stop: watch::Sender<bool>,
    ) -> Result<WatchStatus, CliError> {
        let signals = tokio::spawn(async move {
            wait_for_stop(false).await;
            stop.send_replace(true);
            std::future::pending::<()>().await;
        });
        let mut answering = None;
        if !self.once {
            let refused = |error: ListenError| {
                CliError::coded(Code::CannotListen, ListenError::to_string(&error))
                    .remedy("Stop the other program that listens there, or choose another address with `--listen ADDRESS`; port 0 takes a free port.")
            };
            let listener = Listener::bind(self.listen, None).await.map_err(refused)?;
            context.printer.out(&format!("mailwright watches, and answers at {}", listener.address()));
            let router = status_server::router(watching.shared(), &self.host);
            let connections =
                OpenConnections::new(ConnectionLimits { connections: MONITORS, ..ConnectionLimits::default() });
            let answered = listener.serve(router, connections, std::future::pending(), Duration::ZERO);
            answering = Some(tokio::spawn(answered));
        }
        let status = watching.run(self.once).await;
        signals.abort();
        if let Some(answering) = answering {
            answering.abort();
        }
        Ok(status)
    }

    fn files(&self, context: &Context, data: &Path) -> Result<Files, CliError> {
        let Some(repository) = &self.repository else {
            if self.branch.is_some() {
                return Err(CliError::coded(Code::Usage, "`--branch` needs `--repository`")
                    .remedy("Pass `--repository .` to follow a branch of this repository in a clone."));
            }
            return Ok(Files::folder(context.project()?));
        };
        let path = PathBuf::from(repository);
        if self.branch.is_none() && path.join("environments").is_dir() {
            return Ok(Files::folder(path));
        }
        let branch = self.branch.clone().unwrap_or_else(|| "main".to_owned());
        Ok(Files::branch(Follower::open(data.join("clone"), repository.clone(), branch)?))
    }

    fn connect(&self, context: &Context) -> Connector {
        let (context, deploy) = (context.clone(), self.service.clone());
        let mail = match &self.mail_token_file {
            Some(file) => ServiceArgs { token_file: Some(file.clone()), ..deploy.clone() },
            None => deploy.clone(),
        };
        let known: Arc<std::sync::Mutex<std::collections::BTreeMap<String, String>>> = Arc::default();
        Arc::new(move |name, declared, purpose| {
            let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // A report is sent through the last known service of the environment.
            let declared = declared.map(str::to_owned).or_else(|| known.get(name.as_str()).cloned());
            let options = if purpose == ClientPurpose::SendMail { &mail } else { &deploy };
            let client = options
                .client(&context, name, declared.as_deref())
                .map_err(|error| error.into_problem(Code::TokenMissing))?;
            known.insert(name.to_string(), client.address().to_owned());
            Ok(client)
        })
    }

    fn print_status(&self, context: &Context, status: &WatchStatus) {
        if self.format == Format::Json {
            let mut document = serde_json::json!(status);
            if let Some(document) = document.as_object_mut() {
                document.insert("exitCode".to_owned(), pass_exit(status).code().into());
            }
            context.printer.json(&document);
            return;
        }
        let mut lines = Vec::new();
        if let Some(problem) = &status.files.problem {
            push_problem(&mut lines, "files", "cannot be followed", problem);
        }
        for (name, environment) in &status.environments {
            push_environment(&mut lines, name.as_str(), environment);
        }
        if status.environments.len() > 1 {
            lines.push(summarize(status));
        }
        context.printer.out(&lines.join("\n"));
    }
}

/// Adds the lines of an environment. Each line has its name, so that `grep` finds all of them.
fn push_environment(lines: &mut Vec<String>, name: &str, status: &EnvironmentStatus) {
    if let Some(applied) = status.applied.as_ref().filter(|_| status.applies > 0) {
        lines.push(format!("{name}: applied: {applied}"));
    }
    if !status.drift.is_empty() {
        lines.push(format!("{name}: changed outside Git: {}", status.drift.join(", ")));
    }
    match (&status.problem, &status.refused, &status.waiting) {
        (Some(problem), _, _) | (None, Some(problem), _) => push_problem(lines, name, "failed", problem),
        (_, _, Some(problem)) if problem.code != Code::ApplyIsManual => {
            push_problem(lines, name, "waits for an operator", problem);
        }
        _ if status.changes > 0 => {
            let summary = status.summary.trim_start_matches("Plan: ").trim_end_matches('.');
            lines.push(format!("{name}: waits for an operator to apply it: {summary}"));
        }
        _ if status.drift.is_empty() && status.applies == 0 => {
            lines.push(format!("{name}: as the files say"));
        }
        _ => {}
    }
    for credential in &status.expiring {
        lines.push(format!("{name}: {}", credential.describe()));
    }
    if status.role == Role::Standby {
        lines.push(format!("{name}: another watch is active here; this one made no changes"));
    }
}

fn push_problem(lines: &mut Vec<String>, name: &str, state: &str, problem: &Problem) {
    lines.push(format!("{name}: {state}: [{}] {}", problem.code, problem.message));
    if !problem.remedy.is_empty() {
        lines.push(format!("{name}: help: {}", problem.remedy));
    }
}

fn summarize(status: &WatchStatus) -> String {
    let all = status.environments.values();
    let failed = all.clone().filter(|status| status.has_failed()).count();
    let waiting = all.clone().filter(|status| !status.has_failed() && status.waits()).count();
    let counts = [
        (all.count() - failed - waiting, "as the files say"),
        (waiting, "waiting for an operator"),
        (failed, "failed"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, words)| format!("{count} {words}")).collect();
    format!("{} environments: {}.", status.environments.len(), counts.join(", "))
}
