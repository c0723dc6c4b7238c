//! [`Identities`]: the keys with which an operator decrypts age files: identity files, also with a passphrase, SSH keys, and
//! plugins.
//!
//! Questions are asked through the callbacks of the caller, and only for a file that the key may open. A file that cannot be read,
//! or has no usable key, is an [`IdentityError`]; a wrong passphrase shows when a secret is opened. Identity files are read here
//! and wiped after use; where to look for them is decided by the caller. The service's key is
//! [`ServiceIdentity`](super::ServiceIdentity).

use std::{
    cell::RefCell,
    io::Read as _,
    path::{Path, PathBuf},
};

use age::{Callbacks, DecryptError, IdentityFile, armor::ArmoredReader, ssh};
use age_core::format::{FileKey, Stanza};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::seal::MAX_WORK_FACTOR;

/// The maximum size of an identity file, in bytes: enough for a thousand identities.
const IDENTITY_FILE_LIMIT: usize = 128 * 1024;

/// The keys of an operator.
#[derive(Default)]
pub struct Identities {
    keys: Vec<Box<dyn age::Identity>>,
}

/// The reason why an identity file cannot be used. Never quotes the file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read the identity file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not an identity file.
    #[error("`{}` is not an identity file: {why}", path.display())]
    NotAnIdentity {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
}

impl Identities {
    /// Adds the identities of a file. `callbacks` prompt for a passphrase only when a file is opened that the key may decrypt.
    pub fn add_file(&mut self, path: &Path, callbacks: &impl Callbacks) -> Result<(), IdentityError> {
        let bytes = read_file(path).map_err(|source| IdentityError::Unreadable { path: path.to_owned(), source })?;
        let wrong = |why: &str| IdentityError::NotAnIdentity { path: path.to_owned(), why: why.to_owned() };
        let name = path.display().to_string();
        if bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") {
            let encrypted = age::encrypted::Identity::from_buffer(
                ArmoredReader::new(std::io::Cursor::new(bytes.to_vec())),
                Some(name),
                callbacks.clone(),
                Some(MAX_WORK_FACTOR),
            );
            let encrypted = encrypted
                .ok()
                .flatten()
                .ok_or_else(|| wrong("it is an age file, but not one sealed with a passphrase"))?;
            self.keys.push(Box::new(encrypted));
        } else if bytes.starts_with(b"-----BEGIN ") {
            self.keys.push(Box::new(SshKey::parse(&bytes, name, callbacks.clone()).map_err(wrong)?));
        } else {
            // age names the line, never what is on it.
            let file = IdentityFile::from_buffer(bytes.as_slice()).map_err(|error| wrong(&error.to_string()))?;
            let keys =
                file.with_callbacks(callbacks.clone()).into_identities().map_err(|error| wrong(&error.to_string()))?;
            if keys.is_empty() {
                return Err(wrong("there is no identity in it"));
            }
            self.keys.extend(keys.into_iter().map(|key| key as Box<dyn age::Identity>));
        }
        Ok(())
    }

    /// Adds a passphrase for files that were sealed with one (`age -p`). The prompt appears when such a file is opened.
    pub fn add_passphrase(&mut self, callbacks: &impl Callbacks) {
        self.keys.push(Box::new(Passphrase { callbacks: callbacks.clone() }));
    }

    /// Returns true if there are no identities.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the identities.
    pub fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| key.as_ref() as &dyn age::Identity)
    }
}

/// Reads an identity file, bounded, into memory that is wiped.
fn read_file(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(IDENTITY_FILE_LIMIT + 1));
    std::fs::File::open(path)?.take(IDENTITY_FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > IDENTITY_FILE_LIMIT {
        return Err(std::io::Error::other("it is larger than any identity file"));
    }
    // PowerShell saves text as UTF-16, and editors on Windows put a byte order mark before it.
    if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
        let text =
            crate::text::try_decode(&bytes).ok_or_else(|| std::io::Error::other("it is not whole UTF-16 text"))?;
        return Ok(Zeroizing::new(text.into_bytes()));
    }
    Ok(bytes)
}

/// An SSH key. The passphrase of a protected key is prompted for once, and only for a file that is addressed to it; age itself
/// would prompt for every stanza of every file.
struct SshKey<C: Callbacks> {
    /// The tag and the short hash that begin the stanzas for this key.
    stanza: (&'static str, String),
    filename: String,
    key: RefCell<ssh::Identity>,
    callbacks: C,
}

impl<C: Callbacks> SshKey<C> {
    fn parse(bytes: &[u8], filename: String, callbacks: C) -> Result<Self, &'static str> {
        const UNFIT: &str = "this kind of SSH key cannot be used; ssh-ed25519 and ssh-rsa can";
        let key = ssh::Identity::from_buffer(bytes, Some(filename.clone())).map_err(|_| "it is not a whole SSH key")?;
        let public = ssh::Recipient::try_from(key.clone()).map_err(|_| UNFIT)?.to_string();
        let (kind, blob) = public.split_once(' ').ok_or(UNFIT)?;
        let tag = if kind == "ssh-rsa" { "ssh-rsa" } else { "ssh-ed25519" };
        let hash = Sha256::digest(BASE64_STANDARD.decode(blob).map_err(|_| UNFIT)?);
        let stanza = (tag, BASE64_STANDARD_NO_PAD.encode(&hash[..4]));
        Ok(Self { stanza, filename, key: RefCell::new(key), callbacks })
    }

    fn unlock(&self) -> Result<ssh::Identity, DecryptError> {
        let locked = match &*self.key.borrow() {
            ssh::Identity::Encrypted(key) => key.clone(),
            other => return Ok(other.clone()),
        };
        let passphrase = self
            .callbacks
            .request_passphrase(&format!("Passphrase of {}", self.filename))
            .ok_or(DecryptError::KeyDecryptionFailed)?;
        let unlocked = ssh::Identity::from(locked.decrypt(passphrase)?);
        self.key.replace(unlocked.clone());
        Ok(unlocked)
    }
}

impl<C: Callbacks> age::Identity for SshKey<C> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != self.stanza.0 || stanza.args.first() != Some(&self.stanza.1) {
            return None;
        }
        match self.unlock() {
            Ok(key) => key.unwrap_stanza(stanza),
            Err(error) => Some(Err(error)),
        }
    }
}

/// A passphrase that a file was sealed with.
struct Passphrase<C: Callbacks> {
    callbacks: C,
}

impl<C: Callbacks> age::Identity for Passphrase<C> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != "scrypt" {
            return None;
        }
        let Some(passphrase) = self.callbacks.request_passphrase("Passphrase of the secret's file") else {
            return Some(Err(DecryptError::KeyDecryptionFailed));
        };
        let mut identity = age::scrypt::Identity::new(passphrase);
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        identity.unwrap_stanza(stanza).map(|result| {
            result.map_err(|error| match error {
                DecryptError::DecryptionFailed => DecryptError::KeyDecryptionFailed,
                other => other,
            })
        })
    }
}
