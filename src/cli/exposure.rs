//! Warnings about secrets that Git would add to a repository, and errors for private keys in files that it has or would add.
//!
//! Commands that write a secret call [`warn_if_unignored`]; `validate` searches the files. Git is asked in [`crate::git`], and
//! private keys are recognised in [`crate::secrets`]. Of a file the first 256 KiB are searched. Without Git, both are left out. No
//! file is changed.

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::Context;
use crate::{
    config::{Diagnostic, Report},
    fs::open_ordinary,
    git,
    model::Code,
    secrets::{ServiceIdentity, find_private_key},
    text::{decode_lossy, printable},
};

/// The number of bytes that are searched of each file. Files of this program and of keys are smaller.
const SEARCHED: u64 = 256 * 1024;
/// The maximum number of files that are searched.
const FILES: usize = 50_000;
/// The maximum number of files at the root that are searched.
const ROOT_FILES: usize = 1000;

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

/// Reports private keys in files that Git has or would add: below `environments/` and `secrets/`, and at the root. What `known`
/// reports already is left out.
pub(super) fn check_private_keys(root: &Path, known: &Report) -> Report {
    let known: BTreeSet<&str> =
        known.diagnostics.iter().filter(|one| one.code == Code::LooksLikeSecret).map(|one| one.file.as_str()).collect();
    let at_root = std::fs::read_dir(root).into_iter().flatten().flatten();
    let at_root = at_root.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let folders = ["environments", "secrets"].into_iter().map(PathBuf::from);
    let paths: Vec<PathBuf> = folders.chain(at_root.take(ROOT_FILES).map(|entry| entry.file_name().into())).collect();
    let files = git::list_committable(root, &paths).unwrap_or_default();
    let found = files.into_iter().take(FILES).filter_map(|path| {
        let file = printable(&path.to_string_lossy()).into_owned();
        if known.contains(file.as_str()) {
            return None;
        }
        // Git has a link, and not what it leads to.
        let path = root.join(path);
        let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(SEARCHED).unwrap_or(0)));
        open_ordinary(&path).ok().filter(|_| is_file)?.take(SEARCHED).read_to_end(&mut bytes).ok()?;
        let text = Zeroizing::new(decode_lossy(&bytes));
        let key = find_private_key(&text)?;
        let is_public = ServiceIdentity::parse(&text.as_str().into()).is_ok_and(|identity| identity.is_public());
        (!is_public).then(|| Diagnostic {
            file,
            line: key.line,
            column: 1,
            end_column: 1,
            code: Code::LooksLikeSecret,
            severity: Code::LooksLikeSecret.severity(),
            message: format!("this is {}, in a file that Git has or would add", key.kind),
            remedy: "Move the key out of the repository, or add the file to .gitignore and run `git rm --cached` on it. If it was ever committed, remove its recipient, and change every value that it opens.".to_owned(),
            environment: None,
            excerpt: None,
        })
    });
    Report { diagnostics: found.collect(), ..Report::default() }
}
