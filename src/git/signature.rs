//! Author and signature of a commit: [`describe_commit`].
//!
//! To check a signature, Git starts a program with keys, both of which its configuration names. Neither may come from the
//! repository: an attacker who can write to `.git/config` could run a program, or declare a key as trusted. So Git reads the
//! commit from an empty repository that uses the objects of the original: only the configuration of the system and of the user
//! applies.
//!
//! If any of this fails, nothing is returned, and author and signature are not known.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::run::Git;

/// An empty repository in a temporary folder, which is removed with it.
struct EmptyRepository {
    folder: tempfile::TempDir,
    objects: PathBuf,
}

/// Returns `format` (as `git log` has it) filled in for a commit of a repository; none if Git fails.
pub(super) fn describe_commit(git: &Git, commit: &str, format: &str) -> Option<String> {
    let repository = EmptyRepository::new(git)?;
    let format = format!("--format={format}");
    // The parents are not read: a shallow clone does not have them.
    let mut command = git.command(&["log", "--no-walk=unsorted", "-1", "--no-color", &format, commit, "--"]);
    command.env("GIT_DIR", repository.folder.path()).env("GIT_OBJECT_DIRECTORY", &repository.objects);
    git.query_command(command)
}

impl EmptyRepository {
    fn new(git: &Git) -> Option<Self> {
        let objects = git.root().join(git.query(&["rev-parse", "--git-path", "objects"])?);
        let objects = std::fs::canonicalize(objects).ok()?;
        let algorithm = git.query(&["rev-parse", "--show-object-format"])?;
        let folder = tempfile::Builder::new()
            .prefix("mailwright-git-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .ok()?;
        write_repository(folder.path(), &algorithm).ok()?;
        Some(Self { folder, objects })
    }
}

/// Writes the files that make a folder a repository.
fn write_repository(folder: &Path, algorithm: &str) -> io::Result<()> {
    std::fs::write(folder.join("HEAD"), "ref: refs/heads/none\n")?;
    std::fs::create_dir(folder.join("refs"))?;
    std::fs::create_dir(folder.join("objects"))?;
    let config = match algorithm {
        "sha256" => "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = sha256\n",
        _ => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
    };
    std::fs::write(folder.join("config"), config)
}
