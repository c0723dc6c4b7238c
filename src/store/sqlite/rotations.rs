//! States of rotations of secrets in `SQLite`, by the digest that identifies a login and the next value for it.
//!
//! The event of a change is recorded in the same transaction. The removal of a rotation that does not exist succeeds. No secret is
//! stored here.

use async_trait::async_trait;
use rusqlite::params;

use super::{SqliteStore, events::insert_event, failed, records, text};
use crate::{
    model::{Digest, rotation::Rotation},
    store::{
        StoreError,
        outbox::{Event, NewEvent, Rotations},
    },
};

#[async_trait]
impl Rotations for SqliteStore {
    async fn rotations(&self) -> Result<Vec<Rotation>, StoreError> {
        self.read(|connection| records(connection, "SELECT record FROM rotation ORDER BY of", [])).await
    }

    async fn set_rotation(
        &self,
        of: Digest,
        rotation: Option<Rotation>,
        event: Option<NewEvent>,
    ) -> Result<Vec<Event>, StoreError> {
        self.write_plainly(move |connection| {
            match &rotation {
                Some(rotation) => connection.execute(
                    "INSERT INTO rotation (of, record) VALUES (?1, ?2)
                     ON CONFLICT (of) DO UPDATE SET record = excluded.record",
                    params![of.as_str(), text(rotation)?],
                ),
                None => connection.execute("DELETE FROM rotation WHERE of = ?1", [of.as_str()]),
            }
            .map_err(failed)?;
            event.into_iter().map(|event| insert_event(connection, &event)).collect()
        })
        .await
    }
}
