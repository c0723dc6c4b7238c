//! Secrets as age files: recipients, identities, sealing, opening, re-encryption, headers.
//!
//! A secret is a standard age file, which `age -d` opens. `seal_for` adds one stanza to the header: a random id of the value,
//! the digest of the destination, and the fingerprints of the recipients. The header is authenticated: after opening the file,
//! the stanza is known to be the sealer's. Without a key the stanza can be read but not verified; `secrets check` uses it to list
//! recipients, and a plan to distinguish "rotated" from "resealed".
//!
//! * [`Header`][]: the parts of a file that can be read without a key
//! * [`Recipients`][]: `recipients.txt`; [`render_recipients()`] writes one
//! * [`seal_for()`], [`rekey()`], [`open()`]: encrypt, re-encrypt and decrypt a file
//! * [`Purpose`], [`open_for()`]: the check of a secret's destination, and opening a secret in order to send it
//! * [`Identities`][]: the keys of an operator
//! * [`ServiceIdentity`][]: the key of the service
//! * [`find_private_key()`]: private keys in the text of other files
//!
//! Plaintext lives in `secrecy`'s types and is wiped when dropped. A file that cannot be opened is an [`OpenError`], which
//! distinguishes a missing key, a changed file and another destination. Nothing here prints or writes a file.

mod fingerprint;
mod header;
mod identities;
mod private_key;
mod recipients;
mod seal;
mod service;
mod value_id;

pub use age::{Callbacks, NoCallbacks};
pub use header::{Binding, Header, NotAge};
pub use identities::{Identities, IdentityError};
pub use private_key::{FoundKey, find_private_key};
pub use recipients::{Recipients, RecipientsError, is_native_recipient, needs_plugin, render_recipients};
pub use seal::{
    OpenError, Purpose, Redirected, SealError, describe_acceptance, open, open_for, rekey, seal, seal_for,
    seal_with_passphrase,
};
pub use service::{DEMO_IDENTITY, SERVICE_IDENTITY_FILE, ServiceIdentity};
pub use value_id::ValueId;

pub use crate::model::{secret_detection::is_masked, secret_recipient::fingerprint};

/// The largest age file of a secret, in bytes.
pub const FILE_LIMIT: usize = 64 * 1024;

/// The maximum size of a file of recipients, in bytes.
pub const RECIPIENTS_LIMIT: u64 = 1024 * 1024;

/// The largest secret, in bytes: a certificate chain with its RSA key fits.
pub const VALUE_LIMIT: usize = 16 * 1024;
