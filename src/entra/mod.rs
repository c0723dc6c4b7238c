//! What speaks to Microsoft's identity platform (Entra) and to Microsoft Graph.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`cloud`] | which hosts a cloud has |
//! | [`http`] | requests with limits: size, time, redirects, and patience with 429 and 503 |
//! | [`sign_in`] | discovery and tokens; a refusal keeps Entra's codes |
//! | [`aadsts`] | what those codes mean, and what to do |
//! | [`graph`] | reads of the directory, many in one `$batch` |
//! | [`federated`] | files with tokens of another issuer, and for whom each of them is |
//! | [`claims`] | what a token says of itself, for diagnosis only |
//! | [`permissions`] | names and ids of Graph's permissions |
//! | [`plans`] | which licences hold a mailbox |
//!
//! Nothing here knows a sandbox: the cloud `custom` of a profile names hosts, as the national clouds have theirs.
//! Nothing here prints, decides what is right, or keeps a token longer than its caller.

pub mod aadsts;
pub mod claims;
pub mod cloud;
pub mod federated;
pub mod graph;
pub mod http;
pub mod permissions;
pub mod plans;
pub mod sign_in;

mod assertion;

pub use assertion::{Certificate, CertificateError};
pub use cloud::Endpoints;
pub use federated::FederatedFiles;
pub use http::{Answer, Http, HttpError};
