//! Tests proposed files in a temporary copy of the repository, before anything is written.
//!
//! [`prove`] plans them against the state of the services: the plan of each environment must be empty. [`check_files`] validates
//! them together with the existing files. Missing secrets are replaced by placeholders in the copy. Links and special files are not
//! copied. A copy that cannot be written is [`Proof::Failed`] or an I/O error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use secrecy::SecretSlice;
use tempfile::TempDir;

use crate::{
    config::{Report, Repository},
    import::{LiveEnvironment, ProposedLayers},
    model::{EnvironmentName, SecretReference},
    reconcile::{self, Plan, PlanRequest},
    secrets::{NoCallbacks, Recipients, ServiceIdentity, ValueId, seal},
};

/// The outcome for one environment.
#[derive(Debug)]
pub enum Proof {
    /// A plan would change nothing.
    Holds,
    /// The files are invalid.
    Invalid(Report),
    /// A plan would change something.
    Differs(Box<Plan>),
    /// The files could not be written or planned.
    Failed(String),
}

/// Loads the proposed files from a temporary folder, and plans each environment against the state of its service. Secrets cannot
/// be read back: a secret without a file in `root`, the repository, is assumed to be the one of the service.
pub fn prove(layers: &ProposedLayers, sites: &[LiveEnvironment], root: &Path) -> BTreeMap<EnvironmentName, Proof> {
    let all = |proof: &dyn Fn() -> Proof| sites.iter().map(|site| (site.name.clone(), proof())).collect();
    let scratch = match ScratchCopy::new(root, sites.iter().map(|site| &site.name), &layers.files) {
        Ok(scratch) => scratch,
        Err(error) => return all(&|| Proof::Failed(error.to_string())),
    };
    let added = sites.iter().try_for_each(|site| {
        let named = site.state.live_stored().flat_map(|(_, stored)| stored.secrets.keys());
        named.into_iter().try_for_each(|reference| scratch.add_placeholder(&site.name, reference))
    });
    if let Err(error) = added {
        return all(&|| Proof::Failed(error.to_string()));
    }
    match Repository::open(scratch.folder.path()) {
        Ok(repository) => {
            sites.iter().map(|site| (site.name.clone(), prove_environment(&repository, root, site))).collect()
        }
        Err(report) => all(&|| Proof::Invalid(report.clone())),
    }
}

/// Validates files together with those of the repository before they are written there. Returns the problems of these
/// environments, and the secrets without a file.
pub fn check_files(
    root: &Path,
    environments: &BTreeSet<EnvironmentName>,
    files: &BTreeMap<PathBuf, String>,
) -> io::Result<(Report, BTreeSet<(EnvironmentName, SecretReference)>)> {
    let scratch = ScratchCopy::new(root, environments, &BTreeMap::new())?;
    copy(&root.join("environments"), &scratch.folder.path().join("environments"), 4)?;
    for (path, text) in files {
        write(&scratch.folder.path().join(path), text.as_bytes())?;
    }
    let missing = |repository: &Repository| -> BTreeSet<(EnvironmentName, SecretReference)> {
        let used = environments
            .iter()
            .flat_map(|name| repository.used_secrets(name).into_keys().map(|reference| (name.clone(), reference)));
        used.filter(|(name, reference)| !root.join(Repository::secret_path(name, reference)).exists()).collect()
    };
    let open = || Repository::open(scratch.folder.path());
    let missing = match open() {
        Ok(repository) => missing(&repository),
        Err(report) => return Ok((report, BTreeSet::new())),
    };
    for (name, reference) in &missing {
        scratch.add_placeholder(name, reference)?;
    }
    let names: Vec<EnvironmentName> = environments.iter().cloned().collect();
    let report = open().map_or_else(|report| report, |repository| repository.check(&names));
    Ok((report, missing))
}

fn prove_environment(repository: &Repository, root: &Path, site: &LiveEnvironment) -> Proof {
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
    // What the repository has is its own change, and not one that the import makes.
    if root.join(Repository::recipients_path(&site.name)).is_file() {
        desired.settings.secret_recipients.clone_from(&site.state.settings.secret_recipients);
    }
    match reconcile::plan(&PlanRequest::new(&desired, &site.state, "")) {
        Ok(planned) if planned.plan.is_empty() => Proof::Holds,
        Ok(planned) => Proof::Differs(Box::new(planned.plan)),
        Err(error) => Proof::Failed(error.to_string()),
    }
}

/// A temporary copy of a repository, in which files are tried before they are written.
pub(super) struct ScratchCopy {
    pub(super) folder: TempDir,
    placeholder: Vec<u8>,
}

impl ScratchCopy {
    /// Writes the new files, and copies the secrets of these environments.
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
        Ok(Self { folder, placeholder: seal_placeholder().map_err(io::Error::other)? })
    }

    /// Adds an age file for a secret that has none.
    pub(super) fn add_placeholder(&self, environment: &EnvironmentName, reference: &SecretReference) -> io::Result<()> {
        let path = self.folder.path().join(Repository::secret_path(environment, reference));
        if path.exists() { Ok(()) } else { write(&path, &self.placeholder) }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, bytes)
}

/// The maximum size of a file of a repository, in bytes. Of a larger one, a byte more is copied, so that it is still too large.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Copies regular files up to a depth of folders. Links and special files are left out.
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
            let mut file = crate::fs::open_ordinary(&entry.path())?.take(FILE_LIMIT + 1);
            io::copy(&mut file, &mut fs::File::create(to.join(entry.file_name()))?)?;
        }
    }
    Ok(())
}

/// Returns an age file that is sealed to a discarded key.
fn seal_placeholder() -> Result<Vec<u8>, String> {
    let recipients = Recipients::parse(&ServiceIdentity::generate().recipient(), &NoCallbacks);
    let recipients = recipients.map_err(|error| error.to_string())?;
    let value = SecretSlice::from(b"stands in for a value".to_vec());
    seal(&value, &recipients, &ValueId::from_random([0; 16])).map_err(|error| error.to_string())
}
