//! The plan: what would change, why, and what it does to mail. A value, and a document.
//!
//! The JSON document is the plan; what people read is rendered from it, so the two cannot disagree. It has no
//! field that could hold a secret: of a secret it knows the name, the digests and what kind of change it is.
//! `schema/plan.schema.json` describes the document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    changes::{drift::Drift, guards::Guard},
    model::{
        ApprovalNeed, Destination, Digest, EnvironmentName, LastVerified, Place, ProfileName, Provenance,
        SecretReference, provenance::Breach, resolution::Cell,
    },
    secrets::accepted_for_words,
};

/// The version of the document; a saved plan of another one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// What would change, why, and what it does to mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that made it.
    pub mailwright: String,
    /// The environment.
    pub environment: EnvironmentName,
    /// The service's address.
    pub service: String,
    /// That the files name another service than before, where it is known what they named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<MovedService>,
    /// The generation that it starts from.
    pub base: u64,
    /// Where the files come from.
    pub source: Provenance,
    /// The profiles that it was limited to; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<ProfileName>,
    /// What somebody changed outside Git since the last apply.
    pub drift: Vec<Drift>,
    /// What the plan would change of the environment's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsChange>,
    /// What the plan would change, by name.
    pub changes: Vec<PlannedChange>,
    /// Profiles that the service has and Git never had; they are left alone.
    pub unmanaged: Vec<ProfileName>,
    /// Who sends what differently afterwards.
    pub senders: Vec<SenderChange>,
    /// Secrets that would travel to a place they were not accepted for. The service refuses such a plan.
    pub redirected: Vec<RedirectedSecret>,
    /// The approvals that it needs; none if nobody need approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<PlanApprovals>,
    /// Guards that it runs into and nobody has lifted.
    pub guards: Vec<Guard>,
    /// Why an apply from this source would be refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Breach>,
    /// What the verifier last said of the profiles that it sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified: Vec<VerifiedBefore>,
    /// Worth knowing before it is applied.
    pub hints: Vec<Hint>,
    /// How much it changes.
    pub summary: Summary,
}

/// That the files name another service than before: whoever plans or applies sends a token there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedService {
    /// The address before; none if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The address now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The revision that it is compared with, in words.
    pub since: String,
}

impl MovedService {
    /// In one sentence.
    pub fn words(&self) -> String {
        let shown =
            |address: &Option<String>| address.as_ref().map_or("no address".to_owned(), |own| format!("`{own}`"));
        let Self { from, to, since } = self;
        format!("the files name another service than {since}: {} instead of {}", shown(to), shown(from))
    }
}

/// The approvals that a plan needs, by the rules that are live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanApprovals {
    /// What is signed: the digest of what the plan does.
    pub digest: Digest,
    /// One entry a rule that it matches.
    pub needs: Vec<ApprovalNeed>,
}

/// What the verifier last said of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedBefore {
    /// The profile.
    pub profile: ProfileName,
    /// Whether it was said of just these settings and secrets.
    pub current: bool,
    /// What was said; none if it was never asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastVerified>,
}

/// What happens to a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It gets another name.
    Rename,
    /// It is live already, and from now on in Git's care.
    Adopt,
    /// It is removed.
    Delete,
    /// It was removed outside Git and is gone from Git: the memory of it goes too.
    Forget,
}

/// Where a difference comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The files changed since the last apply.
    Git,
    /// The service was changed since the last apply.
    Drift,
    /// Both were.
    Both,
}

impl Cause {
    /// The cause of two things together.
    #[must_use]
    pub fn and(self, other: Cause) -> Cause {
        if self == other { self } else { Cause::Both }
    }
}

/// One change of one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// The profile's name afterwards (or before, if it goes).
    pub name: ProfileName,
    /// What happens to it.
    pub action: Action,
    /// The name before, for a rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_name: Option<ProfileName>,
    /// Where the difference comes from.
    pub cause: Cause,
    /// Why, where it is not plain from the fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the files declare it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
    /// How many fields stay as they are.
    pub unchanged: usize,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// The field: keys joined by dots.
    pub path: String,
    /// What is live; null if nothing is.
    pub before: Value,
    /// What it becomes; null if it goes.
    pub after: Value,
    /// Where the difference comes from.
    pub cause: Cause,
    /// The place in the files that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The place in the files that said what was before; only where two revisions are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_place: Option<Place>,
    /// For a secret: what kind of change it is. `before` and `after` hold its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChange>,
}

/// What is known of a secret's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretChange {
    /// What kind of change.
    pub kind: SecretChangeKind,
    /// Digest of the live age file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// Digest of the age file in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
}

/// What kind of change a secret's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretChangeKind {
    /// There was none.
    New,
    /// Another value.
    Rotated,
    /// The same value, sealed anew.
    Resealed,
    /// The file changed, and was not made by `mailwright secrets`, so nobody can tell.
    FileChanged,
    /// The same file under another name.
    Renamed,
    /// It is not used any more.
    Removed,
    /// The next value is the current one from now on.
    RotationFinished,
    /// A next value, to be tried first.
    NextStaged,
    /// Another next value.
    NextReplaced,
    /// The same next value, sealed anew.
    NextResealed,
    /// The next value is not tried any more.
    NextWithdrawn,
}

/// What the plan would change of the environment's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsChange {
    /// Where the difference comes from.
    pub cause: Cause,
    /// Where the files declare them.
    pub place: Place,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// A cell of the table of (company, function) whose sender changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SenderChange {
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// Who sends now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Sender>,
    /// Who sends afterwards; none if the cell loses its sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Sender>,
}

/// Who sends for a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// The profile.
    pub profile: ProfileName,
    /// Its From address; none for a delegate, which sends as the user who signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A secret that would travel to a place it was not accepted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedirectedSecret {
    /// The profile that would use it; none if it is the application that reads the directory, `verify.reader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// Its name.
    pub secret: SecretReference,
    /// Its digest.
    pub digest: Digest,
    /// Where it was accepted for; none where its file names another destination, which only a digest tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_for: Option<Destination>,
    /// Where it would travel to.
    pub would_go_to: Destination,
    /// The place in the files that says so.
    pub place: Place,
}

/// Worth knowing before a plan is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "hint")]
pub enum Hint {
    /// A create and a delete have equal contents: probably a rename.
    ProbablyRename {
        /// The profile that would go.
        from: ProfileName,
        /// The profile that would be made.
        to: ProfileName,
        /// The file to add `renamedFrom:` to.
        file: String,
    },
    /// A `renamedFrom` that has done its work.
    RenameDone {
        /// The profile.
        name: ProfileName,
        /// The line that can go.
        place: Place,
    },
}

/// How much a plan changes.
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
    /// What would use it.
    pub fn user(&self) -> &str {
        self.profile.as_ref().map_or("verify.reader", ProfileName::as_str)
    }

    /// The destination that it was meant for, in words: `was accepted for ...`.
    pub fn accepted_for_words(&self) -> String {
        accepted_for_words(self.accepted_for.as_ref())
    }
}

impl PlannedChange {
    /// Whether it only notes what is so already: nothing that is live would change.
    pub fn is_note(&self) -> bool {
        match self.action {
            Action::Adopt => self.fields.is_empty(),
            Action::Forget => true,
            Action::Create | Action::Update | Action::Rename | Action::Delete => false,
        }
    }
}

impl Plan {
    /// Whether what is live is what the files say. There may still be something to note; see [`Plan::notes`].
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(PlannedChange::is_note) && self.settings.as_ref().is_none_or(|s| s.fields.is_empty())
    }

    /// How many profiles an apply would note as being in Git's care, or not any more, without changing them.
    pub fn notes(&self) -> usize {
        self.changes.iter().filter(|change| change.is_note()).count()
    }

    /// Whether there is nothing to send at all.
    pub fn has_nothing_to_send(&self) -> bool {
        self.changes.is_empty() && self.settings.is_none()
    }

    /// Where its differences come from; none if it is empty.
    pub fn cause(&self) -> Option<Cause> {
        let settings = self.settings.iter().filter(|s| !s.fields.is_empty()).map(|settings| settings.cause);
        let changes = self.changes.iter().filter(|change| !change.is_note()).map(|change| change.cause);
        changes.chain(settings).reduce(Cause::and)
    }

    /// The digest of the document.
    pub fn digest(&self) -> Digest {
        Digest::of_document(self)
    }

    /// The line that ends what people read: `Plan: 2 to add, 1 to change, 0 to destroy.`
    pub fn summary_line(&self) -> String {
        let Summary { add, change, destroy, rename, adopt, forget } = self.summary;
        let front = if adopt > 0 { format!("{adopt} to adopt, ") } else { String::new() };
        let mut behind = String::new();
        if rename > 0 {
            behind = format!(", {rename} to rename");
        }
        if forget > 0 {
            behind = format!("{behind}, {forget} to forget");
        }
        format!("Plan: {front}{add} to add, {change} to change, {destroy} to destroy{behind}.")
    }
}
