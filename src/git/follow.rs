//! A clone that follows a branch of somebody else's repository. It is nobody's to work in: what lies there is what the
//! branch says, and nothing else.

use std::path::{Path, PathBuf};

use super::{
    range::is_id,
    run::{Git, GitError, Stop},
};
use crate::model::Code;

/// The branch in the clone.
const HERE: &str = "refs/remotes/watch/branch";
/// What may be fetched over. Everything else stays off.
const PROTOCOLS: &str = "https:http:ssh:file";
/// What `.git/info/attributes` says, which comes before any `.gitattributes` of the branch: files are checked out as
/// their bytes are in the commit, and no filter of the user's or the machine's configuration runs.
const ATTRIBUTES: &str = "* -text -ident -filter -working-tree-encoding\n";

/// Follows a branch.
#[derive(Clone, Debug)]
pub struct Follower {
    folder: PathBuf,
    remote: String,
    branch: String,
    stop: Stop,
}

/// Where the branch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its commit.
    pub commit: String,
    /// Whether the commit that lies there is none of its forebears: the history was rewritten.
    pub is_rewritten: bool,
}

impl Follower {
    /// Follows `branch` of `remote` by a clone in `folder`. Nobody else may be at work there.
    pub fn open(folder: PathBuf, remote: String, branch: String) -> Result<Self, GitError> {
        let refused = |message: String| {
            let remedy = "`mailwright explain MW0373` tells what can be followed.".to_owned();
            Err(GitError { code: Code::RemoteRefused, message, remedy })
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
        std::fs::create_dir_all(&folder).map_err(|error| GitError {
            code: Code::WatchUnwritable,
            message: format!("cannot make the clone in `{}`: {error}", folder.display()),
            remedy: "Look at the folder's permissions and free space, or give another `--data DIR`.".to_owned(),
        })?;
        // A path is meant from here, and Git runs in the clone.
        let remote = std::fs::canonicalize(&remote).map_or(remote, |path| path.to_string_lossy().into_owned());
        let follower = Self { folder, remote, branch, stop: Stop::default() };
        follower.remove_locks();
        follower.forget_configuration()?;
        follower.git().run(&["init", "--quiet", "--template=", "."])?;
        follower.write_attributes()?;
        Ok(follower)
    }

    /// Removes what an earlier run, or somebody else, left as the clone's configuration: Git writes it again.
    fn forget_configuration(&self) -> Result<(), GitError> {
        let git = self.folder.join(".git");
        match std::fs::symlink_metadata(&git) {
            Err(_) => return Ok(()),
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(GitError {
                    code: Code::WatchUnwritable,
                    message: format!("`{}` is not a folder", git.display()),
                    remedy: "Remove it, or give another `--data DIR`.".to_owned(),
                });
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

    fn write_attributes(&self) -> Result<(), GitError> {
        let folder = self.folder.join(".git/info");
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| crate::fs::write_atomically(&folder.join("attributes"), ATTRIBUTES.as_bytes()));
        written.map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &std::io::Error) -> GitError {
        GitError {
            code: Code::WatchUnwritable,
            message: format!("cannot write to the clone in `{}`: {error}", self.folder.display()),
            remedy: "Look at the folder's permissions and free space, or give another `--data DIR`.".to_owned(),
        }
    }

    /// Where the clone is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The branch that is followed.
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// What ends a [`Follower::fetch`] that waits for the remote.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Asks the remote. What lies in the folder stays as it is.
    pub fn fetch(&self) -> Result<Step, GitError> {
        let refspec = format!("+refs/heads/{}:{HERE}", self.branch);
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
        let git = Git::stoppable(&self.folder, self.stop.clone());
        let mut command = git.command(&arguments);
        command.env("GIT_ALLOW_PROTOCOL", PROTOCOLS);
        git.run_by(command)?;
        let answer = self.git().run(&["rev-parse", "--verify", HERE])?;
        let commit = String::from_utf8_lossy(&answer).trim().to_owned();
        if !is_id(&commit) {
            return Err(self.git().refused("the branch is no commit"));
        }
        let here = self.git().ask(&["rev-parse", "--verify", "--quiet", "HEAD"]).filter(|id| is_id(id));
        let is_forebear = |old: &str| self.git().ask(&["merge-base", "--is-ancestor", old, &commit]).is_some();
        let is_rewritten = here.is_some_and(|old| !is_forebear(&old));
        Ok(Step { commit, is_rewritten })
    }

    /// Makes the folder what a commit says.
    pub fn check_out(&self, commit: &str) -> Result<(), GitError> {
        let bytes = ["-c", "core.autocrlf=false", "checkout", "--quiet", "--force", "--detach", commit, "--"];
        self.git().run(&bytes)?;
        self.git().run(&["clean", "-ffdxq"]).map(drop)
    }

    fn git(&self) -> Git {
        Git::new(&self.folder)
    }

    /// What a Git leaves that was killed. Nobody else works here.
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
