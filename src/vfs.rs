//! Virtual file system: the names of the files of a revision in memory, independent of the program that they come from. Contents
//! are read from a [`BlobStore`] on demand.
//!
//! [`Tree`] follows links as a file system does, up to 40 per path and only inside the tree; a link that is broken, a loop, or has a
//! target of more than 4096 bytes counts as one that leads outside. What is missing behind a good link is not found, as on disk. An
//! entry without contents (a submodule, a blob that the clone lacks) is reported as such, never as an empty folder.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path},
    sync::Arc,
};

/// The maximum number of links on one path.
const LINKS: usize = 40;
/// The maximum length of a link's target, in bytes.
const TARGET: u64 = 4096;

/// The source of a tree's contents.
pub trait BlobStore: Send + Sync {
    /// Returns the contents by their id, if they have at most `limit` bytes.
    fn blob(&self, id: &str, limit: u64) -> Result<Arc<[u8]>, BlobError>;
}

/// The reason why contents are not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The contents are too large.
    #[error("it is too large")]
    TooLarge,
    /// The contents are not in this clone.
    #[error("its contents are not in this clone")]
    Missing,
    /// The contents cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// The kind of an entry of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A link; its contents are its target.
    Link,
    /// A commit of another repository, whose files are not in this one.
    Submodule,
}

/// The files of a revision.
#[derive(Clone)]
pub struct Tree {
    root: Folder,
    blobs: Arc<dyn BlobStore>,
}

#[derive(Clone, Debug, Default)]
struct Folder(BTreeMap<String, Entry>);

#[derive(Clone, Debug)]
enum Entry {
    Folder(Folder),
    Leaf(EntryKind, String),
}

/// The result of looking up a path.
pub(crate) enum Lookup<'a> {
    /// A folder, with the names in it, sorted.
    Folder(Vec<&'a str>),
    /// A file, with the id of its contents.
    File(&'a str),
    /// A submodule, with its path.
    Submodule(String),
    /// The path does not exist.
    Nothing,
    /// A link that leads out of the tree, or that is broken; or a path that does.
    Outside,
    /// A link whose target is not available.
    Unreadable(BlobError),
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

impl Tree {
    /// Builds a tree of paths (with forward slashes), kinds and ids of contents.
    pub fn new(entries: impl IntoIterator<Item = (String, EntryKind, String)>, blobs: Arc<dyn BlobStore>) -> Self {
        let mut root = Folder::default();
        for (path, kind, id) in entries {
            root.insert(&path, kind, id);
        }
        Self { root, blobs }
    }

    /// Looks up a path and follows links.
    pub(crate) fn find(&self, path: &Path) -> Lookup<'_> {
        let mut ahead: Vec<String> = Vec::new();
        for part in path.components().rev() {
            match part {
                Component::Normal(part) => ahead.push(part.to_string_lossy().into_owned()),
                Component::CurDir => {}
                _ => return Lookup::Outside,
            }
        }
        // The parts ahead that are the caller's; those above them are of targets of links.
        let mut own = ahead.len();
        let (mut folders, mut names, mut links) = (vec![&self.root], Vec::<String>::new(), 0);
        while let Some(name) = ahead.pop() {
            let nothing = |is_own: bool| if is_own { Lookup::Nothing } else { Lookup::Outside };
            let is_own = ahead.len() < own;
            own = own.min(ahead.len());
            if name == ".." {
                folders.pop();
                names.pop();
                if folders.is_empty() {
                    return Lookup::Outside;
                }
                continue;
            }
            let Some(folder) = folders.last() else { return Lookup::Outside };
            match folder.0.get(&name) {
                None => return nothing(is_own),
                Some(Entry::Folder(below)) => {
                    folders.push(below);
                    names.push(name);
                }
                Some(Entry::Leaf(EntryKind::File, id)) => {
                    return if ahead.is_empty() { Lookup::File(id) } else { nothing(ahead.len() == own) };
                }
                Some(Entry::Leaf(EntryKind::Submodule, _)) => {
                    names.push(name);
                    return Lookup::Submodule(names.join("/"));
                }
                Some(Entry::Leaf(EntryKind::Link, id)) => {
                    links += 1;
                    let target = match self.blobs.blob(id, TARGET) {
                        Ok(target) => String::from_utf8_lossy(&target).into_owned(),
                        Err(BlobError::TooLarge) => return Lookup::Outside,
                        Err(error) => return Lookup::Unreadable(error),
                    };
                    if links > LINKS || target.starts_with('/') || target.is_empty() {
                        return Lookup::Outside;
                    }
                    let parts = target.split('/').rev().filter(|part| !part.is_empty() && *part != ".");
                    ahead.extend(parts.map(str::to_owned));
                }
            }
        }
        folders.last().map_or(Lookup::Outside, |folder| Lookup::Folder(folder.0.keys().map(String::as_str).collect()))
    }

    /// Returns true if a path exists, without following a link at its end. Also returns true if its folder is not available, so
    /// that the read reports why.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return true };
        match self.find(parent) {
            Lookup::Folder(names) => names.contains(&name.to_string_lossy().as_ref()),
            Lookup::Submodule(_) | Lookup::Unreadable(_) | Lookup::Outside => true,
            Lookup::File(_) | Lookup::Nothing => false,
        }
    }

    pub(crate) fn blob(&self, id: &str, limit: u64) -> Result<Arc<[u8]>, BlobError> {
        self.blobs.blob(id, limit)
    }
}

impl Folder {
    fn insert(&mut self, path: &str, kind: EntryKind, id: String) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The contents of a link are its id.
    struct Targets;

    impl BlobStore for Targets {
        fn blob(&self, id: &str, limit: u64) -> Result<Arc<[u8]>, BlobError> {
            if id.len() as u64 > limit { Err(BlobError::TooLarge) } else { Ok(id.as_bytes().into()) }
        }
    }

    fn look_up(path: &str) -> &'static str {
        let long = "a".repeat(5000);
        let link = |name: &str, target: &str| (name.to_owned(), EntryKind::Link, target.to_owned());
        let tree = Tree::new(
            [
                ("real/a.txt".to_owned(), EntryKind::File, "a".to_owned()),
                ("module".to_owned(), EntryKind::Submodule, String::new()),
                link("good", "real"),
                link("chain", "./good"),
                link("deep/up", "../real"),
                link("file", "real/a.txt"),
                link("broken", "real/b"),
                link("below-a-file", "real/a.txt/b"),
                link("out", "../x"),
                link("loop", "loop"),
                link("long", &long),
            ],
            Arc::new(Targets),
        );
        match tree.find(Path::new(path)) {
            Lookup::Folder(_) => "folder",
            Lookup::File(_) => "file",
            Lookup::Submodule(_) => "submodule",
            Lookup::Nothing => "nothing",
            Lookup::Outside => "outside",
            Lookup::Unreadable(_) => "unreadable",
        }
    }

    #[test]
    fn what_is_missing_behind_a_good_link_is_not_found() {
        for (path, wanted) in [
            ("real", "folder"),
            ("real/b", "nothing"),
            ("real/a.txt/b", "nothing"),
            ("good", "folder"),
            ("good/a.txt", "file"),
            ("good/b", "nothing"),
            ("good/b/c", "nothing"),
            ("good/a.txt/b", "nothing"),
            ("chain/b", "nothing"),
            ("deep/up/b", "nothing"),
            ("file", "file"),
            ("file/b", "nothing"),
            ("module/x", "submodule"),
        ] {
            assert_eq!(look_up(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_broken_link_leads_outside() {
        for path in
            ["broken", "broken/c", "below-a-file", "out", "out/x", "../x", "loop", "loop/x", "long", "good/../.."]
        {
            assert_eq!(look_up(path), "outside", "{path}");
        }
    }
}
