//! Where environments keep what is theirs: a data folder each, with the store, the identity and a lock.
//!
//! One environment alone has the folder itself; each of several has a folder of its name in it. One is never taken for the
//! other.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    cli::CliError,
    model::{Code, EnvironmentName},
    secrets::ServiceIdentity,
    service::HostedEnvironment,
    store::{SqliteStore, StoreError},
    telemetry::EnvironmentContext,
    text,
};

const STORE: &str = "store.sqlite";
const IDENTITY: &str = "identity.txt";

/// What a store that cannot be opened may be wanting, where there are many.
const FILES: &str = "Each environment holds some 13 files open; `ulimit -n` says how many this process may have.";

/// Which environments are meant, and where they are kept.
pub(super) enum Residence {
    /// One, in the folder itself.
    Alone(EnvironmentName, PathBuf),
    /// Each in a folder of its name.
    Several(BTreeSet<EnvironmentName>, PathBuf),
}

/// An environment's store, opened, and what belongs to it.
pub(super) struct Opened {
    pub(super) name: EnvironmentName,
    pub(super) store: SqliteStore,
    pub(super) identity: ServiceIdentity,
    pub(super) context: EnvironmentContext,
    /// Locked for as long as this lives.
    folder: DataFolder,
}

impl Opened {
    /// What its service works with, and its folder's lock, which is held for as long as that runs.
    pub(super) fn moved_in(self) -> (HostedEnvironment, DataFolder) {
        let Self { store, identity, context, folder, .. } = self;
        (HostedEnvironment { store: Arc::new(store), identity, context }, folder)
    }
}

impl Residence {
    /// Environments that are named, in a folder: one alone, or several.
    pub(super) fn named(names: &[EnvironmentName], folder: &Path) -> Result<Self, CliError> {
        let names: BTreeSet<EnvironmentName> = names.iter().cloned().collect();
        match names.first() {
            Some(name) if names.len() == 1 => {
                refuse_several(name, folder)?;
                Ok(Self::Alone(name.clone(), folder.to_owned()))
            }
            _ => {
                refuse_alone(folder)?;
                Ok(Self::Several(names, folder.to_owned()))
            }
        }
    }

    /// The environments that a folder has, and others that it shall have.
    pub(super) fn hosted(names: &[EnvironmentName], folder: &Path) -> Result<Self, CliError> {
        refuse_alone(folder)?;
        let mut names: BTreeSet<EnvironmentName> = names.iter().cloned().collect();
        names.extend(found(folder)?);
        if names.is_empty() {
            return Err(CliError::coded(
                Code::Usage,
                format!("the folder `{}` holds no environment, and none is named", folder.display()),
            )
            .remedy("Correct `--hosted DIR`, or name those that it shall have: `--environment NAME`."));
        }
        Ok(Self::Several(names, folder.to_owned()))
    }

    /// How many environments are meant.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Alone(..) => 1,
            Self::Several(names, _) => names.len(),
        }
    }

    /// Opens all of them, and makes those that are new. What is there is looked at first, and nothing is made or brought
    /// up to date unless all of it can be served.
    pub(super) fn open(&self, demo: bool, restored: bool) -> Result<Vec<Opened>, CliError> {
        let rooms: Vec<(EnvironmentName, PathBuf, EnvironmentContext)> = match self {
            Self::Alone(name, folder) => vec![(name.clone(), folder.clone(), EnvironmentContext::single())],
            Self::Several(names, folder) => names
                .iter()
                .map(|name| (name.clone(), folder.join(name.as_str()), EnvironmentContext::hosted(name)))
                .collect(),
        };
        let mut kept = Vec::new();
        for (name, path, _) in &rooms {
            kept.push(if is_kept(path) { Some(self.told(name, looked_at(name, path, demo))?) } else { None });
        }
        if let Self::Several(_, folder) = self {
            private_folder(folder)?;
        }
        let mut opened = Vec::new();
        for ((name, path, context), kept) in rooms.into_iter().zip(kept) {
            let open = || {
                let folder = match kept {
                    Some(folder) => folder,
                    None => DataFolder::open(&path)?,
                };
                let identity = folder.identity(demo)?;
                let open = if restored { SqliteStore::open_restored } else { SqliteStore::open };
                let store = context.in_scope(|| open(&folder.store(), &name)).map_err(store_error)?;
                SqliteStore::bind(&folder.store(), &identity.recipient()).map_err(store_error)?;
                Ok((folder, identity, store))
            };
            let (folder, identity, store) = self.told(&name, open())?;
            opened.push(Opened { name, store, identity, context, folder });
        }
        Ok(opened)
    }

    /// An error of one among several says which.
    pub(super) fn told<T>(&self, name: &EnvironmentName, result: Result<T, CliError>) -> Result<T, CliError> {
        result.map_err(|error| match self {
            Self::Alone(..) => error,
            Self::Several(..) => {
                let is_internal = error.code == Some(Code::Internal);
                let told =
                    CliError { message: format!("environment `{name}`: {}; none is served", error.message), ..error };
                if is_internal { told.detail(FILES) } else { told }
            }
        })
    }
}

/// Takes the lock of a folder that is there, and sees whether it can be served as it is.
fn looked_at(name: &EnvironmentName, path: &Path, demo: bool) -> Result<DataFolder, CliError> {
    let folder = DataFolder::open(path)?;
    let identity = folder.identity(demo)?;
    SqliteStore::look(&folder.store(), name).map_err(store_error)?;
    SqliteStore::look_for(&folder.store(), &identity.recipient()).map_err(store_error)?;
    Ok(folder)
}

/// Whether a folder is that of an environment.
fn is_kept(folder: &Path) -> bool {
    folder.join(STORE).exists() || folder.join(IDENTITY).exists()
}

/// The environments that have a folder in this one.
fn found(folder: &Path) -> Result<Vec<EnvironmentName>, CliError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, "look", &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(folder, "look", &error))?;
        // What has no environment's name or holds none is somebody else's.
        let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
        names.extend(name.filter(|_| is_kept(&entry.path())));
    }
    Ok(names)
}

/// One environment alone has no others beside it.
fn refuse_several(name: &EnvironmentName, folder: &Path) -> Result<(), CliError> {
    if is_kept(folder) {
        return Ok(());
    }
    let Some(other) = found(folder)?.into_iter().next() else { return Ok(()) };
    let shown = folder.display();
    Err(CliError::coded(
        Code::DataFolderMismatch,
        format!("`{shown}` holds a folder for each of several environments (`{other}`), and one alone is meant; nothing was made"),
    )
    .remedy(format!("`--hosted {shown}` serves all of them; `--environment {name} --data {shown}/{name}` that one alone, at the root.")))
}

/// Where one environment alone is kept, there is no place for others.
fn refuse_alone(folder: &Path) -> Result<(), CliError> {
    if !is_kept(folder) {
        return Ok(());
    }
    let shown = folder.display();
    Err(CliError::coded(
        Code::DataFolderMismatch,
        format!("`{shown}` is the data folder of one environment alone, and several are meant; nothing was made"),
    )
    .remedy(
        "Give another folder, and move this one into it under its environment's name: `mkdir DIR && mv OLD DIR/NAME`.",
    ))
}

fn failed(path: &Path, what: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::coded(Code::Unreadable, format!("cannot {what} in the data folder `{}`: {error}", path.display()))
}

/// Makes a folder that only its owner can enter, or sees that nobody else may write into the one that is there.
fn private_folder(path: &Path) -> Result<(), CliError> {
    // Only what is made here gets its protection from here; a folder that is there is somebody's.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| failed(path, "work", &error))?;
    let mode = std::fs::metadata(path).map_err(|error| failed(path, "work", &error))?.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let why =
        format!("others may write into it (mode {:04o}), and put a key or a store of theirs there", mode & 0o7777);
    let remedy = format!("Give a folder of its own, or: chmod 700 {}", path.display());
    Err(failed(path, "work", &why).remedy(remedy))
}

/// The folder with the store and the identity, locked for one service.
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    fn open(path: &Path) -> Result<Self, CliError> {
        private_folder(path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|error| failed(path, "lock", &error))?;
        lock.try_lock().map_err(|_| {
            CliError::coded(Code::Busy, format!("another service uses the data folder `{}`", path.display()))
                .remedy("Stop that one first, or give another `--data DIR`.")
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// The service's identity; made at the first start.
    fn identity(&self, demo: bool) -> Result<ServiceIdentity, CliError> {
        let path = self.path.join(IDENTITY);
        let wrong = |why: String| {
            CliError::coded(Code::Unreadable, format!("the service's identity `{}`: {why}", path.display()))
        };
        let identity = if path.exists() {
            let mode = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(wrong(format!("others may read it (mode {:03o})", mode & 0o777))
                    .remedy(format!("chmod 600 {}", path.display())));
            }
            let bytes = zeroize::Zeroizing::new(std::fs::read(&path).map_err(|error| wrong(error.to_string()))?);
            let text =
                text::try_decode(&bytes).ok_or_else(|| wrong("it is neither UTF-8 nor UTF-16 text".to_owned()))?;
            let text = SecretString::from(text);
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
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

pub(super) fn store_error(error: StoreError) -> CliError {
    let (code, remedy) = match &error {
        StoreError::Newer { .. } => {
            (Code::StoreNewer, "Start the version of `mailwright` that wrote it, or a later one.")
        }
        StoreError::OtherEnvironment { .. } => {
            (Code::WrongEnvironment, "Start it with the environment of the store, or with another `--data DIR`.")
        }
        StoreError::OtherIdentity { .. } => (
            Code::IdentityMismatch,
            "Put the `identity.txt` of this store back, from its backup; or give the `--data DIR` that this identity belongs to.",
        ),
        StoreError::TokenNameTaken(_) => (Code::TokenNameTaken, "Revoke the other token first."),
        StoreError::Corrupt(_) | StoreError::Database(_) | StoreError::Broken => (
            Code::Internal,
            "Nothing was changed. Check the folder's permissions and free space; a copy of the store can be put in its place.",
        ),
    };
    CliError::coded(code, error.to_string()).remedy(remedy)
}
