//! `mailwright serve`: runs the e-mail service.

use std::{
    fs::{File, OpenOptions},
    io::{IsTerminal as _, Write as _},
    net::{SocketAddr, ToSocketAddrs as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{CliError, Context, Exit, variables};
use crate::{
    api::{AuditOutcome, NewToken, Role, Scope},
    model::{Code, EnvironmentName},
    secrets::ServiceIdentity,
    service::{IssuersFile, Oidc, OidcError, ServeError, Server, Service, Tls, new_token},
    store::{AuditEvent, SqliteStore, Store as _, StoreError, StoredToken},
};

/// Run the e-mail service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright serve --environment dev --data ./data\n  \
    mailwright serve --environment prod --data /var/lib/mailwright --listen 0.0.0.0:8470 \\\n      \
    --tls-cert server.pem --tls-key server.key\n\n\
    The first start makes the service's age identity and an administrator's token, which is shown once.\n\
    The log goes to standard error; MAILWRIGHT_LOG filters it (`info`, `mailwright=debug`).")]
pub(crate) struct Serve {
    /// The environment that the service belongs to; a store keeps the one of its first start
    #[arg(long, value_name = "ENV")]
    environment: EnvironmentName,
    /// Where the store and the identity are kept
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8470", value_name = "ADDRESS", value_parser = listen_address)]
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
    /// Use the public identity of the examples; guards nothing
    #[arg(long)]
    demo: bool,
    /// Write the first administrator's token into this file instead of showing it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// A file that says which pipelines get in by an identity token (OIDC) of whose issuer; `mailwright schema oidc`.
    /// It is read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    oidc: Option<PathBuf>,
    #[command(flatten)]
    outgoing: super::outgoing::DeliveryOptions,
    /// Stop when standard input ends: whoever started the service is gone then, however it went
    #[arg(long, hide = true)]
    stop_at_end_of_input: bool,
    /// How to write the log [default: human on a terminal, json elsewhere]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// `host:port`, where the host may be a name of this machine.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|_| "write it as HOST:PORT: 127.0.0.1:8470, localhost:8470, [::1]:8470".to_owned())?
        .collect();
    // A name with addresses of both kinds is most often meant as the one that everything understands.
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
        .ok_or("the name has no address".to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    Human,
    Json,
}

impl Serve {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let in_clear = self.tls_cert.is_none();
        if in_clear && !self.listen.ip().is_loopback() && !self.allow_clear_text {
            return Err(CliError::coded(
                Code::ClearText,
                format!("tokens would travel to {} in clear", self.listen),
            )
            .remedy("Give `--tls-cert` and `--tls-key`, listen on 127.0.0.1, or say `--allow-clear-text` where something in front does TLS."));
        }
        self.start_log()?;
        let folder = DataFolder::open(&self.data)?;
        let identity = folder.identity(self.demo)?;
        let store = SqliteStore::open(&folder.store(), &self.environment).map_err(store_error)?;
        context.runtime()?.block_on(self.serve(context, store, identity))
    }

    async fn serve(self, context: &Context, store: SqliteStore, identity: ServiceIdentity) -> Result<Exit, CliError> {
        // What may fail comes before the first token is made, which is shown once.
        let outgoing = self.outgoing.outgoing()?;
        let oidc = self.oidc(context, outgoing.authorities.clone())?;
        let recipient = identity.recipient();
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new()
            .set_buckets(&[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0])
            .and_then(metrics_exporter_prometheus::PrometheusBuilder::install_recorder)
            .map_err(|error| CliError::new(format!("cannot count: {error}")))?;
        // Without this, what is counted would pile up for as long as nobody asks for it.
        let upkeep = metrics.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                upkeep.run_upkeep();
            }
        });
        let service =
            Service::new(Arc::new(store.clone()), identity, self.demo, outgoing, context.clock.clone(), metrics)
                .await
                .map_err(store_error)?;
        if let Some((file, read)) = oidc {
            service.follow_issuers(file, read);
        }
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
            _ => None,
        };
        let server = Server::bind(service, self.listen, tls).await.map_err(not_listening)?;
        // A token counts when somebody has it: a start that fails before that is tried again as the first.
        let first_token = FirstToken::of(context, &store).await?;
        if let (Some(first), Some(path)) = (&first_token, &self.token_file) {
            first.write(path)?;
        }
        context.printer.out(&format!("mailwright serves {} at {}", self.environment, server.address()));
        if let Some(first) = first_token {
            introduce(context, &self.environment, &recipient, &first.bearer, self.token_file.as_deref());
            store.create_token(first.stored, first.event).await.map_err(store_error)?;
        }
        if self.demo {
            context.printer.note("DEMO: the service's key is public. Keep nothing here that matters.");
        }
        server.run(stop_signal(self.stop_at_end_of_input)).await.map_err(|error| CliError::new(error.to_string()))?;
        Ok(Exit::Done)
    }

    /// The issuers whose identity tokens are taken. A file that makes no sense keeps the service from starting.
    fn oidc(&self, context: &Context, authorities: Option<Vec<u8>>) -> Result<Option<(IssuersFile, Oidc)>, CliError> {
        let Some(path) = &self.oidc else { return Ok(None) };
        let file = IssuersFile { path: path.clone(), authorities };
        match file.read() {
            Ok(read) => Ok(Some((file, read))),
            Err(OidcError::Unreadable(report)) => Err(super::environment::problems(context, &report)),
            Err(OidcError::Wrong(why)) => {
                Err(CliError::coded(Code::InvalidValue, format!("`{}`: {why}", path.display()))
                    .remedy("`mailwright schema oidc` prints what belongs here."))
            }
        }
    }

    fn start_log(&self) -> Result<(), CliError> {
        start_log(self.log_format)
    }
}

fn not_listening(error: ServeError) -> CliError {
    let remedy = match &error {
        ServeError::Listen { .. } => {
            "Stop what listens there, or give another `--listen ADDRESS`; port 0 takes a free one."
        }
        ServeError::Tls(_) => {
            "Give PEM files that can be read: `--tls-cert` the chain, `--tls-key` the key that belongs to it."
        }
        ServeError::Stopped(_) => return CliError::new(error.to_string()),
    };
    CliError::coded(Code::CannotListen, error.to_string()).remedy(remedy)
}

/// Starts the log on standard error.
pub(super) fn start_log(format: Option<LogFormat>) -> Result<(), CliError> {
    let filter = variables::read(variables::LOG).unwrap_or_else(|| "info".to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter).map_err(|_| {
        CliError::coded(Code::Usage, format!("{} is not a log filter", variables::LOG))
            .remedy("Write for example `info` or `mailwright=debug`.")
    })?;
    let format = format.unwrap_or(if std::io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Json });
    // A log that nobody reads any more must not take the service with it.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Human => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).init(),
    }
    Ok(())
}

fn store_error(error: StoreError) -> CliError {
    let (code, remedy) = match &error {
        StoreError::Newer { .. } => {
            (Code::StoreNewer, "Start the version of `mailwright` that wrote it, or a later one.")
        }
        StoreError::OtherEnvironment { .. } => {
            (Code::WrongEnvironment, "Start it with the environment of the store, or with another `--data DIR`.")
        }
        StoreError::Corrupt(_) | StoreError::Database(_) | StoreError::Broken => (
            Code::Internal,
            "Nothing was changed. Look at the folder's permissions and free space; a copy of the store can be put in its place.",
        ),
    };
    CliError::coded(code, error.to_string()).remedy(remedy)
}

/// The folder with the store and the identity, locked for one service.
struct DataFolder {
    path: PathBuf,
    /// Held as long as the service runs.
    _lock: File,
}

impl DataFolder {
    fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            CliError::coded(Code::Unreadable, format!("cannot {what} in the data folder `{}`: {error}", path.display()))
        };
        // Only what is made here gets its protection from here; a folder that is there is somebody's.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed("work", &error))?;
        let mode = std::fs::metadata(path).map_err(|error| failed("work", &error))?.permissions().mode();
        if mode & 0o022 != 0 {
            let why = format!(
                "others may write into it (mode {:04o}), and put a key or a store of theirs there",
                mode & 0o7777
            );
            let remedy = format!("Give a folder of its own, or: chmod 700 {}", path.display());
            return Err(failed("work", &why).remedy(remedy));
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|error| failed("lock", &error))?;
        lock.try_lock().map_err(|_| {
            CliError::coded(Code::Busy, format!("another service uses the data folder `{}`", path.display()))
                .remedy("Stop that one first, or give another `--data DIR`.")
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    fn store(&self) -> PathBuf {
        self.path.join("store.sqlite")
    }

    /// The service's identity; made at the first start.
    fn identity(&self, demo: bool) -> Result<ServiceIdentity, CliError> {
        let path = self.path.join("identity.txt");
        let wrong = |why: String| {
            CliError::coded(Code::Unreadable, format!("the service's identity `{}`: {why}", path.display()))
        };
        let identity = if path.exists() {
            let mode = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(wrong(format!("others may read it (mode {:03o})", mode & 0o777))
                    .remedy(format!("chmod 600 {}", path.display())));
            }
            let text = SecretString::from(std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?);
            ServiceIdentity::parse(&text).map_err(wrong)?
        } else if self.store().exists() {
            // A new key would open none of the secrets that the store has.
            return Err(CliError::coded(
                Code::ServiceIdentityLost,
                format!("the store is there and the service's identity `{}` is not; nothing was changed", path.display()),
            )
            .remedy("Put the copy of `identity.txt` back. If there is none, start with an empty `--data DIR`, and seal every secret to the recipient of the new service."));
        } else {
            let identity = if demo { ServiceIdentity::demo().map_err(wrong)? } else { ServiceIdentity::generate() };
            write_private(&path, identity.to_file().expose_secret()).map_err(|error| wrong(error.to_string()))?;
            identity
        };
        if identity.is_public() != demo {
            let (what, remedy) = if demo {
                (
                    "the store has a key of its own, and a demo uses the public one",
                    "Give another `--data DIR`, or leave `--demo` out.",
                )
            } else {
                (
                    "the service's key is the public one of the examples, which everybody has",
                    "Start with another `--data DIR`: the service makes a key of its own. `--demo` is for trying things out.",
                )
            };
            return Err(CliError::coded(Code::PublicIdentity, what).remedy(remedy));
        }
        Ok(identity)
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// An administrator's token that the store does not have yet.
struct FirstToken {
    bearer: SecretString,
    stored: StoredToken,
    event: AuditEvent,
}

impl FirstToken {
    /// One for a store that has no token at all.
    async fn of(context: &Context, store: &SqliteStore) -> Result<Option<Self>, CliError> {
        if !store.tokens().await.map_err(store_error)?.is_empty() {
            return Ok(None);
        }
        let now = context.clock.now();
        let wanted =
            NewToken { name: "first-admin".to_owned(), role: Role::Admin, scope: Scope::default(), expires_at: None };
        let random = |buffer: &mut [u8]| getrandom::fill(buffer).map_err(|error| error.to_string());
        let (stored, bearer) = new_token(&wanted, now, random).map_err(CliError::new)?;
        let event = AuditEvent {
            at: now,
            actor: "(first start)".to_owned(),
            action: "token.create",
            outcome: AuditOutcome::Accepted,
            detail: json!({ "id": stored.token.id, "name": stored.token.name, "role": stored.token.role, "expiresAt": null }),
        };
        Ok(Some(Self { bearer, stored, event }))
    }

    fn write(&self, path: &Path) -> Result<(), CliError> {
        write_private(path, &format!("{}\n", self.bearer.expose_secret())).map_err(|error| {
            CliError::coded(Code::Unwritable, format!("cannot write the token to `{}`: {error}", path.display()))
                .remedy("Correct `--token-file` and start again: there is no token before somebody has it.")
        })
    }
}

/// What somebody needs to know who has just started a new service.
fn introduce(
    context: &Context,
    environment: &EnvironmentName,
    recipient: &str,
    token: &SecretString,
    token_file: Option<&Path>,
) {
    let shown = match token_file {
        Some(path) => format!("  The administrator's token is in {}.", path.display()),
        None => format!(
            "  The administrator's token, shown this once:\n\n    {}\n\n  Put it into MAILWRIGHT_TOKEN, or into a file that MAILWRIGHT_TOKEN_FILE names.",
            token.expose_secret()
        ),
    };
    context.printer.out(&format!(
        "\nThis is a new service.\n{shown}\n  Its recipient, for secrets/{environment}/recipients.txt:\n\n    {recipient}\n"
    ));
}

/// Ends at Ctrl-C or SIGTERM, or at the end of standard input if that is wanted.
pub(super) async fn stop_signal(at_end_of_input: bool) {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let input_ended = async move {
        if !at_end_of_input {
            return std::future::pending().await;
        }
        drop(tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
        () = input_ended => {}
    }
}
