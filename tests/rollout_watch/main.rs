//! Many environments at once: `rollout` and `watch`, through the binary and real services.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it panics")]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "long forms are asked for and report, and tests wait"
)]

#[path = "../mail/sink.rs"]
#[allow(dead_code, reason = "the tests of delivery use more of it")]
mod sink;
#[path = "../support/mod.rs"]
mod support;

mod many;
mod rollout;
mod watch;
