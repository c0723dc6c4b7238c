//! Warnings about secrets that Git would add to a repository.

use std::path::Path;

use super::Context;
use crate::{git, text::printable};

/// Warns if a file or folder with a secret is in a Git work tree that does not ignore it, with the line for `.gitignore`.
pub(super) fn warn_if_unignored(context: &Context, path: &Path) {
    if let Some(line) = git::find_missing_ignore_line(path) {
        context.printer.note(&format!(
            "warning: Git does not ignore `{}`, which holds a secret. Add this line to the .gitignore at the top of its work tree: {}",
            printable(&path.display().to_string()),
            printable(&line)
        ));
    }
}
