//! Arguments that several commands share. They know no command.

pub(crate) mod outbound;
pub(crate) mod service;
