//! Files to desired state: discover, parse with positions, layer, interpolate, validate; problems with a place.

mod desired;
pub mod suggest;

pub use desired::{Desired, DesiredProfile, Place, SecretFile};
