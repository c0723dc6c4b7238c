//! Leases: a name that one client holds until a time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A lease: a client holds a name until a time, and renews it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The name: `rollout:NAME`, ...
    pub name: String,
    /// Who holds it, in its own words.
    pub holder: String,
    /// The number of this holding. It grows with each holder, so a later holding is distinguished from an earlier one.
    pub token: u64,
    /// The name of the token that was used.
    pub by: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when, unless it is renewed.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}
