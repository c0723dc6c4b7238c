//! Generations: the numbered versions of a service's configuration, each with its author, source, approvals and a count of its
//! changes.
//!
//! [`Generation`] is an entry of the history, [`GenerationDetail`] also has the settings and profiles. Written by the service with
//! each commit. It names at most 200 unmanaged profiles.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{
    Allowances, ChangeKind, ProfileChange, ProfileName, Provenance, Settings, StoredProfile, approvals::Approved,
};

/// Number of profiles that a generation changed, by kind of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangeSummary {
    /// Created profiles.
    pub added: u64,
    /// Updated profiles.
    pub changed: u64,
    /// Deleted profiles.
    pub destroyed: u64,
    /// Renamed profiles.
    pub renamed: u64,
    /// Adopted profiles.
    pub adopted: u64,
    /// Forgotten profiles.
    pub forgotten: u64,
    /// True if the environment's settings changed.
    pub settings: bool,
}

impl ChangeSummary {
    /// Counts changes of profiles by kind.
    pub fn of(changes: &[ProfileChange]) -> Self {
        let mut summary = Self::default();
        for change in changes {
            match change {
                ProfileChange::Create { .. } => summary.added += 1,
                ProfileChange::Update { .. } => summary.changed += 1,
                ProfileChange::Rename { .. } => summary.renamed += 1,
                ProfileChange::Adopt { .. } => summary.adopted += 1,
                ProfileChange::Delete { .. } => summary.destroyed += 1,
                ProfileChange::Forget { .. } => summary.forgotten += 1,
            }
        }
        summary
    }
}

/// One generation, as `GET /v1/generations` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// The number of the generation.
    pub number: u64,
    /// The time at which the generation was created.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The name of the token that was used.
    pub by: String,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The changeset, for an apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub changeset: Option<Uuid>,
    /// The generation that a rollback returned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_to: Option<u64>,
    /// The source of the change.
    pub provenance: Provenance,
    /// Guards that were lifted.
    #[serde(default, skip_serializing_if = "Allowances::is_none")]
    pub allowances: Allowances,
    /// The approvals that counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approved>,
    /// A summary of the changes.
    pub summary: ChangeSummary,
    /// The live profiles that Git did not manage at this generation; the first 200 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub unmanaged: Vec<ProfileName>,
}

/// `GET /v1/generations/{number}`: one generation with everything that was live in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationDetail {
    /// The generation.
    pub generation: Generation,
    /// The settings of the generation.
    pub settings: Settings,
    /// The profiles of the generation.
    #[schema(value_type = std::collections::HashMap<String, StoredProfile>)]
    pub profiles: BTreeMap<ProfileName, StoredProfile>,
}
