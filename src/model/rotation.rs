//! [`Rotation`]: the state of a profile whose secret is being replaced: next value staged, refused or promoted.
//!
//! `delivery::rotation` changes it, the store keeps it, and the service reports it. It has digests, never values.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Digest, ProfileName, SecretReference};

/// State of the rotation of a profile's secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// The profile.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The secret.
    #[schema(value_type = String)]
    pub secret: SecretReference,
    /// The digest of the next value's age file.
    pub next: Digest,
    /// The digest of the login and the next value. The outcome holds for every profile with the same digest, and for no other.
    pub of: Digest,
    /// The outcome.
    pub standing: Standing,
    /// The time since when the outcome holds.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The server's reply when it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// True if an alert was sent for the refusal. No alert is sent while the current value is refused as well, because then the
    /// profile is suspended.
    #[serde(default, alias = "told", skip_serializing_if = "std::ops::Not::not")]
    pub alerted: bool,
    /// Number of refusals.
    #[serde(default)]
    pub refusals: u32,
    /// The time of the next try; none if the value was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Timestamp>,
}

/// The outcome of a staged value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The value has not been tried yet.
    Staged,
    /// The value was refused; the current one is used.
    Refused,
    /// The value was accepted, and is the only one that is used.
    Promoted,
}

impl Standing {
    /// Returns the outcome as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Standing::Staged => "staged",
            Standing::Refused => "refused",
            Standing::Promoted => "promoted",
        }
    }
}
