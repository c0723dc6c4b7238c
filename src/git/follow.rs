//! [`Follower`]: a clone in a folder of its own that follows a branch of a remote repository, for `watch --repository`.
//!
//! [`Follower::fetch`] gets the branch, [`Follower::check_out`] makes the files those of a commit and discards local changes. A
//! fetch that fails (no such branch, no network, cancelled) changes no files; a check-out that fails may leave files of both
//! commits, and is repeated by the caller. Attributes and filters of the repository have no effect. No other process may use the
//! folder.

use std::path::{Path, PathBuf};

use super::{
    range::is_object_id,
    run::{Cancellation, Git},
};
use crate::model::{Code, Problem};

/// The reference in the clone that tracks the branch.
const TRACKING_REF: &str = "refs/remotes/watch/branch";
/// The remedy for a clone that cannot be written.
const UNWRITABLE_REMEDY: &str = "Check the folder's permissions and free space, or give another `--data DIR`.";
/// The transports that are allowed to fetch.
const PROTOCOLS: &str = "https:http:ssh:file";
/// The contents of `.git/info/attributes`, which override every `.gitattributes` of the branch: files are checked out byte for
/// byte, and no filter of the user's or the system's configuration runs.
const ATTRIBUTES: &str = "* -text -ident -filter -working-tree-encoding\n";

/// A clone that follows a branch.
#[derive(Clone, Debug)]
pub struct Follower {
    folder: PathBuf,
    remote: String,
    branch: String,
    cancellation: Cancellation,
}

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowStep {
    /// The commit of the branch.
    pub commit: String,
    /// True if the commit that is checked out is not an ancestor: the history was rewritten.
    pub is_rewritten: bool,
}

impl Follower {
    /// Opens or creates a clone in `folder` that follows `branch` of `remote`. No other process may use the folder.
    pub fn open(folder: PathBuf, remote: String, branch: String) -> Result<Self, Problem> {
        let refused = |message: String| {
            let remedy = "`mailwright explain MW0373` lists what can be followed.";
            Err(Problem::new(Code::RemoteRefused, message).remedy(remedy))
        };
        let authority = remote.split_once("://").and_then(|(_, rest)| rest.split('/').next());
        let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
        if user.is_some_and(|user| user.contains(':')) {
            return refused("the address of the repository has a password in it".to_owned());
        }
        if remote.is_empty() || remote.starts_with('-') || remote.contains("::") || remote.chars().any(char::is_control)
        {
            return refused(format!("`{}` is not the address of a repository", remote.escape_debug()));
        }
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '#');
        if branch.is_empty()
            || branch.starts_with(['-', '/', '.'])
            || branch.contains("..")
            || !branch.chars().all(is_name)
        {
            return refused(format!("`{}` is not the name of a branch", branch.escape_debug()));
        }
        std::fs::create_dir_all(&folder).map_err(|error| {
            let message = format!("cannot create the clone in `{}`: {error}", folder.display());
            Problem::new(Code::WatchUnwritable, message).remedy(UNWRITABLE_REMEDY)
        })?;
        // A relative path is relative to the working directory, and Git runs in the clone.
        let remote = std::fs::canonicalize(&remote).map_or(remote, |path| path.to_string_lossy().into_owned());
        let follower = Self { folder, remote, branch, cancellation: Cancellation::default() };
        follower.remove_locks();
        follower.remove_configuration()?;
        follower.git().run(&["init", "--quiet", "--template=", "."])?;
        follower.write_attributes()?;
        Ok(follower)
    }

    /// Removes the clone's configuration, which an earlier run or another program may have changed. Git writes it again.
    fn remove_configuration(&self) -> Result<(), Problem> {
        let git = self.folder.join(".git");
        match std::fs::symlink_metadata(&git) {
            Err(_) => return Ok(()),
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let message = format!("`{}` is not a folder", git.display());
                let remedy = "Remove it, or give another `--data DIR`.";
                return Err(Problem::new(Code::WatchUnwritable, message).remedy(remedy));
            }
        }
        for name in ["config", "config.worktree"] {
            match std::fs::remove_file(git.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(self.unwritable(&error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn write_attributes(&self) -> Result<(), Problem> {
        let folder = self.folder.join(".git/info");
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| crate::fs::write_atomically(&folder.join("attributes"), ATTRIBUTES.as_bytes()));
        written.map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &std::io::Error) -> Problem {
        let message = format!("cannot write to the clone in `{}`: {error}", self.folder.display());
        Problem::new(Code::WatchUnwritable, message).remedy(UNWRITABLE_REMEDY)
    }

    /// Returns the folder of the clone.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the branch that is followed.
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// Returns a handle that cancels a [`Follower::fetch`].
    pub fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// Fetches the branch. The checked-out files do not change.
    pub fn fetch(&self) -> Result<FollowStep, Problem> {
        let refspec = format!("+refs/heads/{}:{TRACKING_REF}", self.branch);
        let arguments = [
            "-c",
            "gc.autoDetach=false",
            "-c",
            "maintenance.autoDetach=false",
            "-c",
            "protocol.allow=always",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--force",
            "--",
            &self.remote,
            &refspec,
        ];
        let git = Git::cancellable(&self.folder, self.cancellation.clone());
        let mut command = git.command(&arguments);
        command.env("GIT_ALLOW_PROTOCOL", PROTOCOLS);
        git.run_command(command)?;
        let answer = self.git().run(&["rev-parse", "--verify", TRACKING_REF])?;
        let commit = String::from_utf8_lossy(&answer).trim().to_owned();
        if !is_object_id(&commit) {
            return Err(self.git().failure("the branch is not a commit"));
        }
        let here = self.git().query(&["rev-parse", "--verify", "--quiet", "HEAD"]).filter(|id| is_object_id(id));
        let is_ancestor = |old: &str| self.git().query(&["merge-base", "--is-ancestor", old, &commit]).is_some();
        let is_rewritten = here.is_some_and(|old| !is_ancestor(&old));
        Ok(FollowStep { commit, is_rewritten })
    }

    /// Checks out a commit and removes all other files.
    pub fn check_out(&self, commit: &str) -> Result<(), Problem> {
        let bytes = ["-c", "core.autocrlf=false", "checkout", "--quiet", "--force", "--detach", commit, "--"];
        self.git().run(&bytes)?;
        self.git().run(&["clean", "-ffdxq"]).map(drop)
    }

    fn git(&self) -> Git {
        Git::new(&self.folder)
    }

    /// Removes lock files that a killed Git left behind. No other process uses the clone.
    fn remove_locks(&self) {
        for folder in [".git", ".git/refs/remotes/watch"] {
            for entry in std::fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "lock") {
                    drop(std::fs::remove_file(entry.path()));
                }
            }
        }
    }
}
