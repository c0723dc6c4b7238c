//! A rollout that is loaded: its file, the desired state of its environments, and the way to their services.
//!
//! [`LoadedRollout`] is the input of `plan` and of the engine. All environments are loaded from one revision of the files.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use rayon::prelude::*;

use crate::{
    client::Client,
    config::{Desired, Report, Repository, RolloutFile},
    model::{Digest, EnvironmentName, Problem, Provenance},
    operations::{ClientPurpose, Connector},
};

/// A rollout's file and the desired state of each of its environments.
pub struct LoadedRollout {
    /// The rollout's file.
    pub file: RolloutFile,
    /// The folder of the repository.
    pub root: PathBuf,
    /// The commit, branch and author that the files are of.
    pub source: Provenance,
    /// The reason for which Git does not name the source, if it refuses to.
    pub source_refusal: Option<Problem>,
    /// The desired state of each environment.
    pub desired: BTreeMap<EnvironmentName, Arc<Desired>>,
    /// The address of the coordinator's service, if its files have one.
    pub coordinator_address: Option<String>,
    /// Creates clients.
    pub connect: Connector,
}

impl LoadedRollout {
    /// Loads the files of every environment of the rollout. On failure, the report has all of their problems.
    pub fn load(
        repository: &Repository,
        file: RolloutFile,
        (source, source_refusal): (Provenance, Option<Problem>),
        connect: Connector,
    ) -> Result<Self, Report> {
        let names: Vec<EnvironmentName> = file.environments().cloned().collect();
        repository.read_ahead(&names);
        let loaded: Vec<_> = names.into_par_iter().map(|name| (repository.load(&name), name)).collect();
        let mut desired = BTreeMap::new();
        let mut failed = Vec::new();
        for (result, name) in loaded {
            match result {
                Ok(found) => drop(desired.insert(name, Arc::new(found))),
                Err(_) => failed.push(name),
            }
        }
        if !failed.is_empty() {
            return Err(repository.check(&failed));
        }
        let coordinator_address = repository.service_address(&file.coordinator);
        Ok(Self {
            file,
            root: repository.root().to_owned(),
            source,
            source_refusal,
            desired,
            coordinator_address,
            connect,
        })
    }

    /// Creates a client of an environment's service.
    pub fn client(&self, name: &EnvironmentName, purpose: ClientPurpose) -> Result<Client, Problem> {
        let address = self.desired.get(name).and_then(|desired| desired.service_address.as_deref());
        (self.connect)(name, address, purpose)
    }

    /// Creates a client of the coordinator's service.
    pub fn coordinator(&self) -> Result<Client, Problem> {
        (self.connect)(&self.file.coordinator, self.coordinator_address.as_deref(), ClientPurpose::Deploy)
    }

    /// Returns a digest of the desired state of each environment.
    pub fn digests(&self) -> BTreeMap<EnvironmentName, String> {
        self.desired.par_iter().map(|(name, desired)| (name.clone(), digest(desired))).collect()
    }
}

/// Returns the first half of the digest of everything that would be sent: 128 bits are enough to detect changes.
fn digest(desired: &Desired) -> String {
    let profiles: Vec<_> = desired.profiles.iter().map(|(name, p)| (name, &p.stored, &p.renamed_from)).collect();
    let whole = Digest::of_document(&(&desired.environment, &desired.settings, &desired.service_address, profiles));
    let hex = whole.as_str().trim_start_matches("sha256:");
    hex.get(..32).unwrap_or(hex).to_owned()
}
