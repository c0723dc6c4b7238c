//! Reads the audit log of a store without opening the store: of a copy, or next to a running service.
//!
//! `audit` and `audit verify` with `--data` use an [`AuditReader`]. It writes nothing, creates no file next to a store that is not
//! in use, and does not migrate older versions: of such a store only the chain and the history are checked. A store of a newer
//! version or of another environment is refused.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{
    StoreError, audit_log, failed, migrate, other_environment, position, store_check, unreadable_position, value,
};
use crate::{
    model::{AuditEntry, EnvironmentName, integrity::StoreCheck},
    text,
};

/// The audit log of a store, read only.
pub struct AuditReader {
    path: PathBuf,
    connection: Connection,
    /// True if the store has the newest schema. In an older store only the chain is checked.
    is_current: bool,
}

impl AuditReader {
    /// Opens the store of an environment.
    pub fn open(path: &Path, environment: &EnvironmentName) -> Result<Self, StoreError> {
        let next_to = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            std::fs::metadata(name).is_ok_and(|found| found.len() > 0)
        };
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if next_to("-wal") || next_to("-shm") {
            Connection::open_with_flags(path, read_only)
        } else {
            // No process has it open, and everything is in one file: no other file need be created.
            Connection::open_with_flags(immutable(path), read_only | OpenFlags::SQLITE_OPEN_URI)
        }
        .map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
        connection.pragma_update(None, "trusted_schema", "off").map_err(failed)?;
        connection.pragma_update(None, "query_only", "on").map_err(failed)?;
        migrate::check_version(&connection)?;
        let is_current = migrate::is_current(&connection)?;
        match value::<EnvironmentName>(&connection, "environment")? {
            Some(found) if found != *environment => Err(other_environment(environment, &found)),
            _ => Ok(Self { path: path.to_owned(), connection, is_current }),
        }
    }

    /// Returns the oldest entries after `after`.
    pub fn entries(&self, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        audit_log::entries(&self.connection, after, limit)
    }

    /// Compares the whole store with its audit log.
    pub fn check(&self) -> Result<StoreCheck, StoreError> {
        // Before the snapshot: the file is never ahead of it then.
        let noted = position::read(&self.path).map_err(|error| unreadable_position(&error))?;
        let transaction = self.connection.unchecked_transaction().map_err(failed)?;
        store_check::check(&transaction, self.is_current, noted.as_ref())
    }
}

/// Returns the address of a file that does not change while it is read.
fn immutable(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    format!("file:{}?immutable=1", text::percent_encode(path.as_os_str().as_bytes(), b"/._-"))
}
