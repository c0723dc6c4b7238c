//! Documents about the integrity of a store: [`StoreCheck`] compares it with its audit log, [`Restored`] says that it came
//! from a backup.
//!
//! The store computes both; the service reports them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Digest;

/// The most problems of a store that are listed.
pub const PROBLEM_LIMIT: usize = 100;

/// `GET /v1/audit/check`: the store, compared with its audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreCheck {
    /// Number of entries of the audit log.
    pub entries: u64,
    /// The hash of the newest entry.
    pub head: Digest,
    /// The newest entry that states what the store holds; none in a store of an older version, before the first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_by: Option<u64>,
    /// Differences from the statements of the audit log, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Entries that record that the store had been changed by something other than the service before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altered_before: Vec<u64>,
}

/// The store was restored from a backup, and no administrator has confirmed that yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The time when the restore was noticed.
    #[schema(value_type = String, format = DateTime)]
    pub noticed_at: Timestamp,
    /// The sign by which the restore was noticed.
    pub why: String,
    /// Number of messages that waited in the backup and are `unknown` now.
    pub messages: u64,
    /// Number of tokens that are suspended until an administrator confirms them.
    pub suspended_tokens: u64,
    /// Number of operators that are suspended until an administrator confirms them.
    #[serde(default)]
    pub suspended_operators: u64,
}
