//! Rollouts, through the binary and real services. One file a scenario.
//!
//! What holds in all of them: every environment has what the files say, or a clear word why not; every changeset was
//! taken once; nothing is half.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "long forms are asked for and report")]

#[path = "../mail/sink.rs"]
#[allow(dead_code, reason = "the tests of delivery use more of it")]
mod sink;
#[path = "../support/mod.rs"]
mod support;

mod fleet;

mod changed;
mod checks;
mod disk;
mod example;
mod failures;
mod files;
mod happy;
mod kill;
mod late;
mod lease;
mod pause;
mod plan;
mod services;
mod storm;
