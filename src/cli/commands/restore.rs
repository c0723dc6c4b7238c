//! `mailwright restore`: puts a backup into a data folder that is empty or absent, after checking the digest of the store and the
//! recipient of the identity.
//!
//! The passphrase or identity that opens the sealed identity is asked for or named. The consequences for mail and tokens are drawn
//! by the service when it starts with `--restored`. If a step fails, what was written is removed.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable,
        args::identity::IdentityArgs,
        backup_folder::{IDENTITY, Manifest, STORE, copy_private},
        data_folder::{self, create_private_folder, store_error, write_private},
    },
    model::{Code, EnvironmentName},
    secrets::{FILE_LIMIT, ServiceIdentity, open},
    store::SqliteStore,
    text::shell::quote_path,
};

/// Restore a backup into an empty data folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright restore /backup/2026-11-27 --data /var/lib/mailwright --identity ~/.ssh/id_ed25519\n  \
    mailwright restore ./copy --data ./data --environment prod\n\n\
    The folder must be empty or absent: nothing is overwritten. A passphrase is asked\n\
    for. Start the service with `--restored`: queued messages become `unknown`, tokens\n\
    are suspended, and no mail is accepted until `outbox confirm-restore ENV`.")]
pub(crate) struct Restore {
    /// Folder of the backup
    #[arg(value_name = "BACKUP", value_hint = clap::ValueHint::DirPath)]
    backup: PathBuf,
    /// Data folder to create
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: PathBuf,
    /// Refuse a backup of another environment
    #[arg(long, value_name = "ENV")]
    environment: Option<EnvironmentName>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Runnable for Restore {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let manifest = Manifest::read(&self.backup)?;
        if let Some(wanted) = self.environment.as_ref().filter(|wanted| **wanted != manifest.environment) {
            return Err(CliError::coded(
                Code::WrongEnvironment,
                format!(
                    "cannot restore `{}`: it is a backup of `{}`, not of `{wanted}`",
                    self.backup.display(),
                    manifest.environment
                ),
            )
            .remedy("Name another backup, or correct `--environment`."));
        }
        check_empty(&self.data)?;
        let identity = self.open_identity(&manifest)?;
        create_private_folder(&self.data)?;
        let result = self.write(&manifest, &identity);
        if result.is_err() {
            // Both were created here, in an empty folder.
            for name in [data_folder::STORE, data_folder::IDENTITY] {
                drop(std::fs::remove_file(self.data.join(name)));
            }
        }
        result?;
        let start = format!(
            "mailwright serve --environment {} --data {} --restored",
            manifest.environment,
            quote_path(&self.data)
        );
        let confirm = format!("mailwright outbox confirm-restore {}", manifest.environment);
        if self.output.format == Format::Json {
            let document = serde_json::json!({
                "environment": manifest.environment, "createdAt": manifest.created_at, "data": self.data,
                "next": [start, confirm],
            });
            context.printer.json(&document);
        } else {
            context.printer.out(&format!(
                "Restored {} as of {} into {}.\nStart it: {start}\nThen decide about messages that are unknown, and run: {confirm}",
                manifest.environment,
                crate::time::local::format_time(manifest.created_at),
                self.data.display()
            ));
        }
        Ok(Exit::Done)
    }
}

impl Restore {
    /// Opens the sealed identity, and checks that it is the one of the backup.
    fn open_identity(&self, manifest: &Manifest) -> Result<ServiceIdentity, CliError> {
        let path = self.backup.join(IDENTITY);
        let wrong =
            |why: String| CliError::coded(Code::IdentityMissing, format!("cannot open `{}`: {why}", path.display()));
        let sealed = crate::fs::read_ordinary(&path, FILE_LIMIT as u64).map_err(|error| wrong(error.to_string()))?;
        let identities = self.identity.load(std::iter::once(sealed.as_slice()))?;
        let opened = open(&sealed, identities.iter()).map_err(|error| {
            wrong(error.to_string())
                .remedy("Pass the identity of a recipient of the backup: `--identity FILE`. A passphrase is asked for on a terminal.")
        })?;
        let text = zeroize::Zeroizing::new(opened.expose_secret().to_vec());
        let text = std::str::from_utf8(&text).map_err(|_| wrong("it is not an identity".to_owned()))?;
        let identity = ServiceIdentity::parse(&SecretString::from(text)).map_err(wrong)?;
        if identity.recipient() != manifest.recipient {
            return Err(wrong("it is the identity of another service".to_owned())
                .remedy("Use the identity and the store of the same backup."));
        }
        Ok(identity)
    }

    fn write(&self, manifest: &Manifest, identity: &ServiceIdentity) -> Result<(), CliError> {
        let (from, store) = (self.backup.join(STORE), self.data.join(data_folder::STORE));
        let (digest, size) = copy_private(&from, &store)?;
        if digest != manifest.store_digest {
            return Err(CliError::coded(
                Code::Unreadable,
                format!("cannot restore `{}`: its {size} bytes are not those that were backed up", from.display()),
            )
            .remedy("The copy is damaged or was changed. Use another backup."));
        }
        SqliteStore::check_openable(&store, &manifest.environment).map_err(store_error)?;
        SqliteStore::check_recipient(&store, &identity.recipient()).map_err(store_error)?;
        let path = self.data.join(data_folder::IDENTITY);
        write_private(&path, identity.to_file().expose_secret())
            .map_err(|error| CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display())))
    }
}

/// Returns an error if a folder contains anything.
fn check_empty(folder: &Path) -> Result<(), CliError> {
    let entry = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(data_folder::failed(folder, "list files", &error)),
    };
    if entry.is_none() {
        return Ok(());
    }
    Err(CliError::coded(
        Code::DataFolderMismatch,
        format!("cannot restore into `{}`: the folder is not empty; nothing was changed", folder.display()),
    )
    .remedy("Stop its service, move the folder away, and restore into an empty one: `--data DIR`."))
}
