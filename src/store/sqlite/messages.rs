//! Messages of the outbox in `SQLite`: acceptance, changes by operators, searches, counts, and the purge.
//!
//! A message is a row with a JSON record; columns repeat the fields that queries select by. Look-ups by id, `Message-ID`, document,
//! person, status and due time have an index and do not read the rest of the backlog; a count reads the index entries that it
//! counts. A search that people ask for may read all messages: it reads `message_search`, which has a fraction of the size of the
//! records, and a record only of what matches there. Each message of one call of `accept` is accepted or refused on its own; after
//! an error, none is accepted. A change is refused while the message is claimed for delivery, unless the caller has taken over the
//! claim. [`settle`] writes the new state of a message, its attempt and its events, and checks no claim: `change`, `lanes` and
//! `restore` do that beforehand.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Value};
use uuid::Uuid;

use super::{
    SqliteStore, append, document, events::insert_event, failed, mailbox_usage::minute_of, number, records, text,
    times::timestamp,
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
            Event, IdempotencyKey, Messages, NewMessage, PAGE_RECIPIENTS, PurgeCutoffs, Purged, Search, Settled,
            SubmissionOutcome,
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
        self.read_at_length(move |connection| find_many(connection, &search, limit)).await
    }

    async fn count(&self, search: Search, limit: u32) -> Result<u64, StoreError> {
        self.read_at_length(move |connection| {
            let Selection { tables, conditions, values, .. } = Selection::new(&search)?;
            let query = format!("SELECT count(*) FROM (SELECT 1 FROM {tables} WHERE {conditions} LIMIT {limit})");
            let count: i64 = connection
                .prepare(&query)
                .and_then(|mut statement| statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0)))
                .map_err(failed)?;
            Ok(count.unsigned_abs())
        })
        .await
    }

    async fn messages_of_sender(
        &self,
        person: PersonId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Message)>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT number, record FROM message WHERE sender = ?1 AND number < ?2
                     AND status IN ('awaiting-sender', 'sending', 'unknown') ORDER BY number DESC LIMIT ?3",
                )
                .map_err(failed)?;
            let rows = statement
                .query_map(params![person.to_string(), before.map_or(i64::MAX, number), limit], |row| {
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
            statement.execute(params![number, lane, at, owner, profile, name, searched_text(message)])
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

/// Returns the text of a message in `message_search`.
fn searched_text(message: &Message) -> String {
    let addresses = message.recipients.iter().map(|recipient| recipient.address.as_str());
    let mut text = String::new();
    for part in [message.subject.as_str(), &message.message_id].into_iter().chain(addresses) {
        text.push_str(part);
        text.push('\n');
    }
    text.make_ascii_lowercase();
    text
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

/// The condition that a lane is one of a [`lane_list`]; the caller writes the column in front of it.
const IN_LANES: &str = "IN (SELECT l.id FROM lane AS l, json_each(?) AS wanted
    WHERE l.company = json_extract(wanted.value, '$[0]') AND l.function = json_extract(wanted.value, '$[1]'))";

/// The condition that a message has a status, for a search that reads `message_search`: a look-up in an index.
const HAS_STATUS: &str = "EXISTS (SELECT 1 FROM message AS status INDEXED BY message_status
    WHERE status.status = ? AND status.number = s.number)";

/// The condition that an address is that of a recipient, after `message_search` has it as one of its lines.
const HAS_RECIPIENT: &str = "EXISTS (SELECT 1 FROM json_each(m.record, '$.recipients') AS r
    WHERE lower(json_extract(r.value, '$.address')) = ?)";

/// Returns lanes as the JSON list that [`IN_LANES`] reads.
fn lane_list(lanes: &[Lane]) -> Result<String, StoreError> {
    text(&lanes.iter().map(|lane| (lane.company.as_str(), lane.function.id())).collect::<Vec<_>>())
}

/// The tables and the conditions of a search, with the values of the conditions in their order.
struct Selection {
    tables: &'static str,
    /// The table that is read first. Its order is that of the result, so that a page ends the reading.
    first: &'static str,
    conditions: String,
    values: Vec<Value>,
}

impl Selection {
    /// Returns the selection of a search: of `message AS m`, or of `message_search AS s` joined with it.
    fn new(search: &Search) -> Result<Self, StoreError> {
        // What an index of `message` finds; a company or a function is in the index by status.
        let is_indexed = search.id_prefix.is_some() || search.message_id.is_some() || search.document.is_some();
        let needs_text = search.text.is_some()
            || search.recipient.is_some()
            || search.owner.is_some()
            || search.profile.is_some()
            || search.since.is_some()
            || search.until.is_some();
        let selects_lanes = search.company.is_some() || search.function.is_some() || search.lanes.is_some();
        let is_of_text = needs_text || selects_lanes && search.status.is_none();
        // CROSS JOIN keeps the order: the first table is read from its newest row on, and the other one for what matches there.
        let tables = match (is_of_text, is_indexed) {
            (false, _) => "message AS m",
            (true, false) => "message_search AS s CROSS JOIN message AS m ON m.number = s.number",
            (true, true) => "message AS m CROSS JOIN message_search AS s ON s.number = m.number",
        };
        let first = if is_of_text && !is_indexed { "s" } else { "m" };
        let mut conditions = vec![format!("{first}.number < ?")];
        let mut values: Vec<Value> = vec![Value::Integer(search.before.map_or(i64::MAX, number))];
        let mut add = |condition: String, value: Value| {
            conditions.push(condition);
            values.push(value);
        };
        if let Some(status) = search.status {
            let condition = if first == "s" { HAS_STATUS } else { "m.status = ?" };
            add(condition.to_owned(), Value::Text(status.id().to_owned()));
        }
        if let Some(company) = &search.company {
            add(format!("{first}.lane IN (SELECT id FROM lane WHERE company = ?)"), Value::Text(company.to_string()));
        }
        if let Some(function) = search.function {
            let function = Value::Text(function.id().to_owned());
            add(format!("{first}.lane IN (SELECT id FROM lane WHERE function = ?)"), function);
        }
        if let Some(lanes) = &search.lanes {
            add(format!("{first}.lane {IN_LANES}"), Value::Text(lane_list(lanes)?));
        }
        if let Some(prefix) = &search.id_prefix {
            add("m.id >= ?".to_owned(), Value::Text(prefix.clone()));
            // The first text behind all that begin with the prefix: `g` follows the digits and the dash.
            add("m.id < ?".to_owned(), Value::Text(format!("{prefix}g")));
        }
        if let Some(id) = &search.message_id {
            add("m.message_id = ?".to_owned(), Value::Text(id.clone()));
        }
        if let Some((kind, name)) = &search.document {
            add("m.document_type = ?".to_owned(), Value::Text(kind.clone()));
            if let Some(name) = name {
                add("m.document_number = ?".to_owned(), Value::Text(name.clone()));
            }
        }
        if let Some(owner) = &search.owner {
            add("s.owner = ?".to_owned(), Value::Text(owner.clone()));
        }
        if let Some(since) = search.since {
            add("s.accepted_at >= ?".to_owned(), Value::Integer(since.as_millisecond()));
        }
        if let Some(until) = search.until {
            add("s.accepted_at < ?".to_owned(), Value::Integer(until.as_millisecond()));
        }
        if let Some((profile, lanes)) = &search.profile {
            let (profile, lanes) = (Value::Text(profile.to_string()), Value::Text(lane_list(lanes)?));
            // Both are in the first table, and only one decides: what waits goes by the profile that its lane has now.
            conditions.push(format!("(s.profile = ? OR s.lane {IN_LANES})"));
            conditions.push(format!("iif(m.due IS NULL, s.profile = ?, s.lane {IN_LANES})"));
            values.extend([profile.clone(), lanes.clone(), profile, lanes]);
        }
        if let Some(text) = &search.text {
            // A line feed ends each part, and no part contains one.
            if text.contains('\n') {
                conditions.push("FALSE".to_owned());
            }
            conditions.push("(instr(s.text, ?) > 0 OR instr(s.document_number, ?) = 1)".to_owned());
            values.extend([text.to_ascii_lowercase(), text.clone()].map(Value::Text));
        }
        if let Some(address) = &search.recipient {
            let address = address.to_ascii_lowercase();
            conditions.push("instr(s.text, ?) > 0".to_owned());
            conditions.push(HAS_RECIPIENT.to_owned());
            values.extend([format!("\n{address}\n"), address].map(Value::Text));
        }
        Ok(Self { tables, first, conditions: conditions.join(" AND "), values })
    }
}

fn find_many(connection: &Connection, search: &Search, limit: u32) -> Result<Vec<(u64, Message)>, StoreError> {
    let Selection { tables, first, conditions, values } = Selection::new(search)?;
    let query = format!(
        "SELECT m.number, m.record FROM {tables} WHERE {conditions} ORDER BY {first}.number DESC LIMIT {limit}"
    );
    let mut statement = connection.prepare(&query).map_err(failed)?;
    let rows = statement
        .query_map(rusqlite::params_from_iter(values), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .map_err(failed)?;
    let (mut found, mut recipients) = (Vec::new(), 0);
    for row in rows {
        let (number, record) = row.map_err(failed)?;
        let message: Message = document(&record)?;
        recipients += message.recipients.len();
        found.push((number.unsigned_abs(), message));
        if recipients >= PAGE_RECIPIENTS {
            break;
        }
    }
    Ok(found)
}
