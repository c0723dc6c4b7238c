//! Migration to digests of age files in their binary form, and to destinations that state the kind of credential.
//!
//! Until schema version 9 an age file was known by the digest of its bytes as they were written, so the same file with other line
//! ends was another secret. Every document that names such a digest is rewritten here, once. The audit log is left as it is, and so
//! is a record whose file is not an age file. An error undoes the whole migration.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::{StoreError, failed};
use crate::{
    model::{CredentialKind, Destination, Digest, ProfileState, SecretRecord},
    secrets::{Header, ValueId},
};

/// Length of a digest's text.
const DIGEST_LENGTH: usize = 71;

/// Rewrites what earlier versions recorded.
pub(super) fn rewrite(transaction: &Connection) -> Result<(), StoreError> {
    let kinds = read_kinds(transaction)?;
    let renamed = rewrite_secrets(transaction, &kinds)?;
    if renamed.is_empty() {
        return Ok(());
    }
    rewrite_rotations(transaction, &renamed)?;
    for (select, update) in [
        ("SELECT name, 0, state FROM profile", "UPDATE profile SET state = ?3 WHERE name = ?1 AND ?2 = 0"),
        (
            "SELECT name, generation, live FROM profile_history WHERE live IS NOT NULL",
            "UPDATE profile_history SET live = ?3 WHERE name = ?1 AND generation = ?2",
        ),
    ] {
        let rows: Vec<(String, i64, String)> =
            rows(transaction, select, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut update = transaction.prepare(update).map_err(failed)?;
        for (name, generation, document) in rows {
            let rewritten = with_other_digests(&document, &renamed);
            if rewritten != document {
                update.execute(params![name, generation, rewritten]).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn rows<T>(
    transaction: &Connection,
    select: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = transaction.prepare(select).map_err(failed)?;
    statement.query_map([], read).and_then(Iterator::collect).map_err(failed)
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Reads the kind of credential that each age file was first accepted as, by its digest.
fn read_kinds(transaction: &Connection) -> Result<HashMap<String, CredentialKind>, StoreError> {
    let documents: Vec<String> =
        rows(transaction, "SELECT live FROM profile_history WHERE live IS NOT NULL ORDER BY generation", |row| {
            row.get(0)
        })?;
    let mut kinds = HashMap::new();
    for document in documents {
        let stored: Value = parsed(&document)?;
        let Some(kind) = find_kind(&stored["profile"]["provider"]) else { continue };
        let digests = ["secrets", "next"].into_iter().filter_map(|key| stored[key].as_object());
        for digest in digests.flat_map(|map| map.values()).filter_map(Value::as_str) {
            kinds.entry(digest.to_owned()).or_insert(kind);
        }
    }
    Ok(kinds)
}

fn find_kind(provider: &Value) -> Option<CredentialKind> {
    let Value::Object(map) = provider else { return None };
    map.iter().find_map(|(key, value)| match key.as_str() {
        "password" => Some(CredentialKind::Password),
        "clientSecret" => Some(CredentialKind::ClientSecret),
        "certificate" => Some(CredentialKind::Certificate),
        _ => find_kind(value),
    })
}

/// Gives every age file its new digest. Of several that are the same file in another form, the first one accepted is kept.
/// Returns the new digests by the old ones.
fn rewrite_secrets(
    transaction: &Connection,
    kinds: &HashMap<String, CredentialKind>,
) -> Result<HashMap<String, String>, StoreError> {
    let files: Vec<(String, String, Vec<u8>)> =
        rows(transaction, "SELECT digest, record, age_file FROM secret ORDER BY generation, rowid", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let mut renamed = HashMap::new();
    let mut kept = HashSet::new();
    for (old, record, age_file) in files {
        let mut record: SecretRecord = parsed(&record)?;
        // A record of something other than an age file stays as it is.
        let Ok(header) = Header::read(&age_file) else { continue };
        record.digest = header.digest;
        record.value_id = Some(ValueId::bound(record.value_id.as_deref(), &record.digest).as_str().to_owned());
        complete(&mut record.destination, kinds.get(&old).copied());
        if record.digest.as_str() != old {
            renamed.insert(old.clone(), record.digest.as_str().to_owned());
        }
        if !kept.insert(record.digest.clone()) {
            transaction.execute("DELETE FROM secret WHERE digest = ?1", [&old]).map_err(failed)?;
            continue;
        }
        let text = super::text(&record)?;
        transaction
            .execute(
                "UPDATE secret SET digest = ?2, record = ?3 WHERE digest = ?1",
                params![old, record.digest.as_str(), text],
            )
            .map_err(failed)?;
        super::secrets::bind(transaction, record.value_id.as_deref().unwrap_or_default(), &record.destination)?;
    }
    Ok(renamed)
}

/// Converts a destination to its present form.
fn complete(destination: &mut Destination, first_kind: Option<CredentialKind>) {
    match destination {
        Destination::Smtp { host, .. } => *host = Destination::normalize_host(host),
        Destination::SmtpOauth { host, cloud, kind, .. } => {
            (*host, *cloud, *kind) =
                (Destination::normalize_host(host), Destination::normalize_cloud(cloud), first_kind);
        }
        Destination::MicrosoftGraph { cloud, kind, .. } => {
            (*cloud, *kind) = (Destination::normalize_cloud(cloud), first_kind);
        }
    }
}

/// Rewrites the rotations, whose key is a digest of the login and the next value.
fn rewrite_rotations(transaction: &Connection, renamed: &HashMap<String, String>) -> Result<(), StoreError> {
    let states: Vec<String> = rows(transaction, "SELECT state FROM profile", |row| row.get(0))?;
    for state in states {
        let state: ProfileState = parsed(&state)?;
        let Some(live) = state.live else { continue };
        for next in live.next.values() {
            let Some(new) = renamed.get(next.as_str()) else { continue };
            let new: Digest = new.parse().map_err(StoreError::Corrupt)?;
            let of = |digest: &Digest| Digest::of_document(&(&live.profile.provider, digest));
            let (old_of, new_of) = (of(next), of(&new));
            let record: Option<String> = transaction
                .query_row("SELECT record FROM rotation WHERE of = ?1", [old_of.as_str()], |row| row.get(0))
                .optional()
                .map_err(failed)?;
            if let Some(record) = record {
                let record = with_other_digests(&record.replace(old_of.as_str(), new_of.as_str()), renamed);
                transaction
                    .execute(
                        "UPDATE rotation SET of = ?2, record = ?3 WHERE of = ?1",
                        params![old_of.as_str(), new_of.as_str(), record],
                    )
                    .map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Replaces digests in a document.
fn with_other_digests(document: &str, renamed: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(document.len());
    let mut rest = document;
    while let Some(at) = rest.find("sha256:") {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let digest = found.get(..DIGEST_LENGTH).unwrap_or(found);
        out.push_str(renamed.get(digest).map_or(digest, String::as_str));
        rest = &found[digest.len()..];
    }
    out.push_str(rest);
    out
}
