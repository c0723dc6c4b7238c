//! The keys of an operator: age identity files (plain or protected by a passphrase), SSH keys, plugins.

use std::path::{Path, PathBuf};

use age::{Callbacks, IdentityFile, armor::ArmoredReader, ssh};
use zeroize::Zeroizing;

use super::seal::MAX_WORK_FACTOR;

/// The keys of an operator.
#[derive(Default)]
pub struct Identities {
    keys: Vec<Box<dyn age::Identity>>,
}

/// Why an identity file cannot be used. Never echoes the file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read.
    #[error("cannot read the identity file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no identity file.
    #[error("`{}` is not an identity file: {why}", path.display())]
    NotAnIdentity {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl Identities {
    /// Adds the identities of a file. `callbacks` ask the user for a passphrase where one is needed.
    pub fn add_file(&mut self, path: &Path, callbacks: &impl Callbacks) -> Result<(), IdentityError> {
        let bytes = Zeroizing::new(
            std::fs::read(path).map_err(|source| IdentityError::Unreadable { path: path.to_owned(), source })?,
        );
        let wrong = |why: &str| IdentityError::NotAnIdentity { path: path.to_owned(), why: why.to_owned() };
        let name = path.display().to_string();
        if bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") {
            let owned: Vec<u8> = bytes.to_vec();
            let encrypted = age::encrypted::Identity::from_buffer(
                ArmoredReader::new(std::io::Cursor::new(owned)),
                Some(name),
                callbacks.clone(),
                Some(MAX_WORK_FACTOR),
            );
            let encrypted = encrypted
                .ok()
                .flatten()
                .ok_or_else(|| wrong("it is an age file, but not one sealed with a passphrase"))?;
            self.keys.push(Box::new(encrypted));
            return Ok(());
        }
        if let Ok(key) = ssh::Identity::from_buffer(bytes.as_slice(), Some(name)) {
            if let ssh::Identity::Unsupported(_) = key {
                return Err(wrong("this kind of SSH key cannot be used; ssh-ed25519 and ssh-rsa can"));
            }
            self.keys.push(Box::new(key.with_callbacks(callbacks.clone())));
            return Ok(());
        }
        let file = IdentityFile::from_buffer(bytes.as_slice()).map_err(|error| {
            // age names the line, never what is on it.
            wrong(&error.to_string())
        })?;
        let keys =
            file.with_callbacks(callbacks.clone()).into_identities().map_err(|error| wrong(&error.to_string()))?;
        for key in keys {
            self.keys.push(key);
        }
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, as age wants them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| key.as_ref() as &dyn age::Identity)
    }
}
