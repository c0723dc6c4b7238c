//! [`Settings`]: the settings of an environment that the service stores: companies, policy, delivery, unserved combinations,
//! the reader of the directory, the access policy, and the recipients of secrets.
//!
//! Sections that only the client uses are in `verify_settings` and `watch_settings`. The rules for settings are in
//! [`crate::model::rules`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AccessPolicy, Approvals, CompanyId, Delivery, Digest, Function, GraphDirect, SecretRecipient, SecretReference,
    provenance::SourcePolicy,
};

/// Settings of an environment that the service holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The companies of the environment.
    #[serde(default)]
    pub companies: BTreeSet<CompanyId>,
    /// Cells that have no sender on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<Unserved>,
    /// Limits that an apply must keep.
    #[serde(default)]
    pub policy: Policy,
    /// Settings of delivery.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub delivery: Delivery,
    /// The application that reads the directory for `verify`. Its secret is sent to a host that the files choose, so a change
    /// of it is planned, approved and bound like that of a profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<Reader>,
    /// The access policy: roles, and who has them. Files declare it in `access.yaml`.
    #[serde(default, skip_serializing_if = "AccessPolicy::is_empty")]
    pub access: AccessPolicy,
    /// The public keys that secrets are encrypted to: those of the service and of the operators. A page of the console encrypts for
    /// them. Files declare them in `secrets/ENV/recipients.txt`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(max_items = 200)]
    pub secret_recipients: BTreeSet<SecretRecipient>,
}

/// An application that reads the directory for `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Reader {
    /// The settings of the application.
    pub application: GraphDirect,
    /// The digest of the age file; none if the application has no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Digest>,
}

impl Reader {
    /// Returns the secret of the application, with the digest of its age file.
    pub fn age_file(&self) -> Option<(&SecretReference, &Digest)> {
        self.application.credential.secret().zip(self.secret.as_ref())
    }
}

fn is_usual(delivery: &Delivery) -> bool {
    *delivery == Delivery::default()
}

/// Cells that have no sender on purpose. Without companies, all companies; without functions, all functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Unserved {
    /// The reason.
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
    /// The companies; an empty set means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub companies: BTreeSet<CompanyId>,
    /// The functions; an empty set means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub functions: BTreeSet<Function>,
}

impl Settings {
    /// Returns these settings after a rollback to `target`. Everything is restored but the source policy, because otherwise a
    /// rollback could be used to avoid it, and the access policy and the recipients of secrets, because otherwise a rollback
    /// would return rights that were taken away.
    #[must_use]
    pub fn going_back_to(&self, target: &Settings) -> Settings {
        let mut settings = target.clone();
        settings.policy.source.clone_from(&self.policy.source);
        settings.access.clone_from(&self.access);
        settings.secret_recipients.clone_from(&self.secret_recipients);
        settings
    }

    /// Returns true if the cell is listed as unserved.
    pub fn is_meant_unserved(&self, company: &CompanyId, function: Function) -> bool {
        self.unserved.iter().any(|entry| {
            (entry.companies.is_empty() || entry.companies.contains(company))
                && (entry.functions.is_empty() || entry.functions.contains(&function))
        })
    }
}

/// Limits that an apply must keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// The number of deletions that a plan may have without an allowance.
    #[serde(default)]
    pub deletes: DeleteLimit,
    /// Handling of profiles that the reconciler did not create.
    #[serde(default)]
    pub prune: Prune,
    /// The sources that the environment may be applied from.
    #[serde(default, skip_serializing_if = "SourcePolicy::is_open")]
    pub source: SourcePolicy,
    /// The approvals that changes need.
    #[serde(default, skip_serializing_if = "Approvals::is_empty")]
    pub approvals: Approvals,
    /// The changes that the console may make.
    #[serde(default, skip_serializing_if = "ConsolePolicy::is_usual")]
    pub console: ConsolePolicy,
}

/// The changes of profiles that the console may make, for callers whose rights allow them. The API is not concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConsolePolicy {
    /// Nothing is changed in the console.
    ReadOnly,
    /// Changes are proposed, and applied by another person.
    Propose,
    /// Changes are applied or proposed.
    #[default]
    Apply,
}

impl ConsolePolicy {
    /// Returns the policy as files write it.
    pub fn id(self) -> &'static str {
        match self {
            ConsolePolicy::ReadOnly => "read-only",
            ConsolePolicy::Propose => "propose",
            ConsolePolicy::Apply => "apply",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// The maximum number of profiles that one plan may delete: the share, in whole profiles, but at least the floor. All profiles
/// cannot be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DeleteLimit {
    /// Share of the live profiles, in percent, rounded down.
    #[schema(minimum = 0, maximum = 100, default = 30)]
    pub percent: u8,
    /// The number that is allowed even if the share is less.
    #[schema(minimum = 0, maximum = 1000, default = 1)]
    pub at_least: u16,
}

impl Default for DeleteLimit {
    fn default() -> Self {
        Self { percent: 30, at_least: 1 }
    }
}

/// Handling of profiles that the reconciler did not create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prune {
    /// Unmanaged profiles are reported and left alone.
    #[default]
    Managed,
    /// Unmanaged profiles are deleted as if Git had once declared them.
    All,
}
