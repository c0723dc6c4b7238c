//! Saved plans: a plan in a file, which is applied exactly as it was shown or not at all.
//!
//! The file contains the plan and its changeset. Of age files it contains only paths and digests, so that it can be stored as an
//! artifact of a CI system; an age file that changed since then makes the plan outdated. [`SavedPlan::read`] rejects a file of
//! another version, or whose contents do not match its digest; the digest detects damage, not forgery.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Planned, plan::FORMAT_VERSION};
use crate::model::{
    Changeset, Digest,
    approvals::{self, SignedAction},
};

/// The contents of a plan file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedPlan {
    /// The plan that was shown.
    pub plan: super::Plan,
    /// The changeset that carries it out.
    pub changeset: Changeset,
    /// The paths of the age files that the service needs, relative to the repository.
    pub secret_files: BTreeMap<Digest, PathBuf>,
    /// The target generation, for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<u64>,
    /// The digest of all other fields.
    pub digest: Digest,
}

/// The reason why a saved plan cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedPlanError {
    /// The file is not a plan file.
    #[error("it is not a saved plan: {0}")]
    NotAPlan(String),
    /// The file was written by another version.
    #[error("it has format version {0}, and this program reads version {FORMAT_VERSION}")]
    Version(u64),
    /// The contents of the file do not match its digest.
    #[error("its contents do not match its digest: the file was changed")]
    Damaged,
}

impl SavedPlan {
    /// Combines a plan with its changeset and the paths of its age files.
    pub fn new(planned: &Planned, secret_files: BTreeMap<Digest, PathBuf>) -> Self {
        let mut saved = Self {
            plan: planned.plan.clone(),
            changeset: planned.changeset.clone(),
            secret_files,
            rollback: None,
            digest: Digest::of_bytes(b""),
        };
        saved.digest = saved.expected_digest();
        saved
    }

    /// Combines a rollback to a generation with its changeset. The service has its age files.
    pub fn rollback(planned: &Planned, to: u64) -> Self {
        let mut saved = Self { rollback: Some(to), ..Self::new(planned, BTreeMap::new()) };
        saved.digest = saved.expected_digest();
        saved
    }

    /// Returns the action that is signed.
    pub fn signed_action(&self) -> SignedAction {
        self.rollback.map_or(SignedAction::Apply, SignedAction::Rollback)
    }

    /// Computes the digest that an approval signs, from the changes of the plan.
    pub fn approval_digest(&self) -> Digest {
        let Changeset { environment, base, settings, changes, .. } = &self.changeset;
        approvals::digest(environment, *base, self.signed_action(), settings.as_ref(), changes)
    }

    /// Reads a plan file. Rejects a file that is damaged or of another version.
    pub fn read(text: &[u8]) -> Result<Self, SavedPlanError> {
        let document: serde_json::Value = serde_json::from_slice(text)
            .map_err(|error| SavedPlanError::NotAPlan(format!("line {}, column {}", error.line(), error.column())))?;
        let version = document["plan"]["formatVersion"].as_u64();
        match version {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(version) => return Err(SavedPlanError::Version(version)),
            None => return Err(SavedPlanError::NotAPlan("it has no format version".to_owned())),
        }
        let saved: Self = serde_json::from_value(document)
            .map_err(|_| SavedPlanError::NotAPlan("parts of it are missing or wrong".to_owned()))?;
        let consistent = saved.expected_digest() == saved.digest
            && saved.changeset.provenance.plan == Some(saved.plan.digest())
            && saved.changeset.base == saved.plan.base
            && saved.changeset.environment == saved.plan.environment
            && saved.plan.approvals.as_ref().is_none_or(|approvals| approvals.digest == saved.approval_digest());
        if consistent { Ok(saved) } else { Err(SavedPlanError::Damaged) }
    }

    /// Returns the file's text.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn expected_digest(&self) -> Digest {
        match self.rollback {
            None => Digest::of_document(&(&self.plan, &self.changeset, &self.secret_files)),
            Some(to) => Digest::of_document(&(&self.plan, &self.changeset, &self.secret_files, to)),
        }
    }
}
