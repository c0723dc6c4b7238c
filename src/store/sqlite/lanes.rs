//! Lanes of the outbox in `SQLite`: the owner of delivery, claims, and the attempts that claimed messages begin and settle.
//!
//! Claims are in memory: they end with the process. The owner is in the database: [`begin`](Lanes::begin) and
//! [`settle`](Lanes::settle) compare it in their transaction and refuse another process with [`StoreError::NotOwner`], changing
//! nothing; `begin` refuses a message that the store does not have, too. A claim that fails claims no message.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{
    SqliteStore, document, failed,
    mailbox_usage::minute_of,
    messages::{find, find_lane, settle},
    number, records, set_value, text,
    times::{milliseconds, timestamp},
    value,
};
use crate::{
    model::{Lane, Message},
    store::{
        StoreError,
        outbox::{Begun, Claim, Claimed, DeliveryOwner, Event, LaneBacklog, LaneState, Lanes, Settled},
    },
    sync::Mutex,
};

/// Contents up to this size come with a claim; larger ones are read when their turn has come.
const SMALL: u64 = 64 * 1024;
/// The key of the process that delivers.
const OWNER: &str = "deliveryOwner";

impl SqliteStore {
    pub(super) fn with_claimed<T>(&self, work: impl FnOnce(&mut HashSet<i64>) -> T) -> T {
        work(&mut self.claimed.lock())
    }
}

#[async_trait]
impl Lanes for SqliteStore {
    async fn acquire_delivery(&self, instance: Uuid) -> Result<DeliveryOwner, StoreError> {
        self.write_plainly(move |connection| {
            let current = value::<DeliveryOwner>(connection, OWNER)?;
            if let Some(current) = current.filter(|current| current.instance == instance) {
                return Ok(current);
            }
            let owner = DeliveryOwner { instance, epoch: current.map_or(0, |current| current.epoch) + 1 };
            set_value(connection, OWNER, &owner)?;
            Ok(owner)
        })
        .await
    }

    async fn lanes(&self) -> Result<Vec<LaneState>, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT company, function, paused_since, paused_total,
                        (SELECT min(due) FROM message WHERE lane = l.id AND due IS NOT NULL)
                     FROM lane AS l",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map([], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, Option<i64>>(2)?,
                        row.get(3)?,
                        row.get::<_, Option<i64>>(4)?,
                    ))
                })
                .map_err(failed)?;
            rows.map(|row| {
                let (company, function, paused_since, paused_total, next_due) = row.map_err(failed)?;
                let wrong = || StoreError::Corrupt("a lane".to_owned());
                let lane = Lane {
                    company: company.parse().map_err(|_| wrong())?,
                    function: function.parse().map_err(|_| wrong())?,
                };
                Ok(LaneState {
                    lane,
                    next_due: next_due.map(timestamp),
                    paused_since: paused_since.map(timestamp),
                    paused_total: SignedDuration::from_millis(paused_total),
                })
            })
            .collect()
        })
        .await
    }

    async fn backlog(&self) -> Result<Vec<LaneBacklog>, StoreError> {
        self.read_at_length(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT company, function,
                        (SELECT count(*) FROM message WHERE lane = l.id AND due IS NOT NULL),
                        (SELECT record FROM message WHERE number =
                            (SELECT min(number) FROM message WHERE lane = l.id AND due IS NOT NULL)),
                        (SELECT record FROM message WHERE lane = l.id AND due IS NOT NULL ORDER BY due LIMIT 1)
                     FROM lane AS l",
                )
                .map_err(failed)?;
            let mut rows = statement.query([]).map_err(failed)?;
            let mut backlog = Vec::new();
            while let Some(row) = rows.next().map_err(failed)? {
                let messages: i64 = row.get(2).map_err(failed)?;
                if messages == 0 {
                    continue;
                }
                let wrong = || StoreError::Corrupt("a lane".to_owned());
                let text = |index: usize| row.get::<_, String>(index).map_err(failed);
                let message = |index: usize| {
                    row.get::<_, Option<String>>(index)
                        .map_err(failed)?
                        .map(|record| document::<Message>(&record))
                        .transpose()
                };
                backlog.push(LaneBacklog {
                    lane: Lane {
                        company: text(0)?.parse().map_err(|_| wrong())?,
                        function: text(1)?.parse().map_err(|_| wrong())?,
                    },
                    messages: messages.unsigned_abs(),
                    oldest: message(3)?,
                    next: message(4)?,
                });
            }
            Ok(backlog)
        })
        .await
    }

    async fn claim(&self, lane: &Lane, now: Timestamp, limit: usize) -> Result<Claim, StoreError> {
        let (lane, store) = (lane.clone(), self.clone());
        let mine = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&mine);
        // The writer reads: a reader's snapshot could be older than the end of a worker's attempt.
        let claim = self
            .write_plainly(move |connection| {
                let taken = &taken;
                claim(connection, &lane, now.as_millisecond(), limit, |number| {
                    let is_free = store.with_claimed(|claimed| claimed.insert(number));
                    if is_free {
                        taken.lock().push(number);
                    }
                    is_free
                })
            })
            .await;
        if claim.is_err() {
            let mine = mine.lock();
            self.with_claimed(|claimed| claimed.retain(|number| !mine.contains(number)));
        }
        claim
    }

    async fn release(&self, messages: &[Uuid]) -> Result<(), StoreError> {
        let ids: Vec<String> = messages.iter().map(ToString::to_string).collect();
        // Read by the writer, so that it comes after everything that was written about them. A caller that gets an error still has
        // its claims, and tries again: if they had ended, that would end those of another worker.
        let released: Vec<i64> = self
            .write_plainly(move |connection| {
                let found = ids.iter().map(|id| find(connection, id));
                found.filter_map(|found| found.map(|found| found.map(|(number, _)| number)).transpose()).collect()
            })
            .await?;
        self.with_claimed(|claimed| {
            for number in &released {
                claimed.remove(number);
            }
        });
        Ok(())
    }

    async fn begin(&self, owner: DeliveryOwner, begun: Begun) -> Result<(), StoreError> {
        self.write_plainly(move |connection| {
            check_owner(connection, owner)?;
            let Begun { message, mailbox, recipients, at } = begun;
            let record = text(&message)?;
            let begun = connection
                .prepare_cached(
                    "UPDATE message SET status = ?2, record = ?3, due = NULL, begun_in_epoch = ?4 WHERE id = ?1",
                )
                .and_then(|mut statement| {
                    let id = message.id.to_string();
                    statement.execute(params![id, message.status.id(), record, number(owner.epoch)])
                })
                .map_err(failed)?;
            if begun == 0 {
                // Without the mark, a crash would not leave the message in doubt, and it would be sent again.
                return Err(StoreError::Corrupt(format!("message {} began and is not in the store", message.id)));
            }
            connection
                .prepare_cached(
                    "INSERT INTO mailbox_usage (mailbox, minute, messages, recipients) VALUES (?1, ?2, 1, ?3)
                     ON CONFLICT (mailbox, minute)
                     DO UPDATE SET messages = messages + 1, recipients = recipients + excluded.recipients",
                )
                .and_then(|mut statement| statement.execute(params![mailbox, minute_of(at), recipients]))
                .map_err(failed)?;
            Ok(())
        })
        .await
    }

    async fn settle(&self, owner: DeliveryOwner, settled: Settled) -> Result<Vec<Event>, StoreError> {
        let store = self.clone();
        let (events, message) = self
            .write_plainly(move |connection| {
                check_owner(connection, owner)?;
                settle(connection, &settled)
            })
            .await?;
        store.with_claimed(|claimed| claimed.remove(&message));
        Ok(events)
    }

    async fn interrupted(&self, owner: DeliveryOwner) -> Result<Vec<Message>, StoreError> {
        self.read(move |connection| {
            records(
                connection,
                "SELECT record FROM message WHERE status = 'sending' AND coalesce(begun_in_epoch, 0) < ?1
                 AND sender IS NULL ORDER BY number",
                [number(owner.epoch)],
            )
        })
        .await
    }

    async fn pause(&self, lanes: Vec<LaneState>) -> Result<(), StoreError> {
        self.write_plainly(move |connection| {
            let mut update = connection
                .prepare_cached(
                    "UPDATE lane SET paused_since = ?3, paused_total = ?4 WHERE company = ?1 AND function = ?2",
                )
                .map_err(failed)?;
            for state in &lanes {
                let LaneState { lane, paused_since, paused_total, .. } = state;
                update
                    .execute(params![
                        lane.company.as_str(),
                        lane.function.id(),
                        paused_since.map(Timestamp::as_millisecond),
                        milliseconds(*paused_total)
                    ])
                    .map_err(failed)?;
            }
            Ok(())
        })
        .await
    }

    async fn retime(&self, by: SignedDuration, latest: Timestamp) -> Result<(), StoreError> {
        let (by, latest) = (milliseconds(by), latest.as_millisecond());
        self.write_plainly(move |connection| {
            if by == 0 {
                let late = "UPDATE message SET due = ?1 WHERE due IS NOT NULL AND due > ?1";
                return connection.execute(late, [latest]).map_err(failed).map(drop);
            }
            connection
                .execute("UPDATE message SET due = min(due + ?1, ?2) WHERE due IS NOT NULL", [by, latest])
                .map_err(failed)?;
            connection
                .execute("UPDATE lane SET paused_since = paused_since + ?1, paused_total = paused_total + ?1", [by])
                .map_err(failed)
                .map(drop)
        })
        .await
    }
}

/// Ends the ownership of the process that owns delivery, so that its attempts are refused from now on. The epoch rises.
pub(super) fn end_ownership(transaction: &Connection) -> Result<(), StoreError> {
    let Some(current) = value::<DeliveryOwner>(transaction, OWNER)? else { return Ok(()) };
    set_value(transaction, OWNER, &DeliveryOwner { instance: Uuid::nil(), epoch: current.epoch + 1 })
}

/// Refuses a process that is not the current owner of delivery.
fn check_owner(connection: &Connection, owner: DeliveryOwner) -> Result<(), StoreError> {
    match value::<DeliveryOwner>(connection, OWNER)? {
        Some(current) if current == owner => Ok(()),
        current => Err(StoreError::NotOwner { own: owner.epoch, current: current.map_or(0, |current| current.epoch) }),
    }
}

fn claim(
    connection: &Connection,
    lane: &Lane,
    now: i64,
    limit: usize,
    take: impl Fn(i64) -> bool,
) -> Result<Claim, StoreError> {
    let Some((lane, _)) = find_lane(connection, lane)? else { return Ok(Claim::default()) };
    let mut statement = connection
        .prepare_cached(
            "SELECT m.number, m.record, m.paused_before, m.due,
                (SELECT bytes FROM content WHERE message = m.number AND length(bytes) <= ?2)
             FROM message AS m WHERE m.lane = ?1 AND m.due IS NOT NULL ORDER BY m.due, m.number",
        )
        .map_err(failed)?;
    let mut rows = statement.query(params![lane, number(SMALL)]).map_err(failed)?;
    let mut claim = Claim::default();
    while let Some(row) = rows.next().map_err(failed)? {
        let (message, due): (i64, i64) = (row.get(0).map_err(failed)?, row.get(3).map_err(failed)?);
        if due > now || claim.messages.len() == limit {
            claim.next_due = Some(timestamp(due));
            break;
        }
        // What others work on is looked at again when that is settled.
        if take(message) {
            claim.messages.push(Claimed {
                message: document(&row.get::<_, String>(1).map_err(failed)?)?,
                paused_before: SignedDuration::from_millis(row.get(2).map_err(failed)?),
                content: row.get(4).map_err(failed)?,
            });
        }
    }
    Ok(claim)
}
