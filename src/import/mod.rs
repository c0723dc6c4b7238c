//! Import: files for existing profiles, from running services or from lists.
//!
//! * [`mod@layers`] compares many live environments and proposes files with a shared base layer and variables. [`prove`] loads
//!   the proposal and plans it: the plan must be empty; otherwise a [`Proof`] names the cause.
//! * [`table`] reads lists of profiles in CSV or JSON; [`check_files`] validates the resulting files together with those of the
//!   repository before they are written.
//! * [`patch`] applies a patch of the console to files in any form.
//! * [`environments`] reads lists of new environments, one per row.
//!
//! The results are documents, which `cli` writes. Nothing here talks to a service or changes a file of the repository.

pub mod environments;
pub mod layers;
pub mod patch;
mod proof;
pub mod spreadsheet;
pub mod table;

pub use layers::{LiveEnvironment, ProposedLayers, propose_layers};
pub use proof::{Proof, check_files, prove};
