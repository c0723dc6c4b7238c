//! The plan: the changes, their causes, and their effect on mail.
//!
//! The plan is a JSON document; text and Markdown are rendered from it, so that they cannot differ from it. Of a secret it states
//! the name, the digests and the kind of change, and no value. `schema/plan.schema.json` describes the document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::changes::{
    comparison::{SecretChange, SecretChangeKind},
    routing::{CellSender, RoutingChange},
};
use crate::{
    changes::{drift::Drift, guards::Guard},
    model::{
        ApprovalNeed, Destination, Digest, EnvironmentName, LastVerified, Place, ProfileName, Provenance,
        SecretReference, provenance::Breach,
    },
    secrets::describe_acceptance,
};

/// The version of the document; a saved plan of another version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of the program that made it.
    pub mailwright: String,
    /// The environment.
    pub environment: EnvironmentName,
    /// The service's address.
    pub service: String,
    /// Set if the files name another service than before, where the earlier address is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<MovedService>,
    /// The generation that the plan starts from.
    pub base: u64,
    /// The provenance of the files.
    pub source: Provenance,
    /// The profiles that the plan is limited to; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<ProfileName>,
    /// Changes that were made outside Git since the last apply.
    pub drift: Vec<Drift>,
    /// The changes of the environment's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsChange>,
    /// The changes of profiles, by name.
    pub changes: Vec<PlannedChange>,
    /// Live profiles that the files never declared; they are not changed.
    pub unmanaged: Vec<ProfileName>,
    /// Cells of the routing table whose sender changes.
    #[serde(rename = "senders")]
    pub routing_changes: Vec<RoutingChange>,
    /// Secrets that would be sent to a destination they were not accepted for. The service rejects such a plan.
    pub redirected: Vec<RedirectedSecret>,
    /// The approvals that the plan needs; none if it needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<PlanApprovals>,
    /// Guards that the plan violates and that were not lifted.
    pub guards: Vec<Guard>,
    /// The reasons why the service would reject an apply from this source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Breach>,
    /// The last results of `verify` for the profiles that the plan sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified: Vec<PreviousVerification>,
    /// Hints for the operator.
    pub hints: Vec<Hint>,
    /// The number of changes by kind.
    pub summary: Summary,
}

/// A change of the service's address: planning and applying send a token to the new address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedService {
    /// The earlier address; none if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The new address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The revision that the files are compared with.
    pub since: String,
}

impl MovedService {
    /// Describes the change in one sentence.
    pub fn describe(&self) -> String {
        let shown =
            |address: &Option<String>| address.as_ref().map_or("no address".to_owned(), |own| format!("`{own}`"));
        let Self { from, to, since } = self;
        format!("the files name another service than {since}: {} instead of {}", shown(to), shown(from))
    }
}

/// The approvals that a plan needs by the live rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanApprovals {
    /// The digest that is signed.
    pub digest: Digest,
    /// One entry per rule that matches.
    pub needs: Vec<ApprovalNeed>,
}

/// The last result of `verify` for a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousVerification {
    /// The profile.
    pub profile: ProfileName,
    /// True if the result is for the same settings and secrets.
    pub current: bool,
    /// The result; none if the profile was never verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastVerified>,
}

/// An action on a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The profile is created.
    Create,
    /// The profile is updated.
    Update,
    /// The profile is renamed.
    Rename,
    /// The profile is live already, and is managed by the files from now on.
    Adopt,
    /// The profile is deleted.
    Delete,
    /// The profile was deleted both outside Git and in the files: its record is removed.
    Forget,
}

/// The cause of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The files changed since the last apply.
    Git,
    /// The service was changed since the last apply.
    Drift,
    /// Both changed.
    Both,
}

impl Cause {
    /// Combines the causes of two differences.
    #[must_use]
    pub fn and(self, other: Cause) -> Cause {
        if self == other { self } else { Cause::Both }
    }
}

/// A change of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// The profile's name after the change, or before it if the profile is deleted.
    pub name: ProfileName,
    /// The action.
    pub action: Action,
    /// The previous name, for a rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_name: Option<ProfileName>,
    /// The cause of the difference.
    pub cause: Cause,
    /// The reason, where the fields do not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The place in the files that declares the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
    /// The number of unchanged fields.
    pub unchanged: usize,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// The field: keys joined by dots.
    pub path: String,
    /// The live value; null if there is none.
    pub before: Value,
    /// The new value; null if the field is removed.
    pub after: Value,
    /// The cause of the difference.
    pub cause: Cause,
    /// The place in the files that states the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The place of the earlier value; only where two revisions are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_place: Option<Place>,
    /// The kind of change, for a secret. `before` and `after` contain the secret's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChange>,
}

/// The changes of the environment's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsChange {
    /// The cause of the difference.
    pub cause: Cause,
    /// The place in the files that declares the settings.
    pub place: Place,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// A secret that would be sent to a destination it was not accepted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedirectedSecret {
    /// The profile that would use it; none if it is the application that reads the directory, `verify.reader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// The name of the secret.
    pub secret: SecretReference,
    /// The digest of the age file.
    pub digest: Digest,
    /// The destination that the value was accepted for; none if its file states another destination, which is known by digest
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_for: Option<Destination>,
    /// The destination that the value would be sent to.
    pub would_go_to: Destination,
    /// The place in the files that states that destination.
    pub place: Place,
}

/// A hint for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "hint")]
pub enum Hint {
    /// A created and a deleted profile have equal contents, probably a rename.
    ProbablyRename {
        /// The profile that would be deleted.
        from: ProfileName,
        /// The profile that would be created.
        to: ProfileName,
        /// The file to add `renamedFrom:` to.
        file: String,
    },
    /// A `renamedFrom` that was applied.
    RenameDone {
        /// The profile.
        name: ProfileName,
        /// The line that can be removed.
        place: Place,
    },
}

/// The number of changes of a plan by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Profiles to create.
    pub add: usize,
    /// Profiles to update; the environment's settings count as one.
    pub change: usize,
    /// Profiles to delete.
    pub destroy: usize,
    /// Profiles to rename.
    pub rename: usize,
    /// Profiles to adopt.
    pub adopt: usize,
    /// Profiles to forget.
    pub forget: usize,
}

impl RedirectedSecret {
    /// Returns the name of the user of the secret.
    pub fn user(&self) -> &str {
        self.profile.as_ref().map_or("verify.reader", ProfileName::as_str)
    }

    /// Returns one sentence with the secret, the destination that it would be sent to and the one that it is bound to.
    pub fn message(&self) -> String {
        format!(
            "the secret `{}` of `{}` would travel to {}, and {}",
            self.secret,
            self.user(),
            self.would_go_to,
            self.describe_acceptance()
        )
    }

    /// Describes the destination that the value was accepted for: `was accepted for ...`.
    pub fn describe_acceptance(&self) -> String {
        describe_acceptance(self.accepted_for.as_ref())
    }
}

impl PlannedChange {
    /// Returns true if the change only updates the record of what was applied, and nothing live.
    pub fn is_note(&self) -> bool {
        match self.action {
            Action::Adopt => self.fields.is_empty(),
            Action::Forget => true,
            Action::Create | Action::Update | Action::Rename | Action::Delete => false,
        }
    }
}

impl Plan {
    /// Returns true if the live state equals the files. The record of what was applied may still change; see [`Plan::notes`].
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(PlannedChange::is_note) && self.settings.as_ref().is_none_or(|s| s.fields.is_empty())
    }

    /// Returns the number of profiles that an apply would record as managed, or as no longer managed, without changing them.
    pub fn notes(&self) -> usize {
        self.changes.iter().filter(|change| change.is_note()).count()
    }

    /// Returns true if there is nothing to send.
    pub fn has_nothing_to_send(&self) -> bool {
        self.changes.is_empty() && self.settings.is_none()
    }

    /// Returns the combined cause of all differences; none if the plan is empty.
    pub fn cause(&self) -> Option<Cause> {
        let settings = self.settings.iter().filter(|s| !s.fields.is_empty()).map(|settings| settings.cause);
        let changes = self.changes.iter().filter(|change| !change.is_note()).map(|change| change.cause);
        changes.chain(settings).reduce(Cause::and)
    }

    /// Returns the digest of the document.
    pub fn digest(&self) -> Digest {
        Digest::of_document(self)
    }

    /// Returns the last line of a rendered plan: `Plan: 2 to add, 1 to change, 0 to destroy.`
    pub fn summary_line(&self) -> String {
        format!("Plan: {}.", self.summary_counts())
    }

    /// Returns the counts of a plan: `2 to add, 1 to change, 0 to destroy`.
    pub fn summary_counts(&self) -> String {
        let Summary { add, change, destroy, rename, adopt, forget } = self.summary;
        let front = if adopt > 0 { format!("{adopt} to adopt, ") } else { String::new() };
        let mut behind = String::new();
        if rename > 0 {
            behind = format!(", {rename} to rename");
        }
        if forget > 0 {
            behind = format!("{behind}, {forget} to forget");
        }
        format!("{front}{add} to add, {change} to change, {destroy} to destroy{behind}")
    }
}
