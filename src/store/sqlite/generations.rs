//! Generations of the configuration in `SQLite`: the live state, commits and history.
//!
//! A commit writes the changed profiles, the settings, new age files, the generation and the audit entry in one transaction, and
//! only on the generation that it was computed from. Another base or a changeset that was applied before is refused, and nothing is
//! written. A state whose age file is missing is not read: the store is corrupt then. Nothing here decides if a change is allowed.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Commit, CommitError, Generations, SqliteStore, StoreError, digests, document, failed, newest_generation, number,
    profile_name, records, secrets, set_value, text, value, verifications,
};
use crate::model::{
    ChangeRecord, Digest, EnvironmentName, Generation, GenerationDetail, ProfileName, ProfileState, Settings, State,
    StoredProfile,
};

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
            let before = before.map_or(i64::MAX, number);
            records(
                transaction,
                "SELECT document FROM generation WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
                params![before, limit],
            )
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

    async fn profile_versions(
        &self,
        name: &ProfileName,
        limit: u32,
    ) -> Result<Vec<(Generation, Option<StoredProfile>)>, StoreError> {
        let name = name.clone();
        self.read_at_length(move |transaction| {
            let mut statement = transaction
                .prepare_cached(
                    "SELECT g.document, h.live FROM profile_history AS h
                     JOIN generation AS g ON g.number = h.generation
                     WHERE h.name = ?1 ORDER BY h.generation DESC LIMIT ?2",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map(params![name.as_str(), limit], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
                })
                .map_err(failed)?;
            rows.map(|row| {
                let (generation, live) = row.map_err(failed)?;
                Ok((document(&generation)?, live.as_deref().map(document).transpose()?))
            })
            .collect()
        })
        .await
    }
}

fn read_state(transaction: &Connection, environment: EnvironmentName) -> Result<State, StoreError> {
    let generation = newest_generation(transaction)?;
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
        let record = secrets::find(transaction, &digest)?
            .ok_or_else(|| StoreError::Corrupt(format!("the age file {} is missing", digest.short())))?;
        state.secrets.insert(digest, record);
    }
    Ok(state)
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

/// Writes a commit, inside a transaction that its caller ends.
fn take(transaction: &Connection, commit: &Commit) -> Result<(), CommitError> {
    if let Some(id) = commit.generation.changeset
        && let Some((digest, generation)) = find_changeset(transaction, id)?
    {
        return Err(CommitError::Taken { generation: generation.number, digest });
    }
    let newest = newest_generation(transaction)?;
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
            secrets::bind(transaction, value_id, &new.record.destination)?;
        }
    }
    verifications::settle_commit(transaction, commit)?;
    digests::append_with_statement(transaction, &commit.event, Some(history))?;
    Ok(())
}

/// A changed profile as the store keeps it: its name, its state and its live part, with the hash of each.
type Row<'a> = (&'a ProfileName, Option<(String, digests::Hash)>, Option<(String, digests::Hash)>);

/// A [`ProfileState`] whose live profile is serialized already, because the text is needed twice.
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

/// Writes the changed profiles, and collects what is stated about them.
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
