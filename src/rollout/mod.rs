//! A change to many environments, in waves: what it amounts to, the journal, going on after any end, taking back.
//!
//! * [`plan`] asks every service, and groups what would change, so that equal changes read as one
//! * [`engine`] works through the waves: apply, soak, check, and what happens where too much fails
//! * [`environment`] does one thing in one environment: apply, check, take back
//! * [`journal`] is the truth: an entry before and after each step, durable before anything else happens
//! * [`run`] is what the journal's entries amount to; the engine and `status` read it alike
//! * [`lock`] keeps two from working on one rollout: a file on this machine, a lease in a service for all others
//! * [`render`] turns plans and runs into what people read
//!
//! What makes it safe to kill at any moment: a changeset is journalled with its id and the generation that it was
//! computed from before it is sent, and the service takes a changeset once, on that generation. Whoever goes on asks
//! the service whether the generation that would have come of it came of it. Nothing here prints.

pub mod engine;
pub mod environment;
pub mod journal;
pub mod lock;
pub mod plan;
pub mod render;
pub mod run;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use crate::{
    client::Client,
    config::{Desired, Report, Repository, RolloutFile},
    model::Provenance,
    model::{Digest, EnvironmentName},
};

pub use crate::model::Problem;
pub use engine::{Engine, Reach, Wish};
pub use journal::{Entry, Event, Journal};
pub use run::Run;

/// Whose token a client carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Changes and questions.
    Deploy,
    /// Submitting the mail of a check.
    Probe,
}

/// Makes the client of an environment's service, whose address the files may say.
pub type Connect = Arc<dyn Fn(&EnvironmentName, Option<&str>, Purpose) -> Result<Client, Problem> + Send + Sync>;

/// What a rollout is made of: its file, and what the files of each environment amount to.
pub struct Material {
    /// The rollout's file.
    pub file: RolloutFile,
    /// The repository.
    pub root: PathBuf,
    /// Which commit the files are of.
    pub source: Provenance,
    /// What the files of each environment say.
    pub desired: BTreeMap<EnvironmentName, Arc<Desired>>,
    /// The address of the coordinator's service, if the files say so.
    pub coordinator_address: Option<String>,
    /// Makes clients.
    pub connect: Connect,
}

impl Material {
    /// Reads the files of every environment that the rollout means; or everything that is wrong with them.
    pub fn read(
        repository: &Repository,
        file: RolloutFile,
        source: Provenance,
        connect: Connect,
    ) -> Result<Self, Report> {
        let names: Vec<EnvironmentName> = file.environments().cloned().collect();
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
        Ok(Self { file, root: repository.root().to_owned(), source, desired, coordinator_address, connect })
    }

    /// A client of an environment's service.
    pub fn client(&self, name: &EnvironmentName, purpose: Purpose) -> Result<Client, Problem> {
        let address = self.desired.get(name).and_then(|desired| desired.service_address.as_deref());
        (self.connect)(name, address, purpose)
    }

    /// A client of the coordinator's service.
    pub fn coordinator(&self) -> Result<Client, Problem> {
        (self.connect)(&self.file.coordinator, self.coordinator_address.as_deref(), Purpose::Deploy)
    }

    /// What the files of each environment say, in short: another digest means other contents.
    pub fn digests(&self) -> BTreeMap<EnvironmentName, String> {
        self.desired.par_iter().map(|(name, desired)| (name.clone(), digest(desired))).collect()
    }

    /// The repository's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// The first half of the digest of all that would be sent: 128 bits tell changes apart.
fn digest(desired: &Desired) -> String {
    let profiles: Vec<_> = desired.profiles.iter().map(|(name, p)| (name, &p.stored, &p.renamed_from)).collect();
    let whole = Digest::of_document(&(&desired.environment, &desired.settings, &desired.service_address, profiles));
    let hex = whole.as_str().trim_start_matches("sha256:");
    hex.get(..32).unwrap_or(hex).to_owned()
}
