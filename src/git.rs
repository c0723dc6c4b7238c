//! What Git says of the files: commit, branch, and whether everything is committed.
//!
//! The one place that runs `git`. A folder that is no work tree, or a machine without `git`, is no error: there is
//! just nothing to tell.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::reconcile::plan::Source;

/// Where the files in `root` come from.
pub fn source(root: &Path) -> Source {
    let Some(commit) = ask(root, &["rev-parse", "--verify", "--quiet", "HEAD"]) else { return Source::default() };
    let branch = ask(root, &["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let changed = ask(root, &["status", "--porcelain", "--untracked-files=normal", "--", "environments", "secrets"]);
    Source { commit: Some(commit), branch, dirty: changed.is_none_or(|changed| !changed.is_empty()) }
}

fn ask(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .arg("--no-optional-locks")
        .args(arguments)
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(text)
}
