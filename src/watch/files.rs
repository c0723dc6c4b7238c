//! Where the files come from: a folder that somebody else keeps, or a clone that follows a branch.

use std::{path::PathBuf, sync::Arc};

use super::Shared;
use crate::{
    config::{Report, Repository, Selection},
    git::{self, Follower, GitError},
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
}

/// Where the files come from.
pub struct Files {
    from: From,
    /// What was found last: commit, and whether all is committed.
    last: Option<(Option<String>, bool)>,
}

enum From {
    Folder(PathBuf),
    Branch(Follower),
}

impl Files {
    /// A folder; somebody else changes it.
    pub fn folder(path: PathBuf) -> Self {
        Self { from: From::Folder(path), last: None }
    }

    /// A branch.
    pub fn branch(follower: Follower) -> Self {
        Self { from: From::Branch(follower), last: None }
    }

    /// What is new; with `again`, what is there in any case.
    pub(super) async fn look(&mut self, shared: &Shared, again: bool) -> Result<Option<Snapshot>, Problem> {
        let (root, branch) = match &self.from {
            From::Folder(path) => (path.clone(), None),
            From::Branch(follower) => {
                let (asked, known) = (follower.clone(), self.last.as_ref().and_then(|(commit, _)| commit.clone()));
                let step = blocking(move || asked.fetch()).await??;
                if known.as_deref() != Some(&step.commit) {
                    if step.is_rewritten {
                        tracing::warn!(commit = step.commit, "the branch's history was rewritten; it is followed");
                        let now = shared.options.clock.now();
                        shared.set(|status| status.files.rewritten_at = Some(now));
                    }
                    // Nobody reads files while they change.
                    let _alone = shared.reading.write().await;
                    let asked = follower.clone();
                    blocking(move || asked.check_out(&step.commit)).await??;
                } else if !again {
                    return Ok(None);
                }
                (follower.folder().to_owned(), Some(follower.branch().to_owned()))
            }
        };
        let asked = root.clone();
        let source = blocking(move || git::source(&asked, branch)).await?;
        let found = (source.commit.clone(), source.dirty);
        if self.last.as_ref() == Some(&found) && !again {
            return Ok(None);
        }
        let repository = blocking(move || Repository::open(&root)).await?.map_err(|report| broken(&report))?;
        self.last = Some(found);
        Ok(Some(Snapshot { repository: Arc::new(repository), source }))
    }
}

impl Snapshot {
    /// The environments that are meant.
    pub(super) fn names(&self, selection: &Selection) -> Result<Vec<EnvironmentName>, Problem> {
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
    Problem::new(Code::FilesBroken, format!("the files break the rules{first}{more}"))
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
