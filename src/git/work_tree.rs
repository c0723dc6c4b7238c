//! Compares the files of a work tree with a commit.
//!
//! [`list`] lists the files below some folders; [`changed_paths`] returns the paths that differ from the commit's, in submodules
//! too. A file that is untracked, ignored or larger than 64 MiB is a difference; CRLF in place of LF and the executable bit are
//! not. What cannot be read is one too; more than 500,000 files, or 64 folders in one another, is a problem.
//!
//! `git status` and `git diff` are not used: they run the programs that the repository's configuration names as filters
//! (`filter.*.clean`, chosen by `.gitattributes`). The files are read and hashed here. A file that needs such a filter, as in
//! Git LFS, counts as changed. The index is read only to find the files that a sparse checkout leaves out, which are not
//! missing; `--assume-unchanged` and staged files have no effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, FileType},
    path::Path,
};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rayon::prelude::*;

use super::run::{Git, WRONG_REPOSITORY_REMEDY};
use crate::{
    git::listing::{Listing, list_commit},
    model::{Code, Problem},
    vfs::EntryKind,
};

/// The maximum number of files that are listed.
const FILES: usize = 500_000;
/// The maximum depth of folders.
const DEPTH: usize = 64;
/// The maximum size of a file that is compared, in bytes. Mailwright reads no file of more than 1 MiB.
const LARGEST: u64 = 64 * 1024 * 1024;
/// The maximum depth of submodules.
const SUBMODULES: usize = 4;

/// An entry of the work tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WorkTreeEntry {
    /// A file.
    File,
    /// A link, with its target.
    Link(String),
    /// A device, a pipe, or a folder that cannot be read.
    Other,
}

/// Lists the files and links below some folders of `root`, or at these paths, without `.git`.
pub(super) fn list(root: &Path, folders: &BTreeSet<String>) -> Result<BTreeMap<String, WorkTreeEntry>, Problem> {
    let mut found = BTreeMap::new();
    for folder in folders.iter().filter(|folder| *folder != ".git") {
        let Ok(metadata) = fs::symlink_metadata(root.join(folder)) else { continue };
        collect(root, folder.clone(), metadata.file_type(), DEPTH, &mut found)?;
    }
    Ok(found)
}

fn collect(
    root: &Path,
    path: String,
    kind: FileType,
    depth: usize,
    found: &mut BTreeMap<String, WorkTreeEntry>,
) -> Result<(), Problem> {
    if found.len() >= FILES || depth == 0 {
        let message =
            format!("below `{path}` are more than {FILES} files, or more than {DEPTH} folders in one another");
        return Err(Problem::new(Code::TooLarge, message).remedy(WRONG_REPOSITORY_REMEDY));
    }
    if kind.is_symlink() {
        let target = fs::read_link(root.join(&path));
        found.insert(
            path,
            target.map_or(WorkTreeEntry::Other, |target| WorkTreeEntry::Link(target.to_string_lossy().into_owned())),
        );
    } else if kind.is_dir() {
        let Ok(entries) = fs::read_dir(root.join(&path)) else {
            found.insert(path, WorkTreeEntry::Other);
            return Ok(());
        };
        for entry in entries.flatten().filter(|entry| entry.file_name() != ".git") {
            let Ok(kind) = entry.file_type() else { continue };
            collect(root, format!("{path}/{}", entry.file_name().to_string_lossy()), kind, depth - 1, found)?;
        }
    } else {
        found.insert(path, if kind.is_file() { WorkTreeEntry::File } else { WorkTreeEntry::Other });
    }
    Ok(())
}

/// Returns the paths that differ between a work tree and a commit, those on one side only included.
pub(super) fn changed_paths(
    git: &Git,
    committed: &Listing,
    found: &BTreeMap<String, WorkTreeEntry>,
) -> BTreeSet<String> {
    let mut differing = BTreeSet::new();
    let committed = add_submodules(git, committed, SUBMODULES, &mut differing);
    let changed: Vec<String> = committed
        .par_iter()
        .filter(|(path, (kind, id))| {
            found.get(*path).is_some_and(|found| !matches_commit(&git.root().join(path), *kind, id, found))
        })
        .map(|(path, _)| path.clone())
        .collect();
    differing.extend(changed);
    differing.extend(found.keys().filter(|path| !committed.contains_key(*path)).cloned());
    let missing: BTreeSet<&String> = committed.keys().filter(|path| !found.contains_key(*path)).collect();
    if !missing.is_empty() {
        let left_out = sparse_paths(git);
        differing.extend(missing.into_iter().filter(|path| !left_out.contains(*path)).cloned());
    }
    differing
}

/// Returns the files of a commit with those of the checked-out submodules.
fn add_submodules(git: &Git, listing: &Listing, depth: usize, differing: &mut BTreeSet<String>) -> Listing {
    let mut all = Listing::new();
    for (path, (kind, id)) in listing {
        if *kind != EntryKind::Submodule {
            all.insert(path.clone(), (*kind, id.clone()));
            continue;
        }
        let folder = git.root().join(path);
        // A submodule that is not checked out is an empty folder, or missing.
        if fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none()) {
            continue;
        }
        let submodule = Git::new(&folder);
        let files = if depth == 0 { None } else { list_commit(&submodule, id, &BTreeSet::new()).ok() };
        let Some(files) = files else {
            differing.insert(path.clone());
            continue;
        };
        let mut inside = BTreeSet::new();
        let below = |name: &String| format!("{path}/{name}");
        all.extend(
            add_submodules(&submodule, &files, depth - 1, &mut inside)
                .into_iter()
                .map(|(name, entry)| (below(&name), entry)),
        );
        differing.extend(inside.iter().map(below));
    }
    all
}

/// Returns the files that a sparse checkout leaves out.
fn sparse_paths(git: &Git) -> BTreeSet<String> {
    let listed = git.run(&["ls-files", "-t", "-z"]).unwrap_or_default();
    let paths = listed.split(|byte| *byte == 0).filter_map(|line| line.strip_prefix(b"S "));
    paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

fn matches_commit(path: &Path, kind: EntryKind, id: &str, found: &WorkTreeEntry) -> bool {
    match (kind, found) {
        (EntryKind::Link, WorkTreeEntry::Link(target)) => blob_id(target.as_bytes(), id.len()) == id,
        (EntryKind::File, WorkTreeEntry::File) => {
            let Ok(contents) = crate::fs::read_ordinary(path, LARGEST) else { return false };
            blob_id(&contents, id.len()) == id || with_lf(&contents).is_some_and(|text| blob_id(&text, id.len()) == id)
        }
        _ => false,
    }
}

/// Returns the id that Git gives a blob: SHA-1 or SHA-256, by the length of the id that it is compared with.
fn blob_id(contents: &[u8], length: usize) -> String {
    let mut context = Context::new(if length == 64 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY });
    context.update(format!("blob {}\0", contents.len()).as_bytes());
    context.update(contents);
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces each CRLF by LF; none if there is no CRLF.
fn with_lf(contents: &[u8]) -> Option<Vec<u8>> {
    let is_dropped = |at: usize| contents[at] == b'\r' && contents.get(at + 1) == Some(&b'\n');
    let kept: Vec<u8> = (0..contents.len()).filter(|at| !is_dropped(*at)).map(|at| contents[at]).collect();
    (kept.len() < contents.len()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git() {
        // `printf 'hello\n' | git hash-object --stdin`, in repositories of both kinds.
        assert_eq!(blob_id(b"hello\n", 40), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(blob_id(b"hello\n", 64), "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4");
        assert_eq!(with_lf(b"a\r\nb\rc\n").as_deref(), Some(&b"a\nb\rc\n"[..]));
        assert_eq!(with_lf(b"a\nb\r"), None);
    }
}
