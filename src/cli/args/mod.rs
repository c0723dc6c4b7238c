//! Groups of command-line arguments that several commands share, each with the functions that turn it into a value.
//!
//! A command flattens a group (`#[command(flatten)]`). A group may read files and the repository, but does not use a command.

pub(crate) mod environment;
pub(crate) mod environments;
pub(crate) mod fail_on;
pub(crate) mod fleet;
pub(crate) mod identity;
pub(crate) mod outbound;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod service;
pub(crate) mod since;
pub(crate) mod values;
pub(crate) mod waiting;
