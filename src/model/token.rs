//! API tokens: their roles, their scopes and when they are valid. Never their secrets.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{CompanyId, Function};

/// The role of a token. `viewer`, `planner`, `deployer` and `admin` each may do what those before may; `sender` submits
/// mail and follows what it submitted, and an `admin` may as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Submits mail, for the companies and functions of its token, and follows that.
    Sender,
    /// Reads state, history and resolution.
    Viewer,
    /// And tries changesets (dry run).
    Planner,
    /// And applies changesets and rolls back.
    Deployer,
    /// And changes by hand, manages tokens and reads the audit log.
    Admin,
}

impl Role {
    /// Every role, the lowest first.
    pub const ALL: &[Role] = &[Role::Sender, Role::Viewer, Role::Planner, Role::Deployer, Role::Admin];

    /// Returns true if this role includes another.
    pub fn includes(self, needed: Role) -> bool {
        let rank = |role: Role| match role {
            Role::Sender => 0,
            Role::Viewer => 1,
            Role::Planner => 2,
            Role::Deployer => 3,
            Role::Admin => 4,
        };
        match (self, needed) {
            (Role::Sender, _) | (_, Role::Sender) => self == needed || self == Role::Admin,
            _ => rank(self) >= rank(needed),
        }
    }

    /// As documents and command lines write it.
    pub fn id(self) -> &'static str {
        match self {
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
            .ok_or_else(|| "a role is sender, viewer, planner, deployer or admin".to_owned())
    }
}

/// The companies and functions that a sender's token is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scope {
    /// The companies; none named means all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub companies: BTreeSet<CompanyId>,
    /// The functions, each with what falls back to it, but for `default`, which is itself alone; none named means all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub functions: BTreeSet<Function>,
}

impl Scope {
    /// Returns true if it restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.companies.is_empty() && self.functions.is_empty()
    }

    /// Returns true if a company and a function are in it. A function covers what falls back to it, as it does for profiles:
    /// `all-documents` covers every kind of document. `default` covers itself alone, since everything falls back to it.
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
    /// Its id; also the part of the token before the second underscore.
    pub id: String,
    /// Its name, which the audit log and the drift report show.
    pub name: String,
    /// The role.
    pub role: Role,
    /// For which companies and functions, for a sender.
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// Since when it waits for an administrator to confirm it: the store was restored from a backup, and the token may have
    /// been revoked since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub suspended_at: Option<Timestamp>,
    /// The id of the first token in a row of replacements; none if it replaces no other. Mail and idempotency keys belong
    /// to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<String>,
}

impl Token {
    /// Returns true if it is neither revoked nor expired.
    pub fn is_in_effect(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }

    /// The owner of mail that it submits and of its idempotency keys: the token itself, or the first that it replaces.
    pub fn owner(&self) -> String {
        format!("token:{}", self.succeeds.as_ref().unwrap_or(&self.id))
    }
}
