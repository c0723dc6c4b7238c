//! Delivery, through the binary and real processes. Each file is one scenario.
//!
//! In all of them, every message that was answered with 202 is in the end delivered, failed, waiting or unknown, and
//! never lost; a duplicate is possible only for one that was unknown, and is marked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it panics")]
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "long forms are asked for and report")]

#[path = "../support/mod.rs"]
mod support;

mod mail_service;
mod sink;

mod address_book;
mod backlog;
mod backup;
mod clients;
mod clock;
mod configuration;
mod delegate;
mod delegate_desktop;
mod delegate_helper;
mod delegate_leases;
mod disk;
mod events;
mod extensions;
mod federated;
mod graph;
mod greylisting;
mod guard;
mod holds;
mod idle;
mod kill;
mod kill_points;
mod limits;
mod login;
mod memory;
mod message;
mod metrics;
mod parsers;
mod receivers;
mod recipients;
mod relaying;
mod replay;
mod replies;
mod reply_corpus;
mod restore;
mod rotation;
mod same_key;
mod servers;
mod silence;
mod smtp_protocol;
mod stall;
mod stop;
mod submission;
mod takeover;
mod tls;
mod trust;
mod waiting;
mod webhooks;
mod why;
mod xoauth2;
