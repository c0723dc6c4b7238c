//! The console: its addresses and rights, sessions, pages and texts. `client` is a browser without scripts.

mod audit;
#[cfg(target_os = "linux")]
mod chromium;
mod client;
mod coverage;
mod edit;
mod history;
mod identity_sign_in;
mod outbox;
mod pages;
mod proposals;
mod routes;
mod sessions;
mod texts;
mod time_limits;
