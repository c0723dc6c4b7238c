//! age: recipients, identities, seal, open, rekey, and what a header tells without a key.

mod header;
mod service;

pub use header::{Header, NotAge};
pub use service::{OpenError, ServiceIdentity};
