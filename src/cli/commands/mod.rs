//! The commands of the program: one file per command, or a folder if it has subcommands or parts.
//!
//! A command is a struct of arguments that implements `Runnable`. It uses `args`, `ui` and the library, and never another
//! command; what several commands share is above this module.

pub(crate) mod access;
pub(crate) mod address_book;
pub(crate) mod apply;
pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod blame;
pub(crate) mod comment;
pub(crate) mod completions;
pub(crate) mod delegate;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod explain;
pub(crate) mod functions;
pub(crate) mod help;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod microsoft;
pub(crate) mod new;
pub(crate) mod operator;
pub(crate) mod outbox;
pub(crate) mod plan;
pub(crate) mod render;
pub(crate) mod resolve;
pub(crate) mod restore;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod sandbox;
pub(crate) mod schema;
pub(crate) mod secrets;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod validate;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod why;
