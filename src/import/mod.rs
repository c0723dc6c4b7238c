//! From what is there to files: the way into Git for those who begin with a running service or a spreadsheet.
//!
//! * [`mod@layers`] looks at many live environments and proposes what they share: a base, variables, and what is left
//!   to each. [`prove`] then reads the proposal as any other files and plans it: nothing may change.
//! * [`table`] reads profiles as administrators list them, in CSV or JSON; [`check`] reads the files that they become
//!   among the others before they are written.
//! * [`environments`] reads new environments from such a list: a row is one.
//!
//! They give documents; `cli` writes them. Nothing here asks a service or changes a file of the repository.

pub mod environments;
pub mod layers;
mod proof;
pub mod spreadsheet;
pub mod table;

pub use layers::{Layers, Site, layers};
pub use proof::{Proof, check, prove};
