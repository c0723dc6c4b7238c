//! The layout of a backup folder: a copy of the store, the sealed identity, and a [`Manifest`] with digests and sizes.
//!
//! `backup` writes it, `restore` reads and compares it. A manifest that is missing, unreadable or of another version is refused; no
//! existing file is overwritten. The files of the running service are in `data_folder`.

use std::{
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::CliError;
use crate::{
    fs::{open_ordinary, read_ordinary},
    model::{Code, EnvironmentName},
};

/// The copy of the store.
pub(super) const STORE: &str = "store.sqlite";
/// The sealed identity.
pub(super) const IDENTITY: &str = "identity.age";
/// The description of the backup.
pub(super) const MANIFEST: &str = "backup.json";
/// The largest manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 64 * 1024;
/// Bytes that are copied at once.
const CHUNK: usize = 64 * 1024;

/// The description of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format_version: u32,
    pub(super) environment: EnvironmentName,
    pub(super) created_at: Timestamp,
    /// The version of the program that wrote it.
    pub(super) version: String,
    /// The recipient of the service, which is not the one of the sealed identity.
    pub(super) recipient: String,
    /// SHA-256 of the copy of the store, in hexadecimal digits.
    pub(super) store_digest: String,
    pub(super) store_bytes: u64,
}

impl Manifest {
    /// The version of the form of backups.
    pub(super) const VERSION: u32 = 1;

    /// Reads the description of a backup.
    pub(super) fn read(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(MANIFEST);
        let wrong = |why: String| {
            CliError::coded(Code::Unreadable, format!("cannot read the backup `{}`: {why}", folder.display()))
                .remedy("Name a folder that `mailwright backup` wrote.")
        };
        let text = read_ordinary(&path, MANIFEST_LIMIT).map_err(|error| wrong(format!("{MANIFEST}: {error}")))?;
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| wrong(format!("{MANIFEST}: {error}")))?;
        if manifest.format_version == Self::VERSION {
            Ok(manifest)
        } else {
            Err(wrong(format!("its format version is {}, not {}", manifest.format_version, Self::VERSION)))
        }
    }
}

/// Returns the SHA-256 and the size of a file.
pub(super) fn digest_of_file(path: &Path) -> Result<(String, u64), CliError> {
    copy_with_digest(path, None)
}

/// Copies a file into a new one with access for its owner only. Returns the SHA-256 and the size of the copy.
pub(super) fn copy_private(from: &Path, to: &Path) -> Result<(String, u64), CliError> {
    copy_with_digest(from, Some(to))
}

fn copy_with_digest(from: &Path, to: Option<&Path>) -> Result<(String, u64), CliError> {
    let unreadable =
        |error: std::io::Error| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", from.display()));
    let unwritable = |error: std::io::Error| {
        let shown = to.map(|to| to.display().to_string()).unwrap_or_default();
        CliError::coded(Code::Unwritable, format!("cannot write `{shown}`: {error}"))
    };
    let mut source = open_ordinary(from).map_err(unreadable)?;
    let create = |to: &Path| std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut target = to.map(create).transpose().map_err(unwritable)?;
    let (mut digest, mut size, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let read = source.read(&mut chunk).map_err(unreadable)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        digest.update(bytes);
        size += read as u64;
        if let Some(target) = &mut target {
            target.write_all(bytes).map_err(unwritable)?;
        }
    }
    if let Some(target) = &target {
        target.sync_all().map_err(unwritable)?;
    }
    let hex = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((hex, size))
}
