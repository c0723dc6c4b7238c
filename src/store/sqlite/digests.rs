//! Digests of what the store holds, stated in its audit log: every entry that changes the state, or a token, states the
//! digest of the whole state and of all tokens after it, and an entry of a commit that of what its generation left in
//! the history. So a change past the service is distinguished from one that went through it ([`check`]).
//!
//! Stating must not cost what a store with many profiles costs to read: a profile's row has the digest of its contents
//! next to it, and only the digests are read again. Checking trusts no such column and reads everything.
//!
//! Messages, holds and results of the verifier are not covered: they change with every mail.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{
    AuditEvent, StoreError, append,
    audit_log::{self, ALTERED, Head},
    document, failed,
    generations::newest,
    number,
    position::Position,
    record, records, schema, set_value, value,
};
use crate::model::{
    AuditEntry, AuditOutcome, Digest,
    integrity::{PROBLEM_LIMIT, StoreCheck},
    token::Token,
};

/// The key under which an entry's detail has its statement.
const KEY: &str = "store";
/// The key of the sequence of the newest entry with a statement.
const NEWEST: &str = "statedBy";
/// The most generations or tokens that one problem names.
const SHOWN: usize = 10;
/// The settings, as the table `store` names them.
const SETTINGS: [&str; 3] = ["settings", "appliedSettings", "settingsChanged"];

/// The statement of an audit entry about the store after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    generation: u64,
    state: Digest,
    tokens: Digest,
    /// The digest of the generation's rows in the history, in the entry of its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<Digest>,
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
    let (generation, tokens) = (newest(transaction)?, tokens_digest(transaction)?);
    let statement = Statement { generation, state, tokens, history };
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

/// The trust in stored digests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Columns,
    Nothing,
}

fn state_now(connection: &Connection, trust: Trust) -> Result<Statement, StoreError> {
    Ok(Statement {
        generation: newest(connection)?,
        state: state_digest(connection, trust)?,
        tokens: tokens_digest(connection)?,
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

/// Returns the digest of a generation's rows in the history, read again.
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

/// The audit log, as far as it was read.
struct Log {
    check: StoreCheck,
    newest: Option<Statement>,
    /// Tokens that were created, and those that were revoked, by id, with the entry.
    created: BTreeSet<String>,
    revoked: BTreeMap<String, u64>,
    /// Generations that an entry records.
    generations: BTreeSet<u64>,
}

impl Log {
    fn new() -> Self {
        let check = StoreCheck {
            entries: 0,
            head: AuditEntry::genesis(),
            stated_by: None,
            problems: Vec::new(),
            altered_before: Vec::new(),
        };
        Self { check, newest: None, created: BTreeSet::new(), revoked: BTreeMap::new(), generations: BTreeSet::new() }
    }

    /// Reads all entries. Where the chain is broken, that is a problem, and the rest is read as it is.
    fn read(connection: &Connection, is_current: bool, noted: Option<&Head>) -> Result<Self, StoreError> {
        let mut log = Self::new();
        let mut statement = connection.prepare("SELECT entry FROM audit ORDER BY sequence").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let entry: AuditEntry = document(&row.get::<_, String>(0).map_err(failed)?)?;
            log.add(connection, entry, is_current, noted)?;
        }
        Ok(log)
    }

    fn add(
        &mut self,
        connection: &Connection,
        entry: AuditEntry,
        is_current: bool,
        noted: Option<&Head>,
    ) -> Result<(), StoreError> {
        if let Some(broken) = entry.broken(self.check.entries, &self.check.head) {
            self.add_problem(format!("the audit log is broken: {broken}"));
        }
        if noted.is_some_and(|noted| noted.sequence == entry.sequence && noted.hash != entry.hash) {
            self.add_problem(format!("entry {} is not the one that `store.position` notes", entry.sequence));
        }
        if entry.action == ALTERED {
            self.check.altered_before.push(entry.sequence);
        }
        if entry.outcome == AuditOutcome::Accepted {
            let id = || entry.detail["id"].as_str().map(str::to_owned);
            match entry.action.as_str() {
                "token.create" => self.created.extend(id()),
                "token.revoke" => self.revoked.extend(id().map(|id| (id, entry.sequence))),
                _ => self.generations.extend(entry.detail["generation"].as_u64()),
            }
        }
        if let Some(stated) = statement_of(&entry) {
            if let Some(history) = &stated.history {
                self.generations.insert(stated.generation);
                if is_current && history_digest(connection, stated.generation)?.as_ref() != Some(history) {
                    self.add_problem(format!(
                        "generation {} in the history is not the one that entry {} states",
                        stated.generation, entry.sequence
                    ));
                }
            }
            self.check.stated_by = Some(entry.sequence);
            self.newest = Some(stated);
        }
        self.check.entries = entry.sequence;
        self.check.head = entry.hash;
        Ok(())
    }

    fn add_problem(&mut self, problem: String) {
        if self.check.problems.len() < PROBLEM_LIMIT {
            self.check.problems.push(problem);
        }
    }

    /// The newest entry that was read.
    fn end(&self) -> Option<Head> {
        (self.check.entries > 0).then(|| Head { sequence: self.check.entries, hash: self.check.head.clone() })
    }
}

/// Compares the whole store with its audit log: the chain and its head, the state, the tokens, each generation. `noted` is
/// the position in the file next to the database, read before the snapshot that `connection` sees.
pub(super) fn check(
    connection: &Connection,
    is_current: bool,
    noted: Option<&Position>,
) -> Result<StoreCheck, StoreError> {
    let noted = match noted {
        Some(noted) if is_current && is_of_this_database(connection, noted)? => noted.head.as_ref(),
        _ => None,
    };
    let log = Log::read(connection, is_current, noted)?;
    let mut problems = Vec::new();
    if is_current {
        problems.extend(schema::find_differences(connection)?);
        let (end, head) = (log.end(), audit_log::read_head(connection)?);
        let loss = audit_log::compare(end.as_ref(), head.as_ref());
        let further = noted.filter(|noted| noted.sequence > log.check.entries);
        let further = further.and_then(|noted| audit_log::compare(end.as_ref(), Some(noted)));
        problems.extend(further.filter(|further| loss.as_ref() != Some(further)));
        problems.extend(loss);
        match &log.newest {
            Some(stated) => {
                problems.extend(differences(stated, &state_now(connection, Trust::Nothing)?));
                problems.extend(altered_profiles(connection)?);
            }
            None if is_stated(connection)? => {
                problems.push("the entry that states what the store holds is missing".to_owned());
            }
            None => {}
        }
    }
    problems.extend(unrecorded(connection, &log)?);
    problems.extend(live_although_revoked(connection, &log.revoked)?);
    problems.extend(unlike_the_history(connection)?);
    let mut check = log.check;
    check.problems.extend(problems);
    check.problems.truncate(PROBLEM_LIMIT);
    Ok(check)
}

/// Returns true if the file belongs to the database and is not ahead of it. Otherwise one of the two was restored, which the
/// next start notices.
fn is_of_this_database(connection: &Connection, noted: &Position) -> Result<bool, StoreError> {
    let known: Option<(String, i64)> = connection
        .prepare_cached("SELECT incarnation, commits FROM position WHERE id = 1")
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(failed)?;
    Ok(known.is_some_and(|(incarnation, commits)| {
        incarnation == noted.incarnation && commits.unsigned_abs() >= noted.commits
    }))
}

/// Generations and tokens that no entry records: each has one from the transaction that made it.
fn unrecorded(connection: &Connection, log: &Log) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("SELECT number FROM generation ORDER BY number").map_err(failed)?;
    let rows = statement.query_map([], |row| row.get::<_, i64>(0)).map_err(failed)?;
    let mut generations = Vec::new();
    for row in rows {
        let number = row.map_err(failed)?.unsigned_abs();
        if !log.generations.contains(&number) {
            generations.push(number.to_string());
        }
    }
    let mut statement = connection.prepare("SELECT id FROM token ORDER BY created_at, id").map_err(failed)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    let mut tokens = Vec::new();
    for row in rows {
        let id = row.map_err(failed)?;
        if !log.created.contains(&id) {
            tokens.push(id);
        }
    }
    let problem = |kind: &str, found: &[String]| {
        let shown = found.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if found.len() > SHOWN { format!(" and {} more", found.len() - SHOWN) } else { String::new() };
        (!found.is_empty()).then(|| format!("no entry of the audit log records {kind} {shown}{more}"))
    };
    Ok([problem("generation", &generations), problem("token", &tokens)].into_iter().flatten().collect())
}

/// Profiles whose contents do not match the stored digest. They are only named: the statement has decided.
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
    let mut found = Vec::new();
    for token in records::<Token>(connection, "SELECT document FROM token ORDER BY id", [])? {
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
