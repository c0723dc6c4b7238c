//! The status of a run, and the rollback that it carries out.
//!
//! `run` computes them from the entries of the journal. A run whose process was killed is still `Running`; paused and stopped runs
//! can be resumed, aborted and finished ones cannot. Nothing here reads a journal.

use serde::Serialize;

use super::PauseOrigin;
use crate::model::{Code, Problem};

/// The status of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum RunStatus {
    /// A process works on the run, or did until it was killed.
    Running,
    /// The run can be resumed.
    Paused {
        /// The reason.
        reason: String,
        /// The origin. Without one and without a problem it was an operator.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<PauseOrigin>,
        /// The problem that made it pause, if one did.
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
    /// More environments failed than the rollout tolerates.
    Stopped {
        /// The failure.
        problem: Problem,
    },
    /// An operator aborted the run.
    Aborted {
        /// The operator.
        by: String,
    },
    /// All waves are done.
    Finished,
}

impl RunStatus {
    /// Returns true if the run cannot be resumed.
    pub fn is_final(&self) -> bool {
        matches!(self, RunStatus::Aborted { .. } | RunStatus::Finished)
    }

    /// Returns true if a pause of an operator would change the status: the run is not paused by an operator, has not ended and has
    /// not stopped.
    pub fn can_be_paused(&self) -> bool {
        matches!(self, RunStatus::Running | RunStatus::Paused { .. }) && !self.is_paused_by_operator()
    }

    /// Returns true if a watch continues the run without an operator: it was killed, paused for the watch, or lost its lease.
    pub fn continues_by_itself(&self) -> bool {
        match self {
            RunStatus::Running | RunStatus::Paused { by: Some(PauseOrigin::Watch), problem: None, .. } => true,
            RunStatus::Paused { problem: Some(problem), .. } => problem.code == Code::LeaseLost,
            _ => false,
        }
    }

    /// Returns true if an operator paused the run.
    pub fn is_paused_by_operator(&self) -> bool {
        matches!(self, RunStatus::Paused { by: None | Some(PauseOrigin::Operator(_)), problem: None, .. })
    }
}

/// A rollback of environments to the generations that they had before the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRollback {
    /// The wave that is rolled back; none for all waves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// True if environments that were empty before the run are emptied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub to_empty: bool,
    /// The reason.
    pub reason: Problem,
}
