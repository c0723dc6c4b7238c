//! Where the files come from: a folder that somebody else keeps, or a clone that follows a branch.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Shared;
use crate::{
    config::{Report, Repository, Selection},
    git::{self, Cancellation, Follower, GitError, WorkTreeProvenance},
    model::Provenance,
    model::{Code, EnvironmentName, code::Severity},
    rollout::Problem,
};

/// The files as they were found.
pub struct Snapshot {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Which commit they are of.
    pub source: Provenance,
    /// Why Git does not say it.
    pub source_refusal: Option<GitError>,
    /// How often the files had changed before. Two snapshots with the same number are of the same files.
    pub revision: u64,
}

/// Where the files come from.
pub struct Files {
    from: From,
    /// What was found last: commit, and whether all is committed.
    last: Option<(Option<String>, bool)>,
    /// How often they changed.
    revision: u64,
}

enum From {
    Folder(PathBuf),
    Branch(Follower),
}

impl Files {
    /// A folder; somebody else changes it.
    pub fn folder(path: PathBuf) -> Self {
        Self { from: From::Folder(path), last: None, revision: 0 }
    }

    /// A branch.
    pub fn branch(follower: Follower) -> Self {
        Self { from: From::Branch(follower), last: None, revision: 0 }
    }

    /// What ends a look that waits for a remote.
    pub(super) fn stop(&self) -> Cancellation {
        match &self.from {
            From::Folder(_) => Cancellation::default(),
            From::Branch(follower) => follower.cancellation(),
        }
    }

    /// Looks whether there is anything new, and puts it where passes read it. None if there is not; with `again`, what is
    /// there in any case.
    pub(super) async fn look(&mut self, shared: &Shared, again: bool) -> Result<Option<Seen>, Problem> {
        let known = self.last.clone();
        let seen = match &self.from {
            From::Folder(path) => {
                let asked = path.clone();
                let source = blocking(move || git::read_provenance(&asked, None)).await?;
                let provenance = &source.provenance;
                if !again && known.as_ref() == Some(&(provenance.commit.clone(), provenance.dirty)) {
                    return Ok(None);
                }
                if let Some(refusal) = &source.refusal {
                    let (problem, remedy) = (&refusal.message, &refusal.remedy);
                    tracing::warn!(code = %refusal.code, problem, remedy, "commit, branch and author cannot be recorded");
                }
                let path = path.clone();
                self.revision += u64::from(known != Some((provenance.commit.clone(), provenance.dirty)));
                let revision = self.revision;
                lay(shared, move || open(&path, source, revision)).await?
            }
            From::Branch(follower) => {
                let asked = follower.clone();
                let step = blocking(move || asked.fetch()).await??;
                let is_there = known.is_some_and(|(commit, _)| commit.as_deref() == Some(&step.commit));
                if is_there && !again {
                    return Ok(None);
                }
                if !is_there && step.is_rewritten {
                    tracing::warn!(commit = step.commit, "the branch's history was rewritten; it is followed");
                    let now = shared.options.clock.now();
                    shared.set(|status| status.files.rewritten_at = Some(now));
                }
                let follower = follower.clone();
                self.revision += u64::from(!is_there);
                let revision = self.revision;
                let work = move || {
                    if !is_there {
                        follower.check_out(&step.commit)?;
                    }
                    let source = git::read_provenance(follower.folder(), Some(follower.branch().to_owned()));
                    open(follower.folder(), source, revision)
                };
                lay(shared, work).await?
            }
        };
        let (found, selection) = (Arc::clone(&seen), shared.options.selection.clone());
        let names = blocking(move || found.names(&selection)).await??;
        let seen = Seen { commit: seen.source.commit.clone(), dirty: seen.source.dirty, names };
        self.last = Some((seen.commit.clone(), seen.dirty));
        Ok(Some(seen))
    }
}

/// What was seen of the files.
pub(super) struct Seen {
    pub(super) commit: Option<String>,
    pub(super) dirty: bool,
    /// The environments that are meant.
    pub(super) names: BTreeSet<EnvironmentName>,
}

impl Seen {
    pub(super) fn is_of_same_files(&self, other: &Self) -> bool {
        self.commit == other.commit && self.dirty == other.dirty
    }
}

/// Puts other files where passes read them. A pass that loaded an environment meanwhile finds another revision afterwards,
/// and loads it again: no pass has the files of one commit under the name of another.
async fn lay(
    shared: &Shared,
    work: impl FnOnce() -> Result<Snapshot, Problem> + Send + 'static,
) -> Result<Arc<Snapshot>, Problem> {
    let mut lying = shared.files.write().await;
    let found = blocking(work).await.and_then(|found| found).map(Arc::new);
    *lying = Some(found.clone());
    found
}

fn open(root: &Path, source: WorkTreeProvenance, revision: u64) -> Result<Snapshot, Problem> {
    let repository = Repository::open(root).map_err(|report| broken(&report))?;
    let WorkTreeProvenance { provenance: source, refusal: source_refusal } = source;
    Ok(Snapshot { repository: Arc::new(repository), source, source_refusal, revision })
}

impl Snapshot {
    /// The environments that are meant.
    fn names(&self, selection: &Selection) -> Result<BTreeSet<EnvironmentName>, Problem> {
        let names = self.repository.select(selection);
        let names = names.map_err(|error| Problem::new(error.code, error.message).remedy(error.remedy))?;
        Ok(names.into_iter().filter(|name| !self.repository.is_abstract(name)).collect())
    }
}

/// The first of what is wrong with the files.
pub(super) fn broken(report: &Report) -> Problem {
    let mut errors = report.diagnostics.iter().filter(|problem| problem.severity == Severity::Error);
    let first = errors.next().map_or_else(String::new, |first| {
        format!(": {}:{}: {} {}", first.file, first.line, first.code.id(), first.message)
    });
    let more = match errors.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Problem::new(Code::FilesInvalid, format!("the files break the rules{first}{more}"))
        .remedy("`mailwright validate` tells all of it. Nothing was changed.")
}

/// Does what waits for a disk or a program beside everything else.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(Code::Internal, "a task of the watch broke off"))
}

impl std::convert::From<GitError> for Problem {
    fn from(error: GitError) -> Self {
        Problem::new(error.code, error.message).remedy(error.remedy)
    }
}
