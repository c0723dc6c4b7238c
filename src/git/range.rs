//! Two sides to compare, as people write them.

use super::run::{COMPLETE, Git, GitError};
use crate::model::Code;

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// A commit, with the words that named it.
    Commit {
        /// What was written.
        named: String,
        /// The commit.
        id: String,
    },
    /// The files as they lie there.
    WorkTree,
}

/// Two sides, the older first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// What it was.
    pub from: Side,
    /// What it becomes.
    pub to: Side,
}

impl Side {
    /// For people: what was written, with the commit beside it.
    pub fn words(&self) -> String {
        match self {
            Side::WorkTree => "the work tree".to_owned(),
            Side::Commit { named, id } => {
                let short = id.get(..12).unwrap_or(id);
                if id.starts_with(named.as_str()) { short.to_owned() } else { format!("{} ({short})", shown(named)) }
            }
        }
    }

    /// The commit, if it is one.
    pub fn commit(&self) -> Option<&str> {
        match self {
            Side::Commit { id, .. } => Some(id),
            Side::WorkTree => None,
        }
    }
}

impl Range {
    /// Understands `A..B`, `A...B` (from where the two parted to `B`), and `A` (to the work tree). A side that is left
    /// out is `HEAD`.
    pub fn parse(root: &std::path::Path, text: &str) -> Result<Self, GitError> {
        let git = Git::new(root);
        if let Some((one, other)) = text.split_once("...") {
            let to = commit(&git, other)?;
            return Ok(Self { from: parting(&git, one, &to)?, to });
        }
        if let Some((one, other)) = text.split_once("..") {
            return Ok(Self { from: commit(&git, one)?, to: commit(&git, other)? });
        }
        Ok(Self { from: commit(&git, text)?, to: Side::WorkTree })
    }

    /// Understands `A` (what differs between it and the work tree) and `A...` (since the work tree parted from it).
    pub fn since(root: &std::path::Path, text: &str) -> Result<Self, GitError> {
        let git = Git::new(root);
        let from = match text.strip_suffix("...") {
            Some(one) => parting(&git, one, &commit(&git, "HEAD")?)?,
            None => commit(&git, text)?,
        };
        Ok(Self { from, to: Side::WorkTree })
    }

    /// Whether a text names a commit.
    pub fn is_revision(root: &std::path::Path, text: &str) -> bool {
        commit(&Git::new(root), text).is_ok()
    }
}

/// Whether a text is the id of zeros, which CI systems give for what was before where nothing was: a branch that is new.
pub fn is_none(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b == b'0')
}

/// The commit that a text names.
fn commit(git: &Git, text: &str) -> Result<Side, GitError> {
    let named = if text.is_empty() { "HEAD" } else { text };
    let unknown = |message: String, remedy: &str| {
        Err(GitError { code: Code::UnknownRevision, message, remedy: remedy.to_owned() })
    };
    if named.len() > 1000 || named.starts_with('-') || named.contains('\0') {
        return unknown(format!("`{}` is not a revision", shown(named)), "Name a branch, a tag or a commit.");
    }
    if is_none(named) {
        return unknown(
            "the revision of zeros is no commit: a branch that is new has no earlier one".to_owned(),
            "Compare with the branch that it parted from: `origin/main...`.",
        );
    }
    let wanted = format!("{named}^{{commit}}");
    if let Some(id) = git.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])
        && is_id(&id)
    {
        return Ok(Side::Commit { named: named.to_owned(), id });
    }
    // Tells "no repository" and "no Git" apart from "no such revision".
    git.run(&["rev-parse", "--git-dir"])?;
    if git.is_shallow() {
        return Err(GitError {
            code: Code::HistoryMissing,
            message: format!("this clone is shallow, and does not have `{}`", shown(named)),
            remedy: COMPLETE.to_owned(),
        });
    }
    unknown(
        format!("Git knows no revision `{}`", shown(named)),
        "Is it fetched? `git fetch origin main` brings `origin/main`. After a forced push a commit may be gone for good.",
    )
}

/// Where two commits parted.
fn parting(git: &Git, one: &str, other: &Side) -> Result<Side, GitError> {
    let from = commit(git, one)?;
    let (Some(a), Some(b)) = (from.commit(), other.commit()) else { return Ok(from) };
    match git.ask(&["merge-base", a, b]).filter(|id| is_id(id)) {
        Some(id) => {
            let Side::Commit { named, .. } = &from else { return Ok(from) };
            Ok(Side::Commit { named: format!("the merge base with {named}"), id })
        }
        None if git.is_shallow() => Err(GitError {
            code: Code::HistoryMissing,
            message: "this clone is shallow, and ends before the two parted".to_owned(),
            remedy: COMPLETE.to_owned(),
        }),
        None => Err(GitError {
            code: Code::UnknownRevision,
            message: format!("`{}` and {} have no commit in common", shown(one), other.words()),
            remedy: "Compare them as they are: two dots instead of three.".to_owned(),
        }),
    }
}

/// A commit's id, SHA-1 or SHA-256.
pub(super) fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What somebody wrote, fit to be shown.
fn shown(text: &str) -> String {
    text.escape_debug().take(200).collect()
}
