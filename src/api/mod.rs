//! The documents of the HTTP API that are not nouns of their own.
//!
//! The service writes them, the client reads them; neither has a second description of them. Paths begin with
//! [`PREFIX`]. Errors are RFC 9457 problem details: [`ProblemDetails`].

pub mod integrity;
pub mod leases;
pub mod messages;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::approvals::Approved;
use crate::model::{
    Allowances, Approval, ApprovalNeed, ChangeKind, Code, CompanyId, Digest, EnvironmentName, Function, Profile,
    ProfileName, Provenance, Reader, Settings, StoredProfile, rules::Violation,
};
use crate::verify::{self, Finding, Level, Verdict, Verified};

/// Where the API lives.
pub const PREFIX: &str = "/v1";

/// The version of the API. A client and a service with different ones do not talk.
pub const VERSION: u32 = 1;

/// The largest body that the service reads, in bytes.
pub const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// RFC 9457 problem details: every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetails {
    /// `https://mailwright.dev/problems/MW0210`; identifies the kind of problem, and need not be fetched.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code that `mailwright explain` knows.
    pub code: Code,
    /// The problem in a few words; the same for every problem of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// The generation that the service is at, where the problem is that it moved on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The broken rules, where the problem is that rules are broken; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// Finds the request in the service's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// `GET /v1/service`: who is talking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// Always `mailwright`.
    pub product: String,
    /// Version of the program.
    pub version: String,
    /// Version of the API.
    pub api_version: u32,
    /// The environment that the store belongs to.
    pub environment: EnvironmentName,
    /// The role of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The service's age recipient: goes into `secrets/ENV/recipients.txt`.
    pub recipient: String,
    /// The present generation.
    pub generation: u64,
    /// The public key that webhooks are signed with (Standard Webhooks, `v1a`).
    pub webhook_key: String,
    /// Whether the service runs with the public identity of the examples.
    pub demo: bool,
    /// When the process started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
}

/// What became of a changeset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangesetResult {
    /// The changeset's id.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The generation that it made; in a dry run, the one that it would make.
    pub generation: u64,
    /// What happened.
    pub outcome: ChangesetOutcome,
    /// How many profiles were made, changed, and so on.
    pub summary: ChangeSummary,
    /// Rules of severity warning that the new state breaks; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Violation>,
    /// Approvals that the environment wants and the changeset does not have; only a dry run gets this far without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_approvals: Vec<ApprovalNeed>,
}

/// What happened to a changeset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangesetOutcome {
    /// It was taken now.
    Applied,
    /// It had been taken before; nothing changed now.
    AlreadyApplied,
    /// It would be taken.
    DryRun,
}

/// How many profiles a generation made, changed, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangeSummary {
    /// Created.
    pub added: u64,
    /// Updated.
    pub changed: u64,
    /// Deleted.
    pub destroyed: u64,
    /// Renamed.
    pub renamed: u64,
    /// Adopted.
    pub adopted: u64,
    /// Forgotten.
    pub forgotten: u64,
    /// Whether the environment's settings changed.
    pub settings: bool,
}

/// One generation, as `GET /v1/generations` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The name of the token that was used.
    pub by: String,
    /// How it came about.
    pub kind: ChangeKind,
    /// The changeset, for an apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub changeset: Option<Uuid>,
    /// The generation that was gone back to, for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_to: Option<u64>,
    /// Where it came from.
    pub provenance: Provenance,
    /// Guards that were lifted.
    #[serde(default, skip_serializing_if = "Allowances::is_none")]
    pub allowances: Allowances,
    /// The approvals that counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approved>,
    /// What it did.
    pub summary: ChangeSummary,
    /// The live profiles that were not in Git's care at it; the first 200 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub unmanaged: Vec<ProfileName>,
}

/// `GET /v1/generations`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationPage {
    /// The generations.
    pub generations: Vec<Generation>,
    /// Ask with `before` of this for older ones; none if there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// `GET /v1/generations/{number}`: one generation with everything that was live at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationDetail {
    /// The generation.
    pub generation: Generation,
    /// The settings at it.
    pub settings: Settings,
    /// The profiles at it.
    #[schema(value_type = std::collections::HashMap<String, StoredProfile>)]
    pub profiles: BTreeMap<ProfileName, StoredProfile>,
}

/// `POST /v1/rollbacks`: back to an earlier generation, as a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollback {
    /// The generation to go back to.
    pub to: u64,
    /// The generation that the service is believed to be at.
    pub base: u64,
    /// Guards that are lifted.
    #[serde(default, skip_serializing_if = "Allowances::is_none")]
    pub allowances: Allowances,
    /// Approvals of it; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub approvals: Vec<Approval>,
}

/// What a change by hand or a rollback did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The generation that the service is at now; the old one if nothing changed.
    pub generation: u64,
    /// What changed.
    pub summary: ChangeSummary,
}

/// What a token may do. `viewer`, `planner`, `deployer` and `admin` each may do what those before may; `sender` submits
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

    /// Whether whoever has this role may do what needs another.
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
    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.companies.is_empty() && self.functions.is_empty()
    }

    /// Whether a company and a function are in it. A function covers what falls back to it, as it does for profiles:
    /// `all-documents` covers every kind of document. `default` covers itself alone, since everything falls back to it.
    pub fn covers(&self, company: &CompanyId, function: Function) -> bool {
        let default = Function::default_function();
        let mut with_parents = function.chain().filter(|one| *one == function || *one != default);
        (self.companies.is_empty() || self.companies.contains(company))
            && (self.functions.is_empty() || with_parents.any(|one| self.functions.contains(&one)))
    }
}

/// A token, without anything that would let somebody use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its id; also the part of the token before the second underscore.
    pub id: String,
    /// Whose it is; the audit log and the drift report say this.
    pub name: String,
    /// What it may do.
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
    /// To whom mail that it submits belongs, and its idempotency keys: the token itself, or the first that it replaces.
    pub fn owner(&self) -> String {
        format!("token:{}", self.succeeds.as_ref().unwrap_or(&self.id))
    }
}

/// `POST /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// Whose it is; 1 to 80 characters.
    #[schema(min_length = 1, max_length = 80)]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// For which companies and functions, for a sender.
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    /// When it ends; none means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The id of the token that it replaces: it has the same name, and takes over its mail and idempotency keys. The old one
    /// opens the service until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// The answer to [`NewToken`]: the only time that the token itself is told. It has no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// What is known of it from now on.
    #[serde(flatten)]
    pub token: Token,
    /// The bearer token. It cannot be told again.
    pub secret: String,
}

/// `GET /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenList {
    /// The tokens, oldest first.
    pub tokens: Vec<Token>,
}

/// One entry of the audit log. `hash` is SHA-256 over the canonical text of the entry without `hash`; `previous`
/// is the hash of the entry before, so none can be changed, removed or put in between unseen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// 1, 2, 3, ... without gaps.
    pub sequence: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The name of the token that was used; `(nobody)` where none was accepted.
    pub actor: String,
    /// What was asked for: `changeset`, `rollback`, `profile.update`, `token.create`, ...
    pub action: String,
    /// What became of it.
    pub outcome: AuditOutcome,
    /// More, by action. Never a secret.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// Hash of the entry before; of the first one, the digest of nothing.
    pub previous: Digest,
    /// Hash of this entry.
    pub hash: Digest,
}

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// It was done.
    Accepted,
    /// It was refused.
    Refused,
}

/// `GET /v1/audit`: oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Ask with `after` of this for newer ones; none if there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}

impl AuditEntry {
    /// Why the entry does not follow the one before, which had this number and hash; none if it does.
    pub fn broken(&self, before: u64, previous: &Digest) -> Option<String> {
        if self.sequence != before.saturating_add(1) {
            Some(format!("entry {} comes after entry {before}", self.sequence))
        } else if self.previous != *previous {
            Some(format!("entry {} does not carry the hash of the one before", self.sequence))
        } else if self.expected_hash() != self.hash {
            Some(format!("entry {} does not have the hash of its contents", self.sequence))
        } else {
            None
        }
    }

    /// The hash that the entry should have.
    pub fn expected_hash(&self) -> Digest {
        Digest::of_value(&serde_json::json!({
            "sequence": self.sequence,
            "at": self.at.to_string(),
            "actor": self.actor,
            "action": self.action,
            "outcome": self.outcome,
            "detail": self.detail,
            "previous": self.previous,
        }))
    }

    /// What stands as `previous` in the first entry.
    pub fn genesis() -> Digest {
        Digest::of_bytes(b"")
    }
}

/// The body of `POST /v1/verify`: profiles as they are, or as they are wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyRequest {
    /// The environment that it is meant for; another one's service refuses it.
    pub environment: EnvironmentName,
    /// The profiles to check.
    #[schema(value_type = std::collections::HashMap<String, StoredProfile>)]
    pub profiles: BTreeMap<ProfileName, StoredProfile>,
    /// Age files that the profiles name and the service may not have: digest to the file's bytes in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub secrets: BTreeMap<Digest, String>,
    /// Other profiles of the environment that share an application with these: what they need of it is not too much.
    /// What is live counts in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Profile>,
    /// A credential that expires within so many days is a warning.
    #[serde(default = "VerifyRequest::default_days")]
    #[schema(minimum = 1, maximum = 730, default = 30)]
    pub credential_days: u16,
    /// Whether a mail is sent from each profile's sender to itself.
    #[serde(default)]
    pub probe: bool,
    /// The environment's own application for reading the directory. Its secret is used for callers who may apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<Reader>,
    /// A token of somebody who may read the directory. It is used for this request, and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, write_only)]
    pub reader_token: Option<Unshown>,
}

impl VerifyRequest {
    fn default_days() -> u16 {
        30
    }
}

/// A text that travels in a request and is never shown.
#[derive(Clone, Debug)]
pub struct Unshown(pub secrecy::SecretString);

impl Serialize for Unshown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secrecy::ExposeSecret::expose_secret(&self.0))
    }
}

impl<'de> Deserialize<'de> for Unshown {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// One line of the answer to `POST /v1/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum VerifyLine {
    /// What came of a profile, as soon as it was known.
    Verified(Verified),
    /// Something that is wrong with the environment itself.
    Environment(Finding),
    /// The last line: how many requests went to sign-in hosts and Graph. An answer without it broke off.
    Requests(u64),
}

/// What the verifier last said of a profile, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastVerified {
    /// The digest of the profile that was checked, without its description. Another one means that the result is old.
    pub of: Digest,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How far the verifier got.
    pub reached: Level,
    /// How many things are wrong so that mail will not leave.
    pub errors: u32,
    /// How many things are wrong otherwise.
    pub warnings: u32,
    /// How many could not be seen.
    pub unknown: u32,
    /// How many are as they must be.
    pub passed: u32,
    /// When the credentials end that it saw: the current one first, then the next one of a rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialEnd>,
}

/// When a credential ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialEnd {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub ends: Timestamp,
    /// Which one it is where it is registered: its name and id, or its thumbprint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is the next value of a rotation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next: bool,
}

impl LastVerified {
    /// The short form of a result.
    pub fn new(of: Digest, verified: &Verified) -> Self {
        let count = |wanted: &dyn Fn(&Finding) -> bool| {
            u32::try_from(verified.findings.iter().filter(|finding| wanted(finding)).count()).unwrap_or(u32::MAX)
        };
        let failed = |severity: verify::Severity| {
            count(&|finding| finding.verdict == Verdict::Fail && finding.severity == severity)
        };
        Self {
            of,
            at: verified.at,
            reached: verified.reached,
            errors: failed(verify::Severity::Error),
            warnings: failed(verify::Severity::Warning),
            unknown: count(&|finding| finding.verdict == Verdict::Unknown),
            passed: count(&|finding| finding.verdict == Verdict::Pass),
            credentials: credentials(verified),
        }
    }
}

/// The ends that findings tell of.
fn credentials(verified: &Verified) -> Vec<CredentialEnd> {
    let end = |finding: &Finding| {
        // What was seen begins with the name; some add the end.
        let name = finding.seen.split(", until ").next().unwrap_or_default().to_owned();
        Some(CredentialEnd { ends: finding.ends?, name, next: finding.next })
    };
    let mut ends: Vec<CredentialEnd> = verified.findings.iter().filter_map(end).collect();
    ends.sort_by_key(|end| (end.next, end.ends));
    ends
}

/// `GET /v1/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastVerifiedList {
    /// By profile.
    #[schema(value_type = std::collections::HashMap<String, LastVerified>)]
    pub profiles: BTreeMap<ProfileName, LastVerified>,
}
