//! [`MessageSender`]: the person whose own client sends a message (provider `microsoft-graph-delegate`), and the lease of that
//! client.
//!
//! The service keeps such a message and never sends it. The client of the person begins it under a lease with an epoch, sends it
//! with the person's own token, and reports the outcome. A person is identified by tenant and object id ([`PersonId`]), which
//! Entra never reuses; names are for display. Nothing here is secret, and no token is part of it. Leases are given and ended by
//! `service::delegates`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Client;

/// The identity of a person in Entra: the tenant and the object id in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonId {
    /// The tenant id (`tid`).
    #[schema(value_type = String, format = "uuid")]
    pub tenant: Uuid,
    /// The object id of the person in the tenant (`oid`).
    #[schema(value_type = String, format = "uuid")]
    pub object: Uuid,
}

impl std::fmt::Display for PersonId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.tenant, self.object)
    }
}

/// The way in which the service knows that a message is to be sent by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SenderProof {
    /// The submission had an ID token of the person.
    IdToken,
    /// The submitter named the person, by its right `name-sender`.
    Named,
}

impl SenderProof {
    /// Returns the name in documents.
    pub fn id(self) -> &'static str {
        match self {
            SenderProof::IdToken => "id-token",
            SenderProof::Named => "named",
        }
    }
}

/// The person who sends a message, and the lease of the person's client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageSender {
    /// The person.
    pub person: PersonId,
    /// The name for display; empty if it is not known. The person can change it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The client that the person works in.
    pub client: Client,
    /// The client id of the application that sends. Only its tokens are accepted.
    pub application: String,
    /// How the person was established.
    pub proof: SenderProof,
    /// The time at which the message expires if the person has not sent it.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The number of leases that were given. A report names the one that it is about.
    #[serde(default)]
    pub epoch: u64,
    /// The number of leases before the last replay. They do not count against the largest number of leases.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replayed_epoch: u64,
    /// The end of the current lease, while the message is `sending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lease_ends_at: Option<Timestamp>,
    /// The time at which the last lease was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub begun_at: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl MessageSender {
    /// Returns the number of leases since the message was accepted or replayed.
    pub fn leases(&self) -> u64 {
        self.epoch.saturating_sub(self.replayed_epoch)
    }

    /// Returns the person for people: the name if it is known, otherwise the ids.
    pub fn describe(&self) -> String {
        if self.name.is_empty() { self.person.to_string() } else { format!("{} ({})", self.name, self.person.object) }
    }
}
