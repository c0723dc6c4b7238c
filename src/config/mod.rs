//! Files to desired state: discover, parse with positions, layer, interpolate, validate; problems with a place.

mod desired;
#[allow(missing_docs)]
mod stub;
pub use stub::*;
pub mod suggest;

pub use desired::{Desired, DesiredProfile, Place, SecretFile};
