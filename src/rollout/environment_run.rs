//! The state of an environment in a run: the outcome of its apply, its checks and its rollback.
//!
//! `run` computes it from the entries of the journal. A changeset that was sent and whose outcome is unknown stays in `open`, also
//! after a failure. Nothing here reads a journal.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::model::Problem;

/// The state of an environment in a run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentRun {
    /// The outcome of the apply.
    pub outcome: EnvironmentOutcome,
    /// The time of the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Changesets that may have been sent and whose outcome is not in the journal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Intent>,
    /// True if the checks passed; none if they were not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks_passed: Option<bool>,
    /// The number of times that the checks were run.
    pub checks: u32,
    /// The failure of the apply, of a check or of the rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The status of the rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,
}

/// The outcome of the apply in an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum EnvironmentOutcome {
    /// There is no outcome yet, or it is unknown.
    #[default]
    Waiting,
    /// A changeset was applied.
    Applied {
        /// The generation that the changeset created.
        generation: u64,
        /// The generation before the changeset.
        before: u64,
    },
    /// The environment was already as the files say.
    Unchanged {
        /// The generation of the environment.
        generation: u64,
    },
    /// The apply failed.
    Failed,
}

/// A changeset that was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// The id of the changeset.
    pub changeset: Uuid,
    /// The generation that it was computed from.
    pub base: u64,
    /// The number of changes of each kind.
    pub summary: String,
}

/// The status of the rollback of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum RollbackStatus {
    /// The rollback was requested, and its outcome is unknown.
    Requested {
        /// The generation that the run created.
        base: u64,
        /// The generation to return to.
        to: u64,
    },
    /// The environment is rolled back.
    Done {
        /// The generation that the rollback created; none if there was nothing to roll back.
        generation: Option<u64>,
    },
    /// The environment is not rolled back.
    Refused,
}

impl EnvironmentRun {
    /// Returns true if the environment counts as a failure of its wave.
    pub fn has_failed(&self) -> bool {
        self.outcome == EnvironmentOutcome::Failed || self.checks_passed == Some(false)
    }

    /// Returns true if the environment is as the files say.
    pub fn is_applied(&self) -> bool {
        matches!(self.outcome, EnvironmentOutcome::Applied { .. } | EnvironmentOutcome::Unchanged { .. })
    }
}
