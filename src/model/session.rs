//! [`Session`]: a sign-in to the console that lasts for a while, without the secret by which the browser continues it.
//!
//! `service::sessions` creates and ends sessions, the store keeps them. A session of a token or of an operator has no rights of
//! its own: they are those of its subject at the time of each request. A person of an identity provider is not known to the
//! service, and the statement of the provider is not repeated; such a session has an [`Admission`], which the access policy is
//! applied to at each request.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    Digest,
    access::Subject,
    token::{Role, Scope},
};

/// A sign-in to the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The id, which is not secret.
    pub id: String,
    /// The subject that signed in.
    pub subject: SessionSubject,
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
    /// The time at which the person last confirmed its identity: at the sign-in or later; none for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<Timestamp>,
    /// The passkey of an operator with which it signed in, or last confirmed its identity. The session ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<String>,
    /// The rights of a person of an identity provider; none for other subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// The browser, as it names itself; shortened and printable.
    pub client: String,
    /// The address that the sign-in came from; behind a reverse proxy that of the proxy.
    pub address: String,
}

impl Session {
    /// Returns the name for the head of pages: without the id that makes the name of a person of an identity provider unique.
    pub fn display_name(&self) -> &str {
        match (&self.subject, self.name.rsplit_once(" (")) {
            (SessionSubject::Identity { .. }, Some((name, _))) => name,
            _ => &self.name,
        }
    }
}

/// The subject of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionSubject {
    /// A token of the service, by its id.
    Token(String),
    /// An operator of the service, by its id.
    Operator(String),
    /// A person of an identity provider.
    Identity {
        /// The issuer.
        issuer: String,
        /// The id that the issuer never gives to another person: `TENANT/OBJECT` (`tid`, `oid`) of Entra, otherwise `sub`.
        id: String,
    },
}

/// The rights that a sign-in with an identity provider gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// The subjects that the person is: its groups and roles.
    pub subjects: Vec<Subject>,
    /// The built-in role.
    pub role: Role,
    /// The companies and functions.
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    /// The digest of the settings that admitted the person. The session ends when others are in effect.
    pub settings: Digest,
}

impl std::fmt::Display for SessionSubject {
    /// Writes the subject as the store and the owner of mail have it: equal texts are equal subjects.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Operator(id) => write!(f, "operator:{id}"),
            // An issuer is an address, which has no space.
            Self::Identity { issuer, id } => write!(f, "identity:{issuer} {id}"),
        }
    }
}
