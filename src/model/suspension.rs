//! [`SuspendedProfile`]: a profile that does not send because its login, consent or server settings are refused, with the
//! reply and the time of the next probe.
//!
//! `delivery::suspension` decides about it; the store keeps it, the service reports it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Digest, ProfileName, finding::Finding};

/// A suspended profile: it cannot send until its cause is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuspendedProfile {
    /// The profile.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The digest of the profile that failed, secrets included. A profile with another digest is tried at once.
    pub of: Digest,
    /// The time of the suspension.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The server's reply.
    pub reason: String,
    /// The finding of `verify` with the cause and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// The time of the next probe.
    #[schema(value_type = String, format = DateTime)]
    pub next_probe_at: Timestamp,
}
