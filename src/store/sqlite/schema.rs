//! Comparison of a database's schema with the one that the migrations create.
//!
//! A trigger or a view that was added without the service could make a statement read or write other rows than intended, and the
//! audit log would state the result as correct. [`find_differences`] names up to 10 differences; `open` refuses such a database. On
//! connections of the store, triggers and views are disabled as well, so that one added while the service runs has no effect.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{StoreError, failed, migrate};

/// Maximum number of differences that are named.
const SHOWN: usize = 10;
/// The longest name that is shown, in characters.
const NAME: usize = 60;

/// The SQL text that creates each object, by its type and name.
type Objects = BTreeMap<(String, String), String>;

/// Returns the differences between a schema and the one that the migrations create.
pub(super) fn find_differences(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut made = Connection::open_in_memory().map_err(failed)?;
    migrate::migrate(&mut made, migrate::VERSIONS.len())?;
    let (expected, found) = (read_objects(&made)?, read_objects(connection)?);
    let mut differences = Vec::new();
    for ((kind, name), text) in &found {
        let shown: String = name.escape_debug().take(NAME).collect();
        match expected.get(&(kind.clone(), name.clone())) {
            None => differences.push(format!("the database has a {kind} `{shown}`, which this program did not make")),
            Some(own) if own != text => differences.push(format!("the {kind} `{shown}` of the database was changed")),
            Some(_) => {}
        }
    }
    let missing = expected.keys().filter(|key| !found.contains_key(*key));
    differences.extend(missing.map(|(kind, name)| format!("the {kind} `{name}` of the database is missing")));
    differences.truncate(SHOWN);
    Ok(differences)
}

/// Reads the objects of a schema. Indexes that a table's own text implies have no text, and statistics belong to `SQLite`.
fn read_objects(connection: &Connection) -> Result<Objects, StoreError> {
    let mut statement = connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema
             WHERE sql IS NOT NULL AND NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4'))",
        )
        .map_err(failed)?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?))).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}
