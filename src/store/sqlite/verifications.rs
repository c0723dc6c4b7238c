//! Results of the verifier in `SQLite`: the last one of each profile, and proofs of settings.
//!
//! A proof is what was seen of exactly these settings and secrets; a later check that could not see something is completed with it.
//! At most 4 of a profile and 20,000 in all are kept, for some days. Results of profiles that do not exist are removed at the next
//! commit. Nothing here runs a check.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::{SqliteStore, StoreError, Verifications, document, failed, profile_name, record, text};
use crate::model::{
    Digest, LastVerified, ProfileName,
    finding::{Level, Verified},
};

/// Maximum number of proofs per profile: of the live settings, and of those of plans.
const PROOFS_OF_PROFILE: i64 = 4;
/// Maximum number of proofs of all profiles.
const PROOFS: i64 = 20_000;

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
            record(transaction, "SELECT document FROM verification WHERE name = ?1", [name.as_str()])
        })
        .await
    }
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
