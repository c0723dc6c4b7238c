//! Messages of the outbox in `SQLite`: acceptance, changes by operators, counts, and the purge.
//!
//! A message is a row with a JSON record; columns repeat the fields that queries select by. Look-ups by id, `Message-ID`,
//! document, person, status and due time have an index and do not read the rest of the backlog; a count reads the index entries
//! that it counts. Searches that people ask for are in `message_search`. Each message of one call of `accept` is accepted or
//! refused on its own; after an error, none is accepted. A change is refused while the message is claimed for delivery, unless
//! the caller has taken over the claim. [`settle`] writes the new state of a message, its attempt and its events, and checks no
//! claim: `change`, `lanes` and `restore` do that beforehand.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{
    SqliteStore, append, document, events::insert_event, failed, mailbox_usage::minute_of, message_search, number,
    records, text, times::timestamp,
};
use crate::{
    model::{
        Attempt, Lane, Message, Status,
        message::{Recipient, RecipientStatus},
        sender::PersonId,
    },
    store::{
        AuditEvent, StoreError,
        outbox::{
            Event, IdempotencyKey, Messages, NewMessage, PurgeCutoffs, Purged, Search, Settled, SubmissionOutcome,
        },
    },
};

/// Maximum number of messages of one status that a purge removes.
const PURGED_AT_ONCE: u32 = 500;

#[async_trait]
impl Messages for SqliteStore {
    async fn accept(&self, new: Vec<NewMessage>) -> Result<Vec<SubmissionOutcome>, StoreError> {
        // Written out before the writer's turn: others wait for that.
        let records: Vec<String> = new.iter().map(|new| text(&new.message)).collect::<Result<_, _>>()?;
        self.write_plainly(move |connection| {
            new.iter().zip(records).map(|(new, record)| accept(connection, new, record)).collect()
        })
        .await
    }

    async fn replayed(&self, sender: &str, key: &IdempotencyKey) -> Result<Option<SubmissionOutcome>, StoreError> {
        let (sender, key) = (sender.to_owned(), key.clone());
        self.read(move |connection| replayed(connection, &sender, &key)).await
    }

    async fn change(
        &self,
        id: Uuid,
        mine: bool,
        change: Box<dyn FnOnce(Message) -> Result<(Settled, AuditEvent), String> + Send>,
    ) -> Result<Option<Result<(Message, Vec<Event>), String>>, StoreError> {
        let store = self.clone();
        self.write_plainly(move |connection| {
            let Some((number, message)) = find(connection, &id.to_string())? else { return Ok(None) };
            // No worker claims it from here on, until this is decided.
            if !store.with_claimed(|claimed| claimed.insert(number)) && !mine {
                return Ok(Some(Err("an attempt is under way".to_owned())));
            }
            let queued_since = message.queued_since();
            let result = match change(message) {
                Err(why) => Ok(Some(Err(why))),
                Ok((settled, event)) => settle(connection, &settled).and_then(|(events, number)| {
                    // The lifetime of the message begins again: earlier pauses of its lane do not count.
                    if settled.message.queued_since() != queued_since {
                        set_paused_before(connection, number, &settled.message)?;
                    }
                    keep_document(connection, number, &settled.message)?;
                    append(connection, &event)?;
                    Ok(Some(Ok((settled.message.clone(), events))))
                }),
            };
            store.with_claimed(|claimed| claimed.remove(&number));
            result
        })
        .await
    }

    async fn message(&self, id: Uuid) -> Result<Option<Message>, StoreError> {
        self.read(move |connection| Ok(find(connection, &id.to_string())?.map(|(_, message)| message))).await
    }

    async fn message_with_attempts(&self, id: Uuid) -> Result<Option<(Message, Vec<Attempt>)>, StoreError> {
        self.read(move |connection| {
            let Some((number, message)) = find(connection, &id.to_string())? else { return Ok(None) };
            let attempts =
                records(connection, "SELECT record FROM attempt WHERE message = ?1 ORDER BY number", [number])?;
            Ok(Some((message, attempts)))
        })
        .await
    }

    async fn content(&self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT c.bytes FROM content AS c JOIN message AS m ON m.number = c.message WHERE m.id = ?1",
                )
                .and_then(|mut statement| statement.query_row([id.to_string()], |row| row.get(0)).optional())
                .map_err(failed)
        })
        .await
    }

    async fn search(&self, search: Search, limit: u32) -> Result<Vec<(u64, Message)>, StoreError> {
        self.read_at_length(move |connection| message_search::find_many(connection, &search, limit)).await
    }

    async fn count(&self, search: Search, limit: u32) -> Result<u64, StoreError> {
        self.read_at_length(move |connection| message_search::count(connection, &search, limit)).await
    }

    async fn messages_of_sender(
        &self,
        person: PersonId,
        application: String,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Message)>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT number, record FROM message WHERE sender = ?1 AND number < ?2
                     AND status IN ('awaiting-sender', 'sending', 'unknown')
                     AND json_extract(record, '$.sender.application') = ?4 ORDER BY number DESC LIMIT ?3",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map(params![person.to_string(), before.map_or(i64::MAX, number), limit, application], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                })
                .map_err(failed)?;
            rows.map(|row| {
                let (number, record) = row.map_err(failed)?;
                Ok((number.unsigned_abs(), document(&record)?))
            })
            .collect()
        })
        .await
    }

    async fn due_of_senders(&self, now: Timestamp, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT id FROM message WHERE sender_due IS NOT NULL AND sender_due <= ?1 ORDER BY sender_due LIMIT ?2",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map(params![now.as_millisecond(), limit], |row| row.get::<_, String>(0))
                .map_err(failed)?;
            let wrong = |_| StoreError::Corrupt("a message's id".to_owned());
            rows.map(|row| row.map_err(failed)?.parse().map_err(wrong)).collect()
        })
        .await
    }

    async fn next_due_of_senders(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let next: Option<i64> = connection
                .prepare_cached("SELECT min(sender_due) FROM message WHERE sender_due IS NOT NULL")
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                .map_err(failed)?;
            Ok(next.map(timestamp))
        })
        .await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.read(|connection| {
            Status::ALL
                .iter()
                .map(|status| {
                    let count: i64 = connection
                        .prepare_cached("SELECT count(*) FROM message WHERE status = ?1")
                        .and_then(|mut statement| statement.query_row([status.id()], |row| row.get(0)))
                        .map_err(failed)?;
                    Ok((*status, count.unsigned_abs()))
                })
                .collect()
        })
        .await
    }

    async fn ended_since(&self, since: Timestamp) -> Result<Vec<(Status, u64)>, StoreError> {
        self.read_at_length(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT status, count(*) FROM message
                     WHERE status IN ('delivered', 'failed', 'unknown', 'cancelled') AND finished_at >= ?1
                     AND finished_at IS NOT NULL GROUP BY status",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map([since.as_millisecond()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
                .map_err(failed)?;
            rows.map(|row| {
                let (status, count) = row.map_err(failed)?;
                Ok((status.parse().map_err(StoreError::Corrupt)?, count.unsigned_abs()))
            })
            .collect()
        })
        .await
    }

    async fn purge(&self, before: PurgeCutoffs) -> Result<Purged, StoreError> {
        let PurgeCutoffs { delivered, unsent_events, webhooks, failed: failed_before, keys } = before;
        let (delivered_before, failed_before) = (delivered.as_millisecond(), failed_before.as_millisecond());
        self.write_plainly(move |connection| {
            let mut removed = 0;
            let groups = [("delivered", delivered_before), ("cancelled", delivered_before), ("failed", failed_before), ("unknown", failed_before)];
            for (status, before) in groups {
                // Keys are kept, and with them the answer to a repeated submission.
                connection
                    .prepare_cached(
                        "UPDATE idempotency SET answer = (SELECT record FROM message WHERE id = idempotency.message)
                         WHERE message IN (
                            SELECT id FROM message WHERE status = ?1 AND finished_at < ?2
                            ORDER BY finished_at, number LIMIT ?3
                         )",
                    )
                    .and_then(|mut statement| statement.execute(params![status, before, PURGED_AT_ONCE]))
                    .map_err(failed)?;
                removed += connection
                    .prepare_cached(
                        "DELETE FROM message WHERE number IN (
                            SELECT number FROM message WHERE status = ?1 AND finished_at < ?2
                            ORDER BY finished_at, number LIMIT ?3
                         )",
                    )
                    .and_then(|mut statement| statement.execute(params![status, before, PURGED_AT_ONCE]))
                    .map_err(failed)?;
            }
            removed += connection
                .execute("DELETE FROM idempotency WHERE (sender, key) IN (SELECT sender, key FROM idempotency WHERE at < ?1 LIMIT 5000)", [keys.as_millisecond()])
                .map_err(failed)?;
            // Of events that a webhook has not received, those between the two times are kept.
            let received = last_received(connection, &webhooks)?.unwrap_or(i64::MAX);
            removed += purge_events(connection, delivered_before, (0, received))?;
            let unsent = purge_events(connection, unsent_events.as_millisecond().min(delivered_before), (received, i64::MAX))?;
            removed += unsent;
            connection
                .execute("DELETE FROM mailbox_usage WHERE minute < ?1", [minute_of(keys)])
                .map_err(failed)?;
            Ok(Purged { rows: removed, unsent_events: unsent })
        })
        .await
    }
}

/// Returns the number of the last event that all of these webhooks have received; none if none of them has a position.
fn last_received(connection: &Connection, webhooks: &[String]) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT event FROM webhook WHERE url = ?1").map_err(failed)?;
    let mut last: Option<i64> = None;
    for url in webhooks {
        let position: Option<i64> = statement.query_row([url], |row| row.get(0)).optional().map_err(failed)?;
        last = position.map_or(last, |position| Some(last.map_or(position, |last| last.min(position))));
    }
    Ok(last)
}

/// Removes some events from before a time whose numbers are above the first limit and not above the second. The newest event stays,
/// because the number of the next one follows it.
fn purge_events(connection: &Connection, before: i64, (above, up_to): (i64, i64)) -> Result<usize, StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM event WHERE number IN (
                SELECT number FROM event WHERE at < ?1 AND number > ?2 AND number <= ?3 ORDER BY at LIMIT 5000
             ) AND number <> (SELECT max(number) FROM event)",
        )
        .and_then(|mut statement| statement.execute([before, above, up_to]))
        .map_err(failed)
}

pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<(i64, Message)>, StoreError> {
    let found: Option<(i64, String)> = connection
        .prepare_cached("SELECT number, record FROM message WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(failed)?;
    found.map(|(number, record)| Ok((number, document(&record)?))).transpose()
}

fn replayed(
    connection: &Connection,
    sender: &str,
    key: &IdempotencyKey,
) -> Result<Option<SubmissionOutcome>, StoreError> {
    let found: Option<(String, String, Option<String>)> = connection
        .prepare_cached("SELECT digest, message, answer FROM idempotency WHERE sender = ?1 AND key = ?2")
        .and_then(|mut statement| {
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            statement.query_row([sender, key.key.as_str()], row).optional()
        })
        .map_err(failed)?;
    let Some((digest, message, answer)) = found else { return Ok(None) };
    if digest != key.digest.as_str() {
        return Ok(Some(SubmissionOutcome::KeyReused));
    }
    let message = match (find(connection, &message)?, answer) {
        (Some((_, message)), _) => message,
        (None, Some(answer)) => document(&answer)?,
        (None, None) => return Err(StoreError::Corrupt(format!("the answer under a key, message {message}"))),
    };
    Ok(Some(SubmissionOutcome::Before(Box::new(message))))
}

/// The time since which a lane's clock is paused, and earlier pauses in total.
type PausedTime = (Option<i64>, i64);

/// Returns the lane's number, and the state of its clock.
pub(super) fn find_lane(connection: &Connection, lane: &Lane) -> Result<Option<(i64, PausedTime)>, StoreError> {
    connection
        .prepare_cached("SELECT id, paused_since, paused_total FROM lane WHERE company = ?1 AND function = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(params![lane.company.as_str(), lane.function.id()], |row: &Row<'_>| {
                    Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))
                })
                .optional()
        })
        .map_err(failed)
}

fn accept(connection: &Connection, new: &NewMessage, record: String) -> Result<SubmissionOutcome, StoreError> {
    let message = &new.message;
    if let Some(key) = &new.key
        && let Some(before) = replayed(connection, &message.owner, key)?
    {
        return Ok(before);
    }
    if !new.allow_duplicate
        && let Some(sent) = sent_before(connection, message)?
    {
        return Ok(SubmissionOutcome::DocumentSent(sent));
    }
    let lane = Lane { company: message.company.clone(), function: message.function };
    let (lane, (paused_since, paused_total)) = if let Some(found) = find_lane(connection, &lane)? {
        found
    } else {
        connection
            .execute(
                "INSERT INTO lane (company, function) VALUES (?1, ?2)",
                [lane.company.as_str(), lane.function.id()],
            )
            .map_err(failed)?;
        (connection.last_insert_rowid(), (None, 0))
    };
    let at = message.accepted_at.as_millisecond();
    let paused_before = paused_total + paused_since.map_or(0, |since| (at - since).max(0));
    let due = message.next_attempt_at.map(Timestamp::as_millisecond);
    let (kind, name) = match &message.document {
        Some(document) => (Some(document.kind.as_str()), Some(document.number.as_str())),
        None => (None, None),
    };
    connection
        .prepare_cached(
            "INSERT INTO message (id, lane, status, due, paused_before, message_id, document_type, document_number, record,
                sender, sender_due)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                message.id.to_string(), lane, message.status.id(), due, paused_before, message.message_id, kind, name,
                record, message.sender.as_ref().map(|sender| sender.person.to_string()), sender_due(message)
            ])
        })
        .map_err(failed)?;
    let number = connection.last_insert_rowid();
    connection
        .prepare_cached(
            "INSERT INTO message_search (number, lane, accepted_at, owner, profile, document_number, text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut statement| {
            let (owner, profile) = (&message.owner, message.profile.as_str());
            statement.execute(params![number, lane, at, owner, profile, name, message_search::searched_text(message)])
        })
        .map_err(failed)?;
    keep_document(connection, number, message)?;
    connection
        .prepare_cached("INSERT INTO content (message, bytes) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![number, new.content]))
        .map_err(failed)?;
    if let Some(key) = &new.key {
        connection
            .prepare_cached("INSERT INTO idempotency (sender, key, digest, message, at) VALUES (?1, ?2, ?3, ?4, ?5)")
            .and_then(|mut statement| {
                statement.execute(params![message.owner, key.key, key.digest.as_str(), message.id.to_string(), at])
            })
            .map_err(failed)?;
    }
    Ok(SubmissionOutcome::Now(record))
}

/// Returns a message that carries the same document of the same company to one of the same recipients. Each recipient costs
/// one look-up, however many messages carry the document.
fn sent_before(connection: &Connection, message: &Message) -> Result<Option<Uuid>, StoreError> {
    let Some(document) = &message.document else { return Ok(None) };
    let mut statement = connection
        .prepare_cached(
            "SELECT m.id FROM document_recipient AS d JOIN message AS m ON m.number = d.message
             WHERE d.document_type = ?1 AND d.document_number = ?2 AND d.company = ?3 AND d.address = ?4
             ORDER BY d.message DESC LIMIT 1",
        )
        .map_err(failed)?;
    for recipient in &message.recipients {
        let address = recipient.address.to_ascii_lowercase();
        let found: Option<String> = statement
            .query_row(params![document.kind, document.number, message.company.as_str(), address], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        if let Some(id) = found {
            return id.parse().map(Some).map_err(|_| StoreError::Corrupt("a message's id".to_owned()));
        }
    }
    Ok(None)
}

/// Returns true if a recipient has the message's document, or is to get it. Recipients count separately, whatever the outcome
/// for the others.
fn has_document(message: &Message, recipient: &Recipient) -> bool {
    match recipient.status {
        RecipientStatus::Delivered | RecipientStatus::Unknown => true,
        RecipientStatus::Waiting => message.status != Status::Cancelled,
        RecipientStatus::Failed => false,
    }
}

/// Records the recipients of the message's document.
fn keep_document(connection: &Connection, number: i64, message: &Message) -> Result<(), StoreError> {
    let Some(document) = &message.document else { return Ok(()) };
    let mut insert = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO document_recipient (document_type, document_number, company, address, message)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .map_err(failed)?;
    let mut delete = connection
        .prepare_cached(
            "DELETE FROM document_recipient WHERE document_type = ?1 AND document_number = ?2 AND company = ?3
             AND address = ?4 AND message = ?5",
        )
        .map_err(failed)?;
    for recipient in &message.recipients {
        let address = recipient.address.to_ascii_lowercase();
        let row = params![document.kind, document.number, message.company.as_str(), address, number];
        if has_document(message, recipient) { insert.execute(row) } else { delete.execute(row) }.map_err(failed)?;
    }
    Ok(())
}

/// Records the pauses of the message's lane before its lifetime began.
fn set_paused_before(connection: &Connection, number: i64, message: &Message) -> Result<(), StoreError> {
    connection
        .execute(
            "UPDATE message SET paused_before = (
                SELECT paused_total + coalesce(max(?2 - paused_since, 0), 0) FROM lane WHERE id = message.lane
             ) WHERE number = ?1",
            params![number, message.queued_since().as_millisecond()],
        )
        .map_err(failed)
        .map(drop)
}

pub(super) fn settle(connection: &Connection, settled: &Settled) -> Result<(Vec<Event>, i64), StoreError> {
    let message = &settled.message;
    let (id, record) = (message.id.to_string(), text(message)?);
    let due = message.next_attempt_at.filter(|_| message.status == Status::Queued).map(Timestamp::as_millisecond);
    let finished = message.finished_at.map(Timestamp::as_millisecond);
    let number: i64 = connection
        .prepare_cached(
            "UPDATE message SET status = ?2, due = ?3, finished_at = ?4, record = ?5, sender_due = ?6 WHERE id = ?1
             RETURNING number",
        )
        .and_then(|mut statement| {
            statement.query_row(params![id, message.status.id(), due, finished, record, sender_due(message)], |row| {
                row.get(0)
            })
        })
        .map_err(failed)?;
    if message.document.is_some() && message.recipients.iter().any(|recipient| !has_document(message, recipient)) {
        keep_document(connection, number, message)?;
    }
    if let Some(attempt) = &settled.attempt {
        let place: u32 = connection
            .prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE message = ?1")
            .and_then(|mut statement| statement.query_row([number], |row| row.get(0)))
            .map_err(failed)?;
        let record = text(&Attempt { number: place, ..attempt.clone() })?;
        connection
            .prepare_cached("INSERT INTO attempt (message, number, record) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![number, place, record]))
            .map_err(failed)?;
    }
    let events = settled.events.iter().map(|event| insert_event(connection, event)).collect::<Result<_, _>>()?;
    Ok((events, number))
}

/// Returns the time at which a message of a person has to be looked at, in milliseconds.
fn sender_due(message: &Message) -> Option<i64> {
    message.sender_due().map(Timestamp::as_millisecond)
}
