//! [`Proposal`]: a change that was proposed, for another person to apply or to reject.
//!
//! It is an edit of one profile in the console, or the plan of files as a changeset. The store keeps it; `service::proposals`
//! decides who may do what with it. It carries the change, and the age files that the service does not have; no value of a
//! secret.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Approval, ChangeSummary, Changeset, Digest, ProfileChange, ProfileName, Provenance, Signature, approvals::Actor,
};

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
    /// The subject of the proposer, which no other caller ever is; empty in proposals of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by_subject: String,
    /// The reason of the proposer; can be empty.
    pub reason: String,
    /// The number of changes, by kind.
    #[serde(default)]
    pub summary: ChangeSummary,
    /// The change.
    #[serde(flatten)]
    pub contents: ProposedChange,
    /// The approvals by SSH keys that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// The signatures of persons of the console.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
    /// The time at which the signers were reminded, once; none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminded_at: Option<Timestamp>,
    /// The end of the proposal; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// The change of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "few exist at a time, and most are of the large kind")]
pub enum ProposedChange {
    /// A change of one profile, made in the console. Applied, it is a change by hand.
    #[serde(rename_all = "camelCase")]
    Edit {
        /// The generation that the proposal was made from.
        base: u64,
        /// The change.
        change: ProfileChange,
        /// Age files that the service does not have: base64 by digest.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        age_files: BTreeMap<Digest, String>,
    },
    /// The plan of files. Applied, it is an apply of them. Without allowances and approvals; after the decision, without changes,
    /// settings and age files.
    Files {
        /// The changeset.
        changeset: Box<Changeset>,
    },
}

impl ProposedChange {
    /// Returns the generation that the proposal was made from.
    pub fn base(&self) -> u64 {
        match self {
            ProposedChange::Edit { base, .. } => *base,
            ProposedChange::Files { changeset } => changeset.base,
        }
    }

    /// Returns the changes of profiles.
    pub fn changes(&self) -> &[ProfileChange] {
        match self {
            ProposedChange::Edit { change, .. } => std::slice::from_ref(change),
            ProposedChange::Files { changeset } => &changeset.changes,
        }
    }

    /// Returns the source of the files; none for an edit.
    pub fn provenance(&self) -> Option<&Provenance> {
        match self {
            ProposedChange::Edit { .. } => None,
            ProposedChange::Files { changeset } => Some(&changeset.provenance),
        }
    }
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

impl Proposal {
    /// Returns the proposer, as the author of the change.
    pub fn author(&self) -> Actor<'_> {
        Actor { name: &self.by, subject: &self.by_subject }
    }

    /// Returns the name of the profile that it changes; none if it changes several, or the settings.
    pub fn profile(&self) -> Option<&ProfileName> {
        match (&self.contents, self.contents.changes()) {
            (ProposedChange::Files { changeset }, _) if changeset.settings.is_some() => None,
            (_, [one]) => Some(one.name()),
            _ => None,
        }
    }

    /// Ends the proposal. Of a plan of files, the summary and the source stay.
    pub fn decide(&mut self, decision: Decision) {
        self.decision = Some(decision);
        if let ProposedChange::Files { changeset } = &mut self.contents {
            changeset.changes = Vec::new();
            changeset.settings = None;
            changeset.secrets = BTreeMap::new();
        }
    }
}
