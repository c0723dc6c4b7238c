//! The option `--identity`: the age identities with which a command decrypts secrets.
//!
//! [`IdentityArgs::load`] reads the named files, or else the file in `MAILWRIGHT_AGE_IDENTITY_FILE`, or else the files in
//! which age, SOPS and SSH keep keys. Parsing and decryption are in [`crate::secrets`].
//!
//! A named file that cannot be read is an error; one at a usual place is skipped. If nothing was found, and no file is sealed with
//! a passphrase, that is an error.

use std::path::PathBuf;

use crate::{
    cli::{CliError, ui::age_prompt::AgePrompt, variables},
    model::Code,
    secrets::{Header, Identities},
};

/// Arguments that name age identities.
#[derive(Debug, clap::Args)]
pub(crate) struct IdentityArgs {
    /// File with age identities or an SSH key (can be repeated)
    #[arg(long, short = 'i', value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    identity: Vec<PathBuf>,
}

impl IdentityArgs {
    /// Returns true if the command line names no identity.
    pub(crate) fn is_empty(&self) -> bool {
        self.identity.is_empty()
    }

    /// Loads the named identities, or those at the usual places. Adds a passphrase if one of `files` was sealed with one.
    pub(crate) fn load<'a>(&self, mut files: impl Iterator<Item = &'a [u8]>) -> Result<Identities, CliError> {
        let mut identities = Identities::default();
        let named: Vec<PathBuf> = if self.identity.is_empty() {
            variables::read(variables::AGE_IDENTITY_FILE).map(PathBuf::from).into_iter().collect()
        } else {
            self.identity.clone()
        };
        for path in &named {
            identities.add_file(path, &AgePrompt).map_err(|error| {
                CliError::coded(Code::IdentityMissing, error.to_string()).remedy(
                    "Name a file of age identities (AGE-SECRET-KEY-1... or a plugin's), one sealed with a passphrase, or an SSH key.",
                )
            })?;
        }
        if named.is_empty() {
            for path in default_files().into_iter().filter(|path| path.is_file()) {
                // A file of another kind at a usual place is ignored.
                drop(identities.add_file(&path, &AgePrompt));
            }
        }
        if files.any(|file| Header::read(file).is_ok_and(|header| header.kinds.iter().any(|kind| kind == "scrypt"))) {
            identities.add_passphrase(&AgePrompt);
        }
        if identities.is_empty() {
            return Err(CliError::coded(Code::IdentityMissing, "no age identity was given to decrypt the secrets").remedy(
                "Pass `--identity FILE`, or set MAILWRIGHT_AGE_IDENTITY_FILE. Without one: create it with `mailwright secrets keygen`, add its recipient to recipients.txt, and set each value again with `mailwright secrets set`.",
            ));
        }
        Ok(identities)
    }
}

/// Returns the files in which age and SOPS keep identities, and SSH its keys.
fn default_files() -> Vec<PathBuf> {
    let home = variables::home();
    let config = variables::config_home().or_else(|| {
        home.as_ref()
            .map(|home| home.join(if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" }))
    });
    let mut places = Vec::new();
    places.extend(config.iter().flat_map(|config| [config.join("age/keys.txt"), config.join("sops/age/keys.txt")]));
    places.extend(home.iter().flat_map(|home| [home.join(".ssh/id_ed25519"), home.join(".ssh/id_rsa")]));
    places
}
