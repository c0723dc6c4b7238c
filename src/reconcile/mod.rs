//! Desired, live and last applied to a plan; guards; the plan as text; the changeset that carries it out.
//!
//! * [`plan()`] compares three states and gives a [`Plan`] with its changeset. Pure.
//! * [`file_diff`] does the same for two states of the files, without any service.
//! * [`blame`] finds the generation that set each field.
//! * [`render`] turns a plan into what people read, from the plan alone.
//! * [`saved`] keeps a plan in a file and takes it out again, unchanged or not at all.
//! * [`recompute`] computes a saved plan anew, for whoever signs it.
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
mod routing_changes;
pub mod saved;
mod secret_destinations;

pub use comparison::{BesideRow, beside};
pub use plan::Plan;
pub use planner::{PlanError, Planned, Request, plan};
