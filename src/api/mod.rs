//! Documents of the HTTP API: requests, answers and pages. The nouns in them are in [`crate::model`].
//!
//! Service and client use the same types, so there is one description of each document. Paths begin with [`PREFIX`]. An answer
//! that is not a success is a [`ProblemDetails`] document (RFC 9457). Nothing here sends or receives.

pub mod address_book;
pub mod delegates;
pub mod leases;
pub mod messages;
pub mod operators;
pub mod proposals;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{
    Allowances, Approval, ApprovalNeed, AuditEntry, ChangeSummary, Code, Digest, EnvironmentName, Generation,
    LastVerified, Problem, Profile, ProfileName, Reader, StoredProfile,
    finding::{Finding, Verified},
    rules::Violation,
    token::{Role, Scope, Token},
};

/// Prefix of all paths of the API.
pub const PREFIX: &str = "/v1";

/// Version of the API. Client and service must have the same version.
pub const VERSION: u32 = 1;

/// The response header with [`VERSION`].
pub const VERSION_HEADER: &str = "mailwright-api-version";

/// The request header with the name of the environment that a request is for. The service of another environment refuses it.
pub const ENVIRONMENT_HEADER: &str = "mailwright-environment";

/// The words by which a service names itself in [`wrong_environment`]; its client puts the address in their place.
pub const THIS_SERVICE: &str = "this service";

/// Returns the problem of a request to the service of another environment. `service` names the service in the message.
pub fn wrong_environment(service: &str, found: &EnvironmentName, expected: &EnvironmentName) -> Problem {
    let message = format!("{service} belongs to environment `{found}`, not `{expected}`");
    Problem::new(Code::WrongEnvironment, message).remedy(format!(
        "Correct the address: `service.address` in the environment.yaml of `{expected}`, or `--service` and MAILWRIGHT_SERVICE where they are set. Each address serves one environment."
    ))
}

/// The request header that makes a submission safe to repeat.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// Maximum size of a request body, in bytes.
pub const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// Problem details (RFC 9457): every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetails {
    /// `https://mailwright.dev/problems/MW0210`; identifies the kind of problem; it is not an address to fetch.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code; `mailwright explain CODE` prints its page.
    pub code: Code,
    /// The title of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The cause.
    pub detail: String,
    /// The remedy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// The current generation of the service, if the request was for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The broken rules, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// The id of the request in the service's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// `GET /v1/service`: information about the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// Always `mailwright`.
    pub product: String,
    /// Version of the program.
    pub version: String,
    /// Version of the API.
    pub api_version: u32,
    /// The environment of the service.
    pub environment: EnvironmentName,
    /// The role of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The service's age recipient, for `secrets/ENV/recipients.txt`.
    pub recipient: String,
    /// The current generation.
    pub generation: u64,
    /// The public key that verifies webhook signatures (Standard Webhooks, `v1a`).
    pub webhook_key: String,
    /// True if the service uses the public identity of the examples.
    pub demo: bool,
    /// Start time of the process.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// The time of the service's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<Timestamp>,
}

/// `POST /v1/changesets`: the result of a changeset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangesetResult {
    /// The id of the changeset.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The generation that the changeset created; in a dry run, the one that it would create.
    pub generation: u64,
    /// The outcome.
    pub outcome: ChangesetOutcome,
    /// The number of changes by kind.
    pub summary: ChangeSummary,
    /// Warnings about the new state, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Violation>,
    /// Missing approvals; only in a dry run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_approvals: Vec<ApprovalNeed>,
}

/// Outcome of a changeset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangesetOutcome {
    /// The changeset was applied.
    Applied,
    /// The changeset was applied by an earlier request; nothing changed.
    AlreadyApplied,
    /// The changeset would be applied.
    DryRun,
}

/// `GET /v1/generations`: one page of generations, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationPage {
    /// The generations.
    pub generations: Vec<Generation>,
    /// The value of `before` for the next page; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// `POST /v1/rollbacks`: a rollback to an earlier generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollback {
    /// The generation to return to.
    pub to: u64,
    /// The current generation, as the client knows it.
    pub base: u64,
    /// The guards that the rollback may lift.
    #[serde(default, skip_serializing_if = "Allowances::is_none")]
    pub allowances: Allowances,
    /// Approvals of the rollback, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub approvals: Vec<Approval>,
}

/// The result of a change by hand or a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The current generation; the earlier one if nothing changed.
    pub generation: u64,
    /// The number of changes by kind.
    pub summary: ChangeSummary,
}

/// `POST /v1/tokens`: a token to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// The name, 1 to 80 characters.
    #[schema(min_length = 1, max_length = 80)]
    pub name: String,
    /// The role.
    pub role: Role,
    /// The companies and functions of a sender.
    #[serde(default, skip_serializing_if = "Scope::is_everything")]
    pub scope: Scope,
    /// The expiry; none means that the token does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The id of the token that the new one replaces: it has the same name, and takes over the mail and the idempotency keys.
    /// The old token stays valid until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// The answer to [`NewToken`], the only one with the bearer token. It does not implement `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// The token without its secret.
    #[serde(flatten)]
    pub token: Token,
    /// The bearer token. It cannot be read again later.
    pub secret: String,
}

/// `GET /v1/tokens`: all tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenList {
    /// The tokens, oldest first.
    pub tokens: Vec<Token>,
}

/// `GET /v1/audit`: one page of audit entries, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The value of `after` for the next page; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}

/// `POST /v1/verify`: profiles to verify, live or planned.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyRequest {
    /// The environment; the service of another environment refuses the request.
    pub environment: EnvironmentName,
    /// The profiles to verify.
    #[schema(value_type = std::collections::HashMap<String, StoredProfile>)]
    pub profiles: BTreeMap<ProfileName, StoredProfile>,
    /// Age files that the profiles name and the service may not have: base64 by digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub secrets: BTreeMap<Digest, String>,
    /// Other profiles of the environment that use the same applications: permissions that they need are not reported as excessive.
    /// Live profiles are always taken into account.
    #[serde(default, alias = "beside", skip_serializing_if = "Vec::is_empty")]
    pub siblings: Vec<Profile>,
    /// Warn about credentials that expire within this number of days.
    #[serde(default = "VerifyRequest::default_days")]
    #[schema(minimum = 1, maximum = 730, default = 30)]
    pub credential_days: u16,
    /// Send a probe mail from each profile's sender to itself.
    #[serde(default)]
    pub probe: bool,
    /// The environment's application for reading the directory. Its secret is only used for callers with the right
    /// `apply` in `changes`, which the built-in role `deployer` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<Reader>,
    /// A token of a user who may read the directory. It is used for this request only and is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, write_only)]
    pub reader_token: Option<Redacted>,
}

impl VerifyRequest {
    fn default_days() -> u16 {
        30
    }
}

/// A secret in a request. Its `Debug` output is redacted.
#[derive(Clone, Debug)]
pub struct Redacted(pub secrecy::SecretString);

impl Serialize for Redacted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secrecy::ExposeSecret::expose_secret(&self.0))
    }
}

impl<'de> Deserialize<'de> for Redacted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// A line of the answer to `POST /v1/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum VerifyLine {
    /// The result of a profile.
    Verified(Verified),
    /// A finding about the environment itself.
    Environment(Finding),
    /// The last line: the number of requests to sign-in hosts and Graph. An answer without it is incomplete.
    Requests(u64),
}

/// `GET /v1/verify`: the last results, and those of plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastVerifiedList {
    /// The last results by profile: of its live settings, or else of those that were live before.
    #[schema(value_type = std::collections::HashMap<String, LastVerified>)]
    pub profiles: BTreeMap<ProfileName, LastVerified>,
    /// The results of settings that are not live, such as those of a plan, by profile, the newest first. They are kept for some days.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, Vec<LastVerified>>)]
    pub planned: BTreeMap<ProfileName, Vec<LastVerified>>,
}

impl LastVerifiedList {
    /// Returns the result of a profile with these settings, live or not; or else its last one.
    pub fn find(&self, name: &ProfileName, of: &Digest) -> Option<&LastVerified> {
        let last = self.profiles.get(name);
        let planned = self.planned.get(name).into_iter().flatten();
        last.into_iter().chain(planned).find(|result| result.of == *of).or(last)
    }
}
