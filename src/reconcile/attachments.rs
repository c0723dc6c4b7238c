//! Attachments: the age files that a changeset names and the service lacks, read from the repository and added to the
//! changeset.
//!
//! Files are sent as they are and never decrypted. A file that changed since the plan was made, or cannot be read, is an error, and
//! the changeset must not be sent then.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    config::Desired,
    model::{Changeset, Digest, State},
    secrets::Header,
};

/// The maximum size of an age file, in bytes; `validate` rejects a larger one.
const LIMIT: u64 = 64 * 1024;

/// The reason why an age file cannot be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file changed since the plan was made.
    #[error("{} changed since the plan was made", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Returns the paths of the age files that the changeset names and the state does not have.
pub fn required_age_files(desired: &Desired, state: &State, changeset: &Changeset) -> BTreeMap<Digest, PathBuf> {
    let named: BTreeSet<&Digest> = changeset
        .changes
        .iter()
        .filter_map(|change| change.profile())
        .flat_map(|stored| stored.age_files().map(|(_, digest)| digest))
        .chain(changeset.settings.iter().filter_map(|settings| settings.reader.as_ref()?.secret.as_ref()))
        .collect();
    desired
        .age_files()
        .map(|(_, file)| file)
        .filter(|file| named.contains(&file.digest) && !state.secrets.contains_key(&file.digest))
        .map(|file| (file.digest.clone(), file.path.clone()))
        .collect()
}

/// Adds the age files to the changeset, or returns the first failure. `root` is the repository.
pub fn attach(
    changeset: &mut Changeset,
    files: &BTreeMap<Digest, PathBuf>,
    root: &Path,
) -> Result<(), AttachmentError> {
    for (digest, path) in files {
        let bytes = crate::fs::read_ordinary(&root.join(path), LIMIT)
            .map_err(|source| AttachmentError::Unreadable { path: path.clone(), source })?;
        if !Header::read(&bytes).is_ok_and(|header| header.digest == *digest) {
            return Err(AttachmentError::Changed { path: path.clone() });
        }
        changeset.secrets.insert(digest.clone(), BASE64_STANDARD.encode(&bytes));
    }
    Ok(())
}
