//! The issuers file of `serve --oidc`: reads it at the start, and again when the service asks for its digest or contents.
//!
//! [`load`] returns the source that [`crate::service::oidc`] reads from; the meaning of the settings and the time of a reload
//! are decided there.
//!
//! An invalid file at the start is an error, and the service does not start. Later, a file that cannot be read is reported to that
//! module, which keeps the settings in use.

use std::path::{Path, PathBuf};

use crate::{
    cli::{CliError, Context},
    config::{self, Report},
    model::{Code, Digest},
    service::{Issuers, IssuersSource, OidcSettings},
};

/// The number of bytes that are hashed to notice a change of the file. A longer file is not valid.
const LIMIT: u64 = 1024 * 1024;
const REMEDY: &str = "`mailwright schema oidc` prints the schema of the file.";

struct IssuersFile(PathBuf);

impl IssuersSource for IssuersFile {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn digest(&self) -> Option<Digest> {
        let bytes = crate::fs::read_ordinary(&self.0, LIMIT).ok()?;
        Some(Digest::of_bytes(&bytes))
    }

    fn read(&self) -> Result<OidcSettings, String> {
        read(&self.0).map_err(|report| {
            let first = report.diagnostics.first();
            first.map_or_else(String::new, |first| format!("line {}: {}", first.line, first.message))
        })
    }
}

fn read(path: &Path) -> Result<OidcSettings, Report> {
    config::read_document(path, REMEDY)
}

/// Reads the trusted issuers from a file. The service does not start if the file is not valid.
pub(super) fn load(context: &Context, path: &Path, authorities: Option<Vec<u8>>) -> Result<Issuers, CliError> {
    let file = IssuersFile(path.to_owned());
    // The digest comes before the file is read, so that a change in between is noticed.
    let digest = file.digest();
    let settings = read(path).map_err(|report| crate::cli::environment::problems(context, &report))?;
    Issuers::new(Box::new(file), digest, settings, authorities).map_err(|reason| {
        CliError::coded(Code::InvalidValue, format!("cannot use `{}`: {reason}", path.display())).remedy(REMEDY)
    })
}
