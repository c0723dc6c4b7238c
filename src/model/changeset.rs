//! [`Changeset`]: the changes of one apply as the client sends them, with the generation they were computed for, the age files
//! and the approvals.
//!
//! The planner makes it and the service accepts it completely or not at all. It is data: rules, guards and approvals are checked
//! elsewhere. A change with a field that its action does not have, or without one that it needs, cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Digest, EnvironmentName, ProfileName, Provenance, Settings, StoredProfile};

/// The changes of one apply, with all that the service needs to apply them: the body of `POST /v1/changesets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Changeset {
    /// The id, made once per plan. Sending the same changeset again changes nothing, and gets the same answer.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The environment that the changeset is for. The service of another environment refuses it.
    pub environment: EnvironmentName,
    /// The generation that the changeset was computed from.
    pub base: u64,
    /// The environment's settings, if they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The profiles' changes.
    #[serde(default)]
    pub changes: Vec<ProfileChange>,
    /// Age files that the changes name and the service may not have yet: digest to the file's bytes in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub secrets: BTreeMap<Digest, String>,
    /// Guards that were lifted for this plan.
    #[serde(default, skip_serializing_if = "Allowances::is_none")]
    pub allowances: Allowances,
    /// The approvals of the changeset; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub approvals: Vec<Approval>,
    /// The source of the changeset.
    #[serde(default)]
    pub provenance: Provenance,
}

/// One change of one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "kebab-case", try_from = "Plain")]
pub enum ProfileChange {
    /// Creates a profile that does not exist.
    Create {
        /// The name of the profile.
        name: ProfileName,
        /// The new value.
        profile: StoredProfile,
    },
    /// Changes a profile that exists.
    Update {
        /// The name of the profile.
        name: ProfileName,
        /// The new value.
        profile: StoredProfile,
    },
    /// Gives a profile another name, and perhaps other contents.
    Rename {
        /// The present name.
        from: ProfileName,
        /// The new name.
        name: ProfileName,
        /// The new value.
        profile: StoredProfile,
    },
    /// Puts a live profile under Git's control, or records that Git declares what is live.
    Adopt {
        /// The name of the profile.
        name: ProfileName,
        /// The new value.
        profile: StoredProfile,
    },
    /// Removes a profile.
    Delete {
        /// The name of the profile.
        name: ProfileName,
    },
    /// Removes the record of a profile that was removed outside Git and is not in Git either.
    Forget {
        /// The name of the profile.
        name: ProfileName,
    },
}

/// A change as it is read: all fields that any action has. Ten thousand of them are read in half the time that serde's tagged
/// enums take, because those read everything twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    action: Action,
    name: ProfileName,
    #[serde(default)]
    from: Option<ProfileName>,
    #[serde(default)]
    profile: Option<StoredProfile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Create,
    Update,
    Rename,
    Adopt,
    Delete,
    Forget,
}

impl TryFrom<Plain> for ProfileChange {
    type Error = &'static str;

    fn try_from(Plain { action, name, from, profile }: Plain) -> Result<Self, Self::Error> {
        match (action, from, profile) {
            (Action::Create, None, Some(profile)) => Ok(Self::Create { name, profile }),
            (Action::Update, None, Some(profile)) => Ok(Self::Update { name, profile }),
            (Action::Rename, Some(from), Some(profile)) => Ok(Self::Rename { from, name, profile }),
            (Action::Adopt, None, Some(profile)) => Ok(Self::Adopt { name, profile }),
            (Action::Delete, None, None) => Ok(Self::Delete { name }),
            (Action::Forget, None, None) => Ok(Self::Forget { name }),
            _ => Err("a change has fields that its action does not have, or lacks one that it needs"),
        }
    }
}

impl ProfileChange {
    /// Returns the name that the profile has afterwards (or had, if it is removed).
    pub fn name(&self) -> &ProfileName {
        match self {
            ProfileChange::Create { name, .. }
            | ProfileChange::Update { name, .. }
            | ProfileChange::Rename { name, .. }
            | ProfileChange::Adopt { name, .. }
            | ProfileChange::Delete { name }
            | ProfileChange::Forget { name } => name,
        }
    }

    /// Returns every name that the change concerns.
    pub fn names(&self) -> impl Iterator<Item = &ProfileName> {
        let from = match self {
            ProfileChange::Rename { from, .. } => Some(from),
            _ => None,
        };
        std::iter::once(self.name()).chain(from)
    }

    /// Returns the new profile; none if it is deleted.
    pub fn profile(&self) -> Option<&StoredProfile> {
        match self {
            ProfileChange::Create { profile, .. }
            | ProfileChange::Update { profile, .. }
            | ProfileChange::Rename { profile, .. }
            | ProfileChange::Adopt { profile, .. } => Some(profile),
            ProfileChange::Delete { .. } | ProfileChange::Forget { .. } => None,
        }
    }
}

/// Guards that are lifted for this plan only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allowances {
    /// The number of deletions that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<u32>,
    /// Profiles whose loss is allowed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<ProfileName>,
    /// True if a change of the access policy may add rights, and a change of the recipients of secrets may add persons who read them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rights: bool,
    /// Profiles whose findings are accepted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub findings: BTreeSet<ProfileName>,
    /// True if `verify` was not asked at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
    /// The reason why an administrator applies without approvals. Accepted only where the environment allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 400)]
    pub break_glass: Option<String>,
}

impl Allowances {
    /// Returns true if no guard is lifted.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// An approval: the signed text and the signature (sshsig, as `ssh-keygen -Y sign` makes it).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// The text that was signed.
    #[schema(max_length = 2048)]
    pub message: String,
    /// The signature, armoured.
    #[schema(max_length = 8192)]
    pub signature: String,
}
