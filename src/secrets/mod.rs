//! age: recipients, identities, seal, open, rekey, and what a header tells without a key.
//!
//! A secret is a plain age file that the stock `age -d` opens. `seal` adds one stanza of its own to the header: a
//! random id of the value, and the fingerprints of the recipients. The header is authenticated, so whoever opens
//! the file knows that nobody put the stanza there afterwards; whoever cannot open it reads it all the same, which
//! is how `check` tells who a file is addressed to and how a plan tells "rotated" from "resealed".
//!
//! * [`Header`][]: what a file tells without a key
//! * [`Recipients`][]: `recipients.txt`
//! * [`seal()`], [`rekey()`], [`open()`]: the three things done to a file
//! * [`Identities`][]: the keys of an operator
//! * [`ServiceIdentity`][]: the key of the service
//!
//! Plaintext lives in `secrecy`'s types and is wiped when dropped. Nothing here prints or writes a file.

mod header;
mod identities;
mod recipients;
mod seal;
mod service;

pub use header::{Header, NotAge};
pub use identities::{Identities, IdentityError};
pub use recipients::{Recipients, RecipientsError, fingerprint};
pub use seal::{OpenError, SealError, ValueId, open, rekey, seal};
pub use service::{DEMO_IDENTITY, ServiceIdentity};

pub use crate::model::tripwire::is_masked;

/// The largest age file of a secret, in bytes.
pub const FILE_LIMIT: usize = 64 * 1024;

/// The largest secret, in bytes: a certificate chain with its RSA key fits.
pub const VALUE_LIMIT: usize = 16 * 1024;
