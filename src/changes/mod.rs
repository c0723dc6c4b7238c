//! Rules about changes that the plan and the service share: field differences, drift, guards and reverts. Pure: no file,
//! no network, no clock.

pub mod drift;
pub mod fields;
pub mod guards;
pub mod revert;
