//! Arguments that several commands share. They know no command.

pub(crate) mod identity;
pub(crate) mod outbound;
pub(crate) mod service;
pub(crate) mod values;
