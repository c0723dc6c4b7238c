//! [`ServiceIdentity`]: the age key of a service: generated at its first start, read from its file, and used to open secrets.
//!
//! [`ServiceIdentity::open_for`] opens a secret for one destination; the service uses no other way to a value that it sends. A file
//! that does not hold exactly one X25519 identity is an error. Where the file is kept is decided by the caller. The demo identity
//! is public.

use age::secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use zeroize::Zeroizing;

use super::{OpenError, Purpose, open, open_for};

/// The identity file of the examples. It is public and protects nothing.
pub const DEMO_IDENTITY: &str = include_str!("../../secrets/dev/demo-identity.txt");

/// The name of the identity's file in the service's data folder.
pub const SERVICE_IDENTITY_FILE: &str = "identity.txt";

/// The service's own identity.
pub struct ServiceIdentity(age::x25519::Identity);

impl ServiceIdentity {
    /// Generates a new identity.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Reads an identity file (`AGE-SECRET-KEY-1...`; comments allowed). An error never quotes the file.
    pub fn parse(text: &SecretString) -> Result<Self, String> {
        let lines = text.expose_secret().lines().map(str::trim);
        let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err("a service's identity file holds exactly one age identity".to_owned());
        };
        key.parse().map(Self).map_err(|_| "it holds something that is not an X25519 age identity".to_owned())
    }

    /// Returns the public identity of the examples.
    pub fn demo() -> Result<Self, String> {
        Self::parse(&SecretString::from(DEMO_IDENTITY.to_owned()))
    }

    /// Returns the text of the identity file, with explanatory comments.
    pub fn to_file(&self) -> SecretString {
        self.to_file_with(
            "# The identity of a Mailwright service. It opens every secret that is sealed to the recipient below.\n\
             # Keep it with the store's backup, and nowhere else.\n",
        )
    }

    /// Returns the text of the identity file of an operator.
    pub fn to_operator_file(&self) -> SecretString {
        self.to_file_with(
            "# An age identity. It opens every secret that is sealed to the recipient below. Keep it private.\n",
        )
    }

    fn to_file_with(&self, comment: &str) -> SecretString {
        let key = self.0.to_string();
        // Allocated at once: a growing string would leave copies of the key in memory.
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(comment);
        text.push_str("# public key: ");
        text.push_str(&self.recipient());
        text.push('\n');
        text.push_str(key.expose_secret());
        text.push('\n');
        SecretString::from(text.as_str())
    }

    /// Returns the seed that other keys of the service are derived from. It is wiped when dropped.
    pub fn seed(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_string().expose_secret().as_bytes().to_vec())
    }

    /// Returns the recipient for `recipients.txt`.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Returns true for the public identity of the examples, which protects nothing.
    pub fn is_public(&self) -> bool {
        Self::demo().is_ok_and(|demo| demo.recipient() == self.recipient())
    }

    /// Opens an age file in order to send the value to a destination, and rejects one for another destination. The service
    /// opens every secret that it sends with this function.
    pub fn open_for(&self, age_file: &[u8], purpose: &Purpose<'_>) -> Result<SecretSlice<u8>, OpenError> {
        open_for(age_file, std::iter::once(&self.0 as &dyn age::Identity), purpose)
    }

    /// Opens an age file for a caller that does not send the value. The plaintext is wiped when the result is dropped.
    pub fn open(&self, age_file: &[u8]) -> Result<SecretSlice<u8>, OpenError> {
        open(age_file, std::iter::once(&self.0 as &dyn age::Identity))
    }
}
