//! Where the files of a work tree come from: commit, branch, author, signature, and whether everything is committed.

use std::{collections::BTreeSet, path::Path};

use super::{
    range::is_id,
    run::{Git, GitError},
    signature::describe_commit,
    work_tree,
};
use crate::{
    git::comparison::{FOLDERS, list_commit},
    model::{
        Provenance,
        provenance::{Author, Signature},
    },
};

/// What Git says of a work tree.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Where the files come from.
    pub provenance: Provenance,
    /// Why Git does not say it, where there is a repository.
    pub refusal: Option<GitError>,
}

/// Where the files in `root` come from. A folder that is no work tree is no error: there is just nothing to tell.
/// `branch` is its name where no branch is checked out, as in a pipeline.
pub fn source(root: &Path, branch: Option<String>) -> Source {
    let git = Git::new(root);
    let nothing = |branch: Option<String>| Provenance { branch, ..Provenance::default() };
    let here = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let has_repository = here.ancestors().any(|folder| folder.join(".git").exists());
    let commit = match git.head() {
        Ok(Some(commit)) if is_id(&commit) => commit,
        Ok(_) => return Source { provenance: nothing(branch), refusal: None },
        Err(error) => {
            return Source { provenance: nothing(branch), refusal: Some(error).filter(|_| has_repository) };
        }
    };
    if let Err(error) = git.check_work_tree() {
        return Source { provenance: nothing(branch), refusal: Some(error) };
    }
    let checked_out = || git.ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let branch = branch.or_else(checked_out);
    let mut source = Provenance { branch, dirty: is_dirty(&git, &commit), ..Provenance::default() };
    if let Some(told) = describe_commit(&git, &commit, "%G?%x00%GS%x00%an%x00%ae") {
        let mut parts = told.split('\0').map(bounded);
        let (mut next, text) =
            (|| parts.next().unwrap_or_default(), |text: String| Some(text).filter(|t| !t.is_empty()));
        source.signature = Signature::from_git(&next());
        source.signer = text(next());
        let (name, email) = (next(), next());
        source.author = (!name.is_empty() || !email.is_empty()).then_some(Author { name, email });
    }
    source.commit = Some(commit);
    Source { provenance: source, refusal: None }
}

/// Whether anything that Mailwright reads is not committed. What Git was told to ignore is read too, and so counts.
fn is_dirty(git: &Git, commit: &str) -> bool {
    let folders: BTreeSet<String> = FOLDERS.into_iter().chain(["rollouts"]).map(str::to_owned).collect();
    let Ok(committed) = list_commit(git, commit, &folders) else { return true };
    let Ok(found) = work_tree::list(git.root(), &folders) else { return true };
    // Dot files mean nothing to Mailwright, and are what is ignored most.
    let means_nothing =
        |path: &String| !committed.contains_key(path) && path.split('/').any(|part| part.starts_with('.'));
    work_tree::differing(git, &committed, &found).iter().any(|path| !means_nothing(path))
}

/// What somebody wrote into a commit, no longer than the service takes, and nothing that could move a cursor.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(Author::LONGEST).collect()
}
