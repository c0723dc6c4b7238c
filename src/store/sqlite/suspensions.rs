//! Suspended profiles in `SQLite`, as JSON in the table `parked`: schema 4 named it, and released versions are never edited.
//!
//! The event of a change is recorded in the same transaction. The end of a suspension that does not exist succeeds. When a profile
//! is probed is decided by `delivery::suspension`.

use async_trait::async_trait;
use rusqlite::params;

use super::{SqliteStore, events::insert_event, failed, records, text};
use crate::{
    model::{ProfileName, suspension::SuspendedProfile},
    store::{
        StoreError,
        outbox::{Event, NewEvent, Suspensions},
    },
};

#[async_trait]
impl Suspensions for SqliteStore {
    async fn suspended_profiles(&self) -> Result<Vec<SuspendedProfile>, StoreError> {
        self.read(|connection| records(connection, "SELECT record FROM parked ORDER BY profile", [])).await
    }

    async fn set_suspended(
        &self,
        profile: ProfileName,
        suspended: Option<SuspendedProfile>,
        event: Option<NewEvent>,
    ) -> Result<Vec<Event>, StoreError> {
        self.write_plainly(move |connection| {
            match &suspended {
                Some(suspended) => connection.execute(
                    "INSERT INTO parked (profile, record) VALUES (?1, ?2)
                     ON CONFLICT (profile) DO UPDATE SET record = excluded.record",
                    params![profile.as_str(), text(suspended)?],
                ),
                None => connection.execute("DELETE FROM parked WHERE profile = ?1", [profile.as_str()]),
            }
            .map_err(failed)?;
            event.into_iter().map(|event| insert_event(connection, &event)).collect()
        })
        .await
    }
}
