//! Results of the verifier in `SQLite`: the last one of each profile, those of plans, and proofs of settings.
//!
//! A result is kept under the digest of the settings that it is for. The last result of a profile is one of settings that are or
//! were live: a plan that is only shown does not replace it. Of other settings, at most 4 results of a profile and 20,000 in all
//! are kept, for some days; a commit that makes such settings live makes their result the last one ([`settle_commit`]).
//!
//! A proof is what was seen of exactly these settings and secrets; a later check that could not see something is completed with
//! it. At most 4 of a profile and 20,000 in all are kept, for some days; those of last results are not counted, and stay. Results
//! of profiles that do not exist are removed at the next commit. Nothing here runs a check.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::SignedDuration;
use rusqlite::{Connection, params};

use super::{Commit, SqliteStore, StoreError, Verifications, document, failed, profile_name, record, text};
use crate::model::{
    Digest, LastVerified, ProfileName, ProfileState,
    finding::{Level, Verified},
    verified_merge::REMEMBERED,
};

/// Maximum number of proofs per profile, apart from that of its last result.
const PROOFS_OF_PROFILE: i64 = 4;
/// Maximum number of proofs of all profiles, apart from those of their last results.
const PROOFS: i64 = 20_000;
/// Maximum number of results per profile of settings that are not live.
const PLANNED_OF_PROFILE: i64 = 4;
/// Maximum number of such results of all profiles.
const PLANNED: i64 = 20_000;

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
            for (last, verified) in results {
                let of = last.of;
                let verified = match proof(transaction, &verified.profile, &of)? {
                    Some(earlier) => verified.with_earlier(&earlier),
                    None => verified,
                };
                let last = LastVerified::new(of.clone(), &verified);
                keep_result(transaction, &last, &verified)?;
                keep_proof(transaction, &of, &verified)?;
            }
            remove_old_results(transaction)
        })
        .await
    }

    async fn last_verified(&self) -> Result<BTreeMap<ProfileName, LastVerified>, StoreError> {
        self.read_at_length(|transaction| {
            let mut statement = transaction
                .prepare_cached("SELECT name, summary FROM verification WHERE is_last = 1")
                .map_err(failed)?;
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

    async fn last_verified_of(&self, name: &ProfileName) -> Result<Option<LastVerified>, StoreError> {
        let name = name.clone();
        self.read(move |transaction| {
            record(transaction, "SELECT summary FROM verification WHERE name = ?1 AND is_last = 1", [name.as_str()])
        })
        .await
    }

    async fn planned_verified(&self) -> Result<BTreeMap<ProfileName, Vec<LastVerified>>, StoreError> {
        self.read_at_length(|transaction| {
            let mut statement = transaction
                .prepare_cached("SELECT name, summary FROM verification WHERE is_last = 0 ORDER BY at DESC")
                .map_err(failed)?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
                .map_err(failed)?;
            let mut found: BTreeMap<ProfileName, Vec<LastVerified>> = BTreeMap::new();
            for row in rows {
                let (name, summary) = row.map_err(failed)?;
                found.entry(profile_name(&name)?).or_default().push(document(&summary)?);
            }
            Ok(found)
        })
        .await
    }

    async fn verified_with(
        &self,
        of: BTreeMap<ProfileName, Digest>,
    ) -> Result<BTreeMap<ProfileName, LastVerified>, StoreError> {
        self.read_at_length(move |transaction| {
            let mut found = BTreeMap::new();
            for (name, of) in of {
                let last: Option<LastVerified> = record(
                    transaction,
                    "SELECT summary FROM verification WHERE name = ?1 AND of = ?2",
                    params![name.as_str(), of.as_str()],
                )?;
                found.extend(last.map(|last| (name, last)));
            }
            Ok(found)
        })
        .await
    }

    async fn verified(&self, name: &ProfileName, of: Option<&Digest>) -> Result<Option<Verified>, StoreError> {
        let (name, of) = (name.clone(), of.cloned());
        self.read(move |transaction| match of {
            Some(of) => record(
                transaction,
                "SELECT document FROM verification WHERE name = ?1 AND of = ?2",
                params![name.as_str(), of.as_str()],
            ),
            None => record(
                transaction,
                "SELECT document FROM verification WHERE name = ?1 AND is_last = 1",
                [name.as_str()],
            ),
        })
        .await
    }
}

/// Makes the results of settings that a commit makes live the last ones, and removes those of profiles that do not exist, which
/// were verified and never created. To be called in the transaction of the commit, after its profiles are written.
pub(super) fn settle_commit(transaction: &Connection, commit: &Commit) -> Result<(), StoreError> {
    run(transaction, "DELETE FROM verification WHERE name NOT IN (SELECT name FROM profile)", &[])?;
    let mut planned =
        transaction.prepare_cached("SELECT name, of FROM verification WHERE is_last = 0").map_err(failed)?;
    let rows = planned
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    for (name, of) in rows {
        let name = profile_name(&name)?;
        if !commit.touched.contains(&name) {
            continue;
        }
        let live = commit.after.profiles.get(&name).and_then(|state| state.live.as_ref());
        if live.is_some_and(|live| live.verified_digest().as_str() == of) {
            make_last(transaction, &name, &of)?;
        }
    }
    Ok(())
}

/// Makes a result the last one of a profile.
fn make_last(transaction: &Connection, name: &ProfileName, of: &str) -> Result<(), StoreError> {
    let name = name.as_str();
    // The earlier one first: a profile has one last result.
    run(
        transaction,
        "UPDATE verification SET is_last = 0 WHERE name = ?1 AND is_last = 1 AND of <> ?2",
        &[&name, &of],
    )?;
    run(transaction, "UPDATE verification SET is_last = 1 WHERE name = ?1 AND of = ?2", &[&name, &of])
}

/// Keeps a result under the digest of its settings: as the last one of the profile, if they are live.
fn keep_result(transaction: &Connection, last: &LastVerified, verified: &Verified) -> Result<(), StoreError> {
    let (name, of, at) = (verified.profile.as_str(), last.of.as_str(), last.at.as_millisecond());
    run(
        transaction,
        "INSERT INTO verification (name, of, at, is_last, summary, document) VALUES (?1, ?2, ?3, 0, ?4, ?5)
         ON CONFLICT (name, of) DO UPDATE SET at = excluded.at, summary = excluded.summary, document = excluded.document",
        &[&name, &of, &at, &text(last)?, &text(verified)?],
    )?;
    // Read here and not earlier: the settings can have changed since the verification began.
    let state: Option<ProfileState> = record(transaction, "SELECT state FROM profile WHERE name = ?1", [name])?;
    let live = state.and_then(|state| state.live);
    if live.is_some_and(|live| live.verified_digest() == last.of) {
        make_last(transaction, &verified.profile, of)?;
    }
    run(
        transaction,
        "DELETE FROM verification WHERE name = ?1 AND is_last = 0 AND of NOT IN (
             SELECT of FROM verification WHERE name = ?1 AND is_last = 0 ORDER BY at DESC LIMIT ?2
         )",
        &[&name, &PLANNED_OF_PROFILE],
    )
}

/// Removes results of settings that are not live: old ones, and the oldest if there are too many. Removes the oldest proofs of
/// such settings as well; those of the last results stay, so that a plan of other settings cannot make a proven failure
/// forgotten.
fn remove_old_results(transaction: &Connection) -> Result<(), StoreError> {
    run(
        transaction,
        "DELETE FROM proof WHERE (name, of) IN (
             SELECT p.name, p.of FROM proof AS p
             LEFT JOIN verification AS v ON v.name = p.name AND v.of = p.of AND v.is_last = 1
             WHERE v.name IS NULL ORDER BY p.at DESC LIMIT -1 OFFSET ?1
         )",
        &[&PROOFS],
    )?;
    let newest: Option<i64> = transaction
        .prepare_cached("SELECT max(at) FROM verification WHERE is_last = 0")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed)?;
    let Some(newest) = newest else { return Ok(()) };
    run(
        transaction,
        "DELETE FROM verification WHERE is_last = 0 AND at < ?1",
        &[&(newest - milliseconds(REMEMBERED))],
    )?;
    run(
        transaction,
        "DELETE FROM verification WHERE (name, of) IN (
             SELECT name, of FROM verification WHERE is_last = 0 ORDER BY at DESC LIMIT -1 OFFSET ?1
         )",
        &[&PLANNED],
    )
}

fn milliseconds(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn run(transaction: &Connection, statement: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
    let done = transaction.prepare_cached(statement).and_then(|mut statement| statement.execute(parameters));
    done.map(drop).map_err(failed)
}

/// Returns what was proved of a profile with exactly these settings.
fn proof(transaction: &Connection, name: &ProfileName, of: &Digest) -> Result<Option<Verified>, StoreError> {
    record(transaction, "SELECT document FROM proof WHERE name = ?1 AND of = ?2", params![name.as_str(), of.as_str()])
}

/// Keeps a result that needed a credential or a reader. A result that needs neither can be repeated at any time.
fn keep_proof(transaction: &Connection, of: &Digest, verified: &Verified) -> Result<(), StoreError> {
    if verified.reached < Level::Credential {
        return Ok(());
    }
    let (name, at) = (verified.profile.as_str(), verified.at.as_millisecond());
    run(
        transaction,
        "INSERT INTO proof (name, of, at, document) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name, of) DO UPDATE SET at = excluded.at, document = excluded.document",
        &[&name, &of.as_str(), &at, &text(verified)?],
    )?;
    run(
        transaction,
        "DELETE FROM proof WHERE name = ?1 AND of NOT IN (
             SELECT of FROM proof WHERE name = ?1 ORDER BY at DESC LIMIT ?2
         ) AND of NOT IN (SELECT of FROM verification WHERE name = ?1 AND is_last = 1)",
        &[&name, &PROOFS_OF_PROFILE],
    )?;
    run(transaction, "DELETE FROM proof WHERE at < ?1", &[&(at - milliseconds(REMEMBERED))])
}
