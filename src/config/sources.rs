//! Reads files of a repository, with a limit of size and inside the repository only, and keeps them so that a problem can show its
//! line.
//!
//! The files are on disk or in a Git revision. The rest of `config` does not know the difference. What is too large, not an
//! ordinary file, not UTF-8, or outside is a diagnostic; a folder that does not exist is an empty list.

use std::{
    fs,
    io::Read as _,
    path::{Component, Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use super::Diagnostic;
use crate::{
    model::{Code, Place},
    vfs::{BlobError, Lookup, Tree},
};

/// The maximum size of a layer's file, in bytes. A profile has less than a thousandth of it.
pub(super) const FILE_LIMIT: u64 = 1024 * 1024;

/// The source of files.
#[derive(Clone, Debug)]
pub(super) enum FileSource {
    /// A folder of the disk.
    Disk(PathBuf),
    /// The tree of a revision.
    Tree(Tree),
}

impl FileSource {
    /// Reads a file as bytes. Rejects a large file without reading it, a special file without opening it, and a link that leads
    /// out of the repository.
    pub(super) fn read_bytes(&self, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
        match self {
            FileSource::Disk(root) => read_bytes(root, relative, limit),
            FileSource::Tree(tree) => read_blob(tree, relative, limit),
        }
    }

    /// Reads a file of a listed folder as text. A byte order mark of UTF-8 is skipped.
    pub(super) fn read_text(&self, relative: &Path) -> Result<String, Diagnostic> {
        let bytes = match self {
            FileSource::Disk(root) => read_listed(root, relative, FILE_LIMIT)?,
            FileSource::Tree(tree) => read_blob(tree, relative, FILE_LIMIT)?,
        };
        decode(bytes, relative)
    }

    /// Lists a folder, sorted by name. A folder that does not exist is empty; an unreadable one is an error.
    pub(super) fn list(&self, relative: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
        match self {
            FileSource::Disk(root) => list(root, relative),
            FileSource::Tree(tree) => list_tree(tree, relative),
        }
    }

    /// Returns true if a path leads to a folder, or to a submodule in place of one.
    pub(super) fn is_folder(&self, relative: &Path) -> bool {
        match self {
            FileSource::Disk(root) => root.join(relative).is_dir(),
            FileSource::Tree(tree) => matches!(tree.find(relative), Lookup::Folder(_) | Lookup::Submodule(_)),
        }
    }

    /// Returns true if something exists at a path, a broken link included.
    pub(super) fn exists(&self, relative: &Path) -> bool {
        match self {
            FileSource::Disk(root) => root.join(relative).symlink_metadata().is_ok(),
            FileSource::Tree(tree) => tree.exists(relative),
        }
    }
}

fn read_blob(tree: &Tree, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    match tree.find(relative) {
        Lookup::File(id) => match tree.blob(id, limit) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(BlobError::TooLarge) => Err(too_large(relative, limit)),
            Err(error) => Err(unreadable_blob(relative, &error)),
        },
        Lookup::Folder(_) => Err(not_ordinary(relative)),
        Lookup::Submodule(path) => Err(submodule(&path)),
        Lookup::Outside => Err(leads_outside(relative)),
        Lookup::Unreadable(error) => Err(unreadable_blob(relative, &error)),
        Lookup::Nothing => Err(unreadable_blob(relative, &BlobError::Unreadable("there is no such file".to_owned()))),
    }
}

fn list_tree(tree: &Tree, relative: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    match tree.find(relative) {
        Lookup::Folder(names) => Ok(names.into_iter().map(|name| relative.join(name)).collect()),
        Lookup::Nothing => Ok(Vec::new()),
        Lookup::File(_) => Err(Diagnostic::file(
            Code::Unreadable,
            &display_path(relative),
            "cannot read the folder: it is a file".to_owned(),
            "Put a folder in its place.",
        )),
        Lookup::Submodule(path) => Err(submodule(&path)),
        Lookup::Outside => Err(leads_outside(relative)),
        Lookup::Unreadable(error) => Err(unreadable_blob(relative, &error)),
    }
}

fn unreadable_blob(relative: &Path, error: &BlobError) -> Diagnostic {
    if *error == BlobError::Missing {
        return Diagnostic::file(
            Code::HistoryMissing,
            &display_path(relative),
            "this clone does not have the contents of the file".to_owned(),
            "This is a partial clone. Let Git fetch them (`git archive REVISION > /dev/null` does), or clone without \
             `--filter`.",
        );
    }
    Diagnostic::file(
        Code::Unreadable,
        &display_path(relative),
        format!("cannot read the file: {error}"),
        "Check the repository with `git fsck`.",
    )
}

fn submodule(path: &str) -> Diagnostic {
    Diagnostic::file(
        Code::Submodule,
        &display_path(Path::new(path)),
        "this is a Git submodule: its files are in another repository".to_owned(),
        "Keep the files in this repository, or work in the other one: `mailwright --project` names it.",
    )
}

fn leads_outside(relative: &Path) -> Diagnostic {
    Diagnostic::file(
        Code::LinkOutside,
        &display_path(relative),
        "this is a link that leads out of the repository, or nowhere".to_owned(),
        "Replace the link by the file: files outside of the repository are not reviewed, and missing on other machines.",
    )
}

fn not_ordinary(relative: &Path) -> Diagnostic {
    Diagnostic::file(
        Code::UnexpectedFile,
        &display_path(relative),
        "this is not an ordinary file".to_owned(),
        "Remove it, or put a file in its place.",
    )
}

fn too_large(relative: &Path, limit: u64) -> Diagnostic {
    Diagnostic::file(
        Code::FileTooLarge,
        &display_path(relative),
        format!("the file has more than {} KiB", limit / 1024),
        "A profile fits into one: is this the right file?",
    )
}

/// Identifies a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(u32);

/// A file that was read.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Relative to the repository, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// The start of each line. Computed when the first problem is shown.
    lines: OnceLock<Vec<usize>>,
}

impl SourceFile {
    /// Returns a line by its number, from 1, without its line end.
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

/// A part of a file: line and column (in characters, from 0) of its start and of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) file: FileId,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) end_line: u32,
    pub(super) end_column: u32,
}

/// The files that were read. Shared between threads; the order of the ids has no meaning.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: RwLock<Vec<Arc<SourceFile>>>,
}

impl Sources {
    pub(super) fn add(&self, path: String, text: String) -> FileId {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.push(Arc::new(SourceFile { path, text, lines: OnceLock::new() }));
        FileId(u32::try_from(files.len() - 1).unwrap_or(u32::MAX))
    }

    pub(super) fn get(&self, id: FileId) -> Option<Arc<SourceFile>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(id.0 as usize).cloned()
    }

    /// Returns the place where a span begins.
    pub(super) fn place(&self, span: Span) -> Place {
        let file = self.get(span.file).map(|source| source.path.clone()).unwrap_or_default();
        Place { file, line: span.line as usize, column: span.column as usize + 1 }
    }
}

fn read_bytes(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    check_inside(root, relative)?;
    read_listed(root, relative, limit)
}

/// Reads a file whose folder was listed before and so is known to be inside: only the file itself can be a link.
fn read_listed(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let path = root.join(relative);
    let unreadable = |error: &std::io::Error| {
        Diagnostic::file(
            Code::Unreadable,
            &display_path(relative),
            format!("cannot read the file: {error}"),
            "Check that it exists and is readable.",
        )
    };
    let mut metadata = fs::symlink_metadata(&path).map_err(|error| unreadable(&error))?;
    if metadata.file_type().is_symlink() {
        check_inside(root, relative)?;
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

/// Rejects a path with a link that leads out of the repository. Links inside it are accepted. Costs one system call per part
/// of the path, and more only for links.
fn check_inside(root: &Path, relative: &Path) -> Result<(), Diagnostic> {
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

/// Decodes a file. A UTF-8 byte order mark is skipped.
fn decode(bytes: Vec<u8>, relative: &Path) -> Result<String, Diagnostic> {
    let path = display_path(relative);
    let encoding = |message: String, line: usize, column: usize| Diagnostic {
        line,
        column,
        ..Diagnostic::file(Code::Encoding, &path, message, "Save it as UTF-8.")
    };
    if let Some(found) = crate::text::detect_encoding(&bytes) {
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

/// Renders a path for messages and documents: with forward slashes, and with control characters escaped.
pub(super) fn display_path(path: &Path) -> String {
    let parts: Vec<String> =
        path.components().map(|part| part.as_os_str().to_string_lossy().escape_debug().to_string()).collect();
    parts.join("/")
}

fn list(root: &Path, relative: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    check_inside(root, relative)?;
    let failed = |error: &std::io::Error| {
        Diagnostic::file(
            Code::Unreadable,
            &display_path(relative),
            format!("cannot read the folder: {error}"),
            "Check its permissions.",
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
