//! Arguments that several commands share. Does not use commands.

pub(crate) mod identity;
pub(crate) mod outbound;
pub(crate) mod service;
pub(crate) mod values;
