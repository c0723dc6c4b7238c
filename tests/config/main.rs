//! The configuration as a library: parser, layers, rules, resolution, plans and sealed secrets; and the command `validate`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it panics")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod approval_conditions;
mod catalogues;
mod guards;
mod plan_properties;
mod properties;
mod resolution;
mod rules;
mod secret_destination;
mod secret_files;
mod validate;
