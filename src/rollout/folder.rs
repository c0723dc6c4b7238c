//! The folder of a rollout: its journal, the lock that keeps a second process of this machine out, and requests from
//! another terminal.
//!
//! A [`RolloutFolder`] can be read by every process; a [`LockedFolder`] belongs to one. Processes on other machines are kept out by
//! a [`Lease`](crate::operations::Lease). There is one request at a time: to pause, or to abort with or without a rollback. Every
//! process can send it; a later request replaces an earlier one, and locking the folder removes it, so a request reaches only a
//! process that has the lock already. A folder that cannot be created, locked or written is a problem; a request that cannot be
//! read counts as none. The journals of the last 10 ended runs are kept. What the entries of the journal mean is not known here.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    fs::{lock_remedy, open_lock, write_private},
    model::{Code, Problem, RolloutName},
    text::printable,
};

/// The number of journals of earlier runs that are kept.
const KEPT: usize = 10;
/// The longest name of an operator, in characters.
const LONGEST_NAME: usize = 150;

/// The folder of a rollout, with its journal and its lock.
#[derive(Clone, Debug)]
pub struct RolloutFolder {
    path: PathBuf,
}

/// A folder that is locked by this process. The operating system releases the lock when the process ends.
pub struct LockedFolder {
    folder: RolloutFolder,
    _lock: File,
}

/// A request from another terminal to the process that works on the rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlRequest {
    /// The command.
    pub command: ControlCommand,
    /// The operator.
    pub by: String,
}

/// A command to the process that works on the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlCommand {
    /// Nothing more is started.
    Pause,
    /// The run is aborted.
    Abort,
    /// The run is aborted and rolled back.
    AbortAndRollBack,
    /// The run is aborted and rolled back; environments that were empty before are emptied.
    AbortAndRollBackToEmpty,
}

impl RolloutFolder {
    /// Creates the folder of a rollout below `state`.
    pub fn new(state: &Path, name: &RolloutName) -> Self {
        Self { path: state.join("rollouts").join(name.as_str()) }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    fn request_file(&self) -> PathBuf {
        self.path.join("request.json")
    }

    /// Locks the folder. Fails while another process has the lock.
    pub fn lock(&self) -> Result<LockedFolder, Problem> {
        self.try_lock()?.ok_or_else(|| {
            Problem::new(
                Code::RolloutRunning,
                format!("another process works on this rollout (`{}`)", self.path.display()),
            )
            .remedy("`mailwright rollout status` shows the progress of all; `pause` and `abort` end one.")
        })
    }

    /// Locks the folder, and removes the request to an earlier process. Requests that arrive from now on are for this process. None
    /// while another process has the lock.
    pub fn try_lock(&self) -> Result<Option<LockedFolder>, Problem> {
        let failed = |error: std::io::Error| {
            Problem::new(Code::JournalUnwritable, format!("cannot lock the folder `{}`: {error}", self.path.display()))
                .remedy("Check the permissions and free space of the folder, or choose another one with `--state DIR`.")
        };
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        let file = self.path.join("lock");
        let lock = open_lock(&file, 0o666).map_err(|error| match lock_remedy(&file, &error) {
            Some(remedy) => failed(error).remedy(remedy),
            None => failed(error),
        })?;
        // `is_locked` of another process holds the lock for an instant.
        let mut tried = lock.try_lock();
        for _ in 0..4 {
            if !matches!(tried, Err(std::fs::TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(30));
            tried = lock.try_lock();
        }
        match tried {
            Ok(()) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        }
        match std::fs::remove_file(self.request_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(Some(LockedFolder { folder: self.clone(), _lock: lock })),
        }
    }

    /// Returns true if a process has the lock.
    pub fn is_locked(&self) -> bool {
        let Ok(lock) = crate::fs::open_ordinary(&self.path.join("lock")) else { return false };
        matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
    }

    /// Sends a request to the process that has the lock. It stays until another process locks the folder.
    pub fn send_request(&self, request: &ControlRequest) -> Result<(), Problem> {
        let text = serde_json::to_string(request).unwrap_or_default();
        write_private(&self.request_file(), text.as_bytes()).map_err(|error| {
            Problem::new(
                Code::JournalUnwritable,
                format!("cannot write the request into `{}`: {error}", self.path.display()),
            )
        })
    }

    /// Reads the pending request. The name of the operator is made printable.
    pub fn pending_request(&self) -> Option<ControlRequest> {
        let text = crate::fs::read_ordinary(&self.request_file(), 4096).ok()?;
        let request: ControlRequest = serde_json::from_slice(&text).ok()?;
        let by = printable(&request.by).chars().take(LONGEST_NAME).collect();
        Some(ControlRequest { by, ..request })
    }
}

impl LockedFolder {
    /// Returns the folder.
    pub fn folder(&self) -> &RolloutFolder {
        &self.folder
    }

    /// Returns the archived journal of the newest run.
    pub fn newest_archive(&self) -> Option<PathBuf> {
        // The ids of runs are ordered by time.
        std::fs::read_dir(&self.folder.path)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_archive(path))
            .max()
    }

    /// Returns the path at which the journal of a new run is begun while that of an ended one is still in its place.
    pub fn begun_journal(&self) -> PathBuf {
        self.folder.path.join("begun.jsonl")
    }

    /// Archives the journal of an ended run and puts the begun one in its place, in one step: a reader finds a journal at any
    /// time. The newest few archives are kept.
    pub fn replace_journal(&self, run: uuid::Uuid) -> Result<(), Problem> {
        let failed = |error: std::io::Error| {
            Problem::new(
                Code::JournalUnwritable,
                format!("cannot archive the journal of the last run in `{}`: {error}", self.folder.path.display()),
            )
        };
        let journal = self.folder.journal();
        let archive = self.folder.path.join(format!("journal-{run}.jsonl"));
        // A copy where the file system has no hard links. It is there already if the process was killed after it.
        match std::fs::hard_link(&journal, &archive) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                std::fs::copy(&journal, &archive).map_err(failed)?;
            }
            _ => {}
        }
        std::fs::rename(self.begun_journal(), journal).map_err(failed)?;
        std::fs::File::open(&self.folder.path).and_then(|folder| folder.sync_all()).map_err(failed)?;
        let mut old: Vec<PathBuf> = std::fs::read_dir(&self.folder.path)
            .map_err(failed)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_archive(path))
            .collect();
        // The ids of runs are ordered by time.
        old.sort();
        for path in old.iter().take(old.len().saturating_sub(KEPT)) {
            drop(std::fs::remove_file(path));
        }
        Ok(())
    }

    /// Returns the name that leases of this folder are held under. Its id is created once, so that a process that resumes after a
    /// crash holds the same lease.
    pub fn lease_holder(&self, by: &str) -> Result<String, Problem> {
        let path = self.folder.path.join("holder");
        let known = crate::fs::read_ordinary(&path, 4096).unwrap_or_default();
        let known = std::str::from_utf8(&known).unwrap_or_default().trim();
        let id = if known.len() == 36 && known.parse::<uuid::Uuid>().is_ok() {
            known.to_owned()
        } else {
            let id = uuid::Uuid::now_v7().to_string();
            write_private(&path, id.as_bytes()).map_err(|error| {
                Problem::new(Code::JournalUnwritable, format!("cannot write `{}`: {error}", path.display()))
            })?;
            id
        };
        let by: String = by.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        Ok(format!("{by} {id}"))
    }
}

/// Returns true for the journal of an ended run.
fn is_archive(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_journal_takes_the_place_of_an_ended_one() {
        let state = tempfile::tempdir().unwrap();
        let locked = RolloutFolder::new(state.path(), &"port".parse().unwrap()).lock().unwrap();
        let (journal, run) = (locked.folder().journal(), uuid::Uuid::now_v7());
        let archive = locked.folder().path().join(format!("journal-{run}.jsonl"));
        // A process that was killed between the two steps has archived it already.
        for archived_before in [false, true] {
            std::fs::write(&journal, "ended\n").unwrap();
            std::fs::write(locked.begun_journal(), "begun\n").unwrap();
            assert_eq!(archive.exists(), archived_before);
            locked.replace_journal(run).unwrap();
            assert_eq!(std::fs::read_to_string(&journal).unwrap(), "begun\n");
            assert_eq!(std::fs::read_to_string(&archive).unwrap(), "ended\n");
            assert_eq!(locked.newest_archive(), Some(archive.clone()));
            assert!(!locked.begun_journal().exists());
        }
    }
}
