//! The status of a watch: the files that it follows, and each environment.
//!
//! Passes write it; the status server, the metrics and the exit code of `watch --once` read it. A pass that could not plan keeps
//! the earlier plan and has the reason. It is not stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{EnvironmentName, Problem};

/// The role of this watch in an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The role is not known yet, or the lease cannot be acquired.
    #[default]
    Unknown,
    /// This watch holds the lease: it applies and reports.
    Acting,
    /// Another watch holds the lease.
    Standby,
}

/// A credential that expires soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpiringCredential {
    /// The profile that uses the credential.
    pub profile: String,
    /// The name of the secret.
    pub secret: String,
    /// The kind of credential.
    pub kind: &'static str,
    /// The time of expiry.
    pub ends: Timestamp,
    /// The number of whole days left; negative after the expiry.
    pub days: i64,
}

impl ExpiringCredential {
    /// Describes the credential in one sentence.
    pub fn describe(&self) -> String {
        let Self { profile, secret, kind, ends, days } = self;
        let day = ends.strftime("%Y-%m-%d");
        if *days < 0 {
            format!("the {kind} `{secret}` of `{profile}` expired on {day}")
        } else {
            format!("the {kind} `{secret}` of `{profile}` expires on {day}, in {days} days")
        }
    }
}

/// The status of an environment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentStatus {
    /// The role of this watch.
    pub role: Role,
    /// The commit of the last plan.
    pub commit: Option<String>,
    /// The time of the last plan.
    pub planned_at: Option<Timestamp>,
    /// The generation of the service at that time.
    pub generation: u64,
    /// The number of pending changes.
    pub changes: usize,
    /// The pending changes of each kind.
    pub summary: String,
    /// The objects that were changed outside Git.
    pub drift: Vec<String>,
    /// The credentials that expire soon.
    pub expiring: Vec<ExpiringCredential>,
    /// The reason for which the last pass could not plan.
    pub problem: Option<Problem>,
    /// The reason for which the pending changes were not applied. The next pass tries again.
    pub refused: Option<Problem>,
    /// The reason for which the pending changes wait for an operator.
    pub waiting: Option<Problem>,
    /// The last changes that were applied.
    pub applied: Option<String>,
    /// The time of the last apply.
    pub applied_at: Option<Timestamp>,
    /// The number of applies.
    pub applies: u64,
    /// The number of passes that failed.
    pub errors: u64,
}

impl EnvironmentStatus {
    /// Returns true if the last pass failed.
    pub fn has_failed(&self) -> bool {
        self.problem.is_some() || self.refused.is_some()
    }

    /// Returns true if something waits for an operator.
    pub fn waits(&self) -> bool {
        self.waiting.is_some() || self.changes > 0 || !self.drift.is_empty()
    }
}

/// The status of the files.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesStatus {
    /// The commit that is checked out.
    pub commit: Option<String>,
    /// True if there are uncommitted changes.
    pub dirty: bool,
    /// The time of the last successful check for changes.
    pub looked_at: Option<Timestamp>,
    /// The reason for which the files cannot be followed now.
    pub problem: Option<Problem>,
    /// The last time that the history of the branch was found rewritten.
    pub rewritten_at: Option<Timestamp>,
}

/// The status of a watch.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchStatus {
    /// The files.
    pub files: FilesStatus,
    /// The environments.
    pub environments: BTreeMap<EnvironmentName, EnvironmentStatus>,
}

impl WatchStatus {
    /// Returns the result of one pass over all environments.
    pub fn result(&self) -> PassResult {
        if self.files.problem.is_some() || self.environments.values().any(EnvironmentStatus::has_failed) {
            PassResult::Failed
        } else if self.environments.values().any(EnvironmentStatus::waits) {
            PassResult::Waiting
        } else {
            PassResult::Done
        }
    }
}

/// The result of one pass over all environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassResult {
    /// Every environment is as the files say.
    Done,
    /// Something failed.
    Failed,
    /// Something waits for an operator.
    Waiting,
}
