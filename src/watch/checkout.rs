//! The source of the files: a folder that another program updates, or a clone that follows a branch.
//!
//! The pass scheduler polls [`Files`]; a new version is a [`Snapshot`] that the passes share. If a fetch fails, the passes go on
//! with the version that is checked out; if the files cannot be opened, each pass fails with the reason. Nothing here loads an
//! environment.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Shared;
use crate::{
    config::{Repository, Selection},
    git::{self, Cancellation, Follower, WorkTreeProvenance},
    model::{Code, EnvironmentName, Problem, Provenance},
};

/// A version of the files.
pub struct Snapshot {
    /// The repository.
    pub repository: Arc<Repository>,
    /// The commit, branch and author.
    pub source: Provenance,
    /// The reason for which Git does not name them, if it refuses to.
    pub source_refusal: Option<Problem>,
    /// The number of times that the files had changed before. Snapshots with the same number have the same files.
    pub revision: u64,
}

/// The source of the files.
pub struct Files {
    origin: Origin,
    /// The last version: its commit, and true if there were uncommitted changes.
    last: Option<(Option<String>, bool)>,
    /// The number of times that the files changed.
    revision: u64,
}

enum Origin {
    Folder(PathBuf),
    Branch(Follower),
}

impl Files {
    /// Creates the source for a folder that another program updates.
    pub fn folder(path: PathBuf) -> Self {
        Self { origin: Origin::Folder(path), last: None, revision: 0 }
    }

    /// Creates the source for a clone that follows a branch.
    pub fn branch(follower: Follower) -> Self {
        Self { origin: Origin::Branch(follower), last: None, revision: 0 }
    }

    /// Returns the handle that interrupts a fetch from a remote.
    pub(super) fn stop(&self) -> Cancellation {
        match &self.origin {
            Origin::Folder(_) => Cancellation::default(),
            Origin::Branch(follower) => follower.cancellation(),
        }
    }

    /// Checks for a new version, and makes it available to passes. Returns none if there is no new one, unless `always` is set.
    pub(super) async fn poll(&mut self, shared: &Shared, always: bool) -> Result<Option<FilesVersion>, Problem> {
        let known = self.last.clone();
        let snapshot = match &self.origin {
            Origin::Folder(path) => {
                let folder = path.clone();
                let source = blocking(move || git::read_provenance(&folder, None)).await?;
                let provenance = &source.provenance;
                if !always && known.as_ref() == Some(&(provenance.commit.clone(), provenance.dirty)) {
                    return Ok(None);
                }
                if let Some(refusal) = &source.refusal {
                    let (problem, remedy) = (&refusal.message, &refusal.remedy);
                    tracing::warn!(code = %refusal.code, problem, remedy, "cannot record commit, branch and author");
                }
                let path = path.clone();
                self.revision += u64::from(known != Some((provenance.commit.clone(), provenance.dirty)));
                let revision = self.revision;
                replace_checkout(shared, move || open(&path, source, revision)).await?
            }
            Origin::Branch(follower) => {
                let remote = follower.clone();
                let step = blocking(move || remote.fetch()).await??;
                let is_checked_out = known.is_some_and(|(commit, _)| commit.as_deref() == Some(&step.commit));
                if is_checked_out && !always {
                    return Ok(None);
                }
                if !is_checked_out && step.is_rewritten {
                    tracing::warn!(commit = step.commit, "the history of the branch was rewritten; following it");
                    let now = shared.options.clock.now();
                    shared.set(|status| status.files.rewritten_at = Some(now));
                }
                self.revision += u64::from(!is_checked_out);
                let revision = self.revision;
                let follower = follower.clone();
                let work = move || {
                    if !is_checked_out {
                        follower.check_out(&step.commit)?;
                    }
                    let source = git::read_provenance(follower.folder(), Some(follower.branch().to_owned()));
                    open(follower.folder(), source, revision)
                };
                replace_checkout(shared, work).await?
            }
        };
        let (found, selection) = (Arc::clone(&snapshot), shared.options.selection.clone());
        let names = blocking(move || found.names(&selection)).await??;
        let Provenance { commit, dirty, .. } = &snapshot.source;
        let version = FilesVersion { commit: commit.clone(), dirty: *dirty, names };
        self.last = Some((version.commit.clone(), version.dirty));
        Ok(Some(version))
    }
}

/// A version of the files, and the environments in it.
pub(super) struct FilesVersion {
    pub(super) commit: Option<String>,
    pub(super) dirty: bool,
    /// The environments that are selected.
    pub(super) names: BTreeSet<EnvironmentName>,
}

impl FilesVersion {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.commit == other.commit && self.dirty == other.dirty
    }
}

/// Replaces the files. A pass that loaded an environment meanwhile finds another revision afterwards and loads it again, so that no
/// pass records the files of one commit under another one.
async fn replace_checkout(
    shared: &Shared,
    work: impl FnOnce() -> Result<Snapshot, Problem> + Send + 'static,
) -> Result<Arc<Snapshot>, Problem> {
    let mut checkout = shared.files.write().await;
    let found = blocking(work).await.and_then(|found| found).map(Arc::new);
    *checkout = Some(found.clone());
    found
}

fn open(root: &Path, source: WorkTreeProvenance, revision: u64) -> Result<Snapshot, Problem> {
    let repository = Repository::open(root).map_err(|report| report.to_problem())?;
    let WorkTreeProvenance { provenance: source, refusal: source_refusal } = source;
    Ok(Snapshot { repository: Arc::new(repository), source, source_refusal, revision })
}

impl Snapshot {
    /// Returns the environments that are selected.
    fn names(&self, selection: &Selection) -> Result<BTreeSet<EnvironmentName>, Problem> {
        let names = self.repository.select(selection)?;
        Ok(names.into_iter().filter(|name| !self.repository.is_abstract(name)).collect())
    }
}

/// Runs work that blocks on a disk or a program in a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(Code::Internal, "a task of the watch ended unexpectedly"))
}
