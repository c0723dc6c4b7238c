//! The documents of leases: only one may do a thing at a time, on whichever machine it runs.

use crate::model::Lease;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest time that a lease lasts without being renewed, in seconds.
pub const LONGEST: u32 = 600;

/// `POST /v1/leases/{name}`: takes a lease, or renews one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewLease {
    /// Who wants it; 1 to 200 characters. Two that must not get in each other's way have different ones.
    #[schema(min_length = 1, max_length = 200)]
    pub holder: String,
    /// For how long from now.
    #[schema(minimum = 1, maximum = 600)]
    pub seconds: u32,
    /// The number of the holding that is to be renewed; none takes a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
}

/// `GET /v1/leases`: those that last, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseList {
    /// The leases.
    pub leases: Vec<Lease>,
}
