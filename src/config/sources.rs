//! The files that were read: bounded, inside the repository, and kept so that a problem can show its line.
//!
//! They are on the disk, or in the tree of a revision. Nobody else in `config` knows the difference.

use std::{
    fs,
    io::Read as _,
    path::{Component, Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use super::Diagnostic;
use crate::{
    model::{Code, Place},
    vfs::{BlobError, Found, Tree},
};

/// The largest file of a layer, in bytes. A profile has less than a thousandth of it.
pub(super) const FILE_LIMIT: u64 = 1024 * 1024;

/// Where files are read from.
#[derive(Clone, Debug)]
pub(super) enum Files {
    /// A folder of the disk.
    Disk(PathBuf),
    /// The tree of a revision.
    Tree(Tree),
}

impl Files {
    /// Reads a file as bytes. Refuses what is too large without reading it, what is no ordinary file without opening
    /// it, and a link that leads out of the repository.
    pub(super) fn read_bytes(&self, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
        match self {
            Files::Disk(root) => read_bytes(root, relative, limit),
            Files::Tree(tree) => read_blob(tree, relative, limit),
        }
    }

    /// Reads a file of a listed folder as text. A byte order mark of UTF-8 is skipped.
    pub(super) fn read_text(&self, relative: &Path) -> Result<String, Diagnostic> {
        let bytes = match self {
            Files::Disk(root) => read_listed(root, relative, FILE_LIMIT)?,
            Files::Tree(tree) => read_blob(tree, relative, FILE_LIMIT)?,
        };
        text(bytes, relative)
    }

    /// What is in a folder, sorted by name. A folder that is not there is empty; one that cannot be read is an error.
    pub(super) fn list(&self, relative: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
        match self {
            Files::Disk(root) => list(root, relative),
            Files::Tree(tree) => list_tree(tree, relative),
        }
    }

    /// Whether a path leads to a folder, or to what was meant to be one.
    pub(super) fn is_folder(&self, relative: &Path) -> bool {
        match self {
            Files::Disk(root) => root.join(relative).is_dir(),
            Files::Tree(tree) => matches!(tree.find(relative), Found::Folder(_) | Found::Submodule(_)),
        }
    }

    /// Whether anything stands at a path, a link that leads nowhere among it.
    pub(super) fn exists(&self, relative: &Path) -> bool {
        match self {
            Files::Disk(root) => root.join(relative).symlink_metadata().is_ok(),
            Files::Tree(tree) => tree.exists(relative),
        }
    }
}

fn read_blob(tree: &Tree, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    match tree.find(relative) {
        Found::File(id) => match tree.blob(id, limit) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(BlobError::TooLarge) => Err(too_large(relative, limit)),
            Err(error) => Err(no_contents(relative, &error)),
        },
        Found::Folder(_) => Err(not_ordinary(relative)),
        Found::Submodule(path) => Err(submodule(&path)),
        Found::Outside => Err(leads_outside(relative)),
        Found::Unreadable(error) => Err(no_contents(relative, &error)),
        Found::Nothing => Err(no_contents(relative, &BlobError::Unreadable("there is no such file".to_owned()))),
    }
}

fn list_tree(tree: &Tree, relative: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    match tree.find(relative) {
        Found::Folder(names) => Ok(names.into_iter().map(|name| relative.join(name)).collect()),
        Found::Nothing => Ok(Vec::new()),
        Found::File(_) => Err(Diagnostic::file(
            Code::Unreadable,
            &shown(relative),
            "the folder cannot be read: it is a file".to_owned(),
            "Put a folder in its place.",
        )),
        Found::Submodule(path) => Err(submodule(&path)),
        Found::Outside => Err(leads_outside(relative)),
        Found::Unreadable(error) => Err(no_contents(relative, &error)),
    }
}

fn no_contents(relative: &Path, error: &BlobError) -> Diagnostic {
    if *error == BlobError::Missing {
        return Diagnostic::file(
            Code::HistoryMissing,
            &shown(relative),
            "Git knows this file, and this clone does not have its contents".to_owned(),
            "This is a partial clone. Let Git fetch them (`git archive REVISION > /dev/null` does), or clone without \
             `--filter`.",
        );
    }
    Diagnostic::file(
        Code::Unreadable,
        &shown(relative),
        format!("the file cannot be read: {error}"),
        "Look at the repository: `git fsck`.",
    )
}

fn submodule(path: &str) -> Diagnostic {
    Diagnostic::file(
        Code::Submodule,
        &shown(Path::new(path)),
        "this is a Git submodule: its files are in another repository".to_owned(),
        "Keep the files in this repository, or work in the other one: `mailwright --project` names it.",
    )
}

fn leads_outside(relative: &Path) -> Diagnostic {
    Diagnostic::file(
        Code::LinkOutside,
        &shown(relative),
        "this is a link that leads out of the repository, or nowhere".to_owned(),
        "Put the file itself here: what is outside is not reviewed and not there on other machines.",
    )
}

fn not_ordinary(relative: &Path) -> Diagnostic {
    Diagnostic::file(
        Code::UnexpectedFile,
        &shown(relative),
        "this is not an ordinary file".to_owned(),
        "Remove it, or put a file in its place.",
    )
}

fn too_large(relative: &Path, limit: u64) -> Diagnostic {
    Diagnostic::file(
        Code::FileTooLarge,
        &shown(relative),
        format!("the file has more than {} KiB", limit / 1024),
        "A profile fits into one: is this the right file?",
    )
}

/// Names a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(u32);

/// A file that was read.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the repository, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// Where each line begins. Known once the first problem is shown.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// A line, from 1, without its end.
    pub(super) fn line(&self, number: usize) -> Option<&str> {
        let starts = self.lines.get_or_init(|| {
            let ends = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        });
        let start = *starts.get(number.checked_sub(1)?)?;
        if start == self.text.len() {
            return None;
        }
        let end = starts.get(number).map_or(self.text.len(), |next| next - 1);
        let line = self.text.get(start..end)?;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

/// A stretch of a file: line and column (in characters, from 0) where it begins, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) file: FileId,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) end_line: u32,
    pub(super) end_column: u32,
}

/// The files that were read. Shared between threads; ids say nothing about order.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: RwLock<Vec<Arc<Source>>>,
}

impl Sources {
    pub(super) fn add(&self, path: String, text: String) -> FileId {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.push(Arc::new(Source { path, text, lines: OnceLock::new() }));
        FileId(u32::try_from(files.len() - 1).unwrap_or(u32::MAX))
    }

    pub(super) fn get(&self, id: FileId) -> Option<Arc<Source>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(id.0 as usize).cloned()
    }

    /// The place where a stretch begins.
    pub(super) fn place(&self, span: Span) -> Place {
        let file = self.get(span.file).map(|source| source.path.clone()).unwrap_or_default();
        Place { file, line: span.line as usize, column: span.column as usize + 1 }
    }
}

fn read_bytes(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    stays_inside(root, relative)?;
    read_listed(root, relative, limit)
}

/// The same for a file whose folder was listed, and so is known to be inside: only the file itself can be a link.
fn read_listed(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let path = root.join(relative);
    let unreadable = |error: &std::io::Error| {
        Diagnostic::file(
            Code::Unreadable,
            &shown(relative),
            format!("the file cannot be read: {error}"),
            "Look at its permissions, and whether it is still there.",
        )
    };
    let mut metadata = fs::symlink_metadata(&path).map_err(|error| unreadable(&error))?;
    if metadata.file_type().is_symlink() {
        stays_inside(root, relative)?;
        metadata = fs::metadata(&path).map_err(|error| unreadable(&error))?;
    }
    if !metadata.is_file() {
        return Err(not_ordinary(relative));
    }
    if metadata.len() > limit {
        return Err(too_large(relative, limit));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    fs::File::open(&path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > limit { Err(too_large(relative, limit)) } else { Ok(bytes) }
}

/// Refuses a path on which a link leads out of the repository. Links inside it are fine. Costs one look at each
/// part of the path, and more only where there is a link.
fn stays_inside(root: &Path, relative: &Path) -> Result<(), Diagnostic> {
    let mut path = root.to_path_buf();
    for part in relative.components() {
        let Component::Normal(part) = part else { continue };
        path.push(part);
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_symlink()) {
            continue;
        }
        let inside = match (fs::canonicalize(root), fs::canonicalize(&path)) {
            (Ok(root), Ok(target)) => target.starts_with(root),
            _ => false,
        };
        if !inside {
            return Err(leads_outside(relative));
        }
    }
    Ok(())
}

/// Bytes as text. A byte order mark of UTF-8 is skipped.
fn text(bytes: Vec<u8>, relative: &Path) -> Result<String, Diagnostic> {
    let shown = shown(relative);
    let encoding = |message: String, line: usize, column: usize| Diagnostic {
        line,
        column,
        ..Diagnostic::file(Code::Encoding, &shown, message, "Save it as UTF-8.")
    };
    if let Some(found) = crate::text::other_encoding(&bytes) {
        return Err(encoding(format!("the file is {found}"), 1, 1));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let last = good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let column = String::from_utf8_lossy(last).chars().count() + 1;
            let message = "the file is not UTF-8 from here on; it may be Windows-1252 or another encoding of one byte";
            Err(encoding(message.to_owned(), line, column))
        }
    }
}

/// A path for people and documents: forward slashes, nothing that could forge a line.
pub(super) fn shown(path: &Path) -> String {
    let parts: Vec<String> =
        path.components().map(|part| part.as_os_str().to_string_lossy().escape_debug().to_string()).collect();
    parts.join("/")
}

fn list(root: &Path, relative: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    stays_inside(root, relative)?;
    let failed = |error: &std::io::Error| {
        Diagnostic::file(
            Code::Unreadable,
            &shown(relative),
            format!("the folder cannot be read: {error}"),
            "Look at its permissions.",
        )
    };
    let entries = match fs::read_dir(root.join(relative)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(relative.join(entry.map_err(|error| failed(&error))?.file_name()));
    }
    names.sort();
    Ok(names)
}
