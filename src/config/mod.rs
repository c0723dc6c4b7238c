//! Files to desired state: discovery, parsing with positions, layers, interpolation, validation.
//!
//! ```text
//! sources ──parse──▶ nodes ──merge──▶ nodes ──interpolate──▶ nodes ──schema──▶ recovery ──▶ model ──rules──▶ Desired
//! ```
//!
//! Every value keeps its place on the way, so that a problem is reported as `file:line:column` with the value underlined.
//!
//! [`Repository`] is the entry point: [`Repository::load`] returns an environment's [`Desired`] state or a [`Report`] of its
//! problems, [`Repository::check`] reports on many environments. A read that fails, even in part, is an error, and there is no
//! desired state then. Nothing here talks to a service, opens a secret or prints.

mod desired;
mod diagnostic;
mod document;
mod documents;
mod edit_text;
mod effective;
mod excerpt;
mod layer;
mod layers;
mod loader;
mod located;
mod near_misses;
mod node;
mod parse;
mod profile_draft;
mod recovery;
pub mod render;
mod repository;
mod rollouts;
pub mod scaffold;
mod schema;
mod secret_usage;
mod selection;
mod sources;
pub mod suggest;
mod variables;

pub use desired::{Desired, DesiredProfile, Places, SecretFile};
pub use diagnostic::{Diagnostic, Report};
pub use document::read_document;
pub use edit_text::{edit_text, read_text};
pub use effective::{EffectiveEnvironment, Sourced};
pub use excerpt::Excerpt;
pub use layer::is_ignored;
pub use profile_draft::ProfileDraft;
pub use repository::Repository;
pub use rollouts::{RolloutFile, RolloutWave};
pub use schema::SCHEMAS;
pub use secret_usage::{NoDestination, SecretUsage};
pub use selection::{Labels, Selection, Selector};
