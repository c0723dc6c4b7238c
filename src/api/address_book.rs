//! Answers of `GET /v1/address-book`: recipients that a profile's address book has.
//!
//! [`AddressBookPage`] is one page. An [`AddressBookWarning`] says which kind of entries is missing, and why; the other kinds are in
//! the page. The endpoint is in `service::routes::address_book`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    ProfileName,
    address_book::{AddressBookEntry, AddressKind},
};

/// The shortest text that can be searched for, in characters.
pub const SHORTEST_SEARCH: usize = 2;
/// The longest text that can be searched for, in characters.
pub const LONGEST_SEARCH: usize = 100;
/// The largest page.
pub const LARGEST_PAGE: u32 = 50;

/// `GET /v1/address-book`: one page of entries, ordered by name, each address once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressBookPage {
    /// The profile.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The entries.
    pub entries: Vec<AddressBookEntry>,
    /// The value of `after` for the next page; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
    /// True if the directory has more entries than were read: a longer text finds them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_truncated: bool,
    /// Kinds of entries that are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<AddressBookWarning>,
}

/// A kind of entries that is missing in the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressBookWarning {
    /// The kind.
    pub kind: AddressKind,
    /// The reason.
    pub message: String,
    /// The application permission that is missing, if that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}
