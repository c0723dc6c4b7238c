//! Client of Microsoft's identity platform (Entra) and of Microsoft Graph.
//!
//! | part | contents |
//! | --- | --- |
//! | [`cloud`] | the hosts of each cloud |
//! | [`http`] | requests with limits: size, time, redirects, and waits for 429 and 503 |
//! | [`sign_in`] | discovery and tokens; a refusal keeps Entra's codes |
//! | [`aadsts`] | the meanings of those codes, and remedies |
//! | [`graph`] | reads of the directory, many in one `$batch` |
//! | [`directory_search`] | recipients in the directory: users, groups, contacts of the organization |
//! | [`federated`] | files with tokens of another issuer, and the destination of each |
//! | [`claims`] | claims of a token, for diagnosis only |
//! | [`permissions`] | names and ids of Graph's permissions |
//! | [`plans`] | licences that hold a mailbox |
//!
//! Nothing here depends on the sandbox, which a profile reaches by the hosts of the cloud `custom`. Nothing here prints,
//! evaluates settings, or keeps a token longer than its caller. Each part returns its failures as typed errors; whether one is a
//! finding, a refusal or a retry is decided by `verify` and `delivery`.

pub mod aadsts;
pub mod authorization_code;
pub mod claims;
pub mod cloud;
pub mod directory_search;
pub mod federated;
pub mod graph;
pub mod http;
pub mod permissions;
pub mod plans;
pub mod sign_in;
pub mod token_detection;

mod assertion;
mod redaction;

pub use assertion::{Certificate, CertificateError};
pub use cloud::Endpoints;
pub use federated::FederatedFiles;
pub use http::{Http, HttpError, HttpReply};
