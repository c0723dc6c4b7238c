//! Mailwright: configuration as code for the e-mail profiles of an ERP's e-mail service.
//!
//! # The map of the house
//!
//! Data flows one way, from the top of this list to the bottom; nothing reaches up.
//!
//! ```text
//! files ──config──▶ desired state ──reconcile──▶ plan ──▶ changeset ──client──▶ service ──▶ store
//! ```
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`model`] | the nouns: profile, provider, function, company, state, changeset, and the rules about them. Pure, and knows nobody |
//! | [`config`] | files to desired state: discover, parse with positions, layer, interpolate, validate; problems with a place |
//! | [`secrets`] | age: recipients, identities, seal, open, rekey, and what a header tells without a key |
//! | [`credential`] | whether a value can be what its field needs: password, client secret, certificate |
//! | [`reconcile`] | desired, live and last applied to a plan; guards; the plan as text; the changeset that carries it out |
//! | [`adopt`] | from what is there to files: what live environments share as layers, and lists of profiles |
//! | [`approvals`] | the text that somebody signs who approves a plan, and whether a signature counts |
//! | [`rollout`] | a change to many environments in waves: what it amounts to, the journal, going on, taking back |
//! | [`watch`] | follows the files: plans on change and on a timer, applies where it may, tells what changed |
//! | [`mime`] | mail on the wire: header fields, address lists, encodings, what a signature covers |
//! | [`microsoft`] | what speaks to Entra and Graph: clouds, tokens, reads of the directory |
//! | [`verify`] | the pre-flight: checks of registrations, permissions, redirect URIs, mail servers; findings |
//! | [`sandbox`] | local stand-ins for Entra, Graph and an SMTP server; nothing else knows them |
//! | [`api`] | the documents of the HTTP API that are not nouns of their own: problem details, service information, tokens |
//! | [`client`] | typed HTTP client of the service's API; a failure says which kind it is |
//! | [`service`] | the HTTP API: access, validation of what arrives, audit, metrics |
//! | [`delivery`] | the outbox at work: whose turn it is, SMTP, Graph, retries, parking, limits, webhooks |
//! | [`store`] | the `Store` and `Outbox` traits and `SQLite` behind it; every generation is kept |
//! | [`cli`] | one file a command; the only place that prints |
//! | [`smtp`] | an SMTP client for mail servers as they are; verify and delivery use it |
//! | [`tls`] | which servers are trusted, and why a handshake failed, for SMTP and HTTP |
//! | [`forge`] | comments on the pull request that a CI job runs for |
//! | [`behalf`] | on whose behalf work is done, for the log and what is counted, where one process hosts several environments |
//! | [`listener`] | accepts HTTP connections, bounded in number and in the time that they may be silent |
//! | [`git`] | revisions as files to read, what differs between them, which commit the files are of; the one place that runs `git` |
//! | [`mod@resolve`] | addresses of hosts; a name of this machine has this machine's alone |
//! | [`http_client`] | HTTP requests of the program: no redirects, and no proxy before this machine |
//! | [`mod@text`] | text from elsewhere: as other programs save it, and as it may be shown |
//! | [`markdown`] | the same in Markdown: no mention, link or table cell begins in it |
//! | [`clock`] | the one place that asks what time it is |
//!
//! `main.rs` parses, runs and turns the result into an exit code.

pub mod adopt;
pub mod api;
pub mod approvals;
pub mod behalf;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod credential;
pub mod delivery;
pub mod forge;
pub mod git;
pub mod http_client;
pub mod listener;
pub mod markdown;
pub mod microsoft;
pub mod mime;
pub mod model;
pub mod reconcile;
pub mod resolve;
pub mod rollout;
pub mod sandbox;
pub mod secrets;
pub mod service;
pub mod smtp;
pub mod store;
pub mod text;
pub mod tls;
pub mod verify;
pub mod watch;
