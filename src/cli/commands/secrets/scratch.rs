//! A private folder for the plaintext of `secrets edit`: on a file system in memory, accessible to its owner only, wiped when
//! dropped.
//!
//! [`Scratch::new`] returns none if there is no such file system and no other folder was allowed. A failure to wipe is ignored, and
//! the folder is removed.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use zeroize::Zeroizing;

/// A private folder with one file. Dropping it overwrites all files in the folder with zeros and removes it.
pub(super) struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// Creates the folder in the first folder that is in memory, or in `on_disk`. Returns none if there is neither.
    pub(super) fn new(in_memory: &[PathBuf], on_disk: Option<PathBuf>) -> std::io::Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let memory = in_memory.iter().filter_map(|place| place.canonicalize().ok());
        let Some(place) = memory.into_iter().find(|place| is_in_memory(place, &mounts)).or(on_disk) else {
            return Ok(None);
        };
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o700));
        }
        Ok(Some(Self { folder: builder.prefix("mailwright-").tempdir_in(place)? }))
    }

    /// Returns the file for the text. Its name has no extension, so that editors treat it as plain text.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// Writes the text, with access for its owner only.
    pub(super) fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        options.write(true).create_new(true).open(self.file())?.write_all(text)
    }

    /// Reads the text back, up to a limit in bytes.
    pub(super) fn read(&self, limit: usize) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let mut text = Zeroizing::new(Vec::with_capacity(limit));
        fs::File::open(self.file())?.take(limit as u64).read_to_end(&mut text)?;
        Ok(text)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Files that the editor created are wiped too; `TempDir` removes the folder.
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            drop(wipe(&entry.path()));
        }
    }
}

fn wipe(path: &Path) -> std::io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() {
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        std::io::copy(&mut std::io::repeat(0).take(metadata.len()), &mut file)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Returns true if the folder's mount (the longest matching one) is a tmpfs or a ramfs.
fn is_in_memory(folder: &Path, mounts: &str) -> bool {
    let on = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.replace("\\040", " "), words.next()?))
    });
    // Of two mounts on one path, the later one hides the earlier.
    let nearest = on.filter(|(place, _)| folder.starts_with(place)).max_by_key(|(place, _)| place.len());
    nearest.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}
