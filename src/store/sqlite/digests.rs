//! Digests of the contents of the store, stated in its audit log, so that a change made without the service can be detected.
//!
//! Every entry that changes the state, a token or an operator states the digests of the whole state, of all tokens and of all
//! operators with their passkeys after it; the entry of
//! a commit also states the digest of the history. [`append_with_statement`] writes them, and
//! [`check`](super::store_check::check) compares them. To state a digest, only the digests stored with each profile are read;
//! to check one, everything is read and no stored digest is trusted.
//!
//! Messages, holds and results of the verifier are not covered: they change with every mail.

use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{AuditEvent, StoreError, append, audit_log, failed, newest_generation, number, record, set_value, value};
use crate::model::{AuditEntry, Digest};

/// The key under which an entry's detail has its statement.
const KEY: &str = "store";
/// The key of the sequence of the newest entry with a statement.
const NEWEST: &str = "statedBy";
/// The settings, as the table `store` names them.
const SETTINGS: [&str; 3] = ["settings", "appliedSettings", "settingsChanged"];

/// The statement of an audit entry about the store after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Statement {
    pub(super) generation: u64,
    state: Digest,
    tokens: Digest,
    /// The digest of operators and passkeys; none if there were none, and in statements of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operators: Option<Digest>,
    /// The digest of the generation's rows in the history, in the entry of its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<Digest>,
}

/// A SHA-256, as bytes.
pub(super) type Hash = [u8; 32];

/// Returns the hash of some parts, each preceded by its length.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Returns the hash of some bytes.
pub(super) fn hash_bytes(bytes: &[u8]) -> Hash {
    hash([bytes])
}

/// Returns the hash of a text.
pub(super) fn hash_text(text: &str) -> Hash {
    hash_bytes(text.as_bytes())
}

/// Returns the hash of a profile's row, from the hash of the live profile and the texts of the rest.
pub(super) fn hash_profile(live: Option<&Hash>, applied: &str, changed: &str) -> Hash {
    hash([live.map_or(&[][..], |live| live), applied.as_bytes(), changed.as_bytes()])
}

/// A profile's row, as it is written there.
#[derive(Deserialize)]
pub(super) struct Row<'a> {
    #[serde(borrow, default)]
    pub(super) live: Option<&'a RawValue>,
    #[serde(borrow)]
    applied: &'a RawValue,
    #[serde(borrow)]
    changed: &'a RawValue,
}

impl<'a> Row<'a> {
    pub(super) fn parse(name: &str, state: &'a str) -> Result<Self, StoreError> {
        serde_json::from_str(state)
            .map_err(|error| StoreError::Corrupt(format!("the row of profile `{name}`, column {}", error.column())))
    }

    pub(super) fn hash(&self) -> Hash {
        let live = self.live.map(|live| hash_text(live.get()));
        hash_profile(live.as_ref(), self.applied.get(), self.changed.get())
    }
}

/// Digests of what a commit writes into the history.
#[derive(Default)]
pub(super) struct History {
    /// The generation's own row, each column.
    pub(super) generation: Vec<Option<String>>,
    /// The hash of each live profile, by name; none if it is deleted.
    pub(super) profiles: Vec<(String, Option<Hash>)>,
    /// The hash of each profile's row, by name, if the commit wrote all of them: then no row is read again.
    pub(super) rows: Option<Vec<(String, Hash)>>,
    /// Per secret: digest of its age file, its record as JSON, hash of the file's bytes.
    pub(super) secrets: Vec<(String, String, Hash)>,
}

impl History {
    fn digest(mut self) -> Digest {
        self.profiles.sort_unstable();
        self.secrets.sort_unstable();
        let mut bytes = Digest::of_document(&self.generation).as_str().as_bytes().to_vec();
        for (name, live) in &self.profiles {
            bytes.extend_from_slice(&hash([name.as_bytes(), live.as_ref().map_or(&[][..], |live| live)]));
        }
        bytes.push(b'\n');
        for (digest, record, age_file) in &self.secrets {
            bytes.extend_from_slice(&hash([digest.as_bytes(), record.as_bytes(), age_file]));
        }
        Digest::of_bytes(&bytes)
    }
}

/// Appends an entry that states what the store holds. If the store was changed by something other than the service before, an
/// entry that says so comes first; otherwise the change would become part of the statement.
pub(super) fn append_with_statement(
    transaction: &Connection,
    event: &AuditEvent,
    history: Option<History>,
) -> Result<AuditEntry, StoreError> {
    let mut event = event.clone();
    let (rows, history) = match history {
        Some(mut history) => (history.rows.take(), Some(history.digest())),
        None => (None, None),
    };
    let state = match rows {
        Some(rows) => {
            let mut bytes = settings_digest(transaction)?;
            for (name, hash) in &rows {
                add_profile(&mut bytes, name, hash);
            }
            Digest::of_bytes(&bytes)
        }
        None => state_digest(transaction, Trust::Columns)?,
    };
    let (generation, tokens) = (newest_generation(transaction)?, tokens_digest(transaction)?);
    let statement = Statement { generation, state, tokens, operators: operators_digest(transaction)?, history };
    event.detail[KEY] = serde_json::to_value(&statement).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let entry = append(transaction, &event)?;
    set_value(transaction, NEWEST, &entry.sequence)?;
    Ok(entry)
}

/// Records that the store differs from the newest statement, or that the log lost entries. To be called before a change, in the
/// same transaction.
pub(super) fn record_alteration(transaction: &Connection, at: jiff::Timestamp) -> Result<(), StoreError> {
    let mut what: Vec<String> = audit_log::find_loss(transaction)?.into_iter().collect();
    if let Some(stated) = newest_statement(transaction)? {
        what.extend(differences(&stated, &state_now(transaction, Trust::Columns)?));
    } else if is_stated(transaction)? {
        what.push("the entry that states what the store holds is missing".to_owned());
    }
    if what.is_empty() {
        return Ok(());
    }
    tracing::error!(what = what.join("; "), "the store was changed by another program");
    append(transaction, &audit_log::alteration(at, &what.join("; "))).map(drop)
}

/// Returns true if an entry that states what the store holds was ever written, even if it is missing now.
pub(super) fn is_stated(connection: &Connection) -> Result<bool, StoreError> {
    Ok(value::<u64>(connection, NEWEST)?.is_some())
}

fn newest_statement(connection: &Connection) -> Result<Option<Statement>, StoreError> {
    let Some(sequence) = value::<u64>(connection, NEWEST)? else { return Ok(None) };
    let entry: Option<AuditEntry> =
        record(connection, "SELECT entry FROM audit WHERE sequence = ?1", [number(sequence)])?;
    Ok(entry.as_ref().and_then(statement_of))
}

pub(super) fn statement_of(entry: &AuditEntry) -> Option<Statement> {
    serde_json::from_value(entry.detail.get(KEY)?.clone()).ok()
}

pub(super) fn differences(stated: &Statement, found: &Statement) -> Vec<String> {
    let mut what = Vec::new();
    if stated.generation != found.generation {
        what.push(format!("generation {} is stated, and {} is there", stated.generation, found.generation));
    }
    if stated.state != found.state {
        what.push("the profiles or settings are not those that are stated".to_owned());
    }
    if stated.tokens != found.tokens {
        what.push("the tokens are not those that are stated".to_owned());
    }
    if stated.operators != found.operators {
        what.push("the operators and their passkeys are not those that are stated".to_owned());
    }
    what
}

/// The trust in stored digests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    Columns,
    Nothing,
}

pub(super) fn state_now(connection: &Connection, trust: Trust) -> Result<Statement, StoreError> {
    Ok(Statement {
        generation: newest_generation(connection)?,
        state: state_digest(connection, trust)?,
        tokens: tokens_digest(connection)?,
        operators: operators_digest(connection)?,
        history: None,
    })
}

/// Returns the first part of the input of a state's digest: the settings.
fn settings_digest(connection: &Connection) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    for key in SETTINGS {
        let text: Option<String> = connection
            .prepare_cached("SELECT value FROM store WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
            .map_err(failed)?;
        bytes.extend_from_slice(Digest::of_document(&(key, text)).as_str().as_bytes());
    }
    Ok(bytes)
}

/// Adds a profile to the input of a state's digest. Profiles are added in the order of their names.
fn add_profile(bytes: &mut Vec<u8>, name: &str, hash: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(hash);
}

fn state_digest(connection: &Connection, trust: Trust) -> Result<Digest, StoreError> {
    let mut bytes = settings_digest(connection)?;
    let query = match trust {
        Trust::Columns => "SELECT name, digest, CASE WHEN digest IS NULL THEN state END FROM profile ORDER BY name",
        Trust::Nothing => "SELECT name, NULL, state FROM profile ORDER BY name",
    };
    let mut statement = connection.prepare_cached(query).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let wrong = |error: rusqlite::types::FromSqlError| StoreError::Corrupt(format!("a profile's row: {error}"));
        let name = row.get_ref(0).map_err(failed)?.as_str().map_err(wrong)?;
        if let Some(digest) = row.get_ref(1).map_err(failed)?.as_blob_or_null().map_err(wrong)? {
            add_profile(&mut bytes, name, digest);
        } else {
            let state = row.get_ref(2).map_err(failed)?.as_str().map_err(wrong)?;
            add_profile(&mut bytes, name, &Row::parse(name, state)?.hash());
        }
    }
    Ok(Digest::of_bytes(&bytes))
}

fn tokens_digest(connection: &Connection) -> Result<Digest, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id, document, hash, created_at FROM token ORDER BY id").map_err(failed)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
        })
        .map_err(failed)?;
    let tokens: Vec<(String, String, String, i64)> = rows.collect::<Result<_, _>>().map_err(failed)?;
    Ok(Digest::of_document(&tokens))
}

/// Returns the digest of operators and passkeys, without what each use changes; none if there are none.
fn operators_digest(connection: &Connection) -> Result<Option<Digest>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT id, name, document, enrolment, created_at FROM operator ORDER BY id")
        .map_err(failed)?;
    let rows = statement
        .query_map([], |row| {
            let (id, name, document): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((id, name, document, row.get::<_, Option<String>>(3)?, row.get::<_, i64>(4)?))
        })
        .map_err(failed)?;
    let operators: Vec<_> = rows.collect::<Result<_, _>>().map_err(failed)?;
    let mut statement = connection
        .prepare_cached("SELECT id, operator, added_at, document FROM passkey ORDER BY id")
        .map_err(failed)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
        })
        .map_err(failed)?;
    let passkeys: Vec<_> = rows.collect::<Result<_, _>>().map_err(failed)?;
    let is_empty = operators.is_empty() && passkeys.is_empty();
    Ok((!is_empty).then(|| Digest::of_document(&(operators, passkeys))))
}

/// Returns the digest of a generation's rows in the history, read again.
pub(super) fn history_digest(connection: &Connection, generation: u64) -> Result<Option<Digest>, StoreError> {
    let found: Option<Vec<Option<String>>> = connection
        .prepare_cached("SELECT document, settings, changeset, changeset_digest FROM generation WHERE number = ?1")
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| (0..4).map(|index| row.get(index)).collect();
            statement.query_row([number(generation)], row).optional()
        })
        .map_err(failed)?;
    let Some(row) = found else { return Ok(None) };
    let mut history = History { generation: row, ..History::default() };
    let mut statement =
        connection.prepare_cached("SELECT name, live FROM profile_history WHERE generation = ?1").map_err(failed)?;
    let rows = statement
        .query_map([number(generation)], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)))
        .map_err(failed)?;
    for row in rows {
        let (name, live) = row.map_err(failed)?;
        history.profiles.push((name, live.map(|live| hash_text(&live))));
    }
    let mut statement = connection
        .prepare_cached("SELECT digest, record, age_file FROM secret WHERE generation = ?1")
        .map_err(failed)?;
    let rows = statement
        .query_map([number(generation)], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?)))
        .map_err(failed)?;
    for row in rows {
        let (digest, record, age_file) = row.map_err(failed)?;
        history.secrets.push((digest, record, hash_bytes(&age_file)));
    }
    Ok(Some(history.digest()))
}
