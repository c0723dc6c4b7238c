//! Entries of an address book: persons, groups and contacts that mail can be sent to.
//!
//! [`AddressBookEntry::new`] accepts what a directory states, and returns an entry with an address that can receive mail and with
//! printable texts, or none. [`merge_entries`] removes repeated addresses and sorts. The texts come from other people: who shows
//! them escapes them. Nothing here reads a directory.

use std::{collections::HashMap, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Address;
use crate::text::is_hidden;

/// The longest text of an entry, in characters.
const TEXT_LIMIT: usize = 200;

/// The kind of an entry of an address book. Of two entries with one address, the kind that is listed first here is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// A user of the tenant.
    Person,
    /// A contact: a person or company outside of the tenant.
    Contact,
    /// A group whose members get the mail.
    Group,
}

impl AddressKind {
    /// Every kind, in the order of precedence.
    pub const ALL: [Self; 3] = [Self::Person, Self::Contact, Self::Group];

    /// Returns the name in documents.
    pub fn id(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Contact => "contact",
            Self::Group => "group",
        }
    }

    /// Returns the noun for messages, in the plural.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Person => "persons",
            Self::Contact => "contacts",
            Self::Group => "groups",
        }
    }
}

impl FromStr for AddressKind {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.id() == text).ok_or("a kind is `person`, `contact` or `group`")
    }
}

/// An entry of an address book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressBookEntry {
    /// The display name; the address if there is none. It is text of the directory, and can contain HTML.
    #[schema(max_length = 200)]
    pub name: String,
    /// The address.
    #[schema(max_length = 320)]
    pub address: String,
    /// The kind.
    pub kind: AddressKind,
    /// The department.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub department: Option<String>,
    /// The company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub company: Option<String>,
}

impl AddressBookEntry {
    /// Creates an entry from what a directory states. Returns none if the address cannot receive mail.
    pub fn new(kind: AddressKind, name: &str, address: &str) -> Option<Self> {
        let address = Address::parse(address).ok()?.to_string();
        let name = clean_text(name).unwrap_or_else(|| address.clone());
        Some(Self { name, address, kind, department: None, company: None })
    }

    /// Adds the department and the company, if they have a visible character.
    #[must_use]
    pub fn of_company(mut self, department: Option<&str>, company: Option<&str>) -> Self {
        self.department = department.and_then(clean_text);
        self.company = company.and_then(clean_text);
        self
    }

    /// Returns the number of bytes in memory, approximately.
    pub fn size(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.name.len() + self.address.len() + optional(&self.department) + optional(&self.company)
    }

    /// Returns the order of entries: by name, and entries of one name by address.
    fn sort_key(&self) -> (String, String) {
        (self.name.to_lowercase(), self.address.to_lowercase())
    }
}

/// Removes characters that are invisible or change the text around them, joins spaces, and cuts a long text. Returns none if no
/// visible character is left.
fn clean_text(text: &str) -> Option<String> {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let visible: String = spaced.chars().filter(|c| !is_hidden(*c)).collect();
    let joined = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = joined.chars().take(TEXT_LIMIT).collect();
    (!cut.is_empty()).then_some(cut)
}

/// Returns the entries in order, each address once. Addresses are compared without case; of several entries with one address, the
/// kind with the highest precedence is kept.
pub fn merge_entries<'a>(entries: impl IntoIterator<Item = &'a AddressBookEntry>) -> Vec<&'a AddressBookEntry> {
    let mut by_address: HashMap<String, &AddressBookEntry> = HashMap::new();
    for entry in entries {
        let kept = by_address.entry(entry.address.to_lowercase()).or_insert(entry);
        if (entry.kind, entry.sort_key()) < (kept.kind, kept.sort_key()) {
            *kept = entry;
        }
    }
    let mut merged: Vec<&AddressBookEntry> = by_address.into_values().collect();
    merged.sort_by_cached_key(|entry| entry.sort_key());
    merged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;

    fn entry(kind: AddressKind, name: &str, address: &str) -> AddressBookEntry {
        AddressBookEntry::new(kind, name, address).unwrap()
    }

    #[test]
    fn one_address_is_listed_once_first_as_a_person_then_as_a_contact() {
        let entries = [
            entry(AddressKind::Group, "Zeta team", "ZETA@contoso.example"),
            entry(AddressKind::Contact, "Ann outside", "ann@Contoso.example"),
            entry(AddressKind::Contact, "Zeta Ltd", "zeta@contoso.example"),
            entry(AddressKind::Person, "Ann", "Ann@contoso.example"),
            entry(AddressKind::Person, "ann", "a.second@contoso.example"),
        ];
        let shown = |entries: &[AddressBookEntry]| -> Vec<(String, AddressKind)> {
            merge_entries(entries).into_iter().map(|entry| (entry.address.clone(), entry.kind)).collect()
        };
        let expected = [
            ("a.second@contoso.example".to_owned(), AddressKind::Person),
            ("Ann@contoso.example".to_owned(), AddressKind::Person),
            ("zeta@contoso.example".to_owned(), AddressKind::Contact),
        ];
        assert_eq!(shown(&entries), expected);
        let mut reversed = entries;
        reversed.reverse();
        assert_eq!(shown(&reversed), expected, "the order of the answers of Graph has no effect");
    }

    #[test]
    fn hostile_texts_become_printable_and_addresses_that_are_none_are_left_out() {
        let hostile = entry(AddressKind::Person, "A\u{1b}[31m\r\nB\u{202e}\u{200b} <b>c</b>  ", "a@contoso.example");
        assert_eq!(hostile.name, "A [31m B <b>c</b>");
        assert_eq!(entry(AddressKind::Person, "\u{202e}\n", "a@contoso.example").name, "a@contoso.example");
        assert_eq!(entry(AddressKind::Person, "👩‍💻 Ünal O'Neil", "a@contoso.example").name, "👩‍💻 Ünal O'Neil");
        assert_eq!(entry(AddressKind::Person, &"x".repeat(5000), "a@contoso.example").name.chars().count(), TEXT_LIMIT);
        for address in
            ["", "none", "a@contoso.example\r\nBcc: b@contoso.example", "a b@contoso.example", "@", "x400:c=US"]
        {
            assert_eq!(AddressBookEntry::new(AddressKind::Contact, "A", address), None, "{address}");
        }
    }
}
