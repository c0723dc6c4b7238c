//! Files that are read up to a limit of size, and replaced atomically: a reader finds the previous or the new contents.
//!
//! [`read_ordinary`] is for the files of a repository and of a state folder: a link to a device or a FIFO is refused without
//! waiting. [`read_given`] is for a file that the user names, which can be a FIFO, as in `<(command)`. [`open_lock`] is for lock
//! files, and [`write_new`] leaves what exists alone (and, if it fails, a part of a new file). A file over the limit is an error.
//! [`write_atomically`] is for files that people share, [`write_private`] for the state of this program, and [`write_all`] for
//! several files that belong together: it renames them one after the other, so a failure between two leaves some replaced. Nothing
//! here interprets what it reads or writes.

use std::{
    fs::{File, OpenOptions},
    io::{Error, ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// Opens an ordinary file, or a link to one. Everything else (device, FIFO, socket, folder) is refused and never waited for.
pub fn open_ordinary(path: &Path) -> std::io::Result<File> {
    open_ordinary_with(path, OpenOptions::new().read(true))
}

/// Opens an ordinary file, or a link to one, with these options. Everything else is refused and never waited for. With
/// `create`, a file that does not exist is created.
pub fn open_ordinary_with(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    let refused = || Error::new(ErrorKind::InvalidInput, "it is not an ordinary file");
    // To open a device can have an effect, so the kind is checked before as well.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(refused());
    }
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused()) }
}

/// Opens a file in order to lock it. If there is none, it is created with `mode`, less the umask. Everything but an ordinary
/// file (link, device, FIFO, socket, folder) is refused and never waited for; [`lock_remedy`] names the file then.
pub fn open_lock(path: &Path, mode: u32) -> std::io::Result<File> {
    use rustix::fs::OFlags;

    let refused = || Error::new(ErrorKind::InvalidInput, format!("`{}` is not an ordinary file", path.display()));
    // To open a device can have an effect, so the kind is checked before as well.
    if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(refused());
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(mode).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused()) }
}

/// Returns the remedy for an error of [`open_lock`], if the file is not an ordinary one.
pub fn lock_remedy(path: &Path, error: &Error) -> Option<String> {
    (error.kind() == ErrorKind::InvalidInput).then(|| {
        format!("Remove `{}`, which was not created by this program, and run the command again.", path.display())
    })
}

/// Writes a file if there is nothing of its name. A link is something, and is not followed.
pub fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(bytes),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads an ordinary file of at most `limit` bytes.
pub fn read_ordinary(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    read_to_limit(open_ordinary(path)?, limit)
}

/// Reads a file that the user names, of at most `limit` bytes. It can be a FIFO.
pub fn read_given(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    read_to_limit(File::open(path)?, limit)
}

/// Reads a file of at most `limit` bytes. The buffer does not grow for an ordinary file, so that no copy of a secret stays.
fn read_to_limit(file: File, limit: u64) -> std::io::Result<Vec<u8>> {
    const FIRST: u64 = 64 * 1024;
    let found = file.metadata()?;
    let too_large = || Error::new(ErrorKind::FileTooLarge, format!("it has more than {limit} bytes"));
    if found.is_file() && found.len() > limit {
        return Err(too_large());
    }
    let expected = if found.is_file() { found.len() } else { limit.min(FIRST) };
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

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
    fn a_file_is_read_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        let large = |read: std::io::Result<Vec<u8>>| read.unwrap_err().kind() == ErrorKind::FileTooLarge;
        for read in [read_ordinary, read_given] {
            assert_eq!(read(&path, 5).unwrap(), b"12345");
            assert!(large(read(&path, 4)));
        }
        assert!(large(read_given(Path::new("/dev/zero"), 100)));
    }

    #[test]
    fn a_device_a_fifo_and_a_folder_are_not_ordinary() {
        let folder = tempfile::tempdir().unwrap();
        let (link, fifo) = (folder.path().join("link"), folder.path().join("fifo"));
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        for path in [&link, &fifo, folder.path()] {
            assert_eq!(read_ordinary(path, 10).unwrap_err().kind(), ErrorKind::InvalidInput, "{path:?}");
        }
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
