//! Frequent statements cost as much with 200,000 messages as with one: no statement of the outbox scans a table that
//! grows, except for those that are listed.

use std::path::Path;

use mailwright::store::SqliteStore;

/// Tables that grow with the mail.
const GROW: [&str; 6] = ["message", "content", "attempt", "idempotency", "event", "mailbox_usage"];

/// Statements that may go through such a table: asked for by a person, or once in a while.
const MAY: [&str; 3] = [
    // Once, at the start.
    "SELECT mailbox, minute, messages, recipients FROM mailbox_usage",
    // When old things are removed.
    "DELETE FROM mailbox_usage",
    // When the clock was set: what waits has an index of its own, by lane.
    "UPDATE message SET due",
];

/// The SQL in the source, as the program has it.
fn statements() -> Vec<String> {
    let source = concat!(
        include_str!("../../src/store/sqlite/messages.rs"),
        include_str!("../../src/store/sqlite/lanes.rs"),
        include_str!("../../src/store/sqlite/holds.rs"),
        include_str!("../../src/store/sqlite/suspensions.rs"),
        include_str!("../../src/store/sqlite/rotations.rs"),
        include_str!("../../src/store/sqlite/mailbox_usage.rs"),
        include_str!("../../src/store/sqlite/events.rs"),
    );
    let texts = source.split('"').skip(1).step_by(2).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    texts
        .filter(|text| ["SELECT ", "UPDATE ", "DELETE ", "INSERT "].iter().any(|verb| text.starts_with(verb)))
        .collect()
}

#[test]
fn no_statement_goes_through_what_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    drop(SqliteStore::open(Path::new(&path), &"dev".parse().unwrap()).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    let statements = statements();
    assert!(statements.len() > 30, "the source is read in another way than it is written: {statements:#?}");
    let (mut wrong, mut allowed) = (Vec::new(), std::collections::BTreeSet::new());
    for statement in &statements {
        // Put together when it runs: a search, which people ask for.
        if statement.contains('{') {
            continue;
        }
        let mut explain = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .unwrap_or_else(|error| panic!("{error}: {statement}"));
        let count = explain.parameter_count();
        let nothing = vec![rusqlite::types::Value::Null; count];
        let steps: Vec<String> = explain
            .query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let scans = steps.iter().filter(|step| {
            let mut words = step.split(' ');
            // Removing all rows before a given one scans them, whatever the statement is called.
            let walks = statement.starts_with("DELETE ") && step.ends_with("(rowid<?)");
            (words.next() == Some("SCAN") || walks)
                && words.next().is_some_and(|table| GROW.contains(&table) || table == "m")
        });
        let scans: Vec<&String> = scans.collect();
        if scans.is_empty() {
            continue;
        }
        if let Some(may) = MAY.iter().find(|may| statement.starts_with(**may)) {
            allowed.insert(*may);
        } else {
            wrong.push(format!("{statement}\n    {scans:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(allowed.len(), MAY.len(), "what goes through a table is seen to do so: {allowed:?}");
}
