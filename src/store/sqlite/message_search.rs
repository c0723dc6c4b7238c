//! Searches of the outbox in `SQLite`, for pages and lists that people ask for.
//!
//! A search may read all messages. What it compares of each is in the table `message_search`, which has a fraction of the size of
//! the records; a record is read only of what matches there. [`find_many`] and [`count`] make the statement of a search,
//! [`searched_text`] the text that an accepted message adds to the table. Nothing here changes a message.

use rusqlite::{Connection, types::Value};

use super::{StoreError, document, failed, number, text};
use crate::{
    model::{Lane, Message},
    store::outbox::{LaneScope, PAGE_RECIPIENTS, Search},
};

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
            || search.within.as_ref().is_some_and(|within| within.owner.is_some())
            || search.profile.is_some()
            || search.since.is_some()
            || search.until.is_some();
        let selects_lanes =
            search.company.is_some() || search.function.is_some() || search.lanes.is_some() || search.within.is_some();
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
        if let Some(LaneScope { lanes, owner }) = &search.within {
            let is_own = if owner.is_some() { " OR s.owner = ?" } else { "" };
            conditions.push(format!("({first}.lane {IN_LANES}{is_own})"));
            values.push(Value::Text(lane_list(lanes)?));
            values.extend(owner.clone().map(Value::Text));
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

/// Returns the messages that a search finds, newest first, with their place in the order of acceptance.
pub(super) fn find_many(
    connection: &Connection,
    search: &Search,
    limit: u32,
) -> Result<Vec<(u64, Message)>, StoreError> {
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

/// Returns the number of messages that a search finds; `limit` if there are as many or more.
pub(super) fn count(connection: &Connection, search: &Search, limit: u32) -> Result<u64, StoreError> {
    let Selection { tables, conditions, values, .. } = Selection::new(search)?;
    let query = format!("SELECT count(*) FROM (SELECT 1 FROM {tables} WHERE {conditions} LIMIT {limit})");
    let count: i64 = connection
        .prepare(&query)
        .and_then(|mut statement| statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0)))
        .map_err(failed)?;
    Ok(count.unsigned_abs())
}

/// Returns the text of a message in `message_search`.
pub(super) fn searched_text(message: &Message) -> String {
    let addresses = message.recipients.iter().map(|recipient| recipient.address.as_str());
    let mut text = String::new();
    for part in [message.subject.as_str(), &message.message_id].into_iter().chain(addresses) {
        text.push_str(part);
        text.push('\n');
    }
    text.make_ascii_lowercase();
    text
}
