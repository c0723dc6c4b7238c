//! `mailwright serve`: runs the service of one environment, or of several in one process, until a signal stops it.
//!
//! Opens the data folders (`data`), creates first tokens (`first_token`), limits connections by the open files that the system
//! allows, and protects the memory of the process. The service itself is [`crate::service`].
//!
//! An error in one environment ends the start of all. A plain listener is refused outside loopback unless an option allows it; a
//! low limit of open files is only a warning.

mod data;
mod first_token;
mod issuers;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use data::{OpenedData, ServedData};
use first_token::FirstToken;

use crate::{
    cli::{
        CliError, Context, Exit, Runnable,
        args::{outbound::DeliveryArgs, service::PLACEHOLDER, values::parse_listen_address},
        data_folder::store_error,
        log::{LogFormat, start_log},
        signals::wait_for_stop,
        ui::wording::count_of,
        variables,
    },
    model::{Code, EnvironmentName},
    net::listener::{self, ConnectionLimits, ListenError, OpenConnections, Tls},
    service::{HostedEnvironment, Hosting, PublicUrl, Server, SharedResources},
    store::Integrity as _,
    text::printable,
};

/// Run the e-mail service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright serve --environment dev --data ./data\n  \
    mailwright serve --environment prod --data /var/lib/mailwright --listen 0.0.0.0:8470 \\\n      \
    --tls-cert server.pem --tls-key server.key\n\n\
    Several environments in one process, each at /environments/NAME:\n  \
    mailwright serve --environment acme --environment beta --data ./data --token-file 'tokens/{environment}.token'\n  \
    mailwright serve --hosted ./data                       # all existing ones\n  \
    mailwright serve --hosted ./data --environment gamma   # and a new one\n\n\
    The first start creates the service's age identity and an administrator's token,\n\
    which is shown once. The log goes to standard error; MAILWRIGHT_LOG filters it\n\
    (`info`, `mailwright=debug`).")]
pub(crate) struct Serve {
    /// Environment of the service; must be that of the store's first start (can be repeated: then each environment has a
    /// folder of its name in `--data` and is served at `/environments/NAME`)
    #[arg(long, value_name = "ENV", required_unless_present = "hosted")]
    environment: Vec<EnvironmentName>,
    /// Folder of the store and the identity
    #[arg(long, value_name = "DIR", required_unless_present = "hosted", value_hint = clap::ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// Serve all environments with a folder in this one, and those of `--environment`, each at `/environments/NAME`
    #[arg(long, value_name = "DIR", conflicts_with = "data", value_hint = clap::ValueHint::DirPath)]
    hosted: Option<PathBuf>,
    /// Address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:8470", value_name = "ADDRESS", value_parser = parse_listen_address)]
    listen: SocketAddr,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = clap::ValueHint::FilePath)]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = clap::ValueHint::FilePath)]
    tls_key: Option<PathBuf>,
    /// Listen without TLS on an address that others can reach, because a proxy in front terminates TLS
    #[arg(long)]
    allow_clear_text: bool,
    /// The data folder was restored from a backup: waiting mail becomes `unknown`, tokens and operators are suspended until confirmed
    #[arg(long)]
    restored: bool,
    /// Use the public identity of the examples, which protects nothing
    #[arg(long)]
    demo: bool,
    /// Write the first administrator's token to this file instead of showing it; `{environment}` in its name is replaced by
    /// the environment's name
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Create another administrator's token at start, to replace one that was lost
    #[arg(long)]
    new_admin_token: bool,
    /// Address of the service as people's browsers see it, without a path; http is possible for localhost only. Passkeys,
    /// enrolment links and sign-ins with an identity provider need it [environment variable: `MAILWRIGHT_PUBLIC_URL`]
    #[arg(long, value_name = "URL", value_parser = PublicUrl::parse)]
    public_url: Option<PublicUrl>,
    /// File that lists the issuers of identity tokens (OIDC): the pipelines that are accepted, and the persons who sign in
    /// to the console; see `mailwright schema oidc`. Reloaded when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    oidc: Option<PathBuf>,
    /// Maximum number of connections [default: 2048, or fewer if the limit of open files is low]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=100_000))]
    max_connections: Option<u32>,
    /// Time after which an idle connection is closed, in seconds
    #[arg(long, default_value_t = 75, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle_timeout: u64,
    #[command(flatten)]
    outgoing: DeliveryArgs,
    /// Stop when standard input ends, because the process that started the service has ended
    #[arg(long, hide = true)]
    stop_at_end_of_input: bool,
    /// Log format [default: human on a terminal, json elsewhere]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl Runnable for Serve {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let in_clear = self.tls_cert.is_none();
        if in_clear && !self.listen.ip().is_loopback() && !self.allow_clear_text {
            return Err(CliError::coded(
                Code::ClearText,
                format!("cannot listen on {} without TLS: tokens would be sent unencrypted", self.listen),
            )
            .remedy("Pass `--tls-cert` and `--tls-key`, listen on 127.0.0.1, or pass `--allow-clear-text` if a proxy in front terminates TLS."));
        }
        let data = self.data_folders()?;
        start_log(self.log_format, "info")?;
        protect_memory();
        let connections = self.connection_limits(data.count());
        context.runtime()?.block_on(self.serve(context, data, connections))
    }
}

impl Serve {
    /// Returns the data folders of the environments to serve.
    fn data_folders(&self) -> Result<ServedData, CliError> {
        let data = match (&self.hosted, &self.data) {
            (Some(folder), _) => ServedData::hosted(&self.environment, folder)?,
            (None, Some(folder)) => ServedData::named(&self.environment, folder)?,
            (None, None) => return Err(CliError::coded(Code::Usage, "`--data` or `--hosted` is required")),
        };
        let has_placeholder = |path: &PathBuf| path.to_string_lossy().contains(PLACEHOLDER);
        if matches!(data, ServedData::Multiple(..)) && !self.token_file.as_ref().is_none_or(has_placeholder) {
            return Err(CliError::coded(
                Code::SeveralEnvironments,
                "`--token-file` names one file, but several environments are served",
            )
            .remedy("Use a placeholder for the name: `--token-file 'tokens/{environment}.token'`."));
        }
        Ok(data)
    }

    async fn serve(
        &self,
        context: &Context,
        data: ServedData,
        connections: ConnectionLimits,
    ) -> Result<Exit, CliError> {
        // Steps that may fail come before anything is created, and before the first token, which is shown once.
        let outgoing = self.outgoing.outgoing()?;
        let public_url = match (&self.public_url, variables::read(variables::PUBLIC_URL)) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(text)) => Some(parse_public_url(&text)?),
            (None, None) => None,
        };
        let load = |path: &PathBuf| {
            issuers::load(context, path, outgoing.authorities.clone(), public_url.is_some()).map(Arc::new)
        };
        let issuers = self.oidc.as_ref().map(load).transpose()?;
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate: certificate.clone(), key: key.clone() }),
            _ => None,
        };
        let server = Server::bind(self.listen, tls).await.map_err(listen_error)?;
        let opened = data.open(self.demo, self.restored)?;
        let connections = OpenConnections::new(connections);
        let (clock, console) = (context.clock.clone(), Some(crate::console::routes()));
        let shared = SharedResources { demo: self.demo, outgoing, clock, issuers, connections, console, public_url };
        let mut first = Vec::new();
        for one in &opened {
            let restored = one.store.settle_restore(context.clock.now()).await;
            data.with_environment(&one.name, restored.map_err(store_error))?;
            first.extend(FirstToken::create(context, one, self.token_file.as_deref(), self.new_admin_token).await?);
        }
        for first in &first {
            first.write(context)?;
        }
        // From here on mail is sent.
        let (residents, _locks): (Vec<HostedEnvironment>, Vec<_>) =
            opened.into_iter().map(OpenedData::into_hosted).unzip();
        let hosting = start_hosting(&shared, &data, residents).await?;
        let address = server.address();
        let console = shared.public_url.as_ref().map_or(address.as_str(), PublicUrl::origin);
        self.print_introduction(context, &data, &first, (&address, console))?;
        for first in first {
            first.store().await?;
        }
        if self.demo {
            context.printer.note("DEMO: the service's key is public. Do not use it for real data.");
        }
        let stop = wait_for_stop(self.stop_at_end_of_input);
        server.run(hosting, stop).await.map_err(|error| CliError::new(format!("the service stopped: {error}")))?;
        Ok(Exit::Done)
    }

    /// Returns the limits of connections. Part of the open files is reserved for the store and delivery.
    fn connection_limits(&self, environments: usize) -> ConnectionLimits {
        let idle = Duration::from_secs(self.idle_timeout);
        let wanted = self.max_connections.map_or(listener::MOST_CONNECTIONS, |most| most as usize);
        let Some(files) = raise_open_files() else { return ConnectionLimits { connections: wanted, idle } };
        let free = files.saturating_sub(FILES_OF_PROCESS + FILES_OF_ENVIRONMENT * environments);
        // The other half is reserved for delivery.
        let possible = (free / 2).max(4);
        let connections = wanted.min(possible);
        if self.max_connections.is_some() && connections < wanted || possible < FEW_CONNECTIONS {
            tracing::warn!(
                open_files = files,
                wanted,
                connections,
                "the limit of open files allows few connections; raise it (`ulimit -n`, LimitNOFILE=)"
            );
        }
        ConnectionLimits { connections, idle }
    }

    /// Prints what is served at which address, for clients and for browsers, and the tokens of new environments. Fails if a token
    /// cannot be shown.
    fn print_introduction(
        &self,
        context: &Context,
        data: &ServedData,
        first: &[FirstToken],
        (address, browser): (&str, &str),
    ) -> Result<(), CliError> {
        match data {
            ServedData::Single(name, _) => {
                context.printer.out(&format!("mailwright serves {name} at {address}"));
                context.printer.out(&format!("  The console is at {browser}/console"));
                if let Some(first) = first.first() {
                    first_token::print_token(context, first)?;
                }
            }
            ServedData::Multiple(names, _) => {
                let environments = count_of(names.len(), "environment");
                context
                    .printer
                    .out(&format!("mailwright serves {environments} at {address}/environments/{PLACEHOLDER}"));
                context.printer.out(&format!("  Their consoles are at {browser}/environments/{PLACEHOLDER}/console"));
                if !first.is_empty() {
                    first_token::print_tokens(context, first, self.token_file.as_deref())?;
                }
            }
        }
        Ok(())
    }
}

/// Parses the address of the console.
fn parse_public_url(text: &str) -> Result<PublicUrl, CliError> {
    PublicUrl::parse(text).map_err(|reason| {
        CliError::coded(Code::Usage, format!("`{}` is not an address of the console: {reason}", printable(text)))
            .remedy("Pass an address such as `--public-url https://mail.example.com`.")
    })
}

/// Starts the services of the environments.
async fn start_hosting(
    shared: &SharedResources,
    data: &ServedData,
    mut residents: Vec<HostedEnvironment>,
) -> Result<Hosting, CliError> {
    match (data, residents.pop()) {
        (ServedData::Single(..), Some(alone)) => Hosting::single(shared, alone).await.map_err(store_error),
        (_, last) => {
            residents.extend(last);
            let hosted = Hosting::multiple(shared, residents).await;
            hosted.or_else(|(name, error)| data.with_environment(&name, Err(store_error(error))))
        }
    }
}

fn listen_error(error: ListenError) -> CliError {
    let remedy = match &error {
        ListenError::Address { .. } => {
            "Stop the program that uses the port, or pass another `--listen ADDRESS`; port 0 selects a free port."
        }
        ListenError::Tls(_) => {
            "Pass readable PEM files: `--tls-cert` with the certificate chain, `--tls-key` with its private key."
        }
    };
    CliError::coded(Code::CannotListen, error.to_string()).remedy(remedy)
}

/// Open files of the process: log, port, name servers, certificates.
const FILES_OF_PROCESS: usize = 32;
/// Open files per environment, mainly of its store.
const FILES_OF_ENVIRONMENT: usize = 14;
/// A warning is logged if fewer connections than this are possible.
const FEW_CONNECTIONS: usize = 128;
/// The largest limit of open files that is requested.
const OPEN_FILES: u64 = 65_536;

/// Raises the limit of open files as far as the system allows, and returns it. Returns none without a limit.
fn raise_open_files() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let mut current = limit.current?;
    let wanted = limit.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    if wanted > current {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
            Ok(()) => current = wanted,
            Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    usize::try_from(current).ok()
}

/// Disables core dumps and debugger access for other users. The limit alone does not apply if the system pipes core dumps
/// to a program.
fn protect_memory() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let limited = limited.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = limited {
        tracing::warn!(%error, "cannot disable core dumps");
    }
}
