//! Files that are replaced atomically: a reader finds the previous contents or the new contents, never a part.
//!
//! [`write_atomically`] is for files that people share, [`write_private`] for the state of this program, and [`write_all`]
//! for several files that belong together. Nothing here interprets what it writes.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// Replaces a file atomically and durably. A new file gets the mode that the umask allows; a replaced file keeps its mode.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    persist(write_temporary(path, bytes)?, path)
}

/// Replaces a file atomically and durably. Only its owner can read it, whatever its mode was before.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    persist(file, path)
}

/// Writes files below `root`, in this order. All of them are on disk under temporary names before the first one is renamed:
/// most failures (no space, no permission) occur before anything is changed.
pub fn write_all(root: &Path, files: &[(PathBuf, Vec<u8>)]) -> std::io::Result<()> {
    let written = files.iter().map(|(path, bytes)| {
        let path = root.join(path);
        Ok((write_temporary(&path, bytes)?, path))
    });
    for (file, path) in written.collect::<std::io::Result<Vec<_>>>()? {
        persist(file, &path)?;
    }
    Ok(())
}

/// Renames a temporary file to its path and makes the new name durable.
fn persist(file: NamedTempFile, path: &Path) -> std::io::Result<()> {
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a temporary file next to `path`, with the mode that the file at `path` has or would have.
fn write_temporary(path: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_or(0o666, |metadata| metadata.permissions().mode() & 0o777);
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    let mut file = builder.prefix(".mailwright-").tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_replaced_file_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new", 0o640));
    }

    #[test]
    fn a_private_file_is_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new", 0o600));
    }

    #[test]
    fn nothing_is_replaced_if_one_of_several_files_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("first"), "old").unwrap();
        let files = [("first".into(), b"new".to_vec()), ("missing/second".into(), b"new".to_vec())];
        assert!(write_all(folder.path(), &files).is_err());
        assert_eq!(std::fs::read_to_string(folder.path().join("first")).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files are removed");
    }
}
