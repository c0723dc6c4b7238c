//! Consequences of a change of state, computed from the states alone.
//!
//! Both sides use these: a plan shows them, the service enforces or records them.
//!
//! * [`access`]: the rights that a change needs
//! * [`approval_needs`]: the approvals that a change needs
//! * [`guards`]: changes that need an explicit permission, such as deleting many profiles
//! * [`git_patch`]: a change of a profile's files as a patch for Git
//! * [`patch_file`]: reads such a patch
//! * [`mod@drift`]: differences between the live state and what the last apply set
//! * [`compare_generations`]: differences between two generations
//! * [`comparison`]: the fields at which two profiles differ
//! * `origins`: the generation that gave each field its value
//! * [`routing`]: the companies and functions whose sender differs after a change
//! * [`revert_changes`]: the changes that lead back to an earlier generation
//!
//! Nothing here reads files, uses the network or knows of plans.

pub mod access;
pub mod access_report;
pub mod approval_needs;
pub mod comparison;
pub mod drift;
pub(crate) mod fields;
mod generation_difference;
pub mod git_patch;
pub mod guards;
pub(crate) mod origins;
pub mod patch_file;
mod revert;
pub mod routing;

pub use drift::{Drift, DriftField, DriftKind, drift};
pub use generation_difference::{
    DifferenceKind, FieldChange, GenerationContents, GenerationDifference, compare_generations,
};
pub use revert::revert_changes;
