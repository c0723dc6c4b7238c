//! Store in `SQLite`: one writer, a few readers, write-ahead log, `synchronous=FULL`, so that what was answered is on disk.
//!
//! [`SqliteStore`] opens, migrates and checks the file, and implements each repository in a separate module. A database of another
//! environment, of a newer version, or with a changed schema is not opened; one that was restored from a backup is opened and says
//! so. Only one process uses a store: the data folder is locked by the service, and claims are kept in memory. The exceptions,
//! [`AuditReader`] and [`SqliteStore::back_up`], only read it.

mod audit_log;
mod audit_reader;
mod decoded;
mod digests;
mod events;
mod generations;
mod holds;
mod integrity;
mod lanes;
mod leases;
mod mailbox_usage;
mod message_search;
mod messages;
mod migrate;
mod operators;
mod position;
mod proposals;
mod restore;
mod rotations;
mod schema;
mod secrets;
mod sessions;
mod store_check;
mod suspensions;
mod times;
mod tokens;
mod verifications;
mod writer;

use std::{
    collections::HashSet,
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, config::DbConfig, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    AuditEvent, AuditLog, AuditSearch, Commit, CommitError, EndedSessions, Generations, Integrity, LeaseTaken, Leases,
    Proposals, Secrets, Sessions, Store, StoreError, StoredToken, Tokens, Verifications, WantedLease,
};
use crate::{
    model::{EnvironmentName, ProfileName},
    sync::Mutex,
};

use audit_log::append;
pub use audit_reader::AuditReader;

/// Connections for short reads, in addition to the writer and the reader of long queries.
const READERS: usize = 3;

/// A store in one `SQLite` file.
#[derive(Clone)]
pub struct SqliteStore {
    environment: EnvironmentName,
    /// Path of the database.
    path: PathBuf,
    writer: writer::Writer,
    readers: Arc<[Mutex<Connection>]>,
    /// For slow reads: a search reads every message, and must not delay a submission.
    searcher: Arc<Mutex<Connection>>,
    next_reader: Arc<AtomicUsize>,
    /// Messages that are claimed. Only one process uses the store, so the claims need not be on disk.
    claimed: Arc<Mutex<HashSet<i64>>>,
}

impl SqliteStore {
    /// Opens the store, or creates it. A store of another environment or of a newer version is refused; a store of an older
    /// version is migrated in one transaction.
    pub fn open(path: &Path, environment: &EnvironmentName) -> Result<Self, StoreError> {
        Self::open_as(path, environment, false)
    }

    /// Opens a store that was restored from a backup, as an operator stated.
    pub fn open_restored(path: &Path, environment: &EnvironmentName) -> Result<Self, StoreError> {
        Self::open_as(path, environment, true)
    }

    fn open_as(path: &Path, environment: &EnvironmentName, restored: bool) -> Result<Self, StoreError> {
        keep_private(path).map_err(|error| StoreError::Database(error.to_string()))?;
        let mut writer = connect(path, false)?;
        migrate::migrate(&mut writer, migrate::VERSIONS.len())?;
        let differences = schema::find_differences(&writer)?;
        if !differences.is_empty() {
            return Err(StoreError::Corrupt(differences.join("; ")));
        }
        let is_new = claim_for_environment(&mut writer, environment)?;
        let position = find_position(&mut writer, path, is_new, restored)?;
        let readers: Vec<Mutex<Connection>> =
            (0..READERS).map(|_| connect(path, true).map(Mutex::new)).collect::<Result<_, _>>()?;
        Ok(Self {
            environment: environment.clone(),
            path: path.to_owned(),
            writer: writer::Writer::start(writer, position::Keeper::open(path, position))?,
            claimed: Arc::default(),
            readers: readers.into(),
            searcher: Arc::new(Mutex::new(connect(path, true)?)),
            next_reader: Arc::new(AtomicUsize::new(0)),
        })
    }

    /// Checks that [`SqliteStore::open`] would not refuse an existing store. Changes nothing, and creates no store.
    pub fn check_openable(path: &Path, environment: &EnvironmentName) -> Result<(), StoreError> {
        if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
            return Ok(());
        }
        let connection = connect(path, true)?;
        // A store that was created and never written to counts as none.
        if !connection.table_exists(None, "schema_version").map_err(failed)? {
            return Ok(());
        }
        migrate::check_version(&connection)?;
        match value::<EnvironmentName>(&connection, "environment")? {
            Some(found) if found != *environment => Err(other_environment(environment, &found)),
            _ => Ok(()),
        }
    }

    /// Binds the store to the recipient that its secrets are sealed to. A store that is bound to another recipient is refused.
    pub fn bind_recipient(path: &Path, recipient: &str) -> Result<(), StoreError> {
        let mut connection = connect(path, false)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        if same_recipient(&transaction, recipient)? {
            return Ok(());
        }
        set_value(&transaction, "recipient", &recipient)?;
        transaction.commit().map_err(failed)
    }

    /// Checks that [`SqliteStore::bind_recipient`] would not refuse an existing store. Changes nothing, and creates no store.
    pub fn check_recipient(path: &Path, recipient: &str) -> Result<(), StoreError> {
        if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
            return Ok(());
        }
        let connection = connect(path, true)?;
        if !connection.table_exists(None, "store").map_err(failed)? {
            return Ok(());
        }
        same_recipient(&connection, recipient).map(drop)
    }

    /// Returns the environment of an existing store.
    pub fn environment_of(path: &Path) -> Result<EnvironmentName, StoreError> {
        let connection = connect(path, true)?;
        let missing = || StoreError::Corrupt("the name of its environment".to_owned());
        if !connection.table_exists(None, "store").map_err(failed)? {
            return Err(missing());
        }
        migrate::check_version(&connection)?;
        value::<EnvironmentName>(&connection, "environment")?.ok_or_else(missing)
    }

    /// Writes a consistent copy of a store, which a service may be using, into a new file.
    pub fn back_up(path: &Path, copy: &Path) -> Result<(), StoreError> {
        let broken = |error: std::io::Error| StoreError::Database(error.to_string());
        // `VACUUM INTO` accepts an empty file, and keeps its mode.
        let create = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy);
        drop(create.map_err(broken)?);
        let connection = connect(path, true)?;
        let name = copy.to_str().ok_or_else(|| StoreError::Database("the path is not UTF-8".to_owned()))?;
        connection.execute("VACUUM INTO ?1", [name]).map_err(failed)?;
        // SQLite does not wait until a copy is on disk.
        std::fs::File::open(copy).and_then(|file| file.sync_all()).map_err(broken)?;
        let check = connect(copy, true)?;
        let found: String = check.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt(found)) }
    }

    /// Creates a store of an older schema version, for the test of migrations.
    #[doc(hidden)]
    pub fn make_old(path: &Path, version: usize) -> Result<(), StoreError> {
        migrate::migrate(&mut connect(path, false)?, version)
    }

    /// Runs a large write in a transaction of its own.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CommitError> + Send + 'static,
    ) -> Result<T, CommitError> {
        self.writer.write_single(work).await
    }

    /// Runs a small write in a transaction that it may share.
    async fn write_plainly<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write_grouped(work).await
    }

    /// Runs a slow read on one consistent snapshot. Slow reads run one after the other.
    async fn read_at_length<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let searcher = Arc::clone(&self.searcher);
        blocking(move || snapshot(&searcher, work)).await
    }

    /// Reads from one consistent snapshot.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let at = self.next_reader.fetch_add(1, Ordering::Relaxed) % readers.len();
        blocking(move || snapshot(&readers[at], work)).await
    }
}

fn snapshot<T>(
    connection: &Mutex<Connection>,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut connection = connection.lock();
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(failed)?;
    work(&snapshot)
}

fn connect(path: &Path, read_only: bool) -> Result<Connection, StoreError> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    if !read_only {
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        // On macOS an `fsync` alone leaves the disk's own cache unwritten. Elsewhere this changes nothing.
        connection.pragma_update(None, "fullfsync", "on").map_err(failed)?;
        connection.pragma_update(None, "checkpoint_fullfsync", "on").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", "on").map_err(failed)?;
    }
    connection.pragma_update(None, "trusted_schema", "off").map_err(failed)?;
    // The schema has no triggers. Actions of foreign keys are not triggers.
    for switch in [DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW] {
        connection.set_db_config(switch, false).map_err(failed)?;
    }
    Ok(connection)
}

/// Restricts the database to its owner, whatever the folder allows; `SQLite` gives its other files the same mode.
fn keep_private(path: &Path) -> std::io::Result<()> {
    if let Ok(found) = std::fs::metadata(path) {
        // A copy that another user owns may still be read.
        if found.permissions().mode() & 0o077 != 0 {
            drop(std::fs::set_permissions(path, Permissions::from_mode(0o600)));
        }
        return Ok(());
    }
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop)
}

/// Compares the database with the stored position, and records if it was restored. Returns the position from now on.
fn find_position(
    connection: &mut Connection,
    path: &Path,
    is_new: bool,
    restored: bool,
) -> Result<position::Position, StoreError> {
    let io = |error: std::io::Error| unreadable_position(&error);
    let file = position::read(path).map_err(io)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let known: Option<(String, i64)> = transaction
        .query_row("SELECT incarnation, commits FROM position WHERE id = 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(failed)?;
    let head = audit_log::read_head(&transaction)?;
    let known = known.map(|(incarnation, commits)| position::Position {
        incarnation,
        commits: commits.unsigned_abs(),
        head: head.clone(),
    });
    // A new store next to an old position is not a restore: its generation and its tokens show that it is new. A store that has
    // a position and does not know its environment is not new.
    let is_new = is_new && known.is_none();
    let found = if is_new { None } else { position::compare(known.as_ref(), file.as_ref()) };
    let known = match known {
        Some(mut known) if found.is_none() && !restored => {
            if let Some(noted) = file.as_ref().and_then(|file| file.head.as_ref()) {
                audit_log::adopt_head(&transaction, noted)?;
                known.head = audit_log::read_head(&transaction)?;
            }
            transaction.commit().map_err(failed)?;
            // The file is behind after a crash, and has no head if an older version wrote it.
            if file.as_ref().is_none_or(|file| file.commits < known.commits || file.head.is_none()) {
                position::create(path, &known).map_err(io)?;
            }
            return Ok(known);
        }
        known => known,
    };
    let mut position = position::Position::new().map_err(StoreError::Database)?;
    position.commits = known.map_or(0, |known| known.commits);
    position.head = head;
    if found.is_some() || (restored && !is_new) {
        restore::note(&transaction, found.as_ref())?;
        write_position(&transaction, &position)?;
        transaction.commit().map_err(failed)?;
        position::create(path, &position).map_err(io)?;
    } else {
        // The file comes first: a database that has a position and no file was moved to another folder.
        position::create(path, &position).map_err(io)?;
        write_position(&transaction, &position)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(position)
}

fn unreadable_position(error: &std::io::Error) -> StoreError {
    StoreError::Database(format!("the store's position: {error}"))
}

fn write_position(transaction: &Connection, position: &position::Position) -> Result<(), StoreError> {
    transaction
        .execute(
            "INSERT INTO position (id, incarnation, commits) VALUES (1, ?1, ?2)
             ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, commits = excluded.commits",
            params![position.incarnation, number(position.commits)],
        )
        .map_err(failed)
        .map(drop)
}

/// Writes the environment's name into a new store, and compares it with the name in an old one. True if the store is new.
fn claim_for_environment(connection: &mut Connection, environment: &EnvironmentName) -> Result<bool, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    match value::<EnvironmentName>(&transaction, "environment")? {
        Some(found) if found == *environment => Ok(false),
        Some(found) => Err(other_environment(environment, &found)),
        None => {
            set_value(&transaction, "environment", environment)?;
            transaction.commit().map_err(failed)?;
            Ok(true)
        }
    }
}

/// Returns true if the store has this recipient, and false if it has none yet.
fn same_recipient(connection: &Connection, recipient: &str) -> Result<bool, StoreError> {
    match value::<String>(connection, "recipient")? {
        None => Ok(false),
        Some(found) if found == recipient => Ok(true),
        Some(theirs) => Err(StoreError::OtherIdentity { ours: recipient.to_owned(), theirs }),
    }
}

fn other_environment(ours: &EnvironmentName, theirs: &EnvironmentName) -> StoreError {
    StoreError::OtherEnvironment { ours: ours.to_string(), theirs: theirs.to_string() }
}

async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Database(format!("the work was not finished: {error}")).into()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Database(error.to_string())
}

fn text(document: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(document).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn document<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("a document at line {}, column {}", error.line(), error.column())))
}

fn value<T: DeserializeOwned>(transaction: &Connection, key: &str) -> Result<Option<T>, StoreError> {
    record(transaction, "SELECT value FROM store WHERE key = ?1", [key])
}

fn set_value(transaction: &Connection, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
    let value = text(value)?;
    transaction
        .prepare_cached(
            "INSERT INTO store (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .and_then(|mut statement| statement.execute(params![key, value]))
        .map_err(failed)?;
    Ok(())
}

/// Returns the number of the newest generation; 0 if there is none.
fn newest_generation(transaction: &Connection) -> Result<u64, StoreError> {
    transaction
        .prepare_cached("SELECT coalesce(max(number), 0) FROM generation")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
        .map(i64::unsigned_abs)
        .map_err(failed)
}

/// Converts a number for `SQLite`, whose integers are signed. A number that does not fit is larger than any that exists.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Returns the documents in the only column of a query, in order.
fn records<T: DeserializeOwned>(
    connection: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(query).map_err(failed)?;
    let rows = statement.query_map(parameters, |row| row.get::<_, String>(0)).map_err(failed)?;
    rows.map(|row| document(&row.map_err(failed)?)).collect()
}

/// Returns the document in the only column of the first row of a query; none if there is no row.
fn record<T: DeserializeOwned>(
    connection: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<T>, StoreError> {
    let found: Option<String> = connection
        .prepare_cached(query)
        .and_then(|mut statement| statement.query_row(parameters, |row| row.get(0)).optional())
        .map_err(failed)?;
    found.map(|text| document(&text)).transpose()
}

fn profile_name(text: &str) -> Result<ProfileName, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt("a profile's name".to_owned()))
}

#[async_trait]
impl Store for SqliteStore {
    fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writer.settle().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.write_plainly(|transaction| {
            transaction
                .execute("INSERT INTO probe (id, at) VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET at = at + 1", [])
                .map_err(failed)
                .map(drop)
        })
        .await
    }
}
