//! Suspended profiles in `SQLite`.

use async_trait::async_trait;
use rusqlite::params;

use super::{SqliteStore, events::insert_event, failed, records, text};
use crate::{
    model::{ProfileName, suspension::Parked},
    store::{
        StoreError,
        outbox::{Event, NewEvent, Suspensions},
    },
};

#[async_trait]
impl Suspensions for SqliteStore {
    async fn parked(&self) -> Result<Vec<Parked>, StoreError> {
        self.read(|connection| records(connection, "SELECT record FROM parked ORDER BY profile", [])).await
    }

    async fn set_parked(
        &self,
        profile: ProfileName,
        parked: Option<Parked>,
        event: Option<NewEvent>,
    ) -> Result<Vec<Event>, StoreError> {
        self.write_plainly(move |connection| {
            match &parked {
                Some(parked) => connection.execute(
                    "INSERT INTO parked (profile, record) VALUES (?1, ?2)
                     ON CONFLICT (profile) DO UPDATE SET record = excluded.record",
                    params![profile.as_str(), text(parked)?],
                ),
                None => connection.execute("DELETE FROM parked WHERE profile = ?1", [profile.as_str()]),
            }
            .map_err(failed)?;
            event.into_iter().map(|event| insert_event(connection, &event)).collect()
        })
        .await
    }
}
