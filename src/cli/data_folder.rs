//! The files of a service's data folder: the store and the identity. `serve`, `backup` and `restore` use this module.
//!
//! Folders and files are created with access for their owner only, and an identity that others can read is refused. The lock
//! of the folder is taken in `commands::serve::data`.

use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use super::CliError;
use crate::{
    model::Code,
    secrets::ServiceIdentity,
    store::StoreError,
    text::{self, shell::quote_path},
};

/// The number of entries of a folder that are read.
const ENTRIES: usize = 10_000;
/// The file of the store.
pub(super) const STORE: &str = "store.sqlite";
/// The file of the identity.
pub(super) const IDENTITY: &str = crate::secrets::SERVICE_IDENTITY_FILE;

/// Returns true if a folder contains an environment's data.
pub(super) fn has_data(folder: &Path) -> bool {
    folder.join(STORE).exists() || folder.join(IDENTITY).exists()
}

/// Returns the first data folder of an environment in a folder for several.
pub(super) fn first_hosted(folder: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(folder).ok()?.take(ENTRIES).filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter(|folder| folder.join(STORE).is_file()).min()
}

/// Returns the error of a file of a data folder.
pub(super) fn failed(path: &Path, what: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::coded(Code::Unreadable, format!("cannot {what} in the data folder `{}`: {error}", path.display()))
}

/// Creates a folder with access for its owner only, or checks that others cannot write to the existing one.
pub(super) fn create_private_folder(path: &Path) -> Result<(), CliError> {
    // The mode of an existing folder is not changed.
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|error| failed(path, "work", &error))?;
    let mode = std::fs::metadata(path).map_err(|error| failed(path, "work", &error))?.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let why =
        format!("other users can write to it (mode {:04o}) and could replace the key or the store", mode & 0o7777);
    let remedy = format!("Use a separate folder, or run: chmod 700 {}", quote_path(path));
    Err(failed(path, "work", &why).remedy(remedy))
}

/// Writes a file atomically, with access for its owner only.
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Returns the error of an identity file.
pub(super) fn identity_error(path: &Path, why: &str) -> CliError {
    CliError::coded(Code::Unreadable, format!("the service's identity `{}`: {why}", path.display()))
}

/// The maximum size of an identity file, in bytes.
const IDENTITY_LIMIT: u64 = 64 * 1024;

/// Reads the identity of a service. A file that others can read is refused.
pub(super) fn read_identity(path: &Path) -> Result<ServiceIdentity, CliError> {
    let wrong = |why: String| identity_error(path, &why);
    let mode = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!("other users can read it (mode {:03o})", mode & 0o777))
            .remedy(format!("chmod 600 {}", quote_path(path))));
    }
    let bytes = zeroize::Zeroizing::new(
        crate::fs::read_ordinary(path, IDENTITY_LIMIT).map_err(|error| wrong(error.to_string()))?,
    );
    let text = text::try_decode(&bytes).ok_or_else(|| wrong("it is neither UTF-8 nor UTF-16 text".to_owned()))?;
    ServiceIdentity::parse(&SecretString::from(text)).map_err(wrong)
}

/// Returns the error for a store that cannot be used.
pub(super) fn store_error(error: StoreError) -> CliError {
    let (code, remedy) = match &error {
        StoreError::Newer { .. } => {
            (Code::StoreNewer, "Start the version of `mailwright` that wrote the store, or a later one.")
        }
        StoreError::OtherEnvironment { .. } => {
            (Code::WrongEnvironment, "Start with the environment of the store, or with another `--data DIR`.")
        }
        StoreError::OtherIdentity { .. } => (
            Code::IdentityMismatch,
            "Restore the `identity.txt` of this store from its backup, or pass the `--data DIR` that this identity belongs to.",
        ),
        StoreError::TokenNameTaken(_) => (Code::TokenNameTaken, "Revoke the other token first."),
        StoreError::OperatorNameTaken(_) => (Code::OperatorNameTaken, "Choose another name."),
        StoreError::Corrupt(_) => (
            Code::Internal,
            "Another program changed the database, or it is damaged: restore the store from a backup (`mailwright restore`). Nothing was changed.",
        ),
        StoreError::NotOwner { .. } | StoreError::Database(_) | StoreError::Broken => (
            Code::Internal,
            "Check the folder's permissions and free space; if necessary, restore the store from a copy. Nothing was changed.",
        ),
    };
    CliError::coded(code, error.to_string()).remedy(remedy)
}
