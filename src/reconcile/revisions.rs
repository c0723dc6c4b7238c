//! [`RevisionPair`]: two revisions of the files, opened as repositories, for `diff` and `--since`.
//!
//! [`RevisionPair::affected_environments`] returns the environments whose own files, layers, secrets or recipients differ, so
//! that only those need to be loaded. If one revision cannot be opened, it has the problems, and no environments are returned.
//! The comparison of their effective configuration is in `file_diff`.

use std::{collections::BTreeSet, path::Path};

use rayon::prelude::*;

use crate::{
    config::{Report, Repository, is_ignored},
    git::{ListedTree, Range, TreeComparison},
    model::{EnvironmentName, Problem},
};

/// Two revisions of the files.
pub struct RevisionPair {
    /// The older revision, or the problems of its `environments/` as a whole.
    pub old: Result<Repository, Report>,
    /// The newer revision, or the problems of its `environments/` as a whole.
    pub new: Result<Repository, Report>,
    files: TreeComparison,
}

impl RevisionPair {
    /// Opens both revisions. Reads no more than their lists of files and each `environment.yaml`.
    pub fn open(root: &Path, range: &Range) -> Result<Self, Problem> {
        let files = TreeComparison::open(root, range)?;
        files.prefetch(|path| {
            let parts: Vec<&str> = path.split('/').collect();
            matches!(parts[..], ["environments", _, name] if name.starts_with("environment."))
        });
        let open = |side: &ListedTree| match side.tree() {
            None => Repository::open(root),
            Some(tree) => Repository::open_tree(root, tree),
        };
        let (old, mut new) = (open(&files.from), open(&files.to));
        if let (Ok(old), Ok(new), Some(layers)) = (&old, &mut new, changed_layers(&files)) {
            new.share_layers(old, |name| !layers.contains(name.as_str()));
        }
        Ok(Self { old, new, files })
    }

    /// Returns the environments that the difference affects: their own files or secrets differ, or a layer that they extend in
    /// either revision does. An environment that exists in one revision only is included; an abstract layer is not. None if a
    /// revision cannot be opened.
    pub fn affected_environments(&self) -> Option<BTreeSet<EnvironmentName>> {
        let (Ok(old), Ok(new)) = (&self.old, &self.new) else { return None };
        let names: BTreeSet<EnvironmentName> = old.environments().into_iter().chain(new.environments()).collect();
        let (layers, secrets) = (changed_layers(&self.files), changed_secrets(&self.files));
        let has = |set: &Option<BTreeSet<String>>, name: &EnvironmentName| {
            set.as_ref().is_none_or(|set| set.contains(name.as_str()))
        };
        let is_affected = |side: &Repository, name: &EnvironmentName| {
            let chain = side.layer_names(name);
            !chain.is_empty()
                && !side.is_abstract(name)
                && (has(&secrets, name) || chain.iter().any(|layer| has(&layers, layer)))
        };
        Some(names.into_par_iter().filter(|name| is_affected(old, name) || is_affected(new, name)).collect())
    }

    /// Reads all files that loading these environments needs, in few Git processes.
    pub fn read_ahead(&self, names: &BTreeSet<EnvironmentName>) {
        let (Ok(old), Ok(new)) = (&self.old, &self.new) else { return };
        let all: Vec<EnvironmentName> = names.iter().cloned().collect();
        let changed = changed_layers(&self.files);
        for (listed, side, is_new) in [(&self.files.from, old, false), (&self.files.to, new, true)] {
            let chains: BTreeSet<EnvironmentName> = all.iter().flat_map(|name| side.layer_names(name)).collect();
            listed.prefetch(|path| {
                let mut parts = path.splitn(3, '/');
                match (parts.next(), parts.next()) {
                    // The newer side reads the layers that both share.
                    (Some("environments"), Some(name)) => {
                        (is_new || changed.as_ref().is_none_or(|changed| changed.contains(name)))
                            && chains.iter().any(|layer| layer.as_str() == name)
                    }
                    (Some("secrets"), Some(name)) => {
                        is_secret_file(path) && names.iter().any(|own| own.as_str() == name)
                    }
                    _ => false,
                }
            });
        }
        new.read_ahead(&all);
        old.read_ahead(&all);
    }
}

/// Returns the folders of `environments/` that differ; none if all may.
fn changed_layers(files: &TreeComparison) -> Option<BTreeSet<String>> {
    files.changed.names_below("environments", |rest| rest.is_empty() || !rest.split('/').any(is_ignored))
}

/// Returns true for the path of an age file, or of a list of recipients.
fn is_secret_file(path: &str) -> bool {
    path.strip_suffix(".age").is_some() || path.rsplit('/').next() == Some("recipients.txt")
}

/// Returns the folders of `secrets/` in which an age file or the list of recipients differs; none if all may.
fn changed_secrets(files: &TreeComparison) -> Option<BTreeSet<String>> {
    // A link or a submodule in place of a folder has no extension.
    files.changed.names_below("secrets", |rest| {
        is_secret_file(rest) || !rest.rsplit('/').next().unwrap_or_default().contains('.')
    })
}
