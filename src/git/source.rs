//! [`read_provenance`]: the commit, branch, author and signature of the files in a work tree, and whether they have
//! uncommitted changes.
//!
//! Commit, author and Git's verdict on the signature are those of HEAD. Uncommitted changes count only below `environments`,
//! `secrets` and `rollouts`, ignored files included; if they cannot be determined, the files count as changed. Outside of Git,
//! and where Git refuses to answer, the provenance has at most the branch that the caller named; `refusal` then has Git's reason.
//! A changeset states the provenance as its source; whether a source is allowed is decided by [`crate::model::provenance`].

use std::{collections::BTreeSet, path::Path};

use super::{range::is_object_id, run::Git, signature::describe_commit, work_tree};
use crate::{
    git::listing::{FOLDERS, list_commit},
    model::{
        Problem, Provenance,
        provenance::{Author, Signature},
    },
};

/// The provenance of a work tree.
#[derive(Clone, Debug, Default)]
pub struct WorkTreeProvenance {
    /// Commit, branch, author and signature, as far as they are known.
    pub provenance: Provenance,
    /// The reason why Git did not return it, if there is a repository.
    pub refusal: Option<Problem>,
}

/// Returns the provenance of the files in `root`. A folder outside of a work tree is not an error; its provenance is empty.
/// `branch` names the branch where none is checked out, as in a pipeline.
pub fn read_provenance(root: &Path, branch: Option<String>) -> WorkTreeProvenance {
    let git = Git::new(root);
    let nothing = |branch: Option<String>| Provenance { branch, ..Provenance::default() };
    let here = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let has_repository = here.ancestors().any(|folder| folder.join(".git").exists());
    let commit = match git.head() {
        Ok(Some(commit)) if is_object_id(&commit) => commit,
        Ok(_) => return WorkTreeProvenance { provenance: nothing(branch), refusal: None },
        Err(error) => {
            return WorkTreeProvenance { provenance: nothing(branch), refusal: Some(error).filter(|_| has_repository) };
        }
    };
    if let Err(error) = git.check_work_tree() {
        return WorkTreeProvenance { provenance: nothing(branch), refusal: Some(error) };
    }
    let checked_out = || git.query(&["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let branch = branch.or_else(checked_out);
    let mut provenance = Provenance { branch, dirty: is_dirty(&git, &commit), ..Provenance::default() };
    if let Some(described) = describe_commit(&git, &commit, "%G?%x00%GS%x00%an%x00%ae") {
        let mut parts = described.split('\0').map(bounded);
        let (mut next, text) =
            (|| parts.next().unwrap_or_default(), |text: String| Some(text).filter(|t| !t.is_empty()));
        provenance.signature = Signature::from_git(&next());
        provenance.signer = text(next());
        let (name, email) = (next(), next());
        provenance.author = (!name.is_empty() || !email.is_empty()).then_some(Author { name, email });
    }
    provenance.commit = Some(commit);
    WorkTreeProvenance { provenance, refusal: None }
}

/// Returns true if a file that Mailwright reads has uncommitted changes. Ignored files are read too, and so count.
fn is_dirty(git: &Git, commit: &str) -> bool {
    let folders: BTreeSet<String> = FOLDERS.into_iter().chain(["rollouts"]).map(str::to_owned).collect();
    let Ok(committed) = list_commit(git, commit, &folders) else { return true };
    let Ok(found) = work_tree::list(git.root(), &folders) else { return true };
    // Mailwright does not read dot files, which are ignored most often.
    let means_nothing =
        |path: &String| !committed.contains_key(path) && path.split('/').any(|part| part.starts_with('.'));
    work_tree::changed_paths(git, &committed, &found).iter().any(|path| !means_nothing(path))
}

/// Returns a text of a commit without control characters, cut at the length that the service accepts.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(Author::LONGEST).collect()
}
