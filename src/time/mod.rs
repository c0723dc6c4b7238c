//! Time: the [`Clock`] that all other modules receive, and a steady clock that does not move when the system clock is set. No
//! other module reads the system clock.

mod clock;
pub(crate) mod steady_clock;

pub use clock::Clock;
