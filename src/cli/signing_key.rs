//! The SSH key that signs an approval: an unencrypted or passphrase-protected file, or a key in an agent or on hardware by
//! `ssh-keygen`.
//!
//! [`SigningKey::find`] finds it and [`SigningKey::sign`] signs. What is signed is defined in [`crate::approvals`]. A key that
//! cannot be read, opened or used for approvals is an error; a passphrase is asked for on a terminal only.

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ssh_key::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::{
    approvals::{self, NAMESPACE},
    cli::{CliError, variables},
    model::Code,
};

/// The largest key file, in bytes: a key of RSA 4096 has 3400.
const KEY_LIMIT: u64 = 64 * 1024;

/// A key to sign with. Either the private key is available here, or `ssh-keygen` signs: for keys in an agent or on hardware,
/// and for RSA.
pub(crate) struct SigningKey {
    pub(crate) path: PathBuf,
    public: PublicKey,
    private: Option<PrivateKey>,
}

impl SigningKey {
    /// Finds the key: the named one, or the first in `~/.ssh`.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, CliError> {
        let named = named.map(Path::to_owned).or_else(|| variables::read(variables::SSH_KEY_FILE).map(PathBuf::from));
        if let Some(path) = named {
            return Self::read(path);
        }
        let folder = variables::home().map(|home| home.join(".ssh")).unwrap_or_default();
        let names = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];
        match names.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
            Some(path) => Self::read(path),
            None => Err(CliError::coded(Code::SigningKeyUnfit, "no SSH key was given to sign with").remedy(
                "Pass `--key FILE`, or set MAILWRIGHT_SSH_KEY_FILE. `ssh-keygen -t ed25519` creates a key; for a key in an agent, name its .pub file.",
            )),
        }
    }

    fn read(path: PathBuf) -> Result<Self, CliError> {
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(&path)
            .and_then(|file| file.take(KEY_LIMIT).read_to_string(&mut text))
            .map_err(|error| unfit(&path, &format!("cannot be read: {error}")))?;
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            return Ok(Self { path, public, private: None });
        }
        let private = PrivateKey::from_openssh(text.as_bytes())
            .map_err(|_| unfit(&path, "is not an SSH key in the format of OpenSSH, or is damaged"))?;
        let public = private.public_key().clone();
        // The file of a security key has only a handle, and the `ssh-key` crate cannot sign with RSA keys.
        let can_sign = matches!(public.algorithm(), ssh_key::Algorithm::Ed25519 | ssh_key::Algorithm::Ecdsa { .. });
        Ok(Self { path, public, private: can_sign.then_some(private) })
    }

    /// Returns the fingerprint.
    pub(crate) fn fingerprint(&self) -> String {
        approvals::fingerprint(self.public.key_data())
    }

    /// Signs a text. Asks for the passphrase if the key has one.
    pub(crate) fn sign(&self, text: &str) -> Result<String, CliError> {
        let Some(private) = &self.private else { return self.sign_with_ssh_keygen(text) };
        let opened;
        let key = if private.is_encrypted() {
            if !std::io::stdin().is_terminal() {
                return Err(unfit(&self.path, "has a passphrase, and standard input is not a terminal")
                    .remedy("Add the key to an agent (`ssh-add`), and name its .pub file."));
            }
            let question = format!("Passphrase of {}: ", self.path.display()).replace(char::is_control, " ");
            let passphrase = Zeroizing::new(
                rpassword::prompt_password(question)
                    .map_err(|error| CliError::new(format!("cannot ask for the passphrase: {error}")))?,
            );
            opened = private
                .decrypt(passphrase.as_bytes())
                .map_err(|_| unfit(&self.path, "cannot be decrypted with this passphrase"))?;
            &opened
        } else {
            private
        };
        approvals::sign(key, text).map_err(|_| unfit(&self.path, "is of a type that cannot approve"))
    }

    /// Has `ssh-keygen` sign, which supports agents and hardware.
    fn sign_with_ssh_keygen(&self, text: &str) -> Result<String, CliError> {
        let failed = |why: &dyn std::fmt::Display| {
            unfit(&self.path, &format!("cannot sign with `ssh-keygen -Y sign`: {why}"))
                .remedy("`ssh-add -l` lists the keys of the agent; a hardware key must be plugged in. With `--unsigned` the text can be signed on another machine.")
        };
        let mut child = Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
        }
        let output = child.wait_with_output().map_err(|error| failed(&error))?;
        if !output.status.success() {
            return Err(failed(&"its message is above"));
        }
        String::from_utf8(output.stdout).map_err(|error| failed(&error))
    }
}

fn unfit(path: &Path, why: &str) -> CliError {
    CliError::coded(Code::SigningKeyUnfit, format!("the key `{}` {why}", path.display())).remedy(
        "Name a private key in the format of OpenSSH (ed25519, ecdsa P-256, rsa), or the .pub file of a key in an agent.",
    )
}
