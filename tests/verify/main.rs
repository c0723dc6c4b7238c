//! `verify`, through the library and the binary, against the sandbox, Postfix and Microsoft's own client libraries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it panics")]

#[path = "../support/mod.rs"]
mod support;

mod command;
mod findings;
mod graph_metadata;
mod pasted_remedies;
mod postfix;
mod sandbox_address_book;
mod sandbox_clients;
mod sandbox_entra;
mod sandbox_exchange;
mod sandbox_headers;
mod sandbox_mail_faults;
mod sandbox_odata;
mod sandbox_registrations;
mod sign_in_corpus;
mod size;
