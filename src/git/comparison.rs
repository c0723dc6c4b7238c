//! [`TreeComparison`]: two revisions, or a revision and the work tree, with the files of each and the paths that differ.
//!
//! Only the folders of [`FOLDERS`] are listed, and what links in them lead to. Contents are read on request by `objects`. The work
//! tree is compared by `work_tree`. Environments are not known here. Links are followed for 8 rounds; one that cannot be read or
//! leaves the repository is not followed. Git that fails, or a work tree that is too large, is a [`Problem`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use super::{
    changed_paths::ChangedPaths,
    listing::{FOLDERS, Listing, list_commit},
    objects::Objects,
    range::{Range, Side},
    run::Git,
    work_tree::{self, WorkTreeEntry},
};
use crate::{
    model::Problem,
    vfs::{BlobStore as _, EntryKind, Tree},
};

/// The maximum number of times that links may lead on to folders that were not listed yet.
const ROUNDS: usize = 8;
/// The maximum size of `.gitmodules` that is read, in bytes.
const MODULES: u64 = 1024 * 1024;
/// The maximum length of a link's target, in bytes.
const TARGET: u64 = 4096;

/// Both sides of a comparison.
pub struct TreeComparison {
    /// The older side.
    pub from: ListedTree,
    /// The newer side.
    pub to: ListedTree,
    /// The paths that differ.
    pub changed: ChangedPaths,
    objects: Arc<Objects>,
}

/// A side of a comparison, with the list of its files. The work tree has no list: its files are read from the disk.
pub struct ListedTree {
    is_work_tree: bool,
    listing: Listing,
    objects: Arc<Objects>,
}

impl ListedTree {
    /// Returns the files of the commit; none for the work tree.
    pub fn tree(&self) -> Option<Tree> {
        let entries = self.listing.iter().map(|(path, (kind, id))| (path.clone(), *kind, id.clone()));
        (!self.is_work_tree).then(|| Tree::new(entries, Arc::clone(&self.objects) as _))
    }

    /// Reads the contents of the files that `is_wanted` selects, in few Git processes.
    pub fn prefetch(&self, is_wanted: impl Fn(&str) -> bool) {
        self.objects.fetch(ids(&self.listing, is_wanted));
    }
}

impl TreeComparison {
    /// Lists both sides. Reads no contents but those of links.
    pub fn open(root: &Path, range: &Range) -> Result<Self, Problem> {
        let git = Git::new(root);
        git.check_work_tree()?;
        let objects = Arc::new(Objects::new(git.clone()));
        let mut links = Vec::new();
        let mut list = |side: &Side| {
            let listing = match side {
                Side::Commit { id, .. } => list_with_links(&git, &objects, id, &mut links)?,
                Side::WorkTree => Listing::new(),
            };
            let is_work_tree = matches!(side, Side::WorkTree);
            Ok::<_, Problem>(ListedTree { is_work_tree, listing, objects: Arc::clone(&objects) })
        };
        let (from, to) = (list(&range.from)?, list(&range.to)?);
        let paths = match (range.from.commit(), range.to.commit()) {
            (Some(commit), None) => compare_work_tree(&git, commit, &from.listing, &mut links)?,
            _ => changed_between(&from.listing, &to.listing),
        };
        Ok(Self { from, to, changed: ChangedPaths::new(paths, &links), objects })
    }

    /// Reads the contents of files of both sides at once.
    pub fn prefetch(&self, is_wanted: impl Fn(&str) -> bool) {
        let sides = [&self.from, &self.to];
        self.objects.fetch(sides.into_iter().flat_map(|side| ids(&side.listing, &is_wanted)));
    }
}

/// Returns the path of a submodule that is not checked out and takes the place of a folder that is read: an empty folder must
/// not be read as one without files. Runs Git only if there is an empty folder.
pub fn find_empty_submodule(root: &Path) -> Option<String> {
    let is_empty = |path: &String| root.join(path).read_dir().is_ok_and(|mut entries| entries.next().is_none());
    let below = |folder: &str| {
        let entries = root.join(folder).read_dir().into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let mut folders: Vec<String> = FOLDERS.map(str::to_owned).into();
    for name in below(FOLDERS[0]) {
        folders.push(format!("environments/{name}/profiles"));
        folders.push(format!("environments/{name}"));
    }
    let empty: Vec<String> = folders.into_iter().filter(is_empty).collect();
    if empty.is_empty() {
        return None;
    }
    let Ok(committed) = list_commit(&Git::new(root), "HEAD", &FOLDERS.map(str::to_owned).into()) else {
        // Git may refuse to read a repository of another user; the folder is empty all the same.
        let named = named_submodules(root);
        return empty.into_iter().find(|path| named.contains(path));
    };
    let is_submodule = |path: &String| committed.get(path).is_some_and(|(kind, _)| *kind == EntryKind::Submodule);
    empty.into_iter().find(is_submodule)
}

/// Returns the paths in `.gitmodules`, relative to `root`, without running Git.
fn named_submodules(root: &Path) -> BTreeSet<String> {
    let here = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let Some(top) = here.ancestors().find(|folder| folder.join(".git").exists()) else { return BTreeSet::new() };
    let text = crate::fs::read_ordinary(&top.join(".gitmodules"), MODULES);
    let paths = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
    let paths = paths.lines().filter_map(|line| line.trim().strip_prefix("path")?.trim_start().strip_prefix('='));
    paths
        .filter_map(|path| {
            let path = top.join(path.trim().trim_matches('"'));
            Some(path.strip_prefix(&here).ok()?.to_string_lossy().into_owned())
        })
        .collect()
}

fn ids<'a>(listing: &'a Listing, wanted: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'a str> {
    listing
        .iter()
        .filter(move |(path, (kind, _))| *kind != EntryKind::Submodule && wanted(path))
        .map(|(_, (_, id))| id.as_str())
}

/// Lists the files of a commit, with those that links lead to, anywhere in the repository.
fn list_with_links(
    git: &Git,
    objects: &Objects,
    commit: &str,
    links: &mut Vec<(String, String)>,
) -> Result<Listing, Problem> {
    let mut listing = Listing::new();
    let mut folders: BTreeSet<String> = FOLDERS.map(str::to_owned).into();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = list_commit(git, commit, &folders)?;
        let is_link = |(_, (kind, _)): &(&String, &(EntryKind, String))| *kind == EntryKind::Link;
        objects.fetch(found.iter().filter(is_link).map(|(_, (_, id))| id.as_str()));
        let mut ahead = BTreeSet::new();
        for (path, (_, id)) in found.iter().filter(is_link) {
            let Ok(target) = objects.blob(id, TARGET) else { continue };
            let Some(target) = resolve_link(path, &String::from_utf8_lossy(&target)) else { continue };
            ahead.extend(first_part(&target));
            links.push((path.clone(), target));
        }
        listing.extend(found);
        listed.append(&mut folders);
        folders = ahead.difference(&listed).cloned().collect();
        if folders.is_empty() {
            break;
        }
    }
    Ok(listing)
}

/// Returns the path that a link leads to, by its text alone; none if it leaves the repository.
fn resolve_link(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Returns the paths that differ between two commits.
fn changed_between(old: &Listing, new: &Listing) -> BTreeSet<String> {
    let gone = old.iter().filter(|(path, entry)| new.get(*path) != Some(entry));
    let come = new.iter().filter(|(path, _)| !old.contains_key(*path));
    gone.chain(come).map(|(path, _)| path.clone()).collect()
}

/// Returns the paths that differ between a commit and the work tree. Untracked and ignored files count, because Mailwright
/// reads them; so do the targets of links, anywhere in the repository.
fn compare_work_tree(
    git: &Git,
    commit: &str,
    committed: &Listing,
    links: &mut Vec<(String, String)>,
) -> Result<BTreeSet<String>, Problem> {
    let mut folders: BTreeSet<String> = FOLDERS.map(str::to_owned).into();
    folders.extend(links.iter().filter_map(|(_, target)| first_part(target)));
    let known = folders.clone();
    let (mut found, mut listed) = (BTreeMap::new(), BTreeSet::new());
    for _ in 0..ROUNDS {
        let ahead: BTreeSet<String> = folders.difference(&listed).cloned().collect();
        if ahead.is_empty() {
            break;
        }
        let here = work_tree::list(git.root(), &ahead)?;
        listed.extend(ahead);
        for (path, entry) in &here {
            let WorkTreeEntry::Link(target) = entry else { continue };
            let Some(target) = resolve_link(path, &target.replace('\\', "/")) else { continue };
            folders.extend(first_part(&target));
            links.push((path.clone(), target));
        }
        found.extend(here);
    }
    let mut committed = committed.clone();
    let more: BTreeSet<String> = listed.difference(&known).cloned().collect();
    if !more.is_empty() {
        committed.extend(list_commit(git, commit, &more)?);
    }
    Ok(work_tree::changed_paths(git, &committed, &found))
}

/// Returns the top-level folder that a link leads into.
fn first_part(target: &str) -> Option<String> {
    let first = target.split('/').next().unwrap_or_default();
    (!first.is_empty() && first != ".git").then(|| first.to_owned())
}
