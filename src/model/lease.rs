//! [`Lease`]: a name, such as `rollout:NAME`, that one client holds in a service until a time. Its fencing token rises with each
//! new lease and stays when it is renewed. The token identifies the lease for a renewal or a release only: no changeset carries
//! it, and the service refuses no change because of a lease.
//!
//! The store grants leases; clients acquire and renew them with [`crate::operations::Lease`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A lease: a client holds a name until a time, and renews it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The name, such as `rollout:NAME`.
    pub name: String,
    /// The holder, as the client names itself.
    pub holder: String,
    /// The fencing token: the number of this lease. Each new lease gets a higher number.
    pub token: u64,
    /// The name of the caller that acquired or last renewed it: of a token, a person or a pipeline.
    pub by: String,
    /// The time when it was acquired.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The time at which the lease expires, unless it is renewed.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}
