//! The command line, through the binary: plan, apply, import, approvals, secrets, Git, CI. Each file covers one command or
//! topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it panics")]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod approvals;
mod canary;
mod ci_templates;
mod command_line;
mod comment;
mod doctor;
mod documents;
mod first_start;
mod fleet;
mod git;
mod init;
mod main_job;
mod microsoft;
mod near_misses;
mod new_environment;
mod origin;
mod packages;
mod pasted_commands;
mod printed_commands;
mod render;
mod secrets;
mod selection;
mod terminal;
mod warnings;
