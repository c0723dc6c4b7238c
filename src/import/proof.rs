//! Whether proposed files amount to what services hold: they are read as any others, and planned.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretSlice;
use tempfile::TempDir;

use crate::{
    config::{Report, Repository},
    import::{Layers, Site},
    model::{EnvironmentName, SecretReference},
    reconcile::{self, Plan, Request},
    secrets::{NoCallbacks, Recipients, ServiceIdentity, ValueId, seal},
};

/// What came of it for one environment.
#[derive(Debug)]
pub enum Proof {
    /// A plan would change nothing.
    Holds,
    /// The files do not pass `validate`.
    Invalid(Report),
    /// A plan would change something.
    Differs(Box<Plan>),
    /// It could not be tried.
    Failed(String),
}

/// Reads the proposed files in a folder of their own, and plans each environment against what its service holds.
/// Secrets cannot be read back: where `root`, the repository, has no file of one, it is taken to be what the service
/// has.
pub fn prove(layers: &Layers, sites: &[Site], root: &Path) -> BTreeMap<EnvironmentName, Proof> {
    let all = |proof: &dyn Fn() -> Proof| sites.iter().map(|site| (site.name.clone(), proof())).collect();
    let trial = match Trial::new(root, sites.iter().map(|site| &site.name), &layers.files) {
        Ok(trial) => trial,
        Err(error) => return all(&|| Proof::Failed(error.to_string())),
    };
    let stood_in = sites.iter().try_for_each(|site| {
        let named = site.state.live_stored().flat_map(|(_, stored)| stored.secrets.keys());
        named.into_iter().try_for_each(|reference| trial.stand_in(&site.name, reference))
    });
    if let Err(error) = stood_in {
        return all(&|| Proof::Failed(error.to_string()));
    }
    match Repository::open(trial.folder.path()) {
        Ok(repository) => sites.iter().map(|site| (site.name.clone(), one(&repository, root, site))).collect(),
        Err(report) => all(&|| Proof::Invalid(report.clone())),
    }
}

/// Reads files among those of the repository before they are written there. Gives what is wrong with these
/// environments then, and the secrets that have no file yet.
pub fn check(
    root: &Path,
    environments: &BTreeSet<EnvironmentName>,
    files: &BTreeMap<PathBuf, String>,
) -> io::Result<(Report, BTreeSet<(EnvironmentName, SecretReference)>)> {
    let trial = Trial::new(root, environments, &BTreeMap::new())?;
    copy(&root.join("environments"), &trial.folder.path().join("environments"), 4)?;
    for (path, text) in files {
        write(&trial.folder.path().join(path), text.as_bytes())?;
    }
    let missing = |repository: &Repository| -> BTreeSet<(EnvironmentName, SecretReference)> {
        let used = environments
            .iter()
            .flat_map(|name| repository.used_secrets(name).into_keys().map(|reference| (name.clone(), reference)));
        used.filter(|(name, reference)| !root.join(Repository::secret_path(name, reference)).exists()).collect()
    };
    let open = || Repository::open(trial.folder.path());
    let missing = match open() {
        Ok(repository) => missing(&repository),
        Err(report) => return Ok((report, BTreeSet::new())),
    };
    for (name, reference) in &missing {
        trial.stand_in(name, reference)?;
    }
    let names: Vec<EnvironmentName> = environments.iter().cloned().collect();
    let report = open().map_or_else(|report| report, |repository| repository.check(&names));
    Ok((report, missing))
}

fn one(repository: &Repository, root: &Path, site: &Site) -> Proof {
    let mut desired = match repository.load(&site.name) {
        Ok(desired) => desired,
        Err(report) => return Proof::Invalid(report),
    };
    for (name, profile) in &mut desired.profiles {
        let live = site.state.profiles.get(name).and_then(|state| state.live.as_ref());
        let is_there = |path: PathBuf| root.join(path).is_file();
        for (reference, digest) in &mut profile.stored.secrets {
            let held = live.and_then(|live| live.secrets.get(reference));
            if let Some(held) = held.filter(|_| !is_there(Repository::secret_path(&site.name, reference))) {
                *digest = held.clone();
            }
        }
        for (reference, held) in live.into_iter().flat_map(|live| &live.next) {
            if !is_there(Repository::next_secret_path(&site.name, reference)) {
                profile.stored.next.insert(reference.clone(), held.clone());
            }
        }
    }
    if let (Some(reader), Some(live)) = (&mut desired.settings.reader, &site.state.settings.reader)
        && let Some(reference) = reader.application.credential.secret()
        && live.application.credential.secret() == Some(reference)
        && !root.join(Repository::secret_path(&site.name, reference)).is_file()
    {
        reader.secret.clone_from(&live.secret);
    }
    match reconcile::plan(&Request::new(&desired, &site.state, "")) {
        Ok(planned) if planned.plan.is_empty() => Proof::Holds,
        Ok(planned) => Proof::Differs(Box::new(planned.plan)),
        Err(error) => Proof::Failed(error.to_string()),
    }
}

/// Files that are tried before they are written: a copy of what they lie among, in a folder that goes away.
pub(super) struct Trial {
    pub(super) folder: TempDir,
    stand_in: Vec<u8>,
}

impl Trial {
    /// The new files, and the secrets of these environments.
    pub(super) fn new<'a>(
        root: &Path,
        environments: impl IntoIterator<Item = &'a EnvironmentName>,
        files: &BTreeMap<PathBuf, String>,
    ) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mailwright-trial-").tempdir()?;
        for name in environments {
            let secrets = Path::new("secrets").join(name.as_str());
            copy(&root.join(&secrets), &folder.path().join(&secrets), 3)?;
        }
        for (path, text) in files {
            write(&folder.path().join(path), text.as_bytes())?;
        }
        Ok(Self { folder, stand_in: stand_in().map_err(io::Error::other)? })
    }

    /// An age file for a secret that has none yet. It holds nothing.
    pub(super) fn stand_in(&self, environment: &EnvironmentName, reference: &SecretReference) -> io::Result<()> {
        let path = self.folder.path().join(Repository::secret_path(environment, reference));
        if path.exists() { Ok(()) } else { write(&path, &self.stand_in) }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, bytes)
}

/// Copies ordinary files, so many folders deep. What is no file is not followed.
pub(super) fn copy(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 || !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()), depth - 1)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// A sealed value that nobody can open.
fn stand_in() -> Result<Vec<u8>, String> {
    let recipients = Recipients::parse(&ServiceIdentity::generate().recipient(), &NoCallbacks);
    let recipients = recipients.map_err(|error| error.to_string())?;
    let value = SecretSlice::from(b"stands in for a value".to_vec());
    seal(&value, &recipients, &ValueId::from_random([0; 16])).map_err(|error| error.to_string())
}
