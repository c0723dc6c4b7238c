//! The console: its addresses and rights, sessions, pages and texts. `client` is a browser without scripts.

mod access;
mod audit;
mod client;
mod coverage;
mod edit;
mod history;
mod hosted;
mod identity_sign_in;
mod identity_signatures;
mod live_updates;
mod outbox;
mod pages;
mod passkeys;
mod patches;
mod proposals;
mod routes;
mod scoped;
mod sealing;
mod sessions;
mod signature_mail;
mod signatures;
#[cfg(target_os = "linux")]
mod sizes;
mod test_messages;
mod texts;
mod time_limits;
#[cfg(target_os = "linux")]
mod transfer;
mod verified;

pub(super) use edit::{assert_plan_is_empty, commit_files, git};
