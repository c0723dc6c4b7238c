//! Files that a repository has or would add, and lines of `.gitignore`.
//!
//! [`list_committable`] lists the files that Git has in its index or would add; [`find_missing_ignore_line`] returns the line
//! that keeps a file with a secret out. Neither changes `.gitignore`, and outside of a work tree there is no answer. The files
//! are not read here.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::run::Git;

/// Returns the line of `.gitignore` that would keep a file or folder out of the repository, if it is in a work tree and Git does
/// not ignore it. Returns none outside of a work tree, and if Git is not installed.
pub fn find_missing_ignore_line(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let (folder, name) = (path.parent()?.canonicalize().ok()?, path.file_name()?);
    let top = folder.ancestors().find(|folder| folder.join(".git").exists())?;
    let path = folder.join(name);
    let is_unignored = Git::new(top).is_unignored(&path);
    is_unignored.then(|| ignore_line(path.strip_prefix(top).ok()?, path.is_dir())).flatten()
}

/// Returns the files in folders of a work tree that Git has in its index or would add, relative to `root`. `paths` are names of
/// files and folders below it. Returns none outside of a work tree, and if Git is not installed or refuses.
pub fn list_committable(root: &Path, paths: &[PathBuf]) -> Option<Vec<PathBuf>> {
    let git = Git::new(root);
    git.check_work_tree().ok()?;
    let mut command = git.command(&["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]);
    command.args(paths);
    let listed = git.run_command(command).ok()?;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Some(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
}

/// Returns the line of `.gitignore` that names exactly one path, relative to the folder of the file.
pub fn ignore_line(path: &Path, is_folder: bool) -> Option<String> {
    let text = path.to_str().filter(|text| !text.is_empty() && !text.contains(char::is_control))?;
    let mut line = String::from("/");
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '?' | '[' | ' ') {
            line.push('\\');
        }
        line.push(c);
    }
    if is_folder {
        line.push('/');
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_one_path() {
        let line = |path: &str, is_folder| ignore_line(Path::new(path), is_folder);
        assert_eq!(line("a/b", false).as_deref(), Some("/a/b"));
        assert_eq!(line("data", true).as_deref(), Some("/data/"));
        assert_eq!(line("!x*[1]?\\ ", false).as_deref(), Some("/!x\\*\\[1]\\?\\\\\\ "));
        assert_eq!((line("", true), line("a\nb", false)), (None, None));
    }
}
