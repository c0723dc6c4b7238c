//! The schema files of a repository, `schema/NAME.schema.json`: the first line of each configuration file names one to
//! editors.
//!
//! [`write_missing_schemas`] writes those that do not exist, and replaces none. The program does not read them; it validates with
//! its built-in schemas.

use std::path::{Path, PathBuf};

use crate::{cli::CliError, config::SCHEMAS, fs::write_atomically, model::Code};

/// The schemas of files that people edit.
const EDITED: &[&str] = &["access", "environment", "profile", "rollout"];

/// Returns the schema files that do not exist yet, with their texts. An existing file is never replaced.
pub(crate) fn missing_schemas(root: &Path) -> Vec<(PathBuf, &'static str)> {
    let path = |name: &str| Path::new("schema").join(format!("{name}.schema.json"));
    SCHEMAS
        .iter()
        .filter(|(name, _)| EDITED.contains(name))
        .map(|(name, text)| (path(name), *text))
        .filter(|(path, _)| root.join(path).symlink_metadata().is_err())
        .collect()
}

/// Writes the schema files that do not exist yet, and returns their paths.
pub(crate) fn write_missing_schemas(root: &Path) -> Result<Vec<PathBuf>, CliError> {
    let missing = missing_schemas(root);
    let write = |path: &Path, text: &str| {
        std::fs::create_dir_all(root.join("schema"))?;
        write_atomically(&root.join(path), text.as_bytes())
    };
    for (path, text) in &missing {
        write(path, text).map_err(|error| {
            CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
        })?;
    }
    Ok(missing.into_iter().map(|(path, _)| path).collect())
}
