//! Rollouts, through the binary and real services. One file a scenario.
//!
//! What holds in all of them: every environment has what the files say, or a clear word why not; every changeset was
//! taken once; nothing is half.

mod fixture;

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
