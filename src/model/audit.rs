//! Entries of the audit log, and the hash chain that links them.
//!
//! [`AuditEntry::broken`] tests an entry against the one before, by number, previous hash and own hash; entries that were cut off
//! at the end are not found by it. `mailwright audit verify` and the store use it. Which events are recorded is decided by the
//! service, and where entries are kept by the store.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Digest;

/// One entry of the audit log. `hash` is SHA-256 over the canonical text of the entry without `hash`; `previous`
/// is the hash of the entry before, so that a changed, removed or inserted entry is detected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// The number of the entry: 1, 2, 3, ... without gaps.
    pub sequence: u64,
    /// The time of the action.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The name of the token that was used; `(none)` where none was accepted.
    pub actor: String,
    /// The requested action: `changeset`, `rollback`, `profile.update`, `token.create`, ...
    pub action: String,
    /// The outcome.
    pub outcome: AuditOutcome,
    /// Further details, which depend on the action. Never a secret.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// The hash of the entry before; of the first entry, the digest of nothing.
    pub previous: Digest,
    /// Hash of this entry.
    pub hash: Digest,
}

/// The outcome of a requested action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// The action was done.
    Accepted,
    /// The action was refused.
    Refused,
}

impl AuditOutcome {
    /// Returns the outcome as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            AuditOutcome::Accepted => "accepted",
            AuditOutcome::Refused => "refused",
        }
    }
}

impl std::str::FromStr for AuditOutcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "accepted" => Ok(Self::Accepted),
            "refused" => Ok(Self::Refused),
            _ => Err("an outcome is accepted or refused".to_owned()),
        }
    }
}

impl AuditEntry {
    /// Returns the reason why the entry does not follow the entry before, which had this number and hash; none if it does.
    pub fn broken(&self, before: u64, previous: &Digest) -> Option<String> {
        if self.sequence != before.saturating_add(1) {
            Some(format!("entry {} comes after entry {before}", self.sequence))
        } else if self.previous != *previous {
            Some(format!("entry {} does not carry the hash of the one before", self.sequence))
        } else if self.expected_hash() != self.hash {
            Some(format!("entry {} does not have the hash of its contents", self.sequence))
        } else {
            None
        }
    }

    /// Returns the hash that the entry should have.
    pub fn expected_hash(&self) -> Digest {
        Digest::of_value(&serde_json::json!({
            "sequence": self.sequence,
            "at": self.at.to_string(),
            "actor": self.actor,
            "action": self.action,
            "outcome": self.outcome,
            "detail": self.detail,
            "previous": self.previous,
        }))
    }

    /// Returns the value of `previous` in the first entry.
    pub fn genesis() -> Digest {
        Digest::of_bytes(b"")
    }
}
