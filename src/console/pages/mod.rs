//! Pages of the console, one file each: a handler, and the struct that fills its template.
//!
//! Private modules are parts of a large page, and parts that pages share.

pub(super) mod access;
pub(super) mod account;
pub(super) mod audit;
pub(super) mod bulk;
pub(super) mod confirm;
pub(super) mod coverage;
pub(super) mod delegate;
mod difference;
pub(super) mod enroll;
pub(super) mod error;
pub(super) mod history;
pub(super) mod holds;
pub(super) mod identity_sign_in;
pub(super) mod language;
mod list_pages;
pub(super) mod message;
pub(super) mod operators;
pub(super) mod outbox;
pub(super) mod overview;
pub(super) mod plan;
mod plan_view;
pub(super) mod profile;
mod profile_entry;
pub(super) mod profile_form;
pub(super) mod profiles;
pub(super) mod proposals;
mod read_edit;
pub(super) mod rollback;
pub(super) mod rollouts;
mod secret_fields;
pub(super) mod sessions;
pub(super) mod setup;
pub(super) mod sign_in;
pub(super) mod test_message;
pub(super) mod tokens;
pub(super) mod verify;
mod wait_view;
