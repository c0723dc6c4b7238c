//! Who wrote a commit, and what Git says of its signature.
//!
//! To check a signature, Git starts a program that its configuration names, with keys that its configuration names.
//! Neither may come from the repository: whoever can write to `.git/config` would have a program of their own run, or
//! vouch for a key of their own. So Git looks at the commit from an empty repository that borrows the objects: only the
//! configuration of the machine and of the user is left.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::run::Git;

/// An empty repository in a temporary folder, which goes with it.
struct Borrower {
    folder: tempfile::TempDir,
    objects: PathBuf,
}

/// `format` (as `git log` has it) filled for a commit of a repository; none if Git cannot.
pub(super) fn describe_commit(git: &Git, commit: &str, format: &str) -> Option<String> {
    let borrower = Borrower::new(git)?;
    let format = format!("--format={format}");
    // Without its parents: a shallow clone does not have them.
    let mut command = git.command(&["log", "--no-walk=unsorted", "-1", "--no-color", &format, commit, "--"]);
    command.env("GIT_DIR", borrower.folder.path()).env("GIT_OBJECT_DIRECTORY", &borrower.objects);
    git.ask_by(command)
}

impl Borrower {
    fn new(git: &Git) -> Option<Self> {
        let objects = git.root().join(git.ask(&["rev-parse", "--git-path", "objects"])?);
        let objects = std::fs::canonicalize(objects).ok()?;
        let algorithm = git.ask(&["rev-parse", "--show-object-format"])?;
        let folder = tempfile::Builder::new()
            .prefix("mailwright-git-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .ok()?;
        fill(folder.path(), &algorithm).ok()?;
        Some(Self { folder, objects })
    }
}

/// What makes a folder a repository to Git.
fn fill(folder: &Path, algorithm: &str) -> io::Result<()> {
    std::fs::write(folder.join("HEAD"), "ref: refs/heads/none\n")?;
    std::fs::create_dir(folder.join("refs"))?;
    std::fs::create_dir(folder.join("objects"))?;
    let config = match algorithm {
        "sha256" => "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = sha256\n",
        _ => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
    };
    std::fs::write(folder.join("config"), config)
}
