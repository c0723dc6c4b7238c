//! Files that are not on the disk: the tree of a revision, held in memory. Which program it came from is not known here.
//!
//! Links are followed as the disk would follow them, and only as long as they stay inside. What has no contents (a
//! submodule, a blob that this clone lacks) is told as what it is, never as an empty folder.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path},
    sync::Arc,
};

/// How many links one path may lead over.
const LINKS: usize = 40;
/// The longest target of a link.
const TARGET: u64 = 4096;

/// Where the contents of a tree come from.
pub trait Blobs: Send + Sync {
    /// The contents by their id, if they have no more than `limit` bytes.
    fn blob(&self, id: &str, limit: u64) -> Result<Arc<[u8]>, BlobError>;
}

/// Why there are no contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// There are too many.
    #[error("it is too large")]
    TooLarge,
    /// They are not in this clone.
    #[error("its contents are not in this clone")]
    Missing,
    /// They cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// What stands at a path of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A link; its contents are where it leads.
    Link,
    /// Another repository's commit. Its files are not in this one.
    Submodule,
}

/// The files of a revision.
#[derive(Clone)]
pub struct Tree {
    root: Folder,
    blobs: Arc<dyn Blobs>,
}

#[derive(Clone, Debug, Default)]
struct Folder(BTreeMap<String, Entry>);

#[derive(Clone, Debug)]
enum Entry {
    Folder(Folder),
    Leaf(Kind, String),
}

/// What a path leads to.
pub(crate) enum Found<'a> {
    /// A folder, with the names in it, sorted.
    Folder(Vec<&'a str>),
    /// A file, with the id of its contents.
    File(&'a str),
    /// A submodule; the path that it stands at.
    Submodule(String),
    /// Nothing.
    Nothing,
    /// A link that leads out of the tree, or nowhere.
    Outside,
    /// A link whose own contents cannot be had.
    Unreadable(BlobError),
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

impl Tree {
    /// Puts paths (with forward slashes), kinds and ids of contents together.
    pub fn new(entries: impl IntoIterator<Item = (String, Kind, String)>, blobs: Arc<dyn Blobs>) -> Self {
        let mut root = Folder::default();
        for (path, kind, id) in entries {
            root.insert(&path, kind, id);
        }
        Self { root, blobs }
    }

    /// What a path leads to, links followed.
    pub(crate) fn find(&self, path: &Path) -> Found<'_> {
        let mut ahead: Vec<String> = Vec::new();
        for part in path.components().rev() {
            match part {
                Component::Normal(part) => ahead.push(part.to_string_lossy().into_owned()),
                Component::CurDir => {}
                _ => return Found::Outside,
            }
        }
        let (mut folders, mut names, mut links) = (vec![&self.root], Vec::<String>::new(), 0);
        while let Some(name) = ahead.pop() {
            if name == ".." {
                folders.pop();
                names.pop();
                if folders.is_empty() {
                    return Found::Outside;
                }
                continue;
            }
            let nothing = || if links > 0 { Found::Outside } else { Found::Nothing };
            let Some(folder) = folders.last() else { return Found::Outside };
            match folder.0.get(&name) {
                None => return nothing(),
                Some(Entry::Folder(below)) => {
                    folders.push(below);
                    names.push(name);
                }
                Some(Entry::Leaf(Kind::File, id)) => {
                    return if ahead.is_empty() { Found::File(id) } else { nothing() };
                }
                Some(Entry::Leaf(Kind::Submodule, _)) => {
                    names.push(name);
                    return Found::Submodule(names.join("/"));
                }
                Some(Entry::Leaf(Kind::Link, id)) => {
                    links += 1;
                    let target = match self.blobs.blob(id, TARGET) {
                        Ok(target) => String::from_utf8_lossy(&target).into_owned(),
                        Err(BlobError::TooLarge) => return Found::Outside,
                        Err(error) => return Found::Unreadable(error),
                    };
                    if links > LINKS || target.starts_with('/') || target.is_empty() {
                        return Found::Outside;
                    }
                    let parts = target.split('/').rev().filter(|part| !part.is_empty() && *part != ".");
                    ahead.extend(parts.map(str::to_owned));
                }
            }
        }
        folders.last().map_or(Found::Outside, |folder| Found::Folder(folder.0.keys().map(String::as_str).collect()))
    }

    /// Whether anything stands at a path, without following a link at its end.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return true };
        match self.find(parent) {
            Found::Folder(names) => names.contains(&name.to_string_lossy().as_ref()),
            // What cannot be looked into is told by whoever reads it.
            Found::Submodule(_) | Found::Unreadable(_) | Found::Outside => true,
            Found::File(_) | Found::Nothing => false,
        }
    }

    pub(crate) fn blob(&self, id: &str, limit: u64) -> Result<Arc<[u8]>, BlobError> {
        self.blobs.blob(id, limit)
    }
}

impl Folder {
    fn insert(&mut self, path: &str, kind: Kind, id: String) {
        match path.split_once('/') {
            None => drop(self.0.insert(path.to_owned(), Entry::Leaf(kind, id))),
            Some((first, rest)) => {
                let entry = self.0.entry(first.to_owned()).or_insert_with(|| Entry::Folder(Folder::default()));
                if let Entry::Folder(folder) = entry {
                    folder.insert(rest, kind, id);
                }
            }
        }
    }
}
