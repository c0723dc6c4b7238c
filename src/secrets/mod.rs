//! age: recipients, identities, seal, open, rekey, and what a header tells without a key.
//!
//! A secret is a plain age file that the stock `age -d` opens. `seal_for` adds one stanza of its own to the header: a
//! random id of the value, the digest of the destination that it is meant for, and the fingerprints of the recipients. The
//! header is authenticated, so whoever opens the file knows that nobody put the stanza there afterwards; whoever cannot
//! open it reads it all the same, which is how `check` tells who a file is addressed to and how a plan tells "rotated"
//! from "resealed".
//!
//! * [`Header`][]: what a file tells without a key
//! * [`Recipients`][]: `recipients.txt`
//! * [`seal_for()`], [`rekey()`], [`open()`]: the three things done to a file
//! * [`Purpose`], [`open_for()`]: the one check of a secret's destination, and the way to open a secret that is sent
//! * [`Identities`][]: the keys of an operator
//! * [`ServiceIdentity`][]: the key of the service
//!
//! Plaintext lives in `secrecy`'s types and is wiped when dropped. Nothing here prints or writes a file.

mod header;
mod identities;
mod recipients;
mod seal;
mod service;

pub use age::{Callbacks, NoCallbacks};
pub use header::{Binding, Header, NotAge};
pub use identities::{Identities, IdentityError};
pub use recipients::{Recipients, RecipientsError, fingerprint, is_native_recipient};
pub use seal::{
    OpenError, Purpose, Redirected, SealError, ValueId, accepted_for_words, open, open_for, rekey, seal, seal_for,
};
pub use service::{DEMO_IDENTITY, ServiceIdentity};

pub use crate::model::secret_detection::is_masked;

/// The largest age file of a secret, in bytes.
pub const FILE_LIMIT: usize = 64 * 1024;

/// The largest secret, in bytes: a certificate chain with its RSA key fits.
pub const VALUE_LIMIT: usize = 16 * 1024;
