//! Mailwright: configuration as code for the e-mail profiles of an ERP's e-mail service.
//!
//! # Layers
//!
//! A module uses modules of lower layers only; `tests/architecture.rs` holds the table of what each may use.
//!
//! ```text
//! files ──config──▶ desired state ──reconcile──▶ plan ──▶ changeset ──client──▶ service ──▶ store
//! ```
//!
//! | layer | module | contents |
//! | --- | --- | --- |
//! | 0 | [`mod@text`] | decoding of files as other programs save them; output that is safe to print; Markdown escaping |
//! | 0 | [`sync`] | a mutex that cannot fail; bounded use of blocking threads |
//! | 0 | [`time`] | the clock, the steady clock, and times as text |
//! | 0 | [`fs`] | files read up to a limit and written atomically |
//! | 0 | [`vfs`] | the files of a revision in memory, with links followed inside the tree only |
//! | 1 | [`model`] | profile, provider, function, company, state, changeset, and the rules that they must satisfy |
//! | 2 | [`net`] | HTTP client, connection listener, host lookup, TLS trust |
//! | 2 | [`credential`] | checks that a value can be a password, a client secret or a certificate |
//! | 2 | [`secrets`] | age encryption: recipients, identities, sealing, opening, re-encryption, headers |
//! | 2 | [`telemetry`] | log span and metrics of each environment in a process |
//! | 2 | [`passkey`] | passkeys: options for a browser, registration, verification of what they sign |
//! | 2 | [`mime`] | header fields, address lists, transfer encodings, DKIM coverage |
//! | 2 | [`changes`] | drift, guards and reverts: pure rules about changes that the plan and the service share |
//! | 3 | [`approvals`] | the text that an approver signs, and evaluation of signatures |
//! | 3 | [`entra`] | Microsoft sign-in and Graph: clouds, tokens, permission names, directory reads |
//! | 3 | [`smtp`] | SMTP client, tolerant of real servers; used by delivery and verify |
//! | 3 | [`api`] | documents of the HTTP API: problem details, service information, tokens |
//! | 4 | [`config`] | files to desired state: discovery, parsing with positions, layers, interpolation, validation |
//! | 4 | [`git`] | revisions, comparisons and commit information; the only module that runs `git` |
//! | 4 | [`replies`] | meaning of replies of mail servers, sign-in and Graph: transient or permanent, and what they concern |
//! | 5 | [`reconcile`] | plans from desired, live and last applied state; renderers; the changeset |
//! | 5 | [`verify`] | pre-flight checks of registrations, permissions, redirect URIs and mail servers |
//! | 5 | [`store`] | the `Store` and `Outbox` traits and the `SQLite` store |
//! | 5 | [`client`] | typed HTTP client of the service |
//! | 6 | [`delivery`] | mail delivery: scheduling, SMTP and Graph transports, retries, suspension, webhooks |
//! | 6 | [`operations`] | one environment: load, plan, check, verify, apply, roll back; retry and lease |
//! | 7 | [`service`] | the HTTP API: authentication, authorization, validation, audit, metrics |
//! | 7 | [`rollout`] | rolls a change out to many environments in waves; journal, resume, rollback |
//! | 7 | [`watch`] | follows the files: plans on change and on a timer, applies where allowed, reports drift |
//! | 7 | [`import`] | proposes files for existing profiles: shared layers of live environments, lists of profiles |
//! | 7 | [`pull_request`] | comments on the pull request that a CI job runs for |
//! | 8 | [`console`] | pages of the service for people with a browser |
//! | 8 | [`sandbox`] | local stand-ins for Entra, Graph, DNS and an SMTP server; no other module uses it |
//! | 9 | [`cli`] | command line: commands, arguments, terminal output; the only module that prints |
//!
//! `main.rs` calls [`cli::main`] and returns its exit code.

pub mod api;
pub mod approvals;
pub mod changes;
pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod credential;
pub mod delivery;
pub mod entra;
pub mod fs;
pub mod git;
pub mod import;
pub mod mime;
pub mod model;
pub mod net;
pub mod operations;
pub mod passkey;
pub mod pull_request;
pub mod reconcile;
pub mod replies;
pub mod rollout;
pub mod sandbox;
pub mod secrets;
pub mod service;
pub mod smtp;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod verify;
pub mod vfs;
pub mod watch;
