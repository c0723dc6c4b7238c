//! `SQLite`: one writer, a few readers, write-ahead log, `synchronous=FULL`, so that what was answered is on disk.

mod audit_log;
mod audit_reader;
mod decoded;
mod digests;
mod leases;
mod migrate;
mod outbox;
mod position;
mod restore;
mod schema;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use jiff::Timestamp;
use rayon::prelude::*;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, config::DbConfig, params};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    AuditEvent, AuditLog, Commit, CommitError, Generations, Integrity, LeaseTaken, Leases, Secrets, Store, StoreError,
    StoredToken, Tokens, Verifications, WantedLease,
};
use crate::model::{
    AuditEntry, AuditOutcome, ChangeRecord, Destination, Digest, EnvironmentName, Generation, GenerationDetail,
    LastVerified, Lease, ProfileName, ProfileState, SecretRecord, Settings, State, StoredProfile,
    finding::{Level, Verified},
    integrity::{Restored, StoreCheck},
    token::Token,
};

use audit_log::append;
pub use audit_reader::AuditReader;

/// How many connections read what is short, in addition to the writer and the reader of long queries.
const READERS: usize = 3;

/// How many settings of one profile have a proof kept: those that are live, and those of plans.
const PROOFS_OF_PROFILE: i64 = 4;
/// How many proofs are kept together.
const PROOFS: i64 = 20_000;

/// A store in one `SQLite` file.
#[derive(Clone)]
pub struct SqliteStore {
    environment: EnvironmentName,
    /// Where the database is.
    path: PathBuf,
    writer: writer::Writer,
    readers: Arc<[Mutex<Connection>]>,
    /// Reads what takes long: a search goes through every message, and must not hold up a submission.
    searcher: Arc<Mutex<Connection>>,
    next_reader: Arc<AtomicUsize>,
    /// Messages that are claimed. One process has the store, so this need not be on disk.
    claimed: Arc<Mutex<HashSet<i64>>>,
}

impl SqliteStore {
    /// Opens the store, or makes it. A store of another environment or of a newer version is refused; one of an
    /// older version is brought up to date in one transaction.
    pub fn open(path: &Path, environment: &EnvironmentName) -> Result<Self, StoreError> {
        Self::open_as(path, environment, false)
    }

    /// Opens a store of which an operator says that it was restored from a backup.
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
        let is_new = claim(&mut writer, environment)?;
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

    /// Sees whether [`SqliteStore::open`] would refuse a store that is there. Changes nothing, and makes none.
    pub fn look(path: &Path, environment: &EnvironmentName) -> Result<(), StoreError> {
        if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
            return Ok(());
        }
        let connection = connect(path, true)?;
        // One that was begun and never written to is as good as none.
        if !connection.table_exists(None, "schema_version").map_err(failed)? {
            return Ok(());
        }
        migrate::look(&connection)?;
        match value::<EnvironmentName>(&connection, "environment")? {
            Some(found) if found != *environment => Err(other_environment(environment, &found)),
            _ => Ok(()),
        }
    }

    /// Binds the store to the recipient that its secrets are sealed to. A store of another one is refused.
    pub fn bind(path: &Path, recipient: &str) -> Result<(), StoreError> {
        let mut connection = connect(path, false)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        if same_recipient(&transaction, recipient)? {
            return Ok(());
        }
        set_value(&transaction, "recipient", &recipient)?;
        transaction.commit().map_err(failed)
    }

    /// Sees whether [`SqliteStore::bind`] would refuse a store that is there. Changes nothing, and makes none.
    pub fn look_for(path: &Path, recipient: &str) -> Result<(), StoreError> {
        if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
            return Ok(());
        }
        let connection = connect(path, true)?;
        if !connection.table_exists(None, "store").map_err(failed)? {
            return Ok(());
        }
        same_recipient(&connection, recipient).map(drop)
    }

    /// Makes a store of an older schema version: what the test of migrations starts from.
    #[doc(hidden)]
    pub fn make_old(path: &Path, version: usize) -> Result<(), StoreError> {
        migrate::migrate(&mut connect(path, false)?, version)
    }

    /// Writes something large, in a transaction of its own.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CommitError> + Send + 'static,
    ) -> Result<T, CommitError> {
        self.writer.write_single(work).await
    }

    /// Writes something small, in a transaction that it may share.
    async fn write_plainly<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write_grouped(work).await
    }

    /// Reads what may take long from one consistent snapshot, one such read after the other.
    async fn read_at_length<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let searcher = Arc::clone(&self.searcher);
        blocking(move || snapshot(&searcher, work)).await
    }

    /// Changes a token, and writes that into the audit log if `change` says that it did.
    async fn change_token(
        &self,
        id: &str,
        event: AuditEvent,
        change: impl FnOnce(&mut Token) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<Option<Token>, StoreError> {
        let id = id.to_owned();
        self.write_plainly(move |transaction| {
            let found: Option<String> = transaction
                .query_row("SELECT document FROM token WHERE id = ?1", [&id], |row| row.get(0))
                .optional()
                .map_err(failed)?;
            let Some(found) = found else { return Ok(None) };
            let mut token: Token = document(&found)?;
            digests::record_alteration(transaction, event.at)?;
            if change(&mut token)? {
                transaction
                    .execute("UPDATE token SET document = ?2 WHERE id = ?1", params![id, text(&token)?])
                    .map_err(failed)?;
                digests::append_with_statement(transaction, &event, None)?;
            }
            Ok(Some(token))
        })
        .await
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
    let mut connection = connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
    // The program has none. Actions of foreign keys are not triggers.
    for switch in [DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW] {
        connection.set_db_config(switch, false).map_err(failed)?;
    }
    Ok(connection)
}

/// The database is its owner's alone, whatever the folder allows; `SQLite` gives its other files the same mode.
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

/// Compares the database with the stored position, and notes if it was restored. Returns the position from here on.
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
    // A new store next to an old position is not a restore: its generation and its tokens show that it is new. One that
    // has a position and does not know its environment is not new.
    let is_new = is_new && known.is_none();
    let found = if is_new { None } else { position::compare(known.as_ref(), file.as_ref()) };
    let known = match known {
        Some(mut known) if found.is_none() && !restored => {
            if let Some(noted) = file.as_ref().and_then(|file| file.head.as_ref()) {
                audit_log::adopt_head(&transaction, noted)?;
                known.head = audit_log::read_head(&transaction)?;
            }
            transaction.commit().map_err(failed)?;
            // It is behind after a crash, and has no head if an older version wrote it.
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
        // The file first: a database that knows of its position and has no file was put into another folder.
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

/// Writes the environment's name into a new store, and compares it with an old one's. True if it is new.
fn claim(connection: &mut Connection, environment: &EnvironmentName) -> Result<bool, StoreError> {
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
    let found: Option<String> = transaction
        .prepare_cached("SELECT value FROM store WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(failed)?;
    found.map(|text| document(&text)).transpose()
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

/// `SQLite`'s integers are signed; a number that does not fit is larger than any that exists.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn newest(transaction: &Connection) -> Result<u64, StoreError> {
    transaction
        .prepare_cached("SELECT coalesce(max(number), 0) FROM generation")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
        .map(i64::unsigned_abs)
        .map_err(failed)
}

#[async_trait]
impl Generations for SqliteStore {
    async fn state(&self) -> Result<State, StoreError> {
        let environment = self.environment.clone();
        self.read(move |transaction| read_state(transaction, environment)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.write(move |transaction| take(transaction, &commit)).await
    }

    async fn changeset(&self, id: uuid::Uuid) -> Result<Option<(Digest, Generation)>, StoreError> {
        self.read(move |transaction| find_changeset(transaction, id)).await
    }

    async fn generations(&self, before: Option<u64>, limit: u32) -> Result<Vec<Generation>, StoreError> {
        self.read_at_length(move |transaction| {
            let mut statement = transaction
                .prepare_cached("SELECT document FROM generation WHERE number < ?1 ORDER BY number DESC LIMIT ?2")
                .map_err(failed)?;
            let before = before.map_or(i64::MAX, number);
            let rows = statement.query_map(params![before, limit], |row| row.get::<_, String>(0)).map_err(failed)?;
            rows.map(|row| document(&row.map_err(failed)?)).collect()
        })
        .await
    }

    async fn generation(&self, wanted: u64) -> Result<Option<GenerationDetail>, StoreError> {
        self.read_at_length(move |transaction| {
            let found: Option<(String, String)> = transaction
                .prepare_cached("SELECT document, settings FROM generation WHERE number = ?1")
                .and_then(|mut statement| {
                    statement.query_row([number(wanted)], |row| Ok((row.get(0)?, row.get(1)?))).optional()
                })
                .map_err(failed)?;
            let Some((generation, settings)) = found else { return Ok(None) };
            let mut statement = transaction
                .prepare_cached(
                    "SELECT name, live FROM profile_history AS h
                     WHERE live IS NOT NULL AND generation = (
                         SELECT max(generation) FROM profile_history WHERE name = h.name AND generation <= ?1
                     )",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map([number(wanted)], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
                .map_err(failed)?;
            let mut profiles: BTreeMap<ProfileName, StoredProfile> = BTreeMap::new();
            for row in rows {
                let (name, live) = row.map_err(failed)?;
                profiles.insert(profile_name(&name)?, document(&live)?);
            }
            Ok(Some(GenerationDetail { generation: document(&generation)?, settings: document(&settings)?, profiles }))
        })
        .await
    }
}

#[async_trait]
impl Secrets for SqliteStore {
    async fn secrets(&self, digests: Vec<Digest>) -> Result<Vec<SecretRecord>, StoreError> {
        self.read(move |transaction| {
            digests.iter().filter_map(|digest| secret(transaction, digest).transpose()).collect()
        })
        .await
    }

    async fn destinations(&self, value_ids: Vec<String>) -> Result<BTreeMap<String, Destination>, StoreError> {
        self.read(move |transaction| {
            let found = value_ids.into_iter().map(|id| Ok(destination(transaction, &id)?.map(|found| (id, found))));
            found.filter_map(Result::transpose).collect()
        })
        .await
    }

    async fn bind(&self, value_id: String, to: Destination) -> Result<Destination, StoreError> {
        self.write_plainly(move |transaction| {
            bind(transaction, &value_id, &to)?;
            Ok(destination(transaction, &value_id)?.unwrap_or(to))
        })
        .await
    }

    async fn age_file(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let digest = digest.clone();
        self.read(move |transaction| {
            transaction
                .prepare_cached("SELECT age_file FROM secret WHERE digest = ?1")
                .and_then(|mut statement| statement.query_row([digest.as_str()], |row| row.get(0)).optional())
                .map_err(failed)
        })
        .await
    }
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn record(&self, event: AuditEvent) -> Result<AuditEntry, StoreError> {
        self.write_plainly(move |transaction| append(transaction, &event)).await
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read_at_length(move |transaction| {
            let mut statement = transaction
                .prepare_cached("SELECT entry FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")
                .map_err(failed)?;
            let rows =
                statement.query_map(params![number(after), limit], |row| row.get::<_, String>(0)).map_err(failed)?;
            rows.map(|row| document(&row.map_err(failed)?)).collect()
        })
        .await
    }
}

#[async_trait]
impl Tokens for SqliteStore {
    async fn create_token(&self, token: StoredToken, event: AuditEvent) -> Result<(), StoreError> {
        let mut event = event;
        // The entry that a token must have.
        event.detail["id"] = serde_json::json!(token.token.id);
        self.write_plainly(move |transaction| {
            digests::record_alteration(transaction, event.at)?;
            refuse_taken_name(transaction, &token.token, event.at)?;
            transaction
                .execute(
                    "INSERT INTO token (id, document, hash, created_at) VALUES (?1, ?2, ?3, ?4)",
                    params![
                        token.token.id,
                        text(&token.token)?,
                        token.hash.as_str(),
                        token.token.created_at.as_millisecond()
                    ],
                )
                .map_err(failed)?;
            digests::append_with_statement(transaction, &event, None).map(drop)
        })
        .await
    }

    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError> {
        let id = id.to_owned();
        self.read(move |transaction| {
            let found: Option<(String, String)> = transaction
                .prepare_cached("SELECT document, hash FROM token WHERE id = ?1")
                .and_then(|mut statement| statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
                .map_err(failed)?;
            let Some((token, hash)) = found else { return Ok(None) };
            let hash = hash.parse().map_err(StoreError::Corrupt)?;
            Ok(Some(StoredToken { token: document(&token)?, hash }))
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT document FROM token ORDER BY created_at, id").map_err(failed)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
            rows.map(|row| document(&row.map_err(failed)?)).collect()
        })
        .await
    }

    async fn revoke_token(&self, id: &str, at: Timestamp, event: AuditEvent) -> Result<Option<Token>, StoreError> {
        let path = self.path.clone();
        self.change_token(id, event, move |token| {
            if token.revoked_at.is_some() {
                return Ok(false);
            }
            // First where a restored database cannot take it back.
            position::add_revoked(&path, &token.id)
                .map_err(|error| StoreError::Database(format!("cannot write down that a token is revoked: {error}")))?;
            token.revoked_at = Some(at);
            Ok(true)
        })
        .await
    }

    async fn confirm_token(&self, id: &str, event: AuditEvent) -> Result<Option<Token>, StoreError> {
        self.change_token(id, event, |token| Ok(token.suspended_at.take().is_some())).await
    }
}

#[async_trait]
impl Integrity for SqliteStore {
    async fn check(&self) -> Result<StoreCheck, StoreError> {
        let path = self.path.clone();
        // Before the snapshot: the file is never ahead of it then.
        let noted = blocking(move || position::read(&path).map_err(|error| unreadable_position(&error))).await?;
        self.read(move |transaction| digests::check(transaction, true, noted.as_ref())).await
    }

    async fn state_contents(&self, at: Timestamp) -> Result<(), StoreError> {
        self.write_plainly(move |transaction| {
            // A store with nothing in it has nothing to state.
            if digests::is_stated(transaction)? || newest(transaction)? == 0 {
                return Ok(());
            }
            let event = AuditEvent {
                at,
                actor: "(service)".to_owned(),
                action: "store.upgrade",
                outcome: AuditOutcome::Accepted,
                detail: serde_json::json!({}),
            };
            digests::append_with_statement(transaction, &event, None).map(drop)
        })
        .await
    }

    async fn settle_restore(&self, now: Timestamp) -> Result<Option<Restored>, StoreError> {
        let path = self.path.clone();
        let revoked = blocking(move || {
            position::revoked(&path)
                .map_err(|error| StoreError::Database(format!("the list of revoked tokens: {error}")))
        })
        .await?;
        self.write_plainly(move |transaction| restore::revoke_again(transaction, &revoked, now)).await?;
        while self.write_plainly(move |transaction| restore::settle_messages(transaction, now)).await? {}
        self.write_plainly(move |transaction| restore::finish(transaction, now)).await
    }

    async fn confirm_restore(&self, event: AuditEvent) -> Result<bool, StoreError> {
        self.write_plainly(move |transaction| restore::confirm(transaction, &event)).await
    }
}

#[async_trait]
impl Verifications for SqliteStore {
    async fn proofs(&self, of: BTreeMap<ProfileName, Digest>) -> Result<BTreeMap<ProfileName, Verified>, StoreError> {
        self.read(move |transaction| {
            let mut found = BTreeMap::new();
            for (name, of) in of {
                let proof = proof(transaction, &name, &of)?;
                found.extend(proof.map(|proof| (name, proof)));
            }
            Ok(found)
        })
        .await
    }

    async fn record_verified(&self, results: Vec<(LastVerified, Verified)>) -> Result<(), StoreError> {
        self.write_plainly(move |transaction| {
            let mut upsert = transaction
                .prepare_cached(
                    "INSERT INTO verification (name, summary, document) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE SET summary = excluded.summary, document = excluded.document",
                )
                .map_err(failed)?;
            for (last, verified) in results {
                let of = last.of;
                let verified = match proof(transaction, &verified.profile, &of)? {
                    Some(earlier) => verified.with_earlier(&earlier),
                    None => verified,
                };
                let last = LastVerified::new(of.clone(), &verified);
                upsert.execute(params![verified.profile.as_str(), text(&last)?, text(&verified)?]).map_err(failed)?;
                keep_proof(transaction, &of, &verified)?;
            }
            Ok(())
        })
        .await
    }

    async fn last_verified(&self) -> Result<BTreeMap<ProfileName, LastVerified>, StoreError> {
        self.read_at_length(|transaction| {
            let mut statement = transaction.prepare_cached("SELECT name, summary FROM verification").map_err(failed)?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
                .map_err(failed)?;
            rows.map(|row| {
                let (name, last) = row.map_err(failed)?;
                Ok((profile_name(&name)?, document(&last)?))
            })
            .collect()
        })
        .await
    }

    async fn verified(&self, name: &ProfileName) -> Result<Option<Verified>, StoreError> {
        let name = name.clone();
        self.read(move |transaction| {
            let found: Option<String> = transaction
                .prepare_cached("SELECT document FROM verification WHERE name = ?1")
                .and_then(|mut statement| statement.query_row([name.as_str()], |row| row.get(0)).optional())
                .map_err(failed)?;
            found.map(|text| document(&text)).transpose()
        })
        .await
    }
}

#[async_trait]
impl Leases for SqliteStore {
    async fn take_lease(&self, wanted: WantedLease, event: AuditEvent) -> Result<LeaseTaken, StoreError> {
        self.write_plainly(move |transaction| leases::take(transaction, wanted, event)).await
    }

    async fn release_lease(&self, name: &str, token: u64, event: AuditEvent) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.write_plainly(move |transaction| leases::release(transaction, &name, token, &event)).await
    }

    async fn leases(&self, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        self.read(move |transaction| leases::lasting(transaction, now)).await
    }
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

/// What was proved of a profile with exactly these settings.
fn proof(transaction: &Connection, name: &ProfileName, of: &Digest) -> Result<Option<Verified>, StoreError> {
    let found: Option<String> = transaction
        .prepare_cached("SELECT document FROM proof WHERE name = ?1 AND of = ?2")
        .and_then(|mut statement| statement.query_row(params![name.as_str(), of.as_str()], |row| row.get(0)).optional())
        .map_err(failed)?;
    found.map(|text| document(&text)).transpose()
}

/// Keeps a result that took a credential or a reader: what anybody may see can be seen again at any time.
fn keep_proof(transaction: &Connection, of: &Digest, verified: &Verified) -> Result<(), StoreError> {
    if verified.reached < Level::Credential {
        return Ok(());
    }
    let (name, at) = (verified.profile.as_str(), verified.at.as_millisecond());
    let run = |statement: &str, parameters: &[&dyn rusqlite::ToSql]| {
        let done = transaction.prepare_cached(statement).and_then(|mut statement| statement.execute(parameters));
        done.map(drop).map_err(failed)
    };
    run(
        "INSERT INTO proof (name, of, at, document) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name, of) DO UPDATE SET at = excluded.at, document = excluded.document",
        &[&name, &of.as_str(), &at, &text(verified)?],
    )?;
    run(
        "DELETE FROM proof WHERE name = ?1 AND of NOT IN (
             SELECT of FROM proof WHERE name = ?1 ORDER BY at DESC LIMIT ?2
         )",
        &[&name, &PROOFS_OF_PROFILE],
    )?;
    let forgotten = i64::try_from(crate::model::verified_merge::REMEMBERED.as_millis()).unwrap_or(i64::MAX);
    run("DELETE FROM proof WHERE at < ?1", &[&(at - forgotten)])?;
    run(
        "DELETE FROM proof WHERE (name, of) IN (SELECT name, of FROM proof ORDER BY at DESC LIMIT -1 OFFSET ?1)",
        &[&PROOFS],
    )
}

fn profile_name(text: &str) -> Result<ProfileName, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt("a profile's name".to_owned()))
}

/// A name belongs to one token at a time, or to one and those that it replaces.
fn refuse_taken_name(transaction: &Connection, token: &Token, now: Timestamp) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached("SELECT document FROM token").map_err(failed)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    let name = token.name.to_lowercase();
    for row in rows {
        let other: Token = document(&row.map_err(failed)?)?;
        let is_in_use = other.revoked_at.is_none() && other.expires_at.is_none_or(|end| end > now);
        if is_in_use && other.name.to_lowercase() == name && other.owner() != token.owner() {
            return Err(StoreError::TokenNameTaken(other.name));
        }
    }
    Ok(())
}

fn read_state(transaction: &Connection, environment: EnvironmentName) -> Result<State, StoreError> {
    let generation = newest(transaction)?;
    let settings: Option<Settings> = value(transaction, "settings")?;
    let mut profiles: BTreeMap<ProfileName, ProfileState> = BTreeMap::new();
    {
        let mut statement = transaction.prepare_cached("SELECT name, state FROM profile").map_err(failed)?;
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).map_err(failed)?;
        for row in rows {
            let (name, state) = row.map_err(failed)?;
            profiles.insert(profile_name(&name)?, document(&state)?);
        }
    }
    let mut state = State {
        environment,
        generation,
        settings: settings.unwrap_or_default(),
        applied_settings: value::<Option<Settings>>(transaction, "appliedSettings")?.flatten(),
        settings_changed: value::<Option<ChangeRecord>>(transaction, "settingsChanged")?.flatten(),
        profiles,
        secrets: BTreeMap::new(),
    };
    let used: BTreeSet<Digest> = state.used_digests().cloned().collect();
    for digest in used {
        let record = secret(transaction, &digest)?
            .ok_or_else(|| StoreError::Corrupt(format!("the age file {} is missing", digest.short())))?;
        state.secrets.insert(digest, record);
    }
    Ok(state)
}

fn secret(transaction: &Connection, digest: &Digest) -> Result<Option<SecretRecord>, StoreError> {
    let found: Option<String> = transaction
        .prepare_cached("SELECT record FROM secret WHERE digest = ?1")
        .and_then(|mut statement| statement.query_row([digest.as_str()], |row| row.get(0)).optional())
        .map_err(failed)?;
    found.map(|text| document(&text)).transpose()
}

/// Where a value was first accepted for.
fn destination(transaction: &Connection, value_id: &str) -> Result<Option<Destination>, StoreError> {
    let found: Option<String> = transaction
        .prepare_cached("SELECT destination FROM secret_value WHERE value_id = ?1")
        .and_then(|mut statement| statement.query_row([value_id], |row| row.get(0)).optional())
        .map_err(failed)?;
    found.map(|text| document(&text)).transpose()
}

/// Records where a value was accepted for, if it is the first time.
fn bind(transaction: &Connection, value_id: &str, to: &Destination) -> Result<(), StoreError> {
    let to = text(to)?;
    transaction
        .prepare_cached(
            "INSERT INTO secret_value (value_id, destination) VALUES (?1, ?2) ON CONFLICT (value_id) DO NOTHING",
        )
        .and_then(|mut statement| statement.execute(params![value_id, to]))
        .map_err(failed)?;
    Ok(())
}

fn find_changeset(transaction: &Connection, id: uuid::Uuid) -> Result<Option<(Digest, Generation)>, StoreError> {
    let found: Option<(String, String)> = transaction
        .prepare_cached("SELECT changeset_digest, document FROM generation WHERE changeset = ?1")
        .and_then(|mut statement| {
            statement.query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(failed)?;
    let Some((digest, generation)) = found else { return Ok(None) };
    Ok(Some((digest.parse().map_err(StoreError::Corrupt)?, document(&generation)?)))
}

/// The whole commit, inside a transaction that its caller ends.
fn take(transaction: &Connection, commit: &Commit) -> Result<(), CommitError> {
    if let Some(id) = commit.generation.changeset
        && let Some((digest, generation)) = find_changeset(transaction, id)?
    {
        return Err(CommitError::Taken { generation: generation.number, digest });
    }
    let newest = newest(transaction)?;
    if newest != commit.base || commit.generation.number != newest + 1 {
        return Err(CommitError::Stale(newest));
    }
    digests::record_alteration(transaction, commit.event.at)?;
    let generation = number(commit.generation.number);
    let mut history = digests::History {
        generation: vec![
            Some(text(&commit.generation)?),
            Some(text(&commit.after.settings)?),
            commit.generation.changeset.map(|id| id.to_string()),
            commit.changeset.as_ref().map(|digest| digest.as_str().to_owned()),
        ],
        ..digests::History::default()
    };
    transaction
        .execute(
            "INSERT INTO generation (number, document, settings, changeset, changeset_digest) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                generation,
                history.generation[0],
                history.generation[1],
                history.generation[2],
                history.generation[3],
            ],
        )
        .map_err(failed)?;
    set_value(transaction, "settings", &commit.after.settings)?;
    set_value(transaction, "appliedSettings", &commit.after.applied_settings)?;
    set_value(transaction, "settingsChanged", &commit.after.settings_changed)?;
    write_profiles(transaction, generation, commit, &mut history)?;
    let mut insert = transaction
        .prepare_cached("INSERT INTO secret (digest, record, age_file, generation) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (digest) DO NOTHING")
        .map_err(failed)?;
    for new in &commit.secrets {
        let record = text(&new.record)?;
        let inserted =
            insert.execute(params![new.record.digest.as_str(), record, new.age_file, generation]).map_err(failed)?;
        if inserted > 0 {
            let digest = new.record.digest.as_str().to_owned();
            history.secrets.push((digest, record, digests::hash_bytes(&new.age_file)));
        }
        if let Some(value_id) = &new.record.value_id {
            bind(transaction, value_id, &new.record.destination)?;
        }
    }
    // What was verified and did not come into existence is forgotten.
    transaction.execute("DELETE FROM verification WHERE name NOT IN (SELECT name FROM profile)", []).map_err(failed)?;
    digests::append_with_statement(transaction, &commit.event, Some(history))?;
    Ok(())
}

/// A touched profile as the store keeps it: its name, its state, what of it is live, and the hash of each.
type Row<'a> = (&'a ProfileName, Option<(String, digests::Hash)>, Option<(String, digests::Hash)>);

/// A [`ProfileState`] whose live profile is written already: the text is wanted twice.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a RawValue>,
    applied: &'a RawValue,
    changed: &'a RawValue,
}

fn raw(document: &impl Serialize) -> Result<Box<RawValue>, StoreError> {
    serde_json::value::to_raw_value(document).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Writes the touched profiles, and what is to be stated of them.
fn write_profiles(
    transaction: &Connection,
    generation: i64,
    commit: &Commit,
    stated: &mut digests::History,
) -> Result<(), StoreError> {
    let rows: Vec<Result<Row<'_>, StoreError>> = commit
        .touched
        .par_iter()
        .map(|name| {
            let Some(state) = commit.after.profiles.get(name) else { return Ok((name, None, None)) };
            let live = state.live.as_ref().map(raw).transpose()?;
            let (applied, changed) = (raw(&state.applied)?, raw(&state.changed)?);
            let whole = text(&Written { live: live.as_deref(), applied: &applied, changed: &changed })?;
            let live = live.map(|live| (digests::hash_text(live.get()), Box::<str>::from(live).into_string()));
            let hash = digests::hash_profile(live.as_ref().map(|(hash, _)| hash), applied.get(), changed.get());
            Ok((name, Some((whole, hash)), live.map(|(hash, live)| (live, hash))))
        })
        .collect();
    let mut upsert = transaction
        .prepare_cached(
            "INSERT INTO profile (name, state, digest) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET state = excluded.state, digest = excluded.digest",
        )
        .map_err(failed)?;
    let mut delete = transaction.prepare_cached("DELETE FROM profile WHERE name = ?1").map_err(failed)?;
    let mut history = transaction
        .prepare_cached("INSERT INTO profile_history (name, generation, live) VALUES (?1, ?2, ?3)")
        .map_err(failed)?;
    let wrote_all = commit.after.profiles.keys().all(|name| commit.touched.contains(name));
    let mut written = Vec::new();
    for row in rows {
        let (name, state, live) = row?;
        match &state {
            Some((state, hash)) => upsert.execute(params![name.as_str(), state, hash]),
            None => delete.execute([name.as_str()]),
        }
        .map_err(failed)?;
        written.extend(state.filter(|_| wrote_all).map(|(_, hash)| (name.to_string(), hash)));
        let (live, hash) = live.unzip();
        history.execute(params![name.as_str(), generation, live]).map_err(failed)?;
        stated.profiles.push((name.to_string(), hash));
    }
    stated.rows = wrote_all.then_some(written);
    Ok(())
}
