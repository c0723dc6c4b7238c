//! Repository of leases, by which one client at a time works on an environment.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{AuditEvent, StoreError};
use crate::model::Lease;

/// A request for a lease, or for its renewal.
#[derive(Clone, Debug)]
pub struct WantedLease {
    /// The name.
    pub name: String,
    /// The holder, as the client names itself.
    pub holder: String,
    /// The name of the token that was used.
    pub by: String,
    /// The fencing token of the lease to renew; none acquires a new lease.
    pub token: Option<u64>,
    /// The current time.
    pub now: Timestamp,
    /// The expiry.
    pub until: Timestamp,
}

/// The outcome of a request for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseTaken {
    /// The caller holds the lease.
    Held(Lease),
    /// Another client holds the lease.
    HeldByAnother(Lease),
    /// The maximum number of leases is held.
    TooMany,
}

/// Maximum number of leases at once.
pub const LEASES: usize = 1000;

/// Leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Acquires or renews a lease, in one transaction. Acquiring is recorded in the audit log, with the fencing token; renewing
    /// is not.
    async fn take_lease(&self, wanted: WantedLease, event: AuditEvent) -> Result<LeaseTaken, StoreError>;

    /// Releases a lease; false if it is held with another fencing token.
    async fn release_lease(&self, name: &str, token: u64, event: AuditEvent) -> Result<bool, StoreError>;

    /// Returns the leases that have not expired at a time, by name.
    async fn leases(&self, now: Timestamp) -> Result<Vec<Lease>, StoreError>;
}
