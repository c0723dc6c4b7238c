//! Both sides of a comparison, opened: each as a repository of `config`, with what differs between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::Path,
    sync::Arc,
};

use super::{
    objects::Objects,
    range::{Range, Side},
    run::{Git, GitError},
    work_tree::{self, Found},
};
use crate::{
    config::{Report, Repository},
    git::affected::{Changed, touched},
    model::EnvironmentName,
    vfs::{Blobs as _, Kind, Tree},
};

/// The folders that are read.
pub(super) const FOLDERS: [&str; 2] = ["environments", "secrets"];
/// How often links may lead on to folders that were not listed yet.
const ROUNDS: usize = 8;
/// The most that is read of `.gitmodules`, in bytes.
const MODULES: u64 = 1024 * 1024;
/// The longest target of a link.
const TARGET: u64 = 4096;

/// Path to what stands there: its kind, and the id of its contents.
pub(super) type Listing = BTreeMap<String, (Kind, String)>;

/// Both sides of a comparison.
pub struct Sides {
    /// What it was; or what is wrong with `environments/` as a whole.
    pub old: Result<Repository, Report>,
    /// What it becomes; or what is wrong with `environments/` as a whole.
    pub new: Result<Repository, Report>,
    /// What differs between them.
    pub changed: Changed,
    listings: [Listing; 2],
    objects: Arc<Objects>,
}

impl Sides {
    /// Opens both sides. Reads no more than their lists of files and the `environment.yaml`s.
    pub fn open(root: &Path, range: &Range) -> Result<Self, GitError> {
        let git = Git::new(root);
        git.check_work_tree()?;
        let objects = Arc::new(Objects::new(git.clone()));
        let mut links = Vec::new();
        let mut list = |side: &Side| match side {
            Side::Commit { id, .. } => listing(&git, &objects, id, &mut links),
            Side::WorkTree => Ok(Listing::new()),
        };
        let listings = [list(&range.from)?, list(&range.to)?];
        let paths = match (range.from.commit(), range.to.commit()) {
            (Some(from), None) => on_disk(&git, from, &listings[0], &mut links)?,
            _ => differing(&listings[0], &listings[1]),
        };
        let changed = Changed::new(paths, &links);
        let environments = |path: &str| {
            let parts: Vec<&str> = path.split('/').collect();
            matches!(parts[..], ["environments", _, name] if name.starts_with("environment."))
        };
        objects.fetch(listings.iter().flat_map(|listing| ids(listing, environments)));
        let open = |side: &Side, listing: &Listing| match side {
            Side::WorkTree => Repository::open(root),
            Side::Commit { .. } => {
                let entries = listing.iter().map(|(path, (kind, id))| (path.clone(), *kind, id.clone()));
                Repository::open_tree(root, Tree::new(entries, Arc::clone(&objects) as _))
            }
        };
        let old = open(&range.from, &listings[0]);
        let mut new = open(&range.to, &listings[1]);
        if let (Ok(old), Ok(new), Some(layers)) = (&old, &mut new, changed.layers()) {
            new.share(old, |name| !layers.contains(name.as_str()));
        }
        Ok(Self { old, new, changed, listings, objects })
    }

    /// The environments that the difference touches; none if a side cannot be opened.
    pub fn touched(&self) -> Option<BTreeSet<EnvironmentName>> {
        let (Ok(old), Ok(new)) = (&self.old, &self.new) else { return None };
        Some(touched(old, new, &self.changed))
    }

    /// Reads all that loading these environments takes, at once.
    pub fn read_ahead(&self, names: &BTreeSet<EnvironmentName>) {
        let (Ok(old), Ok(new)) = (&self.old, &self.new) else { return };
        let all: Vec<EnvironmentName> = names.iter().cloned().collect();
        let changed = self.changed.layers();
        for (listing, side, is_new) in [(&self.listings[0], old, false), (&self.listings[1], new, true)] {
            let chains: BTreeSet<EnvironmentName> = all.iter().flat_map(|name| side.chain(name)).collect();
            let is_read = |path: &str| {
                let mut parts = path.splitn(3, '/');
                match (parts.next(), parts.next()) {
                    // The new side reads what both share.
                    (Some("environments"), Some(name)) => {
                        (is_new || changed.as_ref().is_none_or(|changed| changed.contains(name)))
                            && chains.iter().any(|layer| layer.as_str() == name)
                    }
                    (Some("secrets"), Some(name)) => {
                        path.strip_suffix(".age").is_some() && names.iter().any(|own| own.as_str() == name)
                    }
                    _ => false,
                }
            };
            self.objects.fetch(ids(listing, is_read));
        }
        new.read_ahead(&all);
        old.read_ahead(&all);
    }
}

/// A submodule that was not checked out, where files belong: an empty folder that must not be taken for one without
/// files. Git is asked only where there is an empty folder.
pub fn empty_submodule(root: &Path) -> Option<String> {
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
        // Git may refuse to read a repository of another user; an empty folder is no less empty for it.
        let named = named_submodules(root);
        return empty.into_iter().find(|path| named.contains(path));
    };
    let is_submodule = |path: &String| committed.get(path).is_some_and(|(kind, _)| *kind == Kind::Submodule);
    empty.into_iter().find(is_submodule)
}

/// The paths that `.gitmodules` names, relative to `root`, without asking Git.
fn named_submodules(root: &Path) -> BTreeSet<String> {
    let here = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let Some(top) = here.ancestors().find(|folder| folder.join(".git").exists()) else { return BTreeSet::new() };
    let text = std::fs::File::open(top.join(".gitmodules")).and_then(|file| {
        let mut text = String::new();
        file.take(MODULES).read_to_string(&mut text).map(|_| text)
    });
    let paths = text.unwrap_or_default();
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
        .filter(move |(path, (kind, _))| *kind != Kind::Submodule && wanted(path))
        .map(|(_, (_, id))| id.as_str())
}

/// The files of a commit, with those that links lead to, wherever in the repository they are.
fn listing(git: &Git, objects: &Objects, commit: &str, links: &mut Vec<(String, String)>) -> Result<Listing, GitError> {
    let mut listing = Listing::new();
    let mut folders: BTreeSet<String> = FOLDERS.map(str::to_owned).into();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = list_commit(git, commit, &folders)?;
        let is_link = |(_, (kind, _)): &(&String, &(Kind, String))| *kind == Kind::Link;
        objects.fetch(found.iter().filter(is_link).map(|(_, (_, id))| id.as_str()));
        let mut ahead = BTreeSet::new();
        for (path, (_, id)) in found.iter().filter(is_link) {
            let Ok(target) = objects.blob(id, TARGET) else { continue };
            let Some(target) = leads_to(path, &String::from_utf8_lossy(&target)) else { continue };
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

/// The files of a commit below some folders, all of them if none is named.
pub(super) fn list_commit(git: &Git, commit: &str, folders: &BTreeSet<String>) -> Result<Listing, GitError> {
    let mut arguments = vec!["ls-tree", "-r", "-z", commit, "--"];
    arguments.extend(folders.iter().map(String::as_str));
    let answer = git.run(&arguments)?;
    Ok(answer.split(|byte| *byte == 0).filter_map(entry).collect())
}

/// `MODE TYPE ID<tab>PATH`. A path need not be UTF-8; one that is not cannot mean anything to `config`, which says so.
fn entry(line: &[u8]) -> Option<(String, (Kind, String))> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (head, path) = line.split_at(tab);
    let head = std::str::from_utf8(head).ok()?;
    let mut words = head.split(' ');
    let (mode, _, id) = (words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "120000" => Kind::Link,
        "160000" => Kind::Submodule,
        _ => Kind::File,
    };
    Some((String::from_utf8_lossy(path.get(1..)?).into_owned(), (kind, id.to_owned())))
}

/// Where a link leads, by its words alone; none if it leaves the repository.
fn leads_to(link: &str, target: &str) -> Option<String> {
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

/// The paths that two commits have different things at.
fn differing(old: &Listing, new: &Listing) -> BTreeSet<String> {
    let gone = old.iter().filter(|(path, entry)| new.get(*path) != Some(entry));
    let come = new.iter().filter(|(path, _)| !old.contains_key(*path));
    gone.chain(come).map(|(path, _)| path.clone()).collect()
}

/// The paths at which the work tree has something else than a commit: what Git tracks, what it does not, and what it
/// was told to ignore, since Mailwright reads that too. What links lead to counts as well, wherever it is.
fn on_disk(
    git: &Git,
    commit: &str,
    committed: &Listing,
    links: &mut Vec<(String, String)>,
) -> Result<BTreeSet<String>, GitError> {
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
            let Found::Link(target) = entry else { continue };
            let Some(target) = leads_to(path, &target.replace('\\', "/")) else { continue };
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
    Ok(work_tree::differing(git, &committed, &found))
}

/// The folder of the repository that a link leads into.
fn first_part(target: &str) -> Option<String> {
    let first = target.split('/').next().unwrap_or_default();
    (!first.is_empty() && first != ".git").then(|| first.to_owned())
}
