//! The console: its addresses and rights, sessions, pages and texts. `client` is a browser without scripts.

#[cfg(target_os = "linux")]
mod chromium;
mod client;
mod pages;
mod routes;
mod sessions;
mod texts;
mod time_limits;
