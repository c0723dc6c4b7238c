//! Files written atomically: a reader sees the old contents or the new ones, never a part.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Writes a file atomically: to a temporary file in the same folder, flushed to disk, then renamed to its path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    write_temporary(path, bytes)?.persist(path).map_err(|error| error.error)?;
    File::open(folder(path))?.sync_all()
}

/// Writes files below a folder, in this order. All temporary files are on disk before the first one is renamed, so that a
/// full disk or a missing permission is found before any file is replaced.
pub fn write_all(root: &Path, files: &[(PathBuf, Vec<u8>)]) -> std::io::Result<()> {
    let written = files.iter().map(|(path, bytes)| Ok((root.join(path), write_temporary(&root.join(path), bytes)?)));
    for (path, file) in written.collect::<std::io::Result<Vec<_>>>()? {
        file.persist(&path).map_err(|error| error.error)?;
        File::open(folder(&path))?.sync_all()?;
    }
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_temporary(path: &Path, bytes: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    // A new file gets the mode that the umask gives; a replaced file keeps its mode.
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_or(0o666, |metadata| metadata.permissions().mode() & 0o777);
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    let mut file = builder.prefix(".mailwright-").tempfile_in(folder(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}
