//! The age identity of an operator: its usual file, creating one, and reading its recipient.
//!
//! For operators who have neither an SSH key nor `age-keygen`. An existing file is not replaced, and is an error that names its
//! recipient. Identities are loaded for decryption by `args::identity`.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use crate::{
    cli::{CliError, variables},
    fs::write_private,
    model::Code,
    secrets::ServiceIdentity,
};

/// Returns the file in which `secrets` looks for an operator's identity first: `~/.config/age/keys.txt`.
pub(crate) fn default_identity_file() -> Option<PathBuf> {
    let config = variables::config_home().or_else(|| {
        let below = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };
        variables::home().map(|home| home.join(below))
    });
    config.map(|config| config.join("age/keys.txt"))
}

/// Creates an identity file that only its owner can read, and returns its recipient. An existing file is not replaced.
pub(crate) fn create_identity(path: &Path) -> Result<String, CliError> {
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
    };
    if path.symlink_metadata().is_ok() {
        let own = read_recipient(path)
            .map_or_else(|_| "Use its recipient".to_owned(), |recipient| format!("Use its recipient, {recipient}"));
        return Err(CliError::coded(Code::Unwritable, format!("`{}` already exists", path.display()))
            .remedy(format!("{own}, or name another file with `--out FILE`.")));
    }
    let identity = ServiceIdentity::generate();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    write_private(path, identity.to_operator_file().expose_secret().as_bytes()).map_err(failed)?;
    Ok(identity.recipient())
}

/// The maximum size of an identity file, in bytes.
const IDENTITY_LIMIT: u64 = 64 * 1024;

/// Returns the recipient of an identity file that holds one X25519 key, as this program and `age-keygen` write it.
pub(crate) fn read_recipient(path: &Path) -> Result<String, CliError> {
    let wrong = |why: String| {
        CliError::coded(Code::IdentityMissing, format!("cannot use the identity `{}`: {why}", path.display()))
    };
    let bytes =
        zeroize::Zeroizing::new(crate::fs::read_given(path, IDENTITY_LIMIT).map_err(|error| wrong(error.to_string()))?);
    let text = crate::text::try_decode(&bytes).ok_or_else(|| wrong("it is not text".to_owned()))?;
    let identity = ServiceIdentity::parse(&secrecy::SecretString::from(text))
        .map_err(|_| wrong("it does not hold exactly one X25519 identity".to_owned()))
        .map_err(|error| error.remedy("Pass its recipient with `--recipient`; `age-keygen -y FILE` prints it."))?;
    Ok(identity.recipient())
}
