//! Reconciliation: compares desired, live and last applied state, and makes a plan with the changeset that carries it out.
//!
//! * [`plan()`] compares three states and returns a [`Plan`] with its changeset. Pure.
//! * [`file_diff`] compares two revisions of the files, without a service.
//! * [`blame`] finds the generation that set each field.
//! * [`render`] renders a plan as text or Markdown, from the plan alone.
//! * [`saved`] writes a plan to a file and reads it again, and rejects a file that was changed.
//! * [`recompute`] checks that a saved plan shows the effect of its changeset, before it is signed.
//! * [`revisions`] opens two revisions of the files, and finds the environments that differ.
//! * [`attachments`] adds the age files that a changeset needs.
//!
//! Nothing here talks to the network or prints.

pub mod attachments;
pub mod blame;
mod comparison;
pub mod file_diff;
pub mod plan;
mod planner;
pub mod recompute;
pub mod render;
pub mod revisions;
pub mod saved;
mod secret_destinations;

pub use comparison::{FieldComparison, compare_profile};
pub use plan::Plan;
pub use planner::{PlanRequest, Planned, plan};
