//! What lies in a work tree, and where it is not what a commit says.
//!
//! `git status` and `git diff` would tell, and would run the filters that the repository's configuration names
//! (`filter.*.clean`, chosen by `.gitattributes`), in each submodule once more. So the files are read and hashed here,
//! and Git is asked for the ids in the commit. Contents count as they lie there; lines that end in CRLF where the commit
//! has LF are no difference. What the index was told (`--assume-unchanged`, what is staged) plays no part, except that
//! a file which a sparse checkout leaves out is not missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, FileType},
    path::Path,
};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rayon::prelude::*;

use super::run::{Git, GitError};
use crate::{
    git::comparison::{Listing, list_commit},
    model::Code,
    vfs::Kind,
};

/// The most files that are listed.
const FILES: usize = 500_000;
/// How deep folders may nest.
const DEPTH: usize = 64;
/// The largest file that is compared, in bytes. Mailwright reads none that has more than 1 MiB.
const LARGEST: u64 = 64 * 1024 * 1024;
/// How deep submodules may nest.
const SUBMODULES: usize = 4;

/// What lies at a path of the work tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file.
    File,
    /// A link, with its target.
    Link(String),
    /// A device, a pipe, or a folder that cannot be read.
    Other,
}

/// The files and links below some folders of `root`, or at these paths. What Git keeps for itself is left out.
pub(super) fn list(root: &Path, folders: &BTreeSet<String>) -> Result<BTreeMap<String, Found>, GitError> {
    let mut found = BTreeMap::new();
    for folder in folders.iter().filter(|folder| *folder != ".git") {
        let Ok(metadata) = fs::symlink_metadata(root.join(folder)) else { continue };
        add(root, folder.clone(), metadata.file_type(), DEPTH, &mut found)?;
    }
    Ok(found)
}

fn add(
    root: &Path,
    path: String,
    kind: FileType,
    depth: usize,
    found: &mut BTreeMap<String, Found>,
) -> Result<(), GitError> {
    if found.len() >= FILES || depth == 0 {
        return Err(GitError {
            code: Code::TooLarge,
            message: format!("below `{path}` are more than {FILES} files, or more than {DEPTH} folders in one another"),
            remedy: "Is this the right repository? Mailwright reads `environments/` and `secrets/`.".to_owned(),
        });
    }
    if kind.is_symlink() {
        let target = fs::read_link(root.join(&path));
        found.insert(path, target.map_or(Found::Other, |target| Found::Link(target.to_string_lossy().into_owned())));
    } else if kind.is_dir() {
        let Ok(entries) = fs::read_dir(root.join(&path)) else {
            found.insert(path, Found::Other);
            return Ok(());
        };
        for entry in entries.flatten().filter(|entry| entry.file_name() != ".git") {
            let Ok(kind) = entry.file_type() else { continue };
            add(root, format!("{path}/{}", entry.file_name().to_string_lossy()), kind, depth - 1, found)?;
        }
    } else {
        found.insert(path, if kind.is_file() { Found::File } else { Found::Other });
    }
    Ok(())
}

/// The paths at which a work tree has something else than a commit, what is on one side only among them.
pub(super) fn differing(git: &Git, committed: &Listing, found: &BTreeMap<String, Found>) -> BTreeSet<String> {
    let mut differing = BTreeSet::new();
    let committed = with_submodules(git, committed, SUBMODULES, &mut differing);
    let changed: Vec<String> = committed
        .par_iter()
        .filter(|(path, (kind, id))| {
            found.get(*path).is_some_and(|found| !is_same(&git.root().join(path), *kind, id, found))
        })
        .map(|(path, _)| path.clone())
        .collect();
    differing.extend(changed);
    differing.extend(found.keys().filter(|path| !committed.contains_key(*path)).cloned());
    let missing: BTreeSet<&String> = committed.keys().filter(|path| !found.contains_key(*path)).collect();
    if !missing.is_empty() {
        let left_out = left_out(git);
        differing.extend(missing.into_iter().filter(|path| !left_out.contains(*path)).cloned());
    }
    differing
}

/// The files of a commit, with those of the submodules that are checked out.
fn with_submodules(git: &Git, listing: &Listing, depth: usize, differing: &mut BTreeSet<String>) -> Listing {
    let mut all = Listing::new();
    for (path, (kind, id)) in listing {
        if *kind != Kind::Submodule {
            all.insert(path.clone(), (*kind, id.clone()));
            continue;
        }
        let folder = git.root().join(path);
        // One that is not checked out is an empty folder, or none.
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
            with_submodules(&submodule, &files, depth - 1, &mut inside)
                .into_iter()
                .map(|(name, entry)| (below(&name), entry)),
        );
        differing.extend(inside.iter().map(below));
    }
    all
}

/// The files that a sparse checkout leaves out.
fn left_out(git: &Git) -> BTreeSet<String> {
    let listed = git.run(&["ls-files", "-t", "-z"]).unwrap_or_default();
    let paths = listed.split(|byte| *byte == 0).filter_map(|line| line.strip_prefix(b"S "));
    paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

fn is_same(path: &Path, kind: Kind, id: &str, found: &Found) -> bool {
    match (kind, found) {
        (Kind::Link, Found::Link(target)) => blob_id(target.as_bytes(), id.len()) == id,
        (Kind::File, Found::File) => {
            if fs::metadata(path).map_or(true, |metadata| metadata.len() > LARGEST) {
                return false;
            }
            let Ok(contents) = fs::read(path) else { return false };
            blob_id(&contents, id.len()) == id
                || without_cr(&contents).is_some_and(|text| blob_id(&text, id.len()) == id)
        }
        _ => false,
    }
}

/// The id that Git gives contents, in SHA-1 or in SHA-256, by the length of the id that it is compared with.
fn blob_id(contents: &[u8], length: usize) -> String {
    let mut context = Context::new(if length == 64 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY });
    context.update(format!("blob {}\0", contents.len()).as_bytes());
    context.update(contents);
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The contents with LF for each CRLF; none if there is no CRLF.
fn without_cr(contents: &[u8]) -> Option<Vec<u8>> {
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
        assert_eq!(without_cr(b"a\r\nb\rc\n").as_deref(), Some(&b"a\nb\rc\n"[..]));
        assert_eq!(without_cr(b"a\nb\r"), None);
    }
}
