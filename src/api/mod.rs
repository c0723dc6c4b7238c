//! The documents of the HTTP API that are not nouns of their own.
//!
//! The service writes them, the client reads them; neither has a second description of them. Paths begin with
//! [`PREFIX`]. Errors are RFC 9457 problem details: [`ProblemDetails`].

pub mod leases;
pub mod messages;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{
    Allowances, Approval, ApprovalNeed, AuditEntry, ChangeSummary, Code, Digest, EnvironmentName, Generation,
    LastVerified, Profile, ProfileName, Reader, StoredProfile,
    finding::{Finding, Verified},
    rules::Violation,
    token::{Role, Scope, Token},
};

/// Where the API lives.
pub const PREFIX: &str = "/v1";

/// The version of the API. A client and a service with different ones do not talk.
pub const VERSION: u32 = 1;

/// The response header with [`VERSION`].
pub const VERSION_HEADER: &str = "mailwright-api-version";

/// The request header that makes a submission safe to repeat.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

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

/// `GET /v1/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastVerifiedList {
    /// By profile.
    #[schema(value_type = std::collections::HashMap<String, LastVerified>)]
    pub profiles: BTreeMap<ProfileName, LastVerified>,
}
