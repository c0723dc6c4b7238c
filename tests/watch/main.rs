//! `mailwright watch`: the program, real services, a real bare repository as the remote, a mail server, receivers of
//! webhooks. One topic a file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]
#![allow(clippy::disallowed_methods, reason = "a test waits")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../mail/sink.rs"]
#[allow(dead_code, reason = "the scenarios of mail use the rest of it")]
mod sink;

mod scene;

mod breaking_off;
mod expiring;
mod follow;
mod gate;
mod reports;
mod settings;
mod slow;
mod stops;
