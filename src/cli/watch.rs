//! `mailwright watch`: follows the files as a service.

use std::{fs::OpenOptions, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::sync::watch;

use super::{CliError, Context, Exit, ServiceOptions, serve, variables};
use crate::{
    config::Selection,
    git::{Follower, GitError},
    model::{Code, Lapse},
    rollout::{Connect, Problem, Purpose, lock::Lasting},
    watch::{Options, Status, Watch as Watching, files::Files, http},
};

/// Follow the files: plan, report drift and expiring credentials, apply where an environment says so
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright watch --token-file 'tokens/{environment}'     this folder; somebody else pulls\n  \
    mailwright watch --repository https://git.example.com/mail.git --branch main --data /var/lib/mailwright-watch\n  \
    mailwright watch 'prod-*' --once             one pass, for cron\n\n\
    It applies only where environment.yaml says `watch: { apply: auto }`, and undoes changes outside Git only where it\n\
    says `drift: revert`. Of several watches one acts in an environment: it holds a lease in its service.\n\n\
    Exit codes with --once: 0 clean, 2 drift or changes pending, 1 errors."
)]
pub(crate) struct Watch {
    /// The environments: names, or patterns such as 'prod-*' [default: all]
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
    /// Only environments with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Vec<String>,
    /// What to follow: an address or a path that Git fetches from [default: this repository's files as they lie there]
    #[arg(long, value_name = "PATH|URL")]
    repository: Option<String>,
    /// The branch that is followed [default: main]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Where the clone and the memory lie [default: .mailwright/watch]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// How often each environment is planned, whatever happens
    #[arg(long, default_value = "5m", value_name = "TIME")]
    every: Lapse,
    /// How often Git is asked for something new
    #[arg(long, default_value = "30s", value_name = "TIME")]
    poll: Lapse,
    /// Where health, metrics and status are answered; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9470", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// One pass, then end
    #[arg(long)]
    once: bool,
    /// How many environments are worked on at once
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// A file with a token that may send, for reports by mail; may have `{environment}` in its name
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    mail_token_file: Option<PathBuf>,
    /// How long the lease lasts if nobody renews it, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(3..=600), hide = true)]
    lease_seconds: u32,
    /// How to print what `--once` found, and how to write the log
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Human,
    Json,
}

impl Watch {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        self.service
            .fit_for_several()
            .or_else(|error| if self.environments.len() == 1 { Ok(()) } else { Err(error) })?;
        let log = if self.format == Format::Json { serve::LogFormat::Json } else { serve::LogFormat::Human };
        serve::start_log(Some(log).filter(|_| self.format == Format::Json))?;
        let data = match &self.data {
            Some(data) => data.clone(),
            None => context.project().unwrap_or_else(|_| PathBuf::from(".")).join(".mailwright/watch"),
        };
        let unusable = |why: &dyn std::fmt::Display| {
            CliError::coded(Code::WatchUnwritable, format!("the folder `{}` cannot be used: {why}", data.display()))
                .remedy("Look at its permissions, stop the other watch, or give another `--data DIR`.")
        };
        std::fs::create_dir_all(&data).map_err(|error| unusable(&error))?;
        let ignore = data.join(".gitignore");
        if self.data.is_none() && !ignore.exists() {
            drop(std::fs::write(ignore, "*\n"));
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(data.join("lock"));
        let lock = lock.map_err(|error| unusable(&error))?;
        lock.try_lock().map_err(|_| unusable(&"another watch works in it"))?;
        let files = self.files(context, &data)?;
        let options = Options {
            selection: Selection::parse(&self.environments, &self.selector)?,
            data,
            every: self.every.duration(),
            poll: self.poll.duration(),
            parallel: self.parallel.into(),
            lasting: Lasting { seconds: self.lease_seconds },
            holder: format!("watch of {} {}", variables::user(), uuid::Uuid::now_v7()),
            connect: self.connect(context),
            clock: context.clock.clone(),
        };
        let watching = Watching::new(options, files)?;
        let status = context.runtime()?.block_on(self.work(context, watching))?;
        drop(lock);
        if !self.once {
            return Ok(Exit::Done);
        }
        self.tell(context, &status);
        Ok(match status.exit_code() {
            0 => Exit::Done,
            code => Exit::Code(code),
        })
    }

    async fn work(&self, context: &Context, watching: Watching) -> Result<Status, CliError> {
        let (stop, stopped) = watch::channel(false);
        let signals = tokio::spawn(async move {
            serve::stop_signal(false).await;
            stop.send_replace(true);
        });
        let mut answering = None;
        if !self.once {
            let refused = |error| CliError::new(format!("cannot listen on {}: {error}", self.listen));
            let listener = tokio::net::TcpListener::bind(self.listen).await.map_err(refused)?;
            let address = listener.local_addr().map_err(refused)?;
            context.printer.out(&format!("mailwright watches, and answers at http://{address}"));
            let router = http::router(watching.shared());
            answering = Some(tokio::spawn(async move { axum::serve(listener, router).await }));
        }
        let status = watching.run(self.once, stopped).await;
        signals.abort();
        if let Some(answering) = answering {
            answering.abort();
        }
        Ok(status)
    }

    fn files(&self, context: &Context, data: &std::path::Path) -> Result<Files, CliError> {
        let failed = |error: GitError| CliError::coded(error.code, error.message).remedy(error.remedy);
        let Some(repository) = &self.repository else {
            if self.branch.is_some() {
                return Err(CliError::coded(Code::Usage, "`--branch` needs `--repository`")
                    .remedy("Give `--repository .` to follow a branch of this one in a clone."));
            }
            return Ok(Files::folder(context.project()?));
        };
        let path = PathBuf::from(repository);
        if self.branch.is_none() && path.join("environments").is_dir() {
            return Ok(Files::folder(path));
        }
        let branch = self.branch.clone().unwrap_or_else(|| "main".to_owned());
        Follower::open(data.join("clone"), repository.clone(), branch).map(Files::branch).map_err(failed)
    }

    fn connect(&self, context: &Context) -> Connect {
        let (context, deploy) = (context.clone(), self.service.clone());
        let mail = match &self.mail_token_file {
            Some(file) => ServiceOptions { token_file: Some(file.clone()), ..deploy.clone() },
            None => deploy.clone(),
        };
        let known: Arc<std::sync::Mutex<std::collections::BTreeMap<String, String>>> = Arc::default();
        Arc::new(move |name, declared, purpose| {
            let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // A report goes where the environment's service was last.
            let declared = declared.map(str::to_owned).or_else(|| known.get(name.as_str()).cloned());
            let options = if purpose == Purpose::Probe { &mail } else { &deploy };
            let client = options.client(&context, name, declared.as_deref()).map_err(|error| {
                Problem::new(error.code.unwrap_or(Code::TokenMissing), error.message)
                    .remedy(error.remedy.unwrap_or_default())
            })?;
            known.insert(name.to_string(), client.address().to_owned());
            Ok(client)
        })
    }

    fn tell(&self, context: &Context, status: &Status) {
        if self.format == Format::Json {
            context.printer.out(&format!("{:#}", serde_json::json!(status)));
            return;
        }
        if let Some(problem) = &status.files.problem {
            context.printer.out(&format!("files: {} {}", problem.code, problem.message));
        }
        for (name, standing) in &status.environments {
            let problem = standing.problem.as_ref().or(standing.refused.as_ref());
            let mut line = problem
                .map_or_else(|| standing.summary.clone(), |problem| format!("{} {}", problem.code, problem.message));
            if standing.applies > 0 {
                line = format!("applied, generation {}. {line}", standing.generation);
            }
            if !standing.drift.is_empty() {
                line = format!("{line} Changed outside Git: {}.", standing.drift.join(", "));
            }
            for credential in &standing.expiring {
                line = format!(
                    "{line} `{}` of `{}` ends in {} days.",
                    credential.secret, credential.profile, credential.days
                );
            }
            context.printer.out(&format!("{name}: {line}"));
        }
    }
}
