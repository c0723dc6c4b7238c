//! [`Proposal`]: a change of a profile that was proposed in the console, for another person to apply or to reject.
//!
//! The store keeps it; `service::proposals` decides who may do what with it. It carries the profile as it would be, and the age
//! files that the service does not have; no value of a secret.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Approval, Digest, ProfileChange};

/// A proposed change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The id.
    pub id: String,
    /// The time of the proposal.
    pub at: Timestamp,
    /// The name of the proposer.
    pub by: String,
    /// The reason of the proposer; can be empty.
    pub reason: String,
    /// The generation that the proposal was made from.
    pub base: u64,
    /// The change.
    pub change: ProfileChange,
    /// Age files that the service does not have: base64 by digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub age_files: BTreeMap<Digest, String>,
    /// The approvals that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// The end of the proposal; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// The end of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The time.
    pub at: Timestamp,
    /// The name of the person who decided.
    pub by: String,
    /// The reason; can be empty if it was applied.
    pub reason: String,
    /// The generation that it became; none if it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}
