//! Digests of what the store holds, stated in its audit log: every entry that changes the state, or a token, states the
//! digest of the whole state and of all tokens after it, and an entry of a commit that of what its generation left in
//! the history. So a change past the service is told from one that went through it ([`check`]).
//!
//! Stating must not cost what a store with many profiles costs to read: a profile's row has the digest of its contents
//! beside it, and only the digests are read again. Checking trusts no such column and reads everything.
//!
//! Messages, holds and results of the verifier are not covered: they change with every mail.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{AuditEvent, StoreError, append, document, failed, number, set_value, value};
use crate::{
    api::{
        AuditEntry, AuditOutcome, Token,
        integrity::{PROBLEM_LIMIT, StoreCheck},
    },
    model::Digest,
};

/// The key under which an entry's detail has its statement.
const KEY: &str = "store";
/// Where the sequence of the newest entry with a statement is kept.
const NEWEST: &str = "statedBy";
/// What an entry is called that records a change past the service.
pub(super) const ALTERED: &str = "store.altered";
/// The settings, as the table `store` names them.
const SETTINGS: [&str; 3] = ["settings", "appliedSettings", "settingsChanged"];

/// What an audit entry states about the store after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    generation: u64,
    state: Digest,
    tokens: Digest,
    /// What the generation left in the history, in the entry of its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<Digest>,
}

/// A SHA-256, as it is.
pub(super) type Hash = [u8; 32];

/// The hash of some parts, each with its length before it.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The hash of some bytes.
pub(super) fn hash_bytes(bytes: &[u8]) -> Hash {
    hash([bytes])
}

/// The hash of a text.
pub(super) fn hash_text(text: &str) -> Hash {
    hash_bytes(text.as_bytes())
}

/// The hash of a profile's row, from that of what is live and the texts of the rest.
pub(super) fn hash_profile(live: Option<&Hash>, applied: &str, changed: &str) -> Hash {
    hash([live.map_or(&[][..], |live| live), applied.as_bytes(), changed.as_bytes()])
}

/// A profile's row, as it is written there.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    live: Option<&'a RawValue>,
    #[serde(borrow)]
    applied: &'a RawValue,
    #[serde(borrow)]
    changed: &'a RawValue,
}

impl<'a> Row<'a> {
    fn parse(name: &str, state: &'a str) -> Result<Self, StoreError> {
        serde_json::from_str(state)
            .map_err(|error| StoreError::Corrupt(format!("the row of profile `{name}`, column {}", error.column())))
    }

    fn hash(&self) -> Hash {
        let live = self.live.map(|live| hash_text(live.get()));
        hash_profile(live.as_ref(), self.applied.get(), self.changed.get())
    }
}

/// Digests of what a commit writes into the history.
#[derive(Default)]
pub(super) struct History {
    /// The generation's own row, each column.
    pub(super) generation: Vec<Option<String>>,
    /// By profile: the hash of what is live; none if it is gone.
    pub(super) profiles: Vec<(String, Option<Hash>)>,
    /// The row of each profile, by name, if the commit wrote all of them: then none is read again.
    pub(super) rows: Option<Vec<(String, Hash)>>,
    /// By digest of the age file: the record, and the hash of the bytes.
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

/// Appends an entry that states what the store holds. If the store was changed past the service before, an entry that
/// says so comes first: from here on the change would be part of what is stated.
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
    let (generation, tokens) = (super::newest(transaction)?, tokens_digest(transaction)?);
    let statement = Statement { generation, state, tokens, history };
    event.detail[KEY] = serde_json::to_value(&statement).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let entry = append(transaction, &event)?;
    set_value(transaction, NEWEST, &entry.sequence)?;
    Ok(entry)
}

/// Records that the store is not as the newest statement says. To be called before a change, in its transaction.
pub(super) fn record_alteration(transaction: &Connection, at: jiff::Timestamp) -> Result<(), StoreError> {
    let Some(stated) = newest_statement(transaction)? else { return Ok(()) };
    let found = state_now(transaction, Trust::Columns)?;
    let what = differences(&stated, &found);
    if what.is_empty() {
        return Ok(());
    }
    tracing::error!(what = what.join("; "), "the store was changed past the service");
    let event = AuditEvent {
        at,
        actor: "(service)".to_owned(),
        action: ALTERED,
        outcome: AuditOutcome::Accepted,
        detail: serde_json::json!({ "why": what.join("; ") }),
    };
    append(transaction, &event).map(drop)
}

/// Whether any entry states what the store holds.
pub(super) fn is_stated(connection: &Connection) -> Result<bool, StoreError> {
    Ok(newest_statement(connection)?.is_some())
}

fn newest_statement(connection: &Connection) -> Result<Option<Statement>, StoreError> {
    let Some(sequence) = value::<u64>(connection, NEWEST)? else { return Ok(None) };
    let entry: Option<String> = connection
        .prepare_cached("SELECT entry FROM audit WHERE sequence = ?1")
        .and_then(|mut statement| statement.query_row([number(sequence)], |row| row.get(0)).optional())
        .map_err(failed)?;
    let Some(entry) = entry else { return Ok(None) };
    Ok(statement_of(&document(&entry)?))
}

fn statement_of(entry: &AuditEntry) -> Option<Statement> {
    serde_json::from_value(entry.detail.get(KEY)?.clone()).ok()
}

fn differences(stated: &Statement, found: &Statement) -> Vec<String> {
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
    what
}

/// Whether the digest beside a row is believed, or its contents are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Columns,
    Nothing,
}

fn state_now(connection: &Connection, trust: Trust) -> Result<Statement, StoreError> {
    Ok(Statement {
        generation: super::newest(connection)?,
        state: state_digest(connection, trust)?,
        tokens: tokens_digest(connection)?,
        history: None,
    })
}

/// What the digest of a state begins with.
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

/// A profile's part of what a state is the digest of. They come by name.
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

/// What a generation left in the history, read again.
fn history_digest(connection: &Connection, generation: u64) -> Result<Option<Digest>, StoreError> {
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

/// Compares the whole store with its audit log: the chain, the state, the tokens, each generation.
pub(super) fn check(connection: &Connection, is_current: bool) -> Result<StoreCheck, StoreError> {
    let mut problems = Vec::new();
    let mut check = StoreCheck {
        entries: 0,
        head: AuditEntry::genesis(),
        stated_by: None,
        problems: Vec::new(),
        altered_before: Vec::new(),
    };
    let mut newest: Option<Statement> = None;
    let mut revoked: BTreeMap<String, u64> = BTreeMap::new();
    let mut statement = connection.prepare("SELECT entry FROM audit ORDER BY sequence").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let entry: AuditEntry = document(&row.get::<_, String>(0).map_err(failed)?)?;
        if let Some(broken) = entry.broken(check.entries, &check.head) {
            problems.push(format!("the audit log is broken: {broken}"));
            break;
        }
        if entry.action == ALTERED {
            check.altered_before.push(entry.sequence);
        }
        if entry.action == "token.revoke" && entry.outcome == AuditOutcome::Accepted {
            revoked.extend(entry.detail["id"].as_str().map(|id| (id.to_owned(), entry.sequence)));
        }
        if let Some(stated) = statement_of(&entry) {
            if is_current
                && let Some(history) = &stated.history
                && history_digest(connection, stated.generation)?.as_ref() != Some(history)
            {
                problems.push(format!(
                    "generation {} in the history is not the one that entry {} states",
                    stated.generation, entry.sequence
                ));
            }
            check.stated_by = Some(entry.sequence);
            newest = Some(stated);
        }
        check.entries = entry.sequence;
        check.head = entry.hash;
    }
    drop(rows);
    if let Some(stated) = newest.filter(|_| is_current) {
        problems.extend(differences(&stated, &state_now(connection, Trust::Nothing)?));
        problems.extend(altered_profiles(connection)?);
    }
    problems.extend(live_although_revoked(connection, &revoked)?);
    problems.extend(unlike_the_history(connection)?);
    problems.truncate(PROBLEM_LIMIT);
    check.problems = problems;
    Ok(check)
}

/// Profiles whose contents do not have the digest beside them. They are only named: the statement has decided.
fn altered_profiles(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection
        .prepare("SELECT name, state, digest FROM profile WHERE digest IS NOT NULL ORDER BY name")
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let (name, state): (String, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
        let digest: Vec<u8> = row.get(2).map_err(failed)?;
        if Row::parse(&name, &state)?.hash()[..] != digest[..] && found.len() < PROBLEM_LIMIT {
            found.push(format!("profile `{name}` was changed past the service"));
        }
    }
    Ok(found)
}

/// Tokens that the log says were revoked, and that open the service.
fn live_although_revoked(connection: &Connection, revoked: &BTreeMap<String, u64>) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("SELECT document FROM token ORDER BY id").map_err(failed)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    let mut found = Vec::new();
    for row in rows {
        let token: Token = document(&row.map_err(failed)?)?;
        if let Some(entry) = revoked.get(&token.id).filter(|_| token.revoked_at.is_none()) {
            found.push(format!("token {} was revoked by entry {entry}, and is not any more", token.id));
        }
    }
    Ok(found)
}

/// Profiles that are live otherwise than their newest row in the history says. A store of an older version has no
/// statements, and is checked by this alone.
fn unlike_the_history(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection
        .prepare(
            "SELECT p.name, p.state, h.live FROM profile AS p LEFT JOIN profile_history AS h
             ON h.name = p.name AND h.generation = (SELECT max(generation) FROM profile_history WHERE name = p.name)
             ORDER BY p.name",
        )
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let (name, state): (String, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
        let history: Option<String> = row.get(2).map_err(failed)?;
        let live = Row::parse(&name, &state)?.live;
        if live.map(RawValue::get) != history.as_deref() && found.len() < PROBLEM_LIMIT {
            found.push(format!("profile `{name}` is live otherwise than the history says"));
        }
    }
    Ok(found)
}
