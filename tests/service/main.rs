//! The service: its API, stores, tokens and limits, and several environments in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it panics")]

#[path = "../support/mod.rs"]
mod support;

mod access;
#[cfg(target_os = "linux")]
mod browser;
mod console;
mod crash;
mod fuzz_api;
mod hostile;
mod hosting;
mod large_changeset;
mod limits;
mod oidc;
mod operators;
mod query_plans;
mod renamed;
mod rights;
mod secret_recipients;
mod store_conformance;
mod tokens;
