//! A change to many environments, in waves.
//!
//! * [`LoadedRollout`] is the rollout's file with the desired state of its environments
//! * [`plan`] plans every environment and groups equal changes
//! * [`engine`] works through the waves: apply, soak, check, and the reaction to failures; a [`ControlSignal`] pauses or
//!   aborts it
//! * `environment` and `checks` are the steps in one environment: apply, check, roll back
//! * [`journal`] records requests before they are sent and outcomes after; an entry is durable before the next step begins
//! * [`run`] is the state of a run, computed from the entries of its journal; `run_status` and `environment_run` are its parts
//! * [`session`] is the work of one process on a run: lease, journal, requests from other terminals
//! * [`folder`] holds the journal and the lock of this machine; a lease keeps other machines out
//! * [`render`] turns plans and runs into text
//!
//! A run can be killed at any moment: a changeset is journalled with its id and the generation that it was computed from
//! before it is sent, and the service accepts a changeset once, for that generation. A run that is resumed finds out from
//! the service if the generation was created. Nothing here prints.

mod checks;
mod control;
pub mod engine;
mod environment;
mod environment_run;
pub mod folder;
pub mod journal;
mod loaded;
pub mod plan;
pub mod render;
pub mod run;
mod run_status;
pub mod session;

pub use control::{ControlSignal, PauseOrigin, RollbackScope};
pub use engine::Engine;
pub use journal::{Entry, Event, Journal};
pub use loaded::{LoadedRollout, rollback_file};
pub use run::Run;

use crate::model::Problem;

/// Writes the entries of a run to its journal.
trait JournalWriter {
    /// Writes an entry; it is durable when this returns.
    async fn write(&self, event: Event) -> Result<(), Problem>;
}
