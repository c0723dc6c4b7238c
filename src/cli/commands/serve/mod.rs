//! `mailwright serve`: runs the e-mail service of one environment, or those of several in one process.

mod data;
mod first_token;
mod issuers;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use data::{Opened, Residence, store_error};
use first_token::FirstToken;

use crate::{
    cli::{
        CliError, Context, Exit, Runnable,
        args::{outbound::DeliveryOptions, service::PLACEHOLDER, values::parse_listen_address},
        log::{LogFormat, start_log},
        signals::wait_for_stop,
    },
    model::{Code, EnvironmentName},
    net::listener::{self, ConnectionLimits, ListenError, OpenConnections, Tls},
    service::{HostedEnvironment, Hosting, Server, SharedResources},
    store::Integrity as _,
};

/// Run the e-mail service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright serve --environment dev --data ./data\n  \
    mailwright serve --environment prod --data /var/lib/mailwright --listen 0.0.0.0:8470 \\\n      \
    --tls-cert server.pem --tls-key server.key\n\n\
    Several environments in one process, each at /environments/NAME:\n  \
    mailwright serve --environment acme --environment beta --data ./data --token-file 'tokens/{environment}.token'\n  \
    mailwright serve --hosted ./data                       # all that are there\n  \
    mailwright serve --hosted ./data --environment gamma   # and a new one\n\n\
    The first start makes the service's age identity and an administrator's token, which is shown once.\n\
    The log goes to standard error; MAILWRIGHT_LOG filters it (`info`, `mailwright=debug`).")]
pub(crate) struct Serve {
    /// The environment that the service belongs to; a store keeps the one of its first start. May be given several times:
    /// then each has a folder of its name in `--data`, and is reached at `/environments/NAME`
    #[arg(long, value_name = "ENV", required_unless_present = "hosted")]
    environment: Vec<EnvironmentName>,
    /// Where the store and the identity are kept
    #[arg(long, value_name = "DIR", required_unless_present = "hosted", value_hint = clap::ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// Serve the environments that have a folder in this one, and those of `--environment`, each at `/environments/NAME`
    #[arg(long, value_name = "DIR", conflicts_with = "data", value_hint = clap::ValueHint::DirPath)]
    hosted: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8470", value_name = "ADDRESS", value_parser = parse_listen_address)]
    listen: SocketAddr,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = clap::ValueHint::FilePath)]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = clap::ValueHint::FilePath)]
    tls_key: Option<PathBuf>,
    /// Listen in clear where others can reach it, because something in front of it does TLS
    #[arg(long)]
    allow_clear_text: bool,
    /// The data folder was restored from a backup: what waited is `unknown`, and tokens are suspended until they are confirmed
    #[arg(long)]
    restored: bool,
    /// Use the public identity of the examples; guards nothing
    #[arg(long)]
    demo: bool,
    /// Write the first administrator's token into this file instead of showing it; `{environment}` in its name stands for
    /// the environment's
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Make another administrator's token at start, in place of one that was lost
    #[arg(long)]
    new_admin_token: bool,
    /// A file that says which pipelines get in by an identity token (OIDC) of whose issuer; `mailwright schema oidc`.
    /// It is read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    oidc: Option<PathBuf>,
    /// Connections at once [default: 2048, or fewer where the limit of open files is low]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=100_000))]
    max_connections: Option<u32>,
    /// Close a connection without a request after so many seconds
    #[arg(long, default_value_t = 75, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle_timeout: u64,
    #[command(flatten)]
    outgoing: DeliveryOptions,
    /// Stop when standard input ends: whoever started the service is gone then, however it went
    #[arg(long, hide = true)]
    stop_at_end_of_input: bool,
    /// How to write the log [default: human on a terminal, json elsewhere]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl Runnable for Serve {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let in_clear = self.tls_cert.is_none();
        if in_clear && !self.listen.ip().is_loopback() && !self.allow_clear_text {
            return Err(CliError::coded(
                Code::ClearText,
                format!("tokens would travel to {} in clear", self.listen),
            )
            .remedy("Give `--tls-cert` and `--tls-key`, listen on 127.0.0.1, or say `--allow-clear-text` where something in front does TLS."));
        }
        let residence = self.residence()?;
        start_log(self.log_format, "info")?;
        keep_memory_private();
        let connections = self.connection_limits(residence.count());
        context.runtime()?.block_on(self.serve(context, residence, connections))
    }
}

impl Serve {
    /// Which environments are meant, and where they are kept.
    fn residence(&self) -> Result<Residence, CliError> {
        let residence = match (&self.hosted, &self.data) {
            (Some(folder), _) => Residence::hosted(&self.environment, folder)?,
            (None, Some(folder)) => Residence::named(&self.environment, folder)?,
            (None, None) => return Err(CliError::coded(Code::Usage, "it is not said where data is kept")),
        };
        let fits_all = |path: &PathBuf| path.to_string_lossy().contains(PLACEHOLDER);
        if matches!(residence, Residence::Several(..)) && !self.token_file.as_ref().is_none_or(fits_all) {
            return Err(CliError::coded(
                Code::Usage,
                "`--token-file` names one file, and several environments are meant",
            )
            .remedy("Put `{environment}` where the name belongs: `--token-file 'tokens/{environment}.token'`."));
        }
        Ok(residence)
    }

    async fn serve(
        &self,
        context: &Context,
        residence: Residence,
        connections: ConnectionLimits,
    ) -> Result<Exit, CliError> {
        // What may fail comes before anything is made, and all of it before the first token, which is shown once.
        let outgoing = self.outgoing.outgoing()?;
        let load = |path: &PathBuf| issuers::load(context, path, outgoing.authorities.clone()).map(Arc::new);
        let issuers = self.oidc.as_ref().map(load).transpose()?;
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate: certificate.clone(), key: key.clone() }),
            _ => None,
        };
        let server = Server::bind(self.listen, tls).await.map_err(not_listening)?;
        let opened = residence.open(self.demo, self.restored)?;
        let connections = OpenConnections::new(connections);
        let shared = SharedResources { demo: self.demo, outgoing, clock: context.clock.clone(), issuers, connections };
        let mut first = Vec::new();
        for one in &opened {
            let restored = one.store.settle_restore(context.clock.now()).await;
            residence.told(&one.name, restored.map_err(store_error))?;
            first.extend(FirstToken::of(context, one, self.token_file.as_deref(), self.new_admin_token).await?);
        }
        for first in &first {
            first.write()?;
        }
        // From here on mail leaves.
        let (residents, _locks): (Vec<HostedEnvironment>, Vec<_>) = opened.into_iter().map(Opened::moved_in).unzip();
        let hosting = host(&shared, &residence, residents).await?;
        self.introduce(context, &residence, &first, &server.address());
        for first in first {
            first.keep().await?;
        }
        if self.demo {
            context.printer.note("DEMO: the service's key is public. Keep nothing here that matters.");
        }
        let stop = wait_for_stop(self.stop_at_end_of_input);
        server.run(hosting, stop).await.map_err(|error| CliError::new(format!("the service stopped: {error}")))?;
        Ok(Exit::Done)
    }

    /// How many connections are kept. A part of the open files belongs to the store and to delivery.
    fn connection_limits(&self, environments: usize) -> ConnectionLimits {
        let idle = Duration::from_secs(self.idle_timeout);
        let wanted = self.max_connections.map_or(listener::MOST_CONNECTIONS, |most| most as usize);
        let Some(files) = raise_open_files() else { return ConnectionLimits { connections: wanted, idle } };
        let free = files.saturating_sub(FILES_OF_PROCESS + FILES_OF_ENVIRONMENT * environments);
        // As many again are left for delivery.
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

    /// What is served, where, and what somebody needs to know of those that are new.
    fn introduce(&self, context: &Context, residence: &Residence, first: &[FirstToken], address: &str) {
        match residence {
            Residence::Alone(name, _) => {
                context.printer.out(&format!("mailwright serves {name} at {address}"));
                if let Some(first) = first.first() {
                    first_token::introduce(context, first);
                }
            }
            Residence::Several(names, _) => {
                let noun = if names.len() == 1 { "environment" } else { "environments" };
                let at = format!("{address}/environments/{PLACEHOLDER}");
                context.printer.out(&format!("mailwright serves {} {noun} at {at}", names.len()));
                if !first.is_empty() {
                    first_token::introduce_several(context, first, self.token_file.as_deref());
                }
            }
        }
    }
}

/// Puts the environments to work.
async fn host(
    shared: &SharedResources,
    residence: &Residence,
    mut residents: Vec<HostedEnvironment>,
) -> Result<Hosting, CliError> {
    match (residence, residents.pop()) {
        (Residence::Alone(..), Some(alone)) => Hosting::single(shared, alone).await.map_err(store_error),
        (_, last) => {
            residents.extend(last);
            let hosted = Hosting::multiple(shared, residents).await;
            hosted.or_else(|(name, error)| residence.told(&name, Err(store_error(error))))
        }
    }
}

fn not_listening(error: ListenError) -> CliError {
    let remedy = match &error {
        ListenError::Address { .. } => {
            "Stop what listens there, or give another `--listen ADDRESS`; port 0 takes a free one."
        }
        ListenError::Tls(_) => {
            "Give PEM files that can be read: `--tls-cert` the chain, `--tls-key` the key that belongs to it."
        }
    };
    CliError::coded(Code::CannotListen, error.to_string()).remedy(remedy)
}

/// Open files that a process needs for itself: its log, its port, name servers, files of certificates.
const FILES_OF_PROCESS: usize = 32;
/// Open files that an environment needs: its store, above all.
const FILES_OF_ENVIRONMENT: usize = 14;
/// Fewer connections than this are worth a warning.
const FEW_CONNECTIONS: usize = 128;
/// The largest limit of open files that is asked for.
const OPEN_FILES: u64 = 65_536;

/// Raises the limit of open files as far as the system allows, and returns it; none where there is no limit.
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

/// What is in memory stays there: no crash leaves a file with it, and nobody but the administrator looks into it. Where a
/// program takes what crashes, the limit alone would not count.
fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let limited = limited.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = limited {
        tracing::warn!(%error, "a crash may leave a file with what is in memory");
    }
}
