//! Time: the [`Clock`] that all other modules receive, the steady clock that does not move when the system clock is set, and
//! times as text for people.
//!
//! No other module reads the system clock itself.

mod clock;
pub(crate) mod local;
pub(crate) mod steady_clock;

pub use clock::Clock;
