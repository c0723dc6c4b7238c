//! Desired, live and last applied to a plan; guards; the plan as text; the changeset that carries it out.
//!
//! * [`plan()`] compares three states and gives a [`Plan`] with its changeset. Pure.
//! * [`compare`] does the same for two states of the files, without any service.
//! * [`blame`] finds the generation that set each field.
//! * [`guards`] says what nobody may do by accident; the service asks it too.
//! * [`render`] turns a plan into what people read, from the plan alone.
//! * [`saved`] keeps a plan in a file and takes it out again, unchanged or not at all.
//! * [`reread`] computes a saved plan anew, for whoever signs it.
//! * [`sealed`] adds the age files that a changeset needs.
//!
//! Nothing here talks to the network or prints.

mod back;
mod beside;
pub mod blame;
pub mod compare;
mod diff;
mod drift;
mod fields;
pub mod guards;
pub mod plan;
mod redirected;
pub mod render;
pub mod reread;
pub mod saved;
pub mod sealed;
mod senders;

pub use back::way_back;
pub use beside::{BesideRow, beside};
pub use diff::{PlanError, Planned, Request, plan};
pub use drift::drift;
pub use plan::Plan;
