//! The table of address book entries, for the commands that search one.
//!
//! [`entry_table`] prints what other people wrote into a directory: the table escapes it.

use super::table::table;
use crate::model::address_book::AddressBookEntry;

/// Returns a table of entries; a sentence if there are none.
pub(crate) fn entry_table(entries: &[AddressBookEntry]) -> String {
    if entries.is_empty() {
        return "No entries.".to_owned();
    }
    let rows = entries.iter().map(|entry| {
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            entry.name.clone(),
            entry.address.clone(),
            entry.kind.id().to_owned(),
            optional(&entry.department),
            optional(&entry.company),
        ]
    });
    table(&["name", "address", "kind", "department", "company"], rows)
}
