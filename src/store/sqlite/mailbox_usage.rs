//! Usage of mailboxes in `SQLite`.

use async_trait::async_trait;

use super::{SqliteStore, failed};
use crate::store::{
    StoreError,
    outbox::{MailboxUsage, Usage},
};

#[async_trait]
impl MailboxUsage for SqliteStore {
    async fn usage(&self, since_minute: i64) -> Result<Vec<Usage>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT mailbox, minute, messages, recipients FROM mailbox_usage WHERE minute >= ?1 ORDER BY minute",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map([since_minute], |row| {
                    Ok(Usage {
                        mailbox: row.get(0)?,
                        minute: row.get(1)?,
                        messages: row.get::<_, i64>(2)?.unsigned_abs(),
                        recipients: row.get::<_, i64>(3)?.unsigned_abs(),
                    })
                })
                .map_err(failed)?;
            rows.map(|row| row.map_err(failed)).collect()
        })
        .await
    }
}
