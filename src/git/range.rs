//! [`Range`]: the two sides of a comparison as the command line names them (`main..topic`, `main...topic`, `HEAD`), resolved
//! to commits.
//!
//! An unknown revision is an error that names it. The files of the sides are read by `comparison`. A shallow clone that lacks one
//! is an error of its own.

use super::run::{Git, UNSHALLOW_REMEDY};
use crate::model::{Code, Problem};

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// A commit, with the revision that named it.
    Commit {
        /// The revision as written.
        named: String,
        /// The commit.
        id: String,
    },
    /// The files on disk.
    WorkTree,
}

/// Two sides, the older first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The older side.
    pub from: Side,
    /// The newer side.
    pub to: Side,
}

impl Side {
    /// Returns the revision as written, followed by the short commit id.
    pub fn describe(&self) -> String {
        match self {
            Side::WorkTree => "the work tree".to_owned(),
            Side::Commit { named, id } => {
                let short = id.get(..12).unwrap_or(id);
                if id.starts_with(named.as_str()) { short.to_owned() } else { format!("{} ({short})", shown(named)) }
            }
        }
    }

    /// Returns the commit; none for the work tree.
    pub fn commit(&self) -> Option<&str> {
        match self {
            Side::Commit { id, .. } => Some(id),
            Side::WorkTree => None,
        }
    }
}

impl Range {
    /// Parses `A..B`, `A...B` (from the merge base of the two to `B`), and `A` (to the work tree). A side that is left out is
    /// `HEAD`.
    pub fn parse(root: &std::path::Path, text: &str) -> Result<Self, Problem> {
        let git = Git::new(root);
        if let Some((one, other)) = text.split_once("...") {
            let to = resolve_commit(&git, other)?;
            return Ok(Self { from: find_merge_base(&git, one, &to)?, to });
        }
        if let Some((one, other)) = text.split_once("..") {
            return Ok(Self { from: resolve_commit(&git, one)?, to: resolve_commit(&git, other)? });
        }
        Ok(Self { from: resolve_commit(&git, text)?, to: Side::WorkTree })
    }

    /// Parses `A` (from `A` to the work tree) and `A...` (from the merge base with `A` to the work tree).
    pub fn since(root: &std::path::Path, text: &str) -> Result<Self, Problem> {
        let git = Git::new(root);
        let from = match text.strip_suffix("...") {
            Some(one) => find_merge_base(&git, one, &resolve_commit(&git, "HEAD")?)?,
            None => resolve_commit(&git, text)?,
        };
        Ok(Self { from, to: Side::WorkTree })
    }

    /// Returns true if a text names a commit.
    pub fn is_revision(root: &std::path::Path, text: &str) -> bool {
        resolve_commit(&Git::new(root), text).is_ok()
    }
}

/// Returns true for the id of zeros, which CI systems pass as the earlier revision of a new branch.
pub fn is_null_revision(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b == b'0')
}

/// Resolves a revision to a commit.
fn resolve_commit(git: &Git, text: &str) -> Result<Side, Problem> {
    let named = if text.is_empty() { "HEAD" } else { text };
    let unknown = |message: String, remedy: &str| Err(Problem::new(Code::UnknownRevision, message).remedy(remedy));
    if named.len() > 1000 || named.starts_with('-') || named.contains('\0') {
        return unknown(format!("`{}` is not a revision", shown(named)), "Name a branch, a tag or a commit.");
    }
    if is_null_revision(named) {
        return unknown(
            "the revision of zeros is not a commit: a new branch has no earlier one".to_owned(),
            "Compare with the merge base: `origin/main...`.",
        );
    }
    let wanted = format!("{named}^{{commit}}");
    if let Some(id) = git.query(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])
        && is_object_id(&id)
    {
        return Ok(Side::Commit { named: named.to_owned(), id });
    }
    // Distinguishes "no repository" and "no Git" from "no such revision".
    git.run(&["rev-parse", "--git-dir"])?;
    if git.is_shallow() {
        return Err(Problem::new(
            Code::HistoryMissing,
            format!("this clone is shallow, and does not have `{}`", shown(named)),
        )
        .remedy(UNSHALLOW_REMEDY));
    }
    unknown(
        format!("unknown revision `{}`", shown(named)),
        "Fetch it first: `git fetch origin main` fetches `origin/main`. After a forced push a commit may not exist any more.",
    )
}

/// Returns the merge base of two commits.
fn find_merge_base(git: &Git, one: &str, other: &Side) -> Result<Side, Problem> {
    let from = resolve_commit(git, one)?;
    let (Some(a), Some(b)) = (from.commit(), other.commit()) else { return Ok(from) };
    match git.query(&["merge-base", a, b]).filter(|id| is_object_id(id)) {
        Some(id) => {
            let Side::Commit { named, .. } = &from else { return Ok(from) };
            Ok(Side::Commit { named: format!("the merge base with {named}"), id })
        }
        None if git.is_shallow() => {
            Err(Problem::new(Code::HistoryMissing, "this clone is shallow, and does not have the merge base")
                .remedy(UNSHALLOW_REMEDY))
        }
        None => Err(Problem::new(
            Code::UnknownRevision,
            format!("`{}` and {} have no commit in common", shown(one), other.describe()),
        )
        .remedy("Compare them directly: two dots instead of three.")),
    }
}

/// Returns true for the id of an object, SHA-1 or SHA-256.
pub(super) fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Renders a revision for a message: escaped and bounded.
fn shown(text: &str) -> String {
    text.escape_debug().take(200).collect()
}
