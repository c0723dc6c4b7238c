//! The issuers file of `serve --oidc`, and the files with credentials that it names: reads them at the start, and again when the
//! service asks for their digest or contents.
//!
//! [`load`] returns the source that [`crate::service::oidc`] reads from; the meaning of the settings and the time of a reload
//! are decided there.
//!
//! An invalid file at the start is an error, and the service does not start. Later, a file that cannot be read is reported to that
//! module, which keeps the settings in use.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{
    cli::{CliError, Context},
    config::{self, Report},
    model::{Code, Digest},
    service::{Issuers, IssuersSource, OidcSettings},
};

/// The number of bytes that are hashed to notice a change of the file. A longer file is not valid.
const LIMIT: u64 = 1024 * 1024;
/// The maximum size of a file with a client secret or a certificate and its key, in bytes.
const CREDENTIAL_LIMIT: u64 = 64 * 1024;
const REMEDY: &str = "`mailwright schema oidc` prints the schema of the file.";

struct IssuersFile(PathBuf);

impl IssuersSource for IssuersFile {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn digest(&self) -> Option<Digest> {
        let mut bytes = crate::fs::read_ordinary(&self.0, LIMIT).ok()?;
        // A credential that was replaced is a change as well.
        if let Ok(settings) = parse(&self.0) {
            for file in settings.credential_files() {
                let found = crate::fs::read_given(&self.path_of(file), CREDENTIAL_LIMIT).map(Zeroizing::new);
                bytes.extend(found.map_or_else(|_| vec![0], |found| Digest::of_bytes(&found).as_str().into()));
            }
        }
        Some(Digest::of_bytes(&bytes))
    }

    fn read(&self) -> Result<OidcSettings, String> {
        let settings = parse(&self.0).map_err(|report| {
            let first = report.diagnostics.first();
            first.map_or_else(String::new, |first| format!("line {}: {}", first.line, first.message))
        })?;
        self.with_credentials(settings)
    }
}

impl IssuersFile {
    /// Returns the path of a file that the issuers file names: relative to its folder.
    fn path_of(&self, file: &str) -> PathBuf {
        self.0.parent().unwrap_or(Path::new("")).join(file)
    }

    /// Reads the files with credentials. An error names the file, and nothing of its contents.
    fn with_credentials(&self, mut settings: OidcSettings) -> Result<OidcSettings, String> {
        settings.read_credentials(|file| {
            let path = self.path_of(file);
            let wrong = |why: &str| format!("cannot read the credential `{}`: {why}", path.display());
            let bytes = crate::fs::read_given(&path, CREDENTIAL_LIMIT).map(Zeroizing::new);
            let bytes = bytes.map_err(|error| wrong(&error.to_string()))?;
            let text = crate::text::try_decode(&bytes).map(Zeroizing::new);
            let text = text.ok_or_else(|| wrong("it is neither UTF-8 nor UTF-16 text"))?;
            warn_of_readers(&path);
            match text.trim() {
                "" => Err(wrong("it is empty")),
                text => Ok(SecretString::from(text.to_owned())),
            }
        })?;
        Ok(settings)
    }
}

/// Warns if others can read or write a credential of this user. A file of another owner is not checked: orchestrators mount such
/// files into containers, readable for the program's user.
fn warn_of_readers(path: &Path) {
    let Ok(found) = std::fs::metadata(path) else { return };
    if found.is_file() && found.mode() & 0o077 != 0 && found.uid() == rustix::process::geteuid().as_raw() {
        let file = path.display().to_string();
        tracing::warn!(file, "others can read the credential for an identity provider; correct it with `chmod 600`");
    }
}

fn parse(path: &Path) -> Result<OidcSettings, Report> {
    config::read_document(path, REMEDY)
}

/// Reads the trusted issuers from a file. The service does not start if the file is not valid.
pub(super) fn load(
    context: &Context,
    path: &Path,
    authorities: Option<Vec<u8>>,
    has_public_url: bool,
) -> Result<Issuers, CliError> {
    let file = IssuersFile(path.to_owned());
    // The digest comes before the file is read, so that a change in between is noticed.
    let digest = file.digest();
    let settings = parse(path).map_err(|report| crate::cli::environment::problems(context, &report))?;
    let settings = file.with_credentials(settings);
    settings.and_then(|settings| Issuers::new(Box::new(file), digest, settings, authorities, has_public_url)).map_err(
        |reason| {
            CliError::coded(Code::InvalidValue, format!("cannot use `{}`: {reason}", path.display())).remedy(REMEDY)
        },
    )
}
