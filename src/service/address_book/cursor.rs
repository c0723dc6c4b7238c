//! Cursor of a page of the address book: an opaque text of at most [`LENGTH`] characters, without personal data.
//!
//! [`Cursor`] names the search, the position behind the last entry of the page, and that entry by the beginning of a digest. If
//! the answer was read again meanwhile, the page continues behind that entry, or at the position if the entry is gone. A cursor
//! gives no right: the request that has it is checked like any other. A cursor of another search is refused.

use std::str::FromStr;

use crate::model::{Digest, address_book::AddressBookEntry};

/// The longest cursor.
pub(super) const LENGTH: usize = 12 + 1 + 8 + 1 + 12;

/// The place at which a page continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The beginning of the digest of the search.
    search: String,
    /// The number of entries before the page.
    position: u32,
    /// The beginning of the digest of the last entry before the page.
    last: String,
}

impl Cursor {
    /// Creates the cursor behind the entry at an index.
    pub(super) fn behind(search: &Digest, entries: &[AddressBookEntry], index: usize) -> Option<Self> {
        let last = short_digest(entries.get(index)?);
        Some(Self { search: search.short().to_owned(), position: u32::try_from(index + 1).ok()?, last })
    }

    /// Returns the index of the first entry of the page; none if the cursor is of another search.
    pub(super) fn start(&self, search: &Digest, entries: &[AddressBookEntry]) -> Option<usize> {
        if self.search != search.short() {
            return None;
        }
        let position = usize::try_from(self.position).ok()?;
        let is_last = |entry: &AddressBookEntry| short_digest(entry) == self.last;
        if position.checked_sub(1).and_then(|index| entries.get(index)).is_some_and(is_last) {
            return Some(position);
        }
        Some(entries.iter().position(is_last).map_or(position, |index| index + 1))
    }
}

fn short_digest(entry: &AddressBookEntry) -> String {
    Digest::of_bytes(entry.address.to_lowercase().as_bytes()).short().to_owned()
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:x}-{}", self.search, self.position, self.last)
    }
}

impl FromStr for Cursor {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let is_hexadecimal = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        let is_short_digest = |part: &&str| part.len() == 12 && is_hexadecimal(part);
        let mut parts = text.split('-');
        let (search, position, last) = (parts.next().ok_or(())?, parts.next().ok_or(())?, parts.next().ok_or(())?);
        if parts.next().is_some() || ![search, last].iter().all(is_short_digest) || !is_hexadecimal(position) {
            return Err(());
        }
        let position = u32::from_str_radix(position, 16).map_err(drop)?;
        Ok(Self { search: search.to_owned(), position, last: last.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::address_book::AddressKind;

    fn entries(numbers: &[u32]) -> Vec<AddressBookEntry> {
        let entry = |number: &u32| {
            AddressBookEntry::new(
                AddressKind::Person,
                &format!("Person {number}"),
                &format!("p{number}@contoso.example"),
            )
        };
        numbers.iter().filter_map(entry).collect()
    }

    #[test]
    fn a_page_continues_behind_the_last_entry_although_the_answer_has_changed() {
        let search = Digest::of_bytes(b"search");
        let before = entries(&[1, 2, 3, 4]);
        let cursor = Cursor::behind(&search, &before, 1).unwrap();
        assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
        assert!(cursor.to_string().len() <= LENGTH && !cursor.to_string().contains("contoso"));
        assert_eq!(cursor.start(&search, &before), Some(2));
        assert_eq!(cursor.start(&search, &entries(&[0, 1, 2, 3])), Some(3), "another entry came before");
        assert_eq!(cursor.start(&search, &entries(&[1, 3, 4])), Some(2), "the entry is gone");
        assert_eq!(cursor.start(&Digest::of_bytes(b"other"), &before), None);
        assert_eq!(Cursor::behind(&search, &before, 4), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_cursor_or_refused(text in any::<String>()) {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert!(text.len() >= 12 + 1 + 12);
                prop_assert!(cursor.to_string().len() <= LENGTH);
            }
        }

        #[test]
        fn every_position_survives(position in any::<u32>(), search in "[0-9a-f]{12}", last in "[0-9a-f]{12}") {
            let cursor = Cursor { search, position, last };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
            // A forged position is at most behind the end.
            let _ = cursor.start(&Digest::of_bytes(b"search"), &entries(&[1, 2]));
        }
    }
}
