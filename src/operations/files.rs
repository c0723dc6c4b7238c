//! [`EnvironmentFiles`]: the desired state of one environment and the source of its files, as operations take them.
//!
//! It makes plan requests, and attaches to a changeset the age files that the service lacks. An age file that is missing, or
//! differs from the plan, is a problem (plan again). Loading the files is done by the caller, with [`crate::config`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::gate;
use crate::{
    api::VerifyRequest,
    config::Desired,
    model::{Changeset, Code, Digest, Problem, Provenance, State},
    reconcile::{PlanRequest, Planned, attachments},
};

/// The desired state of one environment, and the source of its files.
#[derive(Clone, Copy, Debug)]
pub struct EnvironmentFiles<'a> {
    /// The folder of the repository.
    pub root: &'a Path,
    /// The desired state.
    pub desired: &'a Desired,
    /// The commit, branch and author that the files are of.
    pub source: &'a Provenance,
    /// The reason for which Git does not name the source, if it refuses to.
    pub source_refusal: Option<&'a Problem>,
}

impl<'a> EnvironmentFiles<'a> {
    /// Returns the request for a plan of everything in the files. Callers limit it with the fields of [`PlanRequest`].
    pub fn plan_request(&self, state: &'a State, service: &'a str) -> PlanRequest<'a> {
        PlanRequest { source: self.source.clone(), ..PlanRequest::new(self.desired, state, service) }
    }

    /// Attaches the age files that the service does not have. Returns the request that verifies the changeset; none if the
    /// changeset sets no enabled profile.
    pub fn prepare(&self, state: &State, planned: &mut Planned) -> Result<Option<VerifyRequest>, Problem> {
        let files = attachments::required_age_files(self.desired, state, &planned.changeset);
        attach(&mut planned.changeset, &files, self.root)?;
        gate::request(&planned.changeset, Some((self.root, self.desired)))
    }
}

/// Attaches age files to a changeset, by digest.
pub fn attach(changeset: &mut Changeset, files: &BTreeMap<Digest, PathBuf>, root: &Path) -> Result<(), Problem> {
    attachments::attach(changeset, files, root)
        .map_err(|error| Problem::new(Code::PlanOutdated, error.to_string()).remedy("Restore the file, or plan again."))
}
