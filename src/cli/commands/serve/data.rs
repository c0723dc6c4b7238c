//! Data folders of environments: each has the store, the identity and a lock.
//!
//! A single environment uses the folder itself; several have a subfolder each, named after the environment. A folder of one
//! kind is never used as the other.
//!
//! A folder that is locked by another process, or has a store without its identity, is an error. If one environment fails, none is
//! served.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::ExposeSecret as _;

use crate::{
    cli::{
        CliError,
        data_folder::{
            IDENTITY, STORE, create_private_folder, failed, has_data, identity_error, read_identity, store_error,
            write_private,
        },
    },
    fs::{lock_remedy, open_lock},
    model::{Code, EnvironmentName},
    secrets::ServiceIdentity,
    service::HostedEnvironment,
    store::SqliteStore,
    telemetry::EnvironmentContext,
    text::shell::quote_path,
};

/// A possible cause if a store cannot be opened when there are many.
const OPEN_FILES_NOTE: &str =
    "Each environment needs about 13 open files; `ulimit -n` shows the limit of this process.";

/// The environments to serve, and the folder of their data.
pub(super) enum ServedData {
    /// One environment, in the folder itself.
    Single(EnvironmentName, PathBuf),
    /// Several environments, each in a subfolder.
    Multiple(BTreeSet<EnvironmentName>, PathBuf),
}

/// The opened data of an environment.
pub(super) struct OpenedData {
    pub(super) name: EnvironmentName,
    pub(super) store: SqliteStore,
    pub(super) identity: ServiceIdentity,
    pub(super) context: EnvironmentContext,
    /// Holds the lock of the folder.
    folder: DataFolder,
}

impl OpenedData {
    /// Returns what the service needs, and the folder, whose lock must be held while the service runs.
    pub(super) fn into_hosted(self) -> (HostedEnvironment, DataFolder) {
        let Self { store, identity, context, folder, .. } = self;
        (HostedEnvironment { store: Arc::new(store), identity, context }, folder)
    }
}

impl ServedData {
    /// Returns the named environments in a folder: a single one, or several.
    pub(super) fn named(names: &[EnvironmentName], folder: &Path) -> Result<Self, CliError> {
        let names: BTreeSet<EnvironmentName> = names.iter().cloned().collect();
        match names.first() {
            Some(name) if names.len() == 1 => {
                check_not_multiple(name, folder)?;
                Ok(Self::Single(name.clone(), folder.to_owned()))
            }
            _ => {
                check_not_single(folder)?;
                Ok(Self::Multiple(names, folder.to_owned()))
            }
        }
    }

    /// Returns all environments of a folder, and new ones that are named.
    pub(super) fn hosted(names: &[EnvironmentName], folder: &Path) -> Result<Self, CliError> {
        check_not_single(folder)?;
        let mut names: BTreeSet<EnvironmentName> = names.iter().cloned().collect();
        names.extend(list_environments(folder)?);
        if names.is_empty() {
            return Err(CliError::coded(
                Code::EnvironmentNotNamed,
                format!("`{}` does not contain an environment, and none is named", folder.display()),
            )
            .remedy("Correct `--hosted DIR`, or name the environments to create: `--environment NAME`."));
        }
        Ok(Self::Multiple(names, folder.to_owned()))
    }

    /// Returns the number of environments.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Single(..) => 1,
            Self::Multiple(names, _) => names.len(),
        }
    }

    /// Opens all environments and creates the new ones. Existing ones are checked first; nothing is created or migrated
    /// unless all of them can be served.
    pub(super) fn open(&self, demo: bool, restored: bool) -> Result<Vec<OpenedData>, CliError> {
        let directories: Vec<(EnvironmentName, PathBuf, EnvironmentContext)> = match self {
            Self::Single(name, folder) => vec![(name.clone(), folder.clone(), EnvironmentContext::single())],
            Self::Multiple(names, folder) => names
                .iter()
                .map(|name| (name.clone(), folder.join(name.as_str()), EnvironmentContext::hosted(name)))
                .collect(),
        };
        let mut existing = Vec::new();
        for (name, path, _) in &directories {
            existing.push(if has_data(path) {
                Some(self.with_environment(name, check_existing(name, path, demo))?)
            } else {
                None
            });
        }
        if let Self::Multiple(_, folder) = self {
            create_private_folder(folder)?;
        }
        let mut opened = Vec::new();
        for ((name, path, context), existing) in directories.into_iter().zip(existing) {
            let open = || {
                let folder = match existing {
                    Some(folder) => folder,
                    None => DataFolder::open(&path)?,
                };
                let identity = folder.identity(demo)?;
                let open = if restored { SqliteStore::open_restored } else { SqliteStore::open };
                let store = context.in_scope(|| open(&folder.store(), &name)).map_err(store_error)?;
                SqliteStore::bind_recipient(&folder.store(), &identity.recipient()).map_err(store_error)?;
                Ok((folder, identity, store))
            };
            let (folder, identity, store) = self.with_environment(&name, open())?;
            opened.push(OpenedData { name, store, identity, context, folder });
        }
        Ok(opened)
    }

    /// Adds the environment's name to an error if several environments are served.
    pub(super) fn with_environment<T>(
        &self,
        name: &EnvironmentName,
        result: Result<T, CliError>,
    ) -> Result<T, CliError> {
        result.map_err(|error| match self {
            Self::Single(..) => error,
            Self::Multiple(..) => {
                let is_internal = error.code == Some(Code::Internal);
                let error = CliError {
                    message: format!("environment `{name}`: {}; no environment is served", error.message),
                    ..error
                };
                if is_internal { error.detail(OPEN_FILES_NOTE) } else { error }
            }
        })
    }
}

/// Locks an existing folder, and checks that it can be served.
fn check_existing(name: &EnvironmentName, path: &Path, demo: bool) -> Result<DataFolder, CliError> {
    let folder = DataFolder::open(path)?;
    let identity = folder.identity(demo)?;
    SqliteStore::check_openable(&folder.store(), name).map_err(store_error)?;
    SqliteStore::check_recipient(&folder.store(), &identity.recipient()).map_err(store_error)?;
    Ok(folder)
}

/// Lists the environments with a subfolder in a folder.
fn list_environments(folder: &Path) -> Result<Vec<EnvironmentName>, CliError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, "list files", &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(folder, "list files", &error))?;
        // Other files and folders are ignored.
        let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
        names.extend(name.filter(|_| has_data(&entry.path())));
    }
    Ok(names)
}

/// Returns an error if a folder for a single environment contains subfolders of several.
fn check_not_multiple(name: &EnvironmentName, folder: &Path) -> Result<(), CliError> {
    if has_data(folder) {
        return Ok(());
    }
    let Some(other) = list_environments(folder)?.into_iter().next() else { return Ok(()) };
    let shown = folder.display();
    Err(CliError::coded(
        Code::DataFolderMismatch,
        format!("`{shown}` contains a folder per environment (such as `{other}`), but a single environment is to be served; nothing was created"),
    )
    .remedy(format!(
        "Pass `--hosted {}` to serve all of them, or `--environment {name} --data {}` to serve one at the root.",
        quote_path(folder),
        quote_path(&folder.join(name.as_str()))
    )))
}

/// Returns an error if a folder for several environments is that of a single one.
fn check_not_single(folder: &Path) -> Result<(), CliError> {
    if !has_data(folder) {
        return Ok(());
    }
    let shown = folder.display();
    Err(CliError::coded(
        Code::DataFolderMismatch,
        format!(
            "`{shown}` is the data folder of a single environment, but several are to be served; nothing was created"
        ),
    )
    .remedy({
        let name = SqliteStore::environment_of(&folder.join(STORE)).ok();
        let name = name.map_or_else(|| "NAME".to_owned(), |name| name.to_string());
        // Without a slash at its end: the new folder must not be inside of this one.
        let plain: PathBuf = folder.components().collect();
        let new = PathBuf::from(format!("{}-of-all", plain.display()));
        let (old, new) = (quote_path(folder), quote_path(&new));
        format!(
            "Move it into another folder under its environment's name, and serve that one: `mkdir {new} && mv {old} {new}/{name}`."
        )
    }))
}

/// The folder with the store and the identity, locked by one service.
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    fn open(path: &Path) -> Result<Self, CliError> {
        create_private_folder(path)?;
        let file = path.join("lock");
        let lock = open_lock(&file, 0o600).map_err(|error| match lock_remedy(&file, &error) {
            Some(remedy) => failed(path, "lock", &error).remedy(remedy),
            None => failed(path, "lock", &error),
        })?;
        lock.try_lock().map_err(|_| {
            CliError::coded(Code::Busy, format!("another service uses the data folder `{}`", path.display()))
                .remedy("Stop that service first, or pass another `--data DIR`.")
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Returns the service's identity, which the first start creates.
    fn identity(&self, demo: bool) -> Result<ServiceIdentity, CliError> {
        let path = self.path.join(IDENTITY);
        let wrong = |why: String| identity_error(&path, &why);
        let identity = if path.exists() {
            read_identity(&path)?
        } else if self.store().exists() {
            // A new key could not open the secrets in the store.
            return Err(CliError::coded(
                Code::ServiceIdentityLost,
                format!("the store exists but the service's identity `{}` is missing; nothing was changed", path.display()),
            )
            .remedy("Restore `identity.txt` from its copy. Without a copy, start with an empty `--data DIR` and seal every secret to the recipient of the new service."));
        } else {
            let identity = if demo { ServiceIdentity::demo().map_err(wrong)? } else { ServiceIdentity::generate() };
            write_private(&path, identity.to_file().expose_secret()).map_err(|error| wrong(error.to_string()))?;
            identity
        };
        if identity.is_public() != demo {
            let (what, remedy) = if demo {
                (
                    "the store has its own key, but a demo uses the public one",
                    "Pass another `--data DIR`, or omit `--demo`.",
                )
            } else {
                (
                    "the service's key is the public one of the examples",
                    "Start with another `--data DIR`, for which the service creates its own key. `--demo` is for tests only.",
                )
            };
            return Err(CliError::coded(Code::PublicIdentity, what).remedy(remedy));
        }
        Ok(identity)
    }
}
