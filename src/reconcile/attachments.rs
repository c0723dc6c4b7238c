//! The age files that a changeset needs, read from the repository as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    config::Desired,
    model::{Changeset, Digest, State},
    secrets::Header,
};

/// More than any age file of a secret can have, in bytes; what is larger was not read by `validate` either.
const LIMIT: u64 = 64 * 1024;

/// Why an age file cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not the one that was planned with.
    #[error("{} changed since the plan was made", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Where the age files lie that the changeset names and the state does not have.
pub fn needed(desired: &Desired, state: &State, changeset: &Changeset) -> BTreeMap<Digest, PathBuf> {
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

/// Puts the age files into the changeset. `root` is the repository. All of them, or the first that fails is told.
pub fn attach(changeset: &mut Changeset, files: &BTreeMap<Digest, PathBuf>, root: &Path) -> Result<(), SealedError> {
    for (digest, path) in files {
        let mut bytes = Vec::new();
        std::fs::File::open(root.join(path))
            .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
            .map_err(|source| SealedError::Unreadable { path: path.clone(), source })?;
        if !Header::read(&bytes).is_ok_and(|header| header.digest == *digest) {
            return Err(SealedError::Changed { path: path.clone() });
        }
        changeset.secrets.insert(digest.clone(), BASE64_STANDARD.encode(&bytes));
    }
    Ok(())
}
