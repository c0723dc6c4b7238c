//! Files to desired state: discover, parse with positions, layer, interpolate, validate; problems with a place.
//!
//! ```text
//! sources ──parse──▶ node ──merge──▶ node ──variables──▶ node ──schema, tripwire──▶ sound ──▶ model ──rules──▶ Desired
//! ```
//!
//! Everything keeps its place on the way, so every complaint is `file:line:column` with the spot underlined.
//!
//! [`Repository`] is the door: `load` gives an environment's [`Desired`] state or a [`Report`], `check` gives the
//! report of many environments. A read that fails, even in part, is a problem and never an emptier desired state.
//! Nothing here talks to a service, opens a secret or prints.

mod desired;
mod diagnostic;
mod document;
mod documents;
mod effective;
mod excerpt;
mod layer;
mod layers;
mod loader;
mod located;
mod node;
mod parse;
mod recovery;
pub mod render;
mod repository;
mod rollouts;
mod schema;
mod secret_usage;
mod selection;
mod sources;
pub mod suggest;
mod variables;
pub mod write;

pub use desired::{Desired, DesiredProfile, Places, SecretFile};
pub use diagnostic::{Diagnostic, Excerpt, Report};
pub use document::read_document;
pub use effective::{EffectiveEnvironment, Sourced};
pub use layer::is_ignored;
pub use repository::Repository;
pub use rollouts::{RolloutFile, RolloutWave};
pub use schema::SCHEMAS;
pub use secret_usage::{NoDestination, SecretUsage};
pub use selection::{Labels, Selection, Selector};
