//! Where the files of a work tree come from: commit, branch, author, signature, and whether everything is committed.

use std::path::Path;

use super::{range::is_id, run::Git, sides::FOLDERS};
use crate::{
    model::Provenance,
    model::provenance::{Author, Signature},
};

/// Where the files in `root` come from. A folder that is no work tree, or a machine without `git`, is no error: there
/// is just nothing to tell. `branch` is its name where no branch is checked out, as in a pipeline.
pub fn source(root: &Path, branch: Option<String>) -> Provenance {
    let git = Git::new(root);
    let Some(commit) = git.ask(&["rev-parse", "--verify", "--quiet", "HEAD"]).filter(|id| is_id(id)) else {
        return Provenance { branch, ..Provenance::default() };
    };
    let checked_out = || git.ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let branch = branch.or_else(checked_out);
    let mut source = Provenance { branch, dirty: is_dirty(&git), commit: Some(commit), ..Provenance::default() };
    let Some(told) = git.ask(&["log", "-1", "--no-color", "--format=%G?%x00%GS%x00%an%x00%ae", "HEAD", "--"]) else {
        return source;
    };
    let mut parts = told.split('\0').map(bounded);
    let (mut next, text) = (|| parts.next().unwrap_or_default(), |text: String| Some(text).filter(|t| !t.is_empty()));
    source.signature = Signature::from_git(&next());
    source.signer = text(next());
    let (name, email) = (next(), next());
    source.author = (!name.is_empty() || !email.is_empty()).then_some(Author { name, email });
    source
}

/// Whether anything that Mailwright reads is not committed. What Git was told to ignore is read too, and so counts.
fn is_dirty(git: &Git) -> bool {
    let mut arguments = vec!["status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching"];
    arguments.extend(["--ignore-submodules=none", "--no-renames", "--", "rollouts"]);
    arguments.extend(FOLDERS);
    let Some(answer) = git.ask(&arguments) else { return true };
    answer.split('\0').filter(|line| !line.is_empty()).any(|line| {
        let (state, path) = line.split_at_checked(3).unwrap_or(("", line));
        // Dot files mean nothing to Mailwright, and are what is ignored most.
        !(state == "!! " && path.split('/').any(|part| part.starts_with('.')))
    })
}

/// What somebody wrote into a commit, no longer than the service takes, and nothing that could move a cursor.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(Author::LONGEST).collect()
}
