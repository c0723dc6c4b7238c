//! Comparison of a store in `SQLite` with its audit log, and the consequences of a restore.
//!
//! The transactions of `store_check`, `digests` and `restore`, in the order that a start needs. The service settles a restore
//! before delivery starts, and runs the comparison in the background. A list of revoked tokens or a position that cannot be read is
//! an error, and the service does not start.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    AuditEvent, Integrity, SqliteStore, StoreError, blocking, digests, newest_generation, position, restore,
    store_check, unreadable_position,
};
use crate::model::{
    AuditOutcome,
    integrity::{Restored, StoreCheck},
};

#[async_trait]
impl Integrity for SqliteStore {
    async fn check(&self) -> Result<StoreCheck, StoreError> {
        let path = self.path.clone();
        // Before the snapshot: the file is never ahead of it then.
        let noted = blocking(move || position::read(&path).map_err(|error| unreadable_position(&error))).await?;
        self.read(move |transaction| store_check::check(transaction, true, noted.as_ref())).await
    }

    async fn state_contents(&self, at: Timestamp) -> Result<(), StoreError> {
        self.write_plainly(move |transaction| {
            // A store with nothing in it has nothing to state.
            if digests::is_stated(transaction)? || newest_generation(transaction)? == 0 {
                return Ok(());
            }
            let event = AuditEvent {
                at,
                actor: "(service)".to_owned(),
                action: "store.upgrade",
                outcome: AuditOutcome::Accepted,
                detail: serde_json::json!({}),
            };
            digests::append_with_statement(transaction, &event, None).map(drop)
        })
        .await
    }

    async fn settle_restore(&self, now: Timestamp) -> Result<Option<Restored>, StoreError> {
        let path = self.path.clone();
        let revoked = blocking(move || {
            position::revoked(&path)
                .map_err(|error| StoreError::Database(format!("the list of revoked tokens: {error}")))
        })
        .await?;
        self.write_plainly(move |transaction| restore::revoke_again(transaction, &revoked, now)).await?;
        while self.write_plainly(move |transaction| restore::settle_messages(transaction, now)).await? {}
        self.write_plainly(move |transaction| restore::finish(transaction, now)).await
    }

    async fn confirm_restore(&self, event: AuditEvent) -> Result<bool, StoreError> {
        self.write_plainly(move |transaction| restore::confirm(transaction, &event)).await
    }
}
