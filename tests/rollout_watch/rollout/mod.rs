//! Rollouts, through the binary and real services. Each file is one scenario.
//!
//! In all of them, every environment has the state of the files, or a clear reason why not; every changeset was accepted
//! once; nothing is half applied.

mod fixture;

mod broken_files;
mod changed;
mod checks;
mod disk;
mod example;
mod failures;
mod files;
mod happy;
mod holding_proxy;
mod kill;
mod late;
mod lease;
mod locks;
mod pause;
mod pause_requests;
mod plan;
mod services;
mod storm;
