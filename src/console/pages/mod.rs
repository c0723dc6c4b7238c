//! Pages of the console, one file each: a handler, and the struct that fills its template.

pub(super) mod error;
pub(super) mod language;
pub(super) mod overview;
pub(super) mod profile;
pub(super) mod profiles;
pub(super) mod sessions;
pub(super) mod setup;
pub(super) mod sign_in;
