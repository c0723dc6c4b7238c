//! Comparison of the store with its audit log: the chain and its head, what the entries state, and the history.
//!
//! [`check`] trusts no stored digest and reads everything. Differences are returned as problems, up to a limit; a row that cannot
//! be parsed is an error. It changes nothing; [`digests`](super::digests) writes the statements that it compares with.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    StoreError,
    audit_log::{self, ALTERED, Head},
    digests::{Row, Statement, Trust, differences, history_digest, is_stated, state_now, statement_of},
    document, failed,
    position::Position,
    records, schema,
};
use crate::model::{
    Approval, AuditEntry, AuditOutcome, Digest, Signature,
    integrity::{PROBLEM_LIMIT, StoreCheck},
    operator::Operator,
    token::Token,
};

/// The most generations or tokens that one problem names.
const SHOWN: usize = 10;

/// The audit log, as far as it was read.
struct Log {
    check: StoreCheck,
    newest: Option<Statement>,
    /// Tokens that were created, and those that were revoked, by id, with the entry.
    created: BTreeSet<String>,
    revoked: BTreeMap<String, u64>,
    /// Operators that were created, and those that were removed, by id, with the entry.
    operators: BTreeSet<String>,
    removed: BTreeMap<String, u64>,
    /// Generations that an entry records.
    generations: BTreeSet<u64>,
    /// Proposals, by id.
    proposals: BTreeMap<String, LoggedProposal>,
}

/// The signatures of a proposal.
#[derive(Deserialize)]
struct SignedProposal {
    id: String,
    approvals: Vec<Approval>,
    signatures: Vec<Signature>,
}

/// A proposal, as the audit log records it.
#[derive(Default)]
struct LoggedProposal {
    /// The digests of the signatures, each with its entry.
    signed: BTreeMap<String, u64>,
    /// Number of signatures of which an entry of an earlier version records no digest.
    unstated: usize,
    is_decided: bool,
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
        Self {
            check,
            newest: None,
            created: BTreeSet::new(),
            revoked: BTreeMap::new(),
            operators: BTreeSet::new(),
            removed: BTreeMap::new(),
            generations: BTreeSet::new(),
            proposals: BTreeMap::new(),
        }
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
            if let Some((id, action)) = id().zip(entry.action.strip_prefix("proposal.")) {
                let proposal = self.proposals.entry(id).or_default();
                match (action, entry.detail["signed"].as_str()) {
                    ("sign" | "approve", Some(digest)) => {
                        proposal.signed.insert(digest.to_owned(), entry.sequence);
                    }
                    ("sign" | "approve", None) => proposal.unstated += 1,
                    ("apply" | "reject", _) => proposal.is_decided = true,
                    _ => {}
                }
            }
            match entry.action.as_str() {
                "token.create" => self.created.extend(id()),
                "operator.create" => self.operators.extend(id()),
                "operator.remove" => self.removed.extend(id().map(|id| (id, entry.sequence))),
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

/// Compares the whole store with its audit log: the chain and its head, the state, the tokens, the operators, the signatures of
/// proposals, each generation. `noted` is the position in the file next to the database, read before the snapshot that
/// `connection` sees.
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
    problems.extend(active_although_removed(connection, &log.removed)?);
    problems.extend(unlike_their_signatures(connection, &log.proposals)?);
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

/// Generations, tokens and operators that no entry records: each has one from the transaction that made it.
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
    let without = |query: &str, recorded: &BTreeSet<String>| -> Result<Vec<String>, StoreError> {
        let mut statement = connection.prepare(query).map_err(failed)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        let mut ids: Vec<String> = rows.collect::<Result<_, _>>().map_err(failed)?;
        ids.retain(|id| !recorded.contains(id));
        Ok(ids)
    };
    let tokens = without("SELECT id FROM token ORDER BY created_at, id", &log.created)?;
    let operators = if has_operators(connection)? {
        without("SELECT id FROM operator ORDER BY created_at, id", &log.operators)?
    } else {
        Vec::new()
    };
    let problem = |kind: &str, found: &[String]| {
        let shown = found.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if found.len() > SHOWN { format!(" and {} more", found.len() - SHOWN) } else { String::new() };
        (!found.is_empty()).then(|| format!("no entry of the audit log records {kind} {shown}{more}"))
    };
    let problems = [problem("generation", &generations), problem("token", &tokens), problem("operator", &operators)];
    Ok(problems.into_iter().flatten().collect())
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

/// Returns false for a store of an older version, before it is migrated.
fn has_operators(connection: &Connection) -> Result<bool, StoreError> {
    connection.table_exists(None, "operator").map_err(failed)
}

/// Operators that the log says were removed, and that may sign in.
fn active_although_removed(
    connection: &Connection,
    removed: &BTreeMap<String, u64>,
) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    if !has_operators(connection)? {
        return Ok(found);
    }
    for operator in records::<Operator>(connection, "SELECT document FROM operator ORDER BY id", [])? {
        if let Some(entry) = removed.get(&operator.id).filter(|_| operator.removed_at.is_none()) {
            found.push(format!("operator {} was removed by entry {entry}, and is not any more", operator.id));
        }
    }
    Ok(found)
}

/// Proposals whose signatures are not those that the log records, and open ones that are gone. Old decided ones are removed by
/// the service.
fn unlike_their_signatures(
    connection: &Connection,
    logged: &BTreeMap<String, LoggedProposal>,
) -> Result<Vec<String>, StoreError> {
    // A store of an older version, before it is migrated, has none.
    if !connection.table_exists(None, "proposal").map_err(failed)? {
        return Ok(Vec::new());
    }
    // Without the change and the age files, which can be large.
    let query = "SELECT json_object('id', id, 'approvals', json(coalesce(json_extract(record, '$.approvals'), '[]')),
        'signatures', json(coalesce(json_extract(record, '$.signatures'), '[]'))) FROM proposal ORDER BY id";
    let stored = records::<SignedProposal>(connection, query, [])?;
    let stored: BTreeMap<&str, &SignedProposal> =
        stored.iter().map(|proposal| (proposal.id.as_str(), proposal)).collect();
    let mut found = Vec::new();
    for (id, log) in logged {
        let Some(proposal) = stored.get(id.as_str()) else {
            if !log.is_decided && !log.signed.is_empty() {
                found.push(format!("proposal {id}, which was signed, is missing"));
            }
            continue;
        };
        let digests = proposal.approvals.iter().map(Digest::of_document);
        let digests =
            digests.chain(proposal.signatures.iter().map(Digest::of_document)).map(|digest| digest.to_string());
        let present: Vec<String> = digests.collect();
        for (_, entry) in log.signed.iter().filter(|(digest, _)| !present.contains(digest)) {
            found.push(format!("the signature of proposal {id} that entry {entry} records is missing, or was changed"));
        }
        // A record that is there twice is recorded once.
        let distinct: BTreeSet<&String> = present.iter().collect();
        let recorded = distinct.into_iter().filter(|digest| log.signed.contains_key(*digest)).count();
        let unrecorded = present.len() - recorded;
        if unrecorded > log.unstated {
            found.push(format!("proposal {id} has a signature that no entry records"));
        }
    }
    found.truncate(PROBLEM_LIMIT);
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
