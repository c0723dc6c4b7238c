//! Documents of the proposals endpoints: [`NewProposal`] proposes a plan of files, [`ProposalList`] and [`ProposalDetail`] show what
//! was proposed, there or in the console.
//!
//! Age files are in no answer. The proposal itself is [`crate::model::proposal::Proposal`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    Approval, ChangeSummary, Changeset, ProfileChange, ProfileName, Provenance, Settings, Signature,
    proposal::{Proposal, ProposedChange},
};

/// `POST /v1/proposals`: a plan of files, for another person to apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewProposal {
    /// The reason; can be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 400)]
    pub reason: String,
    /// The changeset. Its allowances and approvals are left out: the person who applies it lifts guards, and signers add approvals.
    pub changeset: Changeset,
}

/// The state of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalStatus {
    /// Not decided.
    Open,
    /// Not decided within `policy.approvals.expiresIn`: it can be rejected, and no longer signed or applied.
    Expired,
    /// Applied.
    Applied,
    /// Rejected or withdrawn.
    Rejected,
}

impl ProposalStatus {
    /// Returns the status as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            ProposalStatus::Open => "open",
            ProposalStatus::Expired => "expired",
            ProposalStatus::Applied => "applied",
            ProposalStatus::Rejected => "rejected",
        }
    }

    /// Returns the status of a proposal, of which it is known whether its time is over.
    pub fn of(proposal: &Proposal, is_expired: bool) -> Self {
        match &proposal.decision {
            None if is_expired => ProposalStatus::Expired,
            None => ProposalStatus::Open,
            Some(decision) if decision.generation.is_some() => ProposalStatus::Applied,
            Some(_) => ProposalStatus::Rejected,
        }
    }
}

/// A proposal, as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposalEntry {
    /// The id.
    pub id: String,
    /// The status.
    pub status: ProposalStatus,
    /// The time of the proposal.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The name of the proposer.
    pub by: String,
    /// The reason of the proposer; can be empty.
    pub reason: String,
    /// The generation that it was made from.
    pub base: u64,
    /// The profile, for a change that was made in the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// The source, for a plan of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// The number of changes, by kind.
    pub summary: ChangeSummary,
    /// The time of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub decided_at: Option<Timestamp>,
    /// The name of the person who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The reason of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_reason: Option<String>,
    /// The generation that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

impl ProposalEntry {
    /// Returns a proposal as the list shows it.
    pub fn new(proposal: &Proposal, is_expired: bool) -> Self {
        let decision = proposal.decision.as_ref();
        Self {
            id: proposal.id.clone(),
            status: ProposalStatus::of(proposal, is_expired),
            at: proposal.at,
            by: proposal.by.clone(),
            reason: proposal.reason.clone(),
            base: proposal.contents.base(),
            profile: match &proposal.contents {
                ProposedChange::Edit { change, .. } => Some(change.name().clone()),
                ProposedChange::Files { .. } => None,
            },
            provenance: proposal.contents.provenance().cloned(),
            summary: proposal.summary,
            decided_at: decision.map(|decision| decision.at),
            decided_by: decision.map(|decision| decision.by.clone()),
            decided_reason: decision.map(|decision| decision.reason.clone()).filter(|reason| !reason.is_empty()),
            generation: decision.and_then(|decision| decision.generation),
        }
    }
}

/// `GET /v1/proposals`: the open proposals, and those that were decided last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposalList {
    /// Open ones first, the newest first.
    pub proposals: Vec<ProposalEntry>,
}

/// `GET /v1/proposals/{id}`: a proposal with its changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposalDetail {
    /// The proposal.
    pub proposal: ProposalEntry,
    /// The changes of profiles; none of a plan of files that was decided.
    pub changes: Vec<ProfileChange>,
    /// The settings, if they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The approvals by SSH keys that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// The signatures of persons of the console. `recentPasskey` marks one by a passkey that was registered shortly before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
}

impl ProposalDetail {
    /// Returns a proposal with its changes.
    pub fn new(proposal: Proposal, is_expired: bool) -> Self {
        let entry = ProposalEntry::new(&proposal, is_expired);
        let (changes, settings) = match proposal.contents {
            ProposedChange::Edit { change, .. } => (vec![change], None),
            ProposedChange::Files { changeset } => (changeset.changes, changeset.settings),
        };
        Self { proposal: entry, changes, settings, approvals: proposal.approvals, signatures: proposal.signatures }
    }
}
