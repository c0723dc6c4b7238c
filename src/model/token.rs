//! API tokens: [`Role`], [`Scope`] and validity of a [`Token`], but not its secret.
//!
//! [`Role::includes`] and [`Scope::covers`] decide what a token allows; the service enforces it. Only a hash of the secret is
//! stored. A suspended token is in effect here; the service refuses it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{CompanyId, Function};

/// The role of a token. `viewer`, `planner`, `deployer` and `admin` form a series: each includes the rights of those before. A
/// `sender` submits mail and reads the state of what it submitted; an `admin` may do so as well. A `bound` token has only the rights
/// that the access policy gives to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Has no rights of its own: only those that bindings of the access policy give to the token's name.
    Bound,
    /// Submits mail for the companies and functions of its token, and reads the state of that mail.
    Sender,
    /// Reads state, history and resolution.
    Viewer,
    /// Has the rights of a viewer, and tries changesets (dry run).
    Planner,
    /// Has the rights of a planner, and applies changesets and rolls back.
    Deployer,
    /// Has the rights of a deployer, and changes profiles by hand, manages tokens and reads the audit log.
    Admin,
}

impl Role {
    /// Every role, the lowest first.
    pub const ALL: &[Role] = &[Role::Bound, Role::Sender, Role::Viewer, Role::Planner, Role::Deployer, Role::Admin];

    /// Returns true if this role includes another.
    pub fn includes(self, needed: Role) -> bool {
        let rank = |role: Role| match role {
            Role::Bound | Role::Sender => 0,
            Role::Viewer => 1,
            Role::Planner => 2,
            Role::Deployer => 3,
            Role::Admin => 4,
        };
        match (self, needed) {
            (Role::Bound, _) | (_, Role::Bound) => self == needed,
            (Role::Sender, _) | (_, Role::Sender) => self == needed || self == Role::Admin,
            _ => rank(self) >= rank(needed),
        }
    }

    /// Returns the role as documents and command lines write it.
    pub fn id(self) -> &'static str {
        match self {
            Role::Bound => "bound",
            Role::Sender => "sender",
            Role::Viewer => "viewer",
            Role::Planner => "planner",
            Role::Deployer => "deployer",
            Role::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Role::ALL
            .iter()
            .copied()
            .find(|role| role.id() == text)
            .ok_or_else(|| "a role is bound, sender, viewer, planner, deployer or admin".to_owned())
    }
}

/// The companies and functions that a sender's token is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scope {
    /// The companies; an empty set means all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub companies: BTreeSet<CompanyId>,
    /// The functions; an empty set means all. A function includes the functions that fall back to it, except for `default`,
    /// which includes only itself.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub functions: BTreeSet<Function>,
}

impl Scope {
    /// Returns true if the scope restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.companies.is_empty() && self.functions.is_empty()
    }

    /// Returns true if the scope includes a company and a function. A function includes what falls back to it, as it does for
    /// profiles: `all-documents` includes every kind of document. `default` includes only itself, since everything falls back
    /// to it.
    pub fn covers(&self, company: &CompanyId, function: Function) -> bool {
        let default = Function::default_function();
        let mut with_parents = function.chain().filter(|one| *one == function || *one != default);
        (self.companies.is_empty() || self.companies.contains(company))
            && (self.functions.is_empty() || with_parents.any(|one| self.functions.contains(&one)))
    }
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// The id; also the part of the token before the second underscore.
    pub id: String,
    /// The name, which the audit log and the drift report show.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The companies and functions of a sender.
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    /// The time of creation.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The expiry; none means that the token does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The time of revocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// The time since when the token waits for an administrator to confirm it: the store was restored from a backup, and the
    /// token may have been revoked since the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub suspended_at: Option<Timestamp>,
    /// The id of the first token in a row of replacements; none if the token replaces no other. Mail and idempotency keys
    /// belong to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<String>,
}

impl Token {
    /// Returns true if the token is neither revoked nor expired.
    pub fn is_in_effect(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }

    /// Returns the owner of mail that the token submits and of its idempotency keys: the token itself, or the first one that it
    /// replaces.
    pub fn owner(&self) -> String {
        format!("token:{}", self.succeeds.as_ref().unwrap_or(&self.id))
    }
}
