//! The closed vocabularies of access control: [`Area`], [`Activity`] and [`FieldPattern`].
//!
//! [`Area::activities`] says which activities exist in an area. A word that is not listed here is an error of the files, so that
//! a misspelt right never grants or withholds anything without notice. `schema/access.schema.json` lists the same words; a test
//! compares the two.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use utoipa::ToSchema;

/// Defines an enumeration whose members are words of files.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $noun:literal; $($(#[$member_doc:meta])* $member:ident $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$member_doc])* #[serde(rename = $word)] $member,)* }

        impl $name {
            /// Every member, in the order of the documentation.
            pub const ALL: &[$name] = &[$($name::$member,)*];

            /// Returns the word that files use.
            pub fn id(self) -> &'static str {
                match self { $($name::$member => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let all = || $name::ALL.iter().map(|one| one.id()).collect::<Vec<_>>().join(", ");
                $name::ALL.iter().copied().find(|one| one.id() == text).ok_or_else(|| format!("{} is one of: {}", $noun, all()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.id())
            }
        }
    };
}

words! {
    /// A part of the product that rights are about.
    Area, "an area";
    /// The service itself: version, readiness, metrics.
    Service "service",
    /// Profiles: their fields, secrets, verification and resolution.
    Profiles "profiles",
    /// The settings of the environment, without its access policy.
    Settings "settings",
    /// The access policy: roles and bindings.
    Access "access",
    /// The ways in which a change reaches the service: a changeset, a rollback, an edit by hand.
    Changes "changes",
    /// Past generations.
    History "history",
    /// Mail that the service has accepted, of every sender.
    Outbox "outbox",
    /// Mail that the caller itself has submitted.
    OwnMail "own-mail",
    /// Submission of mail.
    Mail "mail",
    /// The audit log.
    Audit "audit",
    /// API tokens.
    Tokens "tokens",
    /// Operators: persons who sign in to the console with a passkey.
    Operators "operators",
    /// Rollouts, and the leases that coordinate them.
    Rollouts "rollouts",
}

words! {
    /// Something that a caller does in an area.
    Activity, "an activity";
    /// Reads.
    See "see",
    /// Creates a profile, a token, or an operator with its enrolment links.
    Create "create",
    /// Changes fields.
    Change "change",
    /// Deletes a profile, revokes a token, or removes an operator or a passkey of one.
    Delete "delete",
    /// Enables or disables a profile.
    Enable "enable",
    /// Replaces the value of a secret under the same name.
    Rotate "rotate",
    /// Runs the verifier, or verifies the audit log.
    Verify "verify",
    /// Requests a dry run of a changeset.
    Plan "plan",
    /// Proposes a change for approval.
    Propose "propose",
    /// Approves a proposed change. Reserved: no request needs it yet.
    Approve "approve",
    /// Applies a changeset.
    Apply "apply",
    /// Rolls back to an earlier generation.
    Rollback "rollback",
    /// Changes a profile by hand: outside Git, so it shows as drift.
    Edit "edit",
    /// Applies without the required approvals, where the environment allows it.
    BreakGlass "break-glass",
    /// Submits mail.
    Submit "submit",
    /// Names the person who sends a message of a delegate profile, without an ID token of that person.
    NameSender "name-sender",
    /// Searches the address book of a profile for recipients.
    LookUp "look-up",
    /// Sends a queued message now.
    Retry "retry",
    /// Cancels a queued message.
    Cancel "cancel",
    /// Places and releases holds.
    Hold "hold",
    /// Sends a finished message again.
    Replay "replay",
    /// States the outcome of an unknown message.
    Resolve "resolve",
    /// Reads the contents of a message. In `audit` it is reserved: the export of the audit log needs `see`.
    Export "export",
    /// Confirms a token, an operator or a store after a restore.
    Confirm "confirm",
    /// Takes and releases a lease, and carries out a rollout.
    Run "run",
}

impl Area {
    /// Returns the activities that exist in the area.
    pub fn activities(self) -> &'static [Activity] {
        use Activity::{
            Apply, Approve, BreakGlass, Cancel, Change, Confirm, Create, Delete, Edit, Enable, Export, Hold, LookUp,
            NameSender, Plan, Propose, Replay, Resolve, Retry, Rollback, Rotate, Run, See, Submit, Verify,
        };
        match self {
            Area::Service | Area::History => &[See],
            Area::Profiles => &[See, Create, Change, Delete, Enable, Rotate, Verify],
            Area::Settings | Area::Access => &[See, Change],
            Area::Changes => &[Plan, Propose, Approve, Apply, Rollback, Edit, BreakGlass],
            Area::Outbox => &[See, Retry, Cancel, Hold, Replay, Resolve, Export, Confirm],
            Area::OwnMail => &[See, Cancel],
            Area::Mail => &[Submit, NameSender, LookUp],
            Area::Audit => &[See, Verify, Export],
            Area::Tokens | Area::Operators => &[See, Create, Confirm, Delete],
            Area::Rollouts => &[See, Run],
        }
    }

    /// Returns true if the activity exists in the area.
    pub fn has(self, activity: Activity) -> bool {
        self.activities().contains(&activity)
    }

    /// Returns every pair of an area and an activity that exists.
    pub fn pairs() -> impl Iterator<Item = (Area, Activity)> {
        Area::ALL.iter().flat_map(|area| area.activities().iter().map(|activity| (*area, *activity)))
    }

    /// Returns true if the companies and functions of a grant limit this area.
    pub fn is_limited_by_company(self) -> bool {
        matches!(self, Area::Profiles | Area::Outbox | Area::OwnMail | Area::Mail)
    }

    /// Returns the fields of the area's documents that grants can name: paths as plans show them, without fields below them.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Area::Profiles => PROFILE_FIELDS,
            Area::Settings => SETTINGS_FIELDS,
            _ => &[],
        }
    }
}

/// The field that a rename changes.
pub const NAME_FIELD: &str = "name";

/// The fields of a profile.
const PROFILE_FIELDS: &[&str] = &[
    NAME_FIELD,
    "description",
    "enabled",
    "functions",
    "appliesTo",
    "from.address",
    "from.name",
    "from.dkimSelector",
    "limits.preset",
    "limits.perMinute",
    "limits.concurrency",
    "limits.recipientsPerDay",
    "limits.messageSize",
    "provider.smtp.host",
    "provider.smtp.port",
    "provider.smtp.encryption",
    "provider.smtp.username",
    "provider.smtp.password",
    "provider.smtp.oauth.cloud",
    "provider.smtp.oauth.tenant",
    "provider.smtp.oauth.client",
    "provider.smtp.oauth.credential.clientSecret",
    "provider.smtp.oauth.credential.certificate",
    "provider.smtp.oauth.credential.federatedTokenFile",
    "provider.microsoft-graph-delegate.cloud",
    "provider.microsoft-graph-delegate.tenant",
    "provider.microsoft-graph-delegate.client",
    "provider.microsoft-graph-delegate.platform",
    "provider.microsoft-graph-delegate.redirect",
    "provider.microsoft-graph-delegate.addressBook",
    "provider.microsoft-graph-direct.cloud",
    "provider.microsoft-graph-direct.tenant",
    "provider.microsoft-graph-direct.client",
    "provider.microsoft-graph-direct.credential.clientSecret",
    "provider.microsoft-graph-direct.credential.certificate",
    "provider.microsoft-graph-direct.credential.federatedTokenFile",
    "provider.microsoft-graph-direct.addressBook",
];

/// The fields of an environment's settings.
const SETTINGS_FIELDS: &[&str] = &[
    "companies",
    "unserved",
    "policy.deletes.percent",
    "policy.deletes.atLeast",
    "policy.console",
    "policy.prune",
    "policy.source.branches",
    "policy.source.clean",
    "policy.source.signed",
    "policy.approvals.signers",
    "policy.approvals.groups",
    "policy.approvals.rules",
    "policy.approvals.selfApproval",
    "policy.approvals.breakGlass",
    "policy.approvals.expiresIn",
    "delivery.retry.first",
    "delivery.retry.longest",
    "delivery.functions",
    "delivery.recipients.allow",
    "delivery.recipients.rewriteTo",
    "delivery.recipients.subjectTag",
    "delivery.attachments.forbidden",
    "delivery.keep.delivered",
    "delivery.keep.failed",
    "delivery.senderLifetime",
    "delivery.webhooks",
    "verify.reader.cloud",
    "verify.reader.tenant",
    "verify.reader.client",
    "verify.reader.credential.clientSecret",
    "verify.reader.credential.certificate",
    "verify.reader.credential.federatedTokenFile",
    "verify.reader.addressBook",
    "secretRecipients",
];

/// A field, or with `.*` at its end every field below a key: `provider.smtp.host`, `from.*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "provider.smtp.*")]
pub struct FieldPattern(String);

impl FieldPattern {
    /// Returns every pattern that files can use.
    pub fn all() -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for path in PROFILE_FIELDS.iter().chain(SETTINGS_FIELDS) {
            for (at, _) in path.match_indices('.') {
                let group = format!("{}.*", &path[..at]);
                if !all.contains(&group) {
                    all.push(group);
                }
            }
            if !all.iter().any(|one| one == path) {
                all.push((*path).to_owned());
            }
        }
        all.sort();
        all
    }

    /// Returns the pattern as files write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the pattern includes a field. A field includes everything below it: the next value of a secret, the hosts
    /// of a custom cloud.
    pub fn includes(&self, path: &str) -> bool {
        let own = self.0.strip_suffix(".*").unwrap_or(&self.0);
        path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Returns true if the pattern includes everything that another one includes.
    pub fn covers(&self, other: &Self) -> bool {
        let path = other.0.strip_suffix(".*").unwrap_or(&other.0);
        self.includes(path) && (self.0.ends_with(".*") || !other.0.ends_with(".*"))
    }
}

impl FromStr for FieldPattern {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields = || PROFILE_FIELDS.iter().chain(SETTINGS_FIELDS);
        let is_known = match text.strip_suffix('*') {
            Some(group) => group.ends_with('.') && group.len() > 1 && fields().any(|field| field.starts_with(group)),
            None => fields().any(|field| *field == text),
        };
        if is_known { Ok(Self(text.to_owned())) } else { Err("unknown field") }
    }
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for FieldPattern {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;

    #[test]
    fn a_pattern_includes_its_field_and_what_is_below() {
        let pattern = |text: &str| text.parse::<FieldPattern>().unwrap();
        assert!(pattern("provider.smtp.password").includes("provider.smtp.password.next"));
        assert!(pattern("appliesTo").includes("appliesTo.companies"));
        assert!(pattern("from.*").includes("from.address") && !pattern("from.*").includes("fromage"));
        assert!(!pattern("provider.smtp.host").includes("provider.smtp"));
        assert!(pattern("provider.*").covers(&pattern("provider.smtp.*")));
        assert!(!pattern("provider.smtp.host").covers(&pattern("provider.smtp.*")));
        for wrong in ["", "*", ".*", "from", "provider.smtp", "provider.smtp.hots", "provider.smtp*", "From.*"] {
            assert!(wrong.parse::<FieldPattern>().is_err(), "{wrong}");
        }
        for known in FieldPattern::all() {
            assert!(known.parse::<FieldPattern>().is_ok(), "{known}");
        }
    }

    #[test]
    fn every_activity_exists_in_an_area() {
        for activity in Activity::ALL {
            assert!(Area::ALL.iter().any(|area| area.has(*activity)), "{activity}");
        }
    }
}
