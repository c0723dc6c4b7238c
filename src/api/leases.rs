//! Requests and answers of the lease endpoints: [`NewLease`] acquires or renews a lease, [`LeaseList`] lists the active ones.
//!
//! The lease itself is [`crate::model::lease::Lease`], the endpoints are in `service::routes::leases`, and a process that
//! needs a lease uses [`crate::operations::Lease`].

use crate::model::Lease;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Maximum duration of a lease without renewal, in seconds.
pub const DURATION_LIMIT: u32 = 600;

/// `POST /v1/leases/{name}`: acquires or renews a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewLease {
    /// The holder, 1 to 200 characters. Clients that exclude each other use different holders.
    #[schema(min_length = 1, max_length = 200)]
    pub holder: String,
    /// The duration from now on, in seconds.
    #[schema(minimum = 1, maximum = 600)]
    pub seconds: u32,
    /// The fencing token of the lease to renew; none acquires a new lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
}

/// `GET /v1/leases`: the active leases, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseList {
    /// The leases.
    pub leases: Vec<Lease>,
}
