//! Suspensions: profiles that cannot send until their cause is removed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Digest, ProfileName, finding::Finding};

/// A profile that cannot send until somebody mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// The profile.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The digest of the profile that failed, secrets included: another one is tried at once.
    pub of: Digest,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What the server said.
    pub reason: String,
    /// What `verify` says of it: what is wrong, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// When it is tried again.
    #[schema(value_type = String, format = DateTime)]
    pub next_probe_at: Timestamp,
}
