//! One environment: load, plan, check, verify, apply and roll back.
//!
//! The commands `plan`, `apply` and `rollback`, rollouts and watch are built from these operations, so that all of them
//! decide alike.
//!
//! * [`EnvironmentFiles`] are the desired state and its source; they make plans and prepare changesets
//! * [`blockers`] decides if a plan may be sent: secrets, source policy, guards, approvals
//! * [`select_allowed`] limits a plan to what watch may apply
//! * [`gate`] has the service verify what a changeset sets, and evaluates the result with the [`waivers`]
//! * [`rollback`] plans a rollback and requests one
//! * [`fetch_state`] and [`check_service`] make sure that an address belongs to the environment
//! * [`Retry`] repeats requests that were not answered or met a busy service; other refusals are not repeated
//! * [`Lease`] keeps other processes from working on the same environment
//!
//! Nothing here prints, asks the operator, or runs Git. It uses no store and no module of the service.

pub mod blockers;
mod connection;
mod files;
pub mod gate;
mod lease;
mod retry;
pub mod rollback;
mod unattended;
pub mod waivers;

pub use connection::{ClientPurpose, Connector, check_environment, check_service, fetch_generation, fetch_state};
pub use files::{EnvironmentFiles, attach};
pub use lease::{Lease, LeaseDuration, LeaseMonitor};
pub use retry::Retry;
pub use unattended::{AllowedPart, select_allowed};

/// The number of times that an environment is planned and sent before an operation gives up because other clients change
/// the environment in between.
pub const MAX_PLANS: usize = 3;
