//! A rollout that is loaded: its file, the desired state of its environments, and the way to their services.
//!
//! [`LoadedRollout`] is the input of `plan` and of the engine. All environments are loaded from one revision of the files.
//! [`LoadedRollout::load`] fails if the files of one break a rule; [`LoadedRollout::load_each`] keeps such environments as
//! `invalid`, and they fail in their wave.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use rayon::prelude::*;

use super::Run;
use crate::{
    client::Client,
    config::{Desired, Report, Repository, RolloutFile, RolloutWave},
    model::{Code, Digest, EnvironmentName, Problem, Provenance},
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
    /// The environments whose files break rules: they fail in their wave.
    pub invalid: BTreeMap<EnvironmentName, Problem>,
    /// The addresses of the services of environments that are not in `desired`, as far as they can be read. A rollback needs no
    /// more of the files.
    pub addresses: BTreeMap<EnvironmentName, String>,
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
        let mut failed = Vec::new();
        let loaded = Self::load_each(repository, file, (source, source_refusal), connect, |name, _| {
            failed.push(name.clone());
            Problem::new(Code::FilesInvalid, "the files break the rules")
        });
        if failed.is_empty() { Ok(loaded) } else { Err(repository.check(&failed)) }
    }

    /// Loads the files of every environment of the rollout. Environments whose files break rules are [`invalid`](Self::invalid),
    /// for the reason that `describe` returns.
    pub fn load_each(
        repository: &Repository,
        file: RolloutFile,
        (source, source_refusal): (Provenance, Option<Problem>),
        connect: Connector,
        mut describe: impl FnMut(&EnvironmentName, &Report) -> Problem,
    ) -> Self {
        let names: Vec<EnvironmentName> = file.environments().cloned().collect();
        repository.read_ahead(&names);
        let results: Vec<_> = names.into_par_iter().map(|name| (repository.load(&name), name)).collect();
        let (mut desired, mut invalid) = (BTreeMap::new(), BTreeMap::new());
        for (result, name) in results {
            match result {
                Ok(found) => drop(desired.insert(name, Arc::new(found))),
                Err(report) => {
                    let problem = describe(&name, &report);
                    invalid.insert(name, problem);
                }
            }
        }
        let coordinator_address = repository.service_address(&file.coordinator);
        let address = |name: &EnvironmentName| Some((name.clone(), repository.service_address(name)?));
        let addresses = invalid.keys().filter_map(address).collect();
        let root = repository.root().to_owned();
        Self { file, root, source, source_refusal, desired, invalid, addresses, coordinator_address, connect }
    }

    /// Creates a client of an environment's service.
    pub fn client(&self, name: &EnvironmentName, purpose: ClientPurpose) -> Result<Client, Problem> {
        let address = match self.desired.get(name) {
            Some(desired) => desired.service_address.as_deref(),
            None => self.addresses.get(name).map(String::as_str),
        };
        (self.connect)(name, address, purpose)
    }

    /// Creates a client of the coordinator's service.
    pub fn coordinator(&self) -> Result<Client, Problem> {
        (self.connect)(&self.file.coordinator, self.coordinator_address.as_deref(), ClientPurpose::Deploy)
    }

    /// Returns a digest of the desired state of each environment. One whose files break rules has a text that is not a digest,
    /// so that a run with corrected files is another one.
    pub fn digests(&self) -> BTreeMap<EnvironmentName, String> {
        let mut digests: BTreeMap<EnvironmentName, String> =
            self.desired.par_iter().map(|(name, desired)| (name.clone(), digest(desired))).collect();
        let describe =
            |problem: &Problem| format!("invalid {}", shorten(&Digest::of_bytes(problem.message.as_bytes())));
        digests.extend(self.invalid.iter().map(|(name, problem)| (name.clone(), describe(problem))));
        digests
    }
}

/// Returns the file of a rollout for the rollback of a run. The environments are those of the run, and the terms are those of the
/// present file if it can be read: a rollback does not depend on the files.
pub fn rollback_file(repository: &Repository, run: &Run) -> RolloutFile {
    let present = repository.load_rollout(&run.rollout).and_then(Result::ok);
    let terms = |name: &str| {
        let wave = present.as_ref()?.waves.iter().find(|wave| wave.name == name)?;
        Some(wave.terms.clone())
    };
    let waves = run.spec.waves.iter().map(|wave| RolloutWave {
        name: wave.name.clone(),
        terms: terms(&wave.name).unwrap_or_default(),
        environments: wave.environments.keys().cloned().collect(),
    });
    RolloutFile {
        name: run.rollout.clone(),
        path: present.as_ref().map(|file| file.path.clone()).unwrap_or_default(),
        digest: run.spec.file.clone(),
        description: String::new(),
        coordinator: run.spec.coordinator.clone(),
        gate: true,
        waves: waves.collect(),
    }
}

/// Returns the first half of the digest of everything that would be sent: 128 bits are enough to detect changes.
fn digest(desired: &Desired) -> String {
    let profiles: Vec<_> = desired.profiles.iter().map(|(name, p)| (name, &p.stored, &p.renamed_from)).collect();
    let whole = Digest::of_document(&(&desired.environment, &desired.settings, &desired.service_address, profiles));
    shorten(&whole)
}

fn shorten(digest: &Digest) -> String {
    let hex = digest.as_str().trim_start_matches("sha256:");
    hex.get(..32).unwrap_or(hex).to_owned()
}
