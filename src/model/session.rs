//! [`Session`]: a sign-in to the console that lasts for a while, without the secret by which the browser continues it.
//!
//! `service::sessions` creates and ends sessions, the store keeps them. A session has no rights of its own: they are those of
//! its subject at the time of each request.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::token::Role;

/// A sign-in to the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The id, which is not secret.
    pub id: String,
    /// The subject that signed in.
    pub subject: Subject,
    /// The name of the subject at the sign-in.
    pub name: String,
    /// The role of the subject at the sign-in.
    pub role: Role,
    /// The time of the sign-in.
    pub created_at: Timestamp,
    /// The time of the last request; written at most once a minute.
    pub used_at: Timestamp,
    /// The end, whether the session is used or not.
    pub ends_at: Timestamp,
    /// The browser, as it names itself; shortened and printable.
    pub client: String,
    /// The address that the sign-in came from; behind a reverse proxy that of the proxy.
    pub address: String,
}

/// The subject of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A token of the service, by its id.
    Token(String),
}
