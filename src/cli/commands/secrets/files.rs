//! The age files of an environment in the repository: `secrets/ENV/NAME/KEY.age`, and `KEY.next.age` for a staged value.
//!
//! [`list_files`] lists them, [`read_age`] and [`write_age`] read and replace one. Paths that lead out of the repository are
//! refused. Nothing here decrypts. A file of another name is listed as unexpected, and a folder that does not exist is empty.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::{CliError, environment::Environment},
    model::{Code, EnvironmentName, SecretReference},
};

/// The files in the folder of an environment's secrets.
#[derive(Default)]
pub(super) struct SecretFiles {
    /// The secrets, by name.
    pub(super) secrets: Vec<(SecretReference, PathBuf)>,
    /// Their next values, by the secret's name.
    pub(super) next: Vec<(SecretReference, PathBuf)>,
    /// Files in their folders that are not secrets: invalid names, other extensions.
    pub(super) unexpected: Vec<PathBuf>,
    /// Files in `secrets/ENV` itself, next to the folders of the secrets.
    pub(super) other_files: Vec<PathBuf>,
}

impl SecretFiles {
    /// Returns all age files, including next values.
    pub(super) fn age_files(&self) -> impl Iterator<Item = &(SecretReference, PathBuf)> {
        self.secrets.iter().chain(&self.next)
    }
}

/// Lists the files of an environment's secrets.
pub(super) fn list_files(root: &Path, environment: &EnvironmentName) -> Result<SecretFiles, CliError> {
    let folder = Path::new("secrets").join(environment.as_str());
    let mut found = SecretFiles::default();
    for name in file_names(root, &folder)? {
        let below = folder.join(&name);
        if !root.join(&below).is_dir() {
            found.other_files.push(below);
            continue;
        }
        for file in file_names(root, &below)? {
            let path = below.join(&file);
            match file.strip_suffix(".age").map(|key| format!("{name}/{key}").parse::<SecretReference>()) {
                Some(Ok(reference)) => match reference.next_of() {
                    Some(own) => found.next.push((own, path)),
                    None => found.secrets.push((reference, path)),
                },
                _ => found.unexpected.push(path),
            }
        }
    }
    found.secrets.sort();
    found.next.sort();
    found.unexpected.sort();
    found.other_files.sort();
    Ok(found)
}

/// Returns the names in a folder; none if it does not exist. Files of Git and of file managers are ignored.
pub(super) fn file_names(root: &Path, folder: &Path) -> Result<Vec<String>, CliError> {
    let read = || -> std::io::Result<Vec<String>> {
        std::fs::read_dir(root.join(folder))?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    match read() {
        Ok(mut names) => {
            names.retain(|name| !matches!(name.as_str(), ".gitignore" | ".gitattributes" | ".gitkeep" | ".DS_Store"));
            Ok(names)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", folder.display()))),
    }
}

/// Returns an error if the folder of a path is a link out of the repository.
pub(super) fn check_inside(root: &Path, path: &Path) -> Result<(), CliError> {
    let real = |path: &Path| path.canonicalize().ok();
    match (real(root), root.join(path).parent().and_then(real)) {
        (Some(root), Some(folder)) if !folder.starts_with(&root) => Err(CliError::coded(
            Code::LinkOutside,
            format!("`{}` is behind a link that leaves the repository", path.display()),
        )
        .remedy("Replace the link by a folder.")),
        _ => Ok(()),
    }
}

/// Reads an age file, up to one byte more than the size limit, which its parser reports.
pub(super) fn read_age(root: &Path, path: &Path) -> Result<Vec<u8>, CliError> {
    check_inside(root, path)?;
    let mut bytes = Vec::new();
    crate::fs::open_ordinary(&root.join(path))
        .and_then(|file| file.take(crate::secrets::FILE_LIMIT as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display())))?;
    Ok(bytes)
}

/// Writes an age file atomically.
pub(super) fn write_age(environment: &Environment, path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let target = environment.repository.root().join(path);
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
    };
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    check_inside(environment.repository.root(), path)?;
    crate::fs::write_atomically(&target, bytes).map_err(failed)
}
