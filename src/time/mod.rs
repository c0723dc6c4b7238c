//! Time: the [`Clock`] that all other modules receive, and a steady clock that does not move when the system clock is set. No
//! other module reads the system clock. `local` formats times for people.

mod clock;
pub(crate) mod local;
pub(crate) mod steady_clock;

pub use clock::Clock;
