//! The files of an environment's secrets: `secrets/ENV/NAME/KEY.age`, and their next values.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::{CliError, environment::Environment},
    model::{Code, EnvironmentName, SecretReference},
};

/// What is in the folder of an environment's secrets.
#[derive(Default)]
pub(super) struct SecretFiles {
    /// The secrets, by name.
    pub(super) secrets: Vec<(SecretReference, PathBuf)>,
    /// Their next values, by the secret's name.
    pub(super) next: Vec<(SecretReference, PathBuf)>,
    /// What lies among them and is no secret's file: names that cannot be, other endings.
    pub(super) strange: Vec<PathBuf>,
    /// The files beside the folders.
    pub(super) beside: Vec<PathBuf>,
}

impl SecretFiles {
    /// Every age file, the next values too.
    pub(super) fn age_files(&self) -> impl Iterator<Item = &(SecretReference, PathBuf)> {
        self.secrets.iter().chain(&self.next)
    }
}

/// The files of an environment's secrets.
pub(super) fn list_files(root: &Path, environment: &EnvironmentName) -> Result<SecretFiles, CliError> {
    let folder = Path::new("secrets").join(environment.as_str());
    let mut found = SecretFiles::default();
    for name in file_names(root, &folder)? {
        let below = folder.join(&name);
        if !root.join(&below).is_dir() {
            found.beside.push(below);
            continue;
        }
        for file in file_names(root, &below)? {
            let path = below.join(&file);
            match file.strip_suffix(".age").map(|key| format!("{name}/{key}").parse::<SecretReference>()) {
                Some(Ok(reference)) => match reference.next_of() {
                    Some(own) => found.next.push((own, path)),
                    None => found.secrets.push((reference, path)),
                },
                _ => found.strange.push(path),
            }
        }
    }
    found.secrets.sort();
    found.next.sort();
    found.strange.sort();
    found.beside.sort();
    Ok(found)
}

/// The names in a folder; none if it is not there. What Git itself and file managers put down is passed over.
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

/// Refuses a path whose folder is a link out of the repository.
pub(super) fn check_inside(root: &Path, path: &Path) -> Result<(), CliError> {
    let real = |path: &Path| path.canonicalize().ok();
    match (real(root), root.join(path).parent().and_then(real)) {
        (Some(root), Some(folder)) if !folder.starts_with(&root) => Err(CliError::coded(
            Code::LinkOutside,
            format!("`{}` lies behind a link that leaves the repository", path.display()),
        )
        .remedy("Make it a folder of the repository.")),
        _ => Ok(()),
    }
}

/// Reads an age file, bounded.
pub(super) fn read_age(root: &Path, path: &Path) -> Result<Vec<u8>, CliError> {
    check_inside(root, path)?;
    let mut bytes = Vec::new();
    std::fs::File::open(root.join(path))
        .and_then(|file| file.take(crate::secrets::FILE_LIMIT as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display())))?;
    Ok(bytes)
}

/// Writes an age file in the place of the old one.
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
