//! Usage of mailboxes in `SQLite`: messages and recipients by minute, for the limits after a restart.
//!
//! [`Lanes::begin`](crate::store::outbox::Lanes::begin) counts; this module reads. Rows are removed after 30 days, by the purge.
//! The limits themselves are those of `delivery::throttle`.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{SqliteStore, failed, times::timestamp};
use crate::store::{
    StoreError,
    outbox::{MailboxUsage, Usage},
};

/// Returns the minute of a time, as the column counts: since 1970.
pub(super) fn minute_of(time: Timestamp) -> i64 {
    time.as_second() / 60
}

#[async_trait]
impl MailboxUsage for SqliteStore {
    async fn usage(&self, since: Timestamp) -> Result<Vec<Usage>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT mailbox, minute, messages, recipients FROM mailbox_usage WHERE minute >= ?1 ORDER BY minute",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map([minute_of(since)], |row| {
                    Ok(Usage {
                        mailbox: row.get(0)?,
                        minute: timestamp(row.get::<_, i64>(1)?.saturating_mul(60_000)),
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
