//! Position of the store: the count of its transactions and the head of its audit log, kept in the file `store.position` next
//! to the database.
//!
//! A database that was restored from a backup is consistent and does not show it. The file does: [`compare`] detects a
//! database that is behind the count, or has another incarnation. The count is written after a transaction is durable, so
//! after a crash it is never ahead, and at most twice a second. A backup that is younger than that, and was followed by
//! nothing, cannot be distinguished from the database itself.
//!
//! The file has two places that are written in turn, each with its own digest, so that a torn write damages only the newer
//! one. `store.revoked` lists the tokens that were ever revoked, and the operators and passkeys that were ever removed: a restored
//! database does not reactivate one.
//!
//! A file that is missing or damaged counts as a restore; a write that fails is logged, and can only hide one. This module knows
//! files and counts. What follows from a restore is decided in `restore`.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{Error, ErrorKind, Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::audit_log::Head;
use crate::{
    fs::{open_ordinary, open_ordinary_with, read_ordinary},
    model::Digest,
};

/// The maximum size of the list of revoked tokens, in bytes: about 1.8 million ids.
const REVOKED_LIMIT: u64 = 64 * 1024 * 1024;
/// Shortest time between two writes of the file.
const EVERY: Duration = Duration::from_millis(500);
/// Size of each of the two places of the file, in bytes.
const PLACE: usize = 256;
/// Size of a place in a file of version 1, which had no head, in bytes.
const PLACE_1: usize = 160;

/// An incarnation of the database, its number of transactions, and the head of its audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The id of the incarnation: 32 hexadecimal digits.
    pub(super) incarnation: String,
    pub(super) commits: u64,
    /// The head; none in a file of version 1, and in a database without entries.
    pub(super) head: Option<Head>,
}

/// The extent of a database after a transaction: how many transactions and audit entries it has.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// Number of transactions so far.
    pub(super) commits: u64,
    /// The head of the audit log.
    pub(super) head: Option<Head>,
}

/// The sign by which a restore was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Restore {
    /// The database has fewer transactions than it had.
    Behind { had: u64, has: u64 },
    /// The file belongs to another incarnation.
    Other,
    /// The file is missing.
    FileMissing,
}

/// Compares the position in the database with that in the file. `database` is none if the database never had a position: a new
/// one, or one of an older version.
pub(super) fn compare(database: Option<&Position>, file: Option<&Position>) -> Option<Restore> {
    match (database, file) {
        // With a count of zero the process ended before it recorded the file in the database; otherwise an older database replaced
        // this one.
        (None, Some(file)) => (file.commits > 0).then_some(Restore::Behind { had: file.commits, has: 0 }),
        (Some(_), None) => Some(Restore::FileMissing),
        (Some(database), Some(file)) if database.incarnation != file.incarnation => Some(Restore::Other),
        (Some(database), Some(file)) if database.commits < file.commits => {
            Some(Restore::Behind { had: file.commits, has: database.commits })
        }
        (None, None) | (Some(_), Some(_)) => None,
    }
}

impl Position {
    /// Creates a new incarnation.
    pub(super) fn new() -> Result<Self, String> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
        Ok(Self { incarnation: bytes.iter().map(|byte| format!("{byte:02x}")).collect(), commits: 0, head: None })
    }

    fn to_place(&self) -> [u8; PLACE] {
        let Head { sequence, hash } = self.head.clone().unwrap_or_else(Head::genesis);
        let line = format!("mailwright 2 {} {:020} {sequence:020} {hash}", self.incarnation, self.commits);
        let line = format!("{line} {}\n", Digest::of_bytes(line.as_bytes()));
        let mut place = [b' '; PLACE];
        for (to, from) in place.iter_mut().zip(line.bytes()) {
            *to = from;
        }
        place
    }

    fn from_place(place: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(place).ok()?.lines().next()?;
        let (line, digest) = text.rsplit_once(' ')?;
        if Digest::of_bytes(line.as_bytes()).as_str() != digest {
            return None;
        }
        let (version, line) = line.strip_prefix("mailwright ")?.split_once(' ')?;
        let mut words = line.split(' ');
        let (incarnation, commits) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let head = match version {
            "1" => None,
            "2" => Some(Head { sequence: words.next()?.parse().ok()?, hash: words.next()?.parse().ok()? }),
            _ => return None,
        };
        Some(Self { incarnation, commits, head })
    }
}

/// Returns the position file of a database.
fn path_of(database: &Path) -> PathBuf {
    database.with_extension("position")
}

/// Returns the path of the list of revoked tokens.
fn revoked_path(database: &Path) -> PathBuf {
    database.with_extension("revoked")
}

/// Reads the position in the file; none if the file does not exist or is damaged.
pub(super) fn read(database: &Path) -> std::io::Result<Option<Position>> {
    let bytes = match open_ordinary(&path_of(database)) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(4 * PLACE as u64).read_to_end(&mut bytes)?;
            bytes
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let places = bytes.chunks(PLACE).chain(bytes.chunks(PLACE_1));
    Ok(places.filter_map(Position::from_place).max_by_key(|position| position.commits))
}

/// Writes the file of a new incarnation, completely or not at all.
pub(super) fn create(database: &Path, position: &Position) -> std::io::Result<()> {
    let path = path_of(database);
    let folder = folder_of(&path);
    let mut file = tempfile::Builder::new().tempfile_in(folder)?;
    file.write_all(&position.to_place())?;
    file.write_all(&position.to_place())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads the ids of tokens that were ever revoked.
pub(super) fn revoked(database: &Path) -> std::io::Result<BTreeSet<String>> {
    match read_ordinary(&revoked_path(database), REVOKED_LIMIT) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            Ok(text.lines().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Adds a token to the list of revoked tokens. Durable when this returns.
pub(super) fn add_revoked(database: &Path, id: &str) -> std::io::Result<()> {
    let path = revoked_path(database);
    let is_new = !path.exists();
    let mut file = open_ordinary_with(&path, OpenOptions::new().append(true).create(true).mode(0o600))?;
    // A line that a crash left incomplete ends here.
    file.write_all(format!("\n{id}\n").as_bytes())?;
    file.sync_all()?;
    if is_new { File::open(folder_of(&path))?.sync_all() } else { Ok(()) }
}

/// Keeps the file up to date.
pub(super) struct Keeper {
    file: Option<File>,
    position: Position,
    /// The place that is written next.
    place: u64,
    written: u64,
    last: Option<Instant>,
}

impl Keeper {
    /// Opens the file of a database. If there is none, no position is kept.
    pub(super) fn open(database: &Path, position: Position) -> Self {
        let file = open_ordinary_with(&path_of(database), OpenOptions::new().write(true)).ok();
        let written = position.commits;
        Self { file, position, place: 0, written, last: None }
    }

    /// Records how far the store is on disk. A head of the audit log older than the recorded one is ignored, since the service
    /// never shortens the log.
    pub(super) fn reached(&mut self, extent: Extent) {
        self.position.commits = self.position.commits.max(extent.commits);
        let noted = self.position.head.as_ref().map_or(0, |head| head.sequence);
        if let Some(head) = extent.head.filter(|head| head.sequence > noted) {
            self.position.head = Some(head);
        }
        if self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.write();
        }
    }

    /// Returns the time until the file is to be written; none if it is up to date.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.file.is_none() || self.written == self.position.commits {
            return None;
        }
        Some(self.last.map_or(Duration::ZERO, |last| EVERY.saturating_sub(last.elapsed())))
    }

    /// Writes the recorded position to the file.
    pub(super) fn write(&mut self) {
        let Some(file) = &self.file else { return };
        if self.written == self.position.commits {
            return;
        }
        self.last = Some(Instant::now());
        let at = self.place * PLACE as u64;
        match file.write_all_at(&self.position.to_place(), at).and_then(|()| file.sync_data()) {
            Ok(()) => {
                self.written = self.position.commits;
                self.place = 1 - self.place;
            }
            // The count in the file is too low then, which can only hide a restore.
            Err(error) => tracing::warn!(%error, "the store's position cannot be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use proptest::prelude::*;

    use super::*;

    fn position(incarnation: u8, commits: u64) -> Position {
        let head = Head { sequence: commits, hash: Digest::of_bytes(&commits.to_le_bytes()) };
        Position { incarnation: format!("{incarnation:032x}"), commits, head: Some(head) }
    }

    #[test]
    fn a_torn_write_costs_the_newer_place_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("store.sqlite");
        assert_eq!(read(&database).unwrap(), None);
        create(&database, &position(1, 0)).unwrap();
        let mut keeper = Keeper::open(&database, position(1, 0));
        for commits in 1..=7 {
            keeper.position = position(1, commits);
            keeper.write();
            assert_eq!(read(&database).unwrap(), Some(position(1, commits)));
        }
        let path = path_of(&database);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            let found = read(&database).unwrap().unwrap();
            assert!([6, 7].contains(&found.commits), "{at}: {found:?}");
        }
        std::fs::write(&path, &whole[..PLACE / 2]).unwrap();
        assert_eq!(read(&database).unwrap(), None);
    }

    #[test]
    fn what_was_revoked_is_remembered_also_after_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("store.sqlite");
        add_revoked(&database, "a1").unwrap();
        std::fs::write(revoked_path(&database), "\na1\n\nb").unwrap();
        add_revoked(&database, "c3").unwrap();
        assert_eq!(revoked(&database).unwrap(), ["a1", "b", "c3"].map(str::to_owned).into());
    }

    /// A write to a FIFO waits until something reads from it, and the service would not start.
    #[test]
    fn a_fifo_in_place_of_a_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("store.sqlite");
        let make = |path: &Path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
            // With both ends open, a faulty write succeeds in place of waiting for ever.
            OpenOptions::new().read(true).write(true).open(path).unwrap()
        };
        let _ends = (make(&path_of(&database)), make(&revoked_path(&database)));
        assert_eq!(add_revoked(&database, "a1").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(Keeper::open(&database, position(1, 0)).file.is_none());
    }

    /// An event in the life of a database and its file.
    #[derive(Clone, Debug)]
    enum Step {
        Commit,
        /// The file is written with the durable position.
        Write,
        /// The process ends without a last write of the file.
        Crash,
        Backup,
        Restore,
    }

    proptest! {
        /// No crash is mistaken for a restore, and every restore of a database that is behind the file is noticed.
        #[test]
        fn crashes_are_no_restores(steps in prop::collection::vec(
            prop_oneof![5 => Just(Step::Commit), 3 => Just(Step::Write), 2 => Just(Step::Crash), 1 => Just(Step::Backup), 1 => Just(Step::Restore)], 1..80)
        ) {
            let mut incarnations = 1;
            let (mut database, mut file) = (position(1, 0), position(1, 0));
            let mut backup = None;
            for step in steps {
                let mut restored_past = false;
                match step {
                    Step::Commit => database.commits += 1,
                    Step::Write => file.commits = database.commits,
                    Step::Backup => backup = Some(database.clone()),
                    Step::Crash | Step::Restore => {
                        if let (Step::Restore, Some(backup)) = (step, &backup) {
                            restored_past = backup.incarnation != file.incarnation || backup.commits < file.commits;
                            database = backup.clone();
                        }
                        let found = compare(Some(&database), Some(&file));
                        prop_assert_eq!(found.is_some(), restored_past);
                        if found.is_some() {
                            incarnations += 1;
                            database.incarnation = format!("{incarnations:032x}");
                            file = database.clone();
                        }
                    }
                }
            }
        }
    }
}
