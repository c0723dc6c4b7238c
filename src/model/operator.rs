//! Operators: [`Operator`], a person who signs in to the console with a passkey, without its keys.
//!
//! The store keeps operators, `service::operators` decides who may create, change and remove them. An operator is never deleted, and
//! neither its id nor its name is given to another one, so that the audit log and signatures name one person for ever. A
//! passkey is removed with everything about it. A suspended operator waits for an administrator, as a token does.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::token::{Role, Scope};

/// Maximum number of passkeys of an operator.
pub const PASSKEYS_LIMIT: usize = 10;
/// Maximum length of the label of a passkey, in characters.
pub const LABEL_LIMIT: usize = 60;
/// The longest time that an enrolment link is valid, in seconds.
pub const ENROLMENT_LIMIT: u64 = 7 * 86_400;

/// A person who signs in to the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operator {
    /// The id.
    pub id: String,
    /// The name, unique without case among all operators that ever existed. Bindings of the access policy name it.
    pub name: String,
    /// The role, in addition to those that bindings give.
    pub role: Role,
    /// The companies and functions of a sender.
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    /// The time of creation.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The time of removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub removed_at: Option<Timestamp>,
    /// The time since when the operator waits for an administrator to confirm it: the store was restored from a backup, and the
    /// operator may have been removed since the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub suspended_at: Option<Timestamp>,
    /// The open enrolment; none if no link is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// The passkeys, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys: Vec<PasskeyInfo>,
}

/// An enrolment that waits for the operator: a link that registers one passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// The name of the caller who made the link.
    pub by: String,
    /// The time when the link was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The time when the link ends.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
}

/// A passkey without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasskeyInfo {
    /// The id.
    pub id: String,
    /// The name that the person gave it.
    pub label: String,
    /// The time of its registration.
    #[schema(value_type = String, format = DateTime)]
    pub added_at: Timestamp,
    /// The time of its last use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
    /// True if its provider can copy it to other devices of the person.
    pub is_synced: bool,
    /// The caller who made the enrolment link by which it was registered, or by which the passkey was that added it within 7 days;
    /// none if the person added it when signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_by: Option<String>,
}

impl Operator {
    /// Returns true if the operator is neither removed nor suspended.
    pub fn is_active(&self) -> bool {
        self.removed_at.is_none() && self.suspended_at.is_none()
    }

    /// Returns true if an enrolment link is valid at a time.
    pub fn has_open_enrolment(&self, now: Timestamp) -> bool {
        self.is_active() && self.enrolment.as_ref().is_some_and(|enrolment| enrolment.ends_at > now)
    }
}
