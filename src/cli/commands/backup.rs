//! `mailwright backup`: copies the store of a service, and its identity sealed to the given recipients, into a new folder.
//!
//! The service may be running. If a step fails, the folder is removed. The identity is never sealed to the service's own recipient.
//! `restore` reads the folder; its layout is in `backup_folder`.

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable,
        backup_folder::{IDENTITY, MANIFEST, Manifest, STORE, digest_of_file},
        data_folder::{self, read_identity, store_error, write_private},
        exposure::warn_if_unignored,
        ui::age_prompt::AgePrompt,
    },
    model::Code,
    secrets::{Recipients, SealError, ServiceIdentity, ValueId, fingerprint, seal, seal_with_passphrase},
    store::SqliteStore,
    text::{printable, shell::quote_path},
};

/// Back up a service: its store, and its identity, sealed
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("sealing").required(true).args(["recipient", "passphrase"]),
    after_help = "Examples:\n  \
    mailwright backup --data /var/lib/mailwright --to /backup/2026-11-27 --recipient age1...\n  \
    mailwright backup --data ./data --to ./copy --recipient \"$(cat ~/.ssh/id_ed25519.pub)\"\n  \
    mailwright backup --data ./data --to ./copy --passphrase\n\n\
    The service may be running: the copy of the store is consistent. The identity is\n\
    sealed to the recipients, never to that of the service itself, which would be\n\
    lost with it. The store contains mail: keep the copy as private as the original.\n\
    `mailwright restore` puts a backup back."
)]
pub(crate) struct Backup {
    /// Data folder of one environment
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: PathBuf,
    /// Folder to create
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    to: PathBuf,
    /// Recipient of the identity: an age recipient or an SSH public key (can be repeated)
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// Seal the identity with a passphrase, which is asked for
    #[arg(long)]
    passphrase: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Runnable for Backup {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let store = self.data.join(data_folder::STORE);
        if !store.is_file() {
            return Err(CliError::coded(
                Code::Unreadable,
                format!("cannot back up `{}`: it has no `{}`", self.data.display(), data_folder::STORE),
            )
            .remedy(match data_folder::first_hosted(&self.data) {
                Some(folder) => format!(
                    "It is the folder of several environments. Back up each: `--data {}`, for example.",
                    quote_path(&folder)
                ),
                None => "Name the data folder of one environment, which was the `--data` of its `mailwright serve`."
                    .to_owned(),
            }));
        }
        let identity = read_identity(&self.data.join(data_folder::IDENTITY))?;
        let sealed = self.seal(&identity)?;
        let environment = SqliteStore::environment_of(&store).map_err(store_error)?;
        create_folder(&self.to)?;
        let result = self.write(context, &store, &sealed, &identity, environment);
        if result.is_err() {
            // An incomplete backup must not be taken for one. The folder was created here.
            drop(std::fs::remove_dir_all(&self.to));
        }
        let manifest = result?;
        warn_if_unignored(context, &self.to);
        if self.output.format == Format::Json {
            context.printer.json(&serde_json::to_value(&manifest).unwrap_or_default());
        } else {
            context.printer.out(&format!(
                "Backed up {} into {}: {} bytes.\nTo restore it: mailwright restore {} --data NEW-DIR",
                manifest.environment,
                self.to.display(),
                manifest.store_bytes,
                quote_path(&self.to)
            ));
        }
        Ok(Exit::Done)
    }
}

impl Backup {
    /// Seals the identity file to the recipients, or with a passphrase.
    fn seal(&self, identity: &ServiceIdentity) -> Result<Vec<u8>, CliError> {
        let text = identity.to_file();
        let value = SecretSlice::from(text.expose_secret().as_bytes().to_vec());
        let failed = |error: &SealError| {
            CliError::coded(Code::RecipientsInvalid, format!("cannot seal the identity: {error}"))
                .remedy("Use recipients of one kind, and install the age plugins that they need.")
        };
        if self.passphrase {
            return seal_with_passphrase(&value, ask_passphrase()?).map_err(|error| failed(&error));
        }
        let recipients = Recipients::parse(&self.recipient.join("\n"), &AgePrompt).map_err(|error| {
            CliError::coded(
                Code::RecipientsInvalid,
                format!("cannot use `--recipient`: {}", printable(&error.to_string())),
            )
            .remedy("Pass an age recipient (`age1...`) or an SSH public key.")
        })?;
        let own = fingerprint(&identity.recipient());
        if recipients.fingerprints().any(|recipient| recipient == own) {
            return Err(CliError::coded(
                Code::RecipientsInvalid,
                "cannot seal the identity to the service's own recipient: nothing could open it once the service is lost",
            )
            .remedy("Pass the recipient of an operator: `--recipient age1...`, or `--passphrase`."));
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| CliError::new(format!("cannot get random numbers: {error}")))?;
        seal(&value, &recipients, &ValueId::from_random(random)).map_err(|error| failed(&error))
    }

    fn write(
        &self,
        context: &Context,
        store: &Path,
        sealed: &[u8],
        identity: &ServiceIdentity,
        environment: crate::model::EnvironmentName,
    ) -> Result<Manifest, CliError> {
        let copy = self.to.join(STORE);
        SqliteStore::back_up(store, &copy).map_err(store_error)?;
        SqliteStore::check_recipient(&copy, &identity.recipient()).map_err(store_error)?;
        let (store_digest, store_bytes) = digest_of_file(&copy)?;
        let manifest = Manifest {
            format_version: Manifest::VERSION,
            environment,
            created_at: context.clock.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recipient: identity.recipient(),
            store_digest,
            store_bytes,
        };
        let wrong = |error: std::io::Error| {
            CliError::coded(Code::Unwritable, format!("cannot write into `{}`: {error}", self.to.display()))
        };
        write_private(&self.to.join(IDENTITY), &String::from_utf8_lossy(sealed)).map_err(wrong)?;
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        // Last: a folder without it is not a backup.
        write_private(&self.to.join(MANIFEST), &format!("{text}\n")).map_err(wrong)?;
        Ok(manifest)
    }
}

/// Creates the folder, which must not exist.
fn create_folder(path: &Path) -> Result<(), CliError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|error| {
            CliError::coded(Code::Unwritable, format!("cannot create `{}`: {error}", parent.display()))
        })?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(path).map_err(|error| {
        CliError::coded(Code::Unwritable, format!("cannot create `{}`: {error}", path.display()))
            .remedy("Name a folder that does not exist yet: `--to DIR`.")
    })
}

/// Asks for a passphrase twice.
fn ask_passphrase() -> Result<SecretString, CliError> {
    use std::io::IsTerminal as _;
    let refused =
        |why: &str, remedy: &str| CliError::coded(Code::PassphraseUnusable, why.to_owned()).remedy(remedy.to_owned());
    if !std::io::stdin().is_terminal() {
        return Err(refused(
            "cannot ask for a passphrase: standard input is not a terminal",
            "Pass `--recipient RECIPIENT` instead.",
        ));
    }
    let ask = |question: &str| {
        rpassword::prompt_password(question)
            .map(SecretString::from)
            .map_err(|error| CliError::new(format!("cannot read the passphrase: {error}")))
    };
    let (first, second) = (ask("Passphrase of the identity (not shown): ")?, ask("Once more: ")?);
    if first.expose_secret().chars().count() < 12 {
        return Err(refused("the passphrase is too short", "Use at least 12 characters."));
    }
    if first.expose_secret() != second.expose_secret() {
        return Err(refused("the two passphrases differ", "Run the command again."));
    }
    Ok(first)
}
