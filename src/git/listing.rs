//! Listing of a commit's files, by `git ls-tree`.
//!
//! [`list_commit`] returns path, kind and object id of each file below some folders. The contents are read by `objects`, and links
//! are followed by `comparison`. Git's failure is a problem; a folder that the commit does not have is empty.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Git;
use crate::{model::Problem, vfs::EntryKind};

/// The folders that are read.
pub(super) const FOLDERS: [&str; 2] = ["environments", "secrets"];

/// The entries by path: the kind and the id of the contents of each.
pub(super) type Listing = BTreeMap<String, (EntryKind, String)>;

/// Lists the files of a commit below some folders, or all files if none is named.
pub(super) fn list_commit(git: &Git, commit: &str, folders: &BTreeSet<String>) -> Result<Listing, Problem> {
    let mut arguments = vec!["ls-tree", "-r", "-z", commit, "--"];
    arguments.extend(folders.iter().map(String::as_str));
    let answer = git.run(&arguments)?;
    Ok(answer.split(|byte| *byte == 0).filter_map(parse_entry).collect())
}

/// Parses `MODE TYPE ID<tab>PATH`. A path that is not UTF-8 is not a valid name for `config`, which reports it.
fn parse_entry(line: &[u8]) -> Option<(String, (EntryKind, String))> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (head, path) = line.split_at(tab);
    let head = std::str::from_utf8(head).ok()?;
    let mut words = head.split(' ');
    let (mode, _, id) = (words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "120000" => EntryKind::Link,
        "160000" => EntryKind::Submodule,
        _ => EntryKind::File,
    };
    Some((String::from_utf8_lossy(path.get(1..)?).into_owned(), (kind, id.to_owned())))
}
