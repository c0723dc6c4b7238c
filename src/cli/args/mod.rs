//! Arguments that several commands share. Does not use commands.

pub(crate) mod environment;
pub(crate) mod environments;
pub(crate) mod fail_on;
pub(crate) mod fleet;
pub(crate) mod identity;
pub(crate) mod outbound;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod service;
pub(crate) mod since;
pub(crate) mod values;
pub(crate) mod waiting;
