//! Results of the verifier: a [`Finding`] is one check with its verdict, [`Verified`] are those of a profile, and [`Report`]
//! those of a run.
//!
//! [`Report::fails_on`] evaluates a run by a [`Limit`]; waived findings do not count, and an unknown one counts with the severity
//! of its check. The checks are in [`crate::verify`], which also renders reports. A finding never contains a secret or a token.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Place, ProfileName, Severity, finding_id::FindingId};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The requirement is not met.
    Fail,
    /// The check could not be completed. The remedy names what would decide it.
    Unknown,
    /// The requirement is met.
    Pass,
}

/// The access that the verifier had to a profile. Each level requires more access than the one before, and sees more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Only the files, and an exported registration, were read.
    #[default]
    Offline,
    /// Requests were sent without a credential.
    Anonymous,
    /// The profile's own credential was used.
    Credential,
    /// A token that may read the directory was used.
    Reader,
    /// A mail was sent.
    Probe,
}

impl Level {
    /// Returns the number of the level, 0 to 4.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the level as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Level::Offline => "offline",
            Level::Anonymous => "anonymous",
            Level::Credential => "credential",
            Level::Reader => "reader",
            Level::Probe => "probe",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// One result of a check: subject, place, observation and remedy. Never holds a secret or a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The id of the check, or of the way in which it failed. Never reused.
    #[schema(value_type = String, example = "GRAPH-REDIRECT-SPA")]
    pub id: FindingId,
    /// The result of the check.
    pub verdict: Verdict,
    /// The severity of the finding.
    pub severity: Severity,
    /// The level at which the finding was made.
    pub level: Level,
    /// The profile; none for the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<ProfileName>,
    /// The part of the profile that is concerned, as a JSON pointer; the empty pointer is the whole profile.
    pub pointer: String,
    /// The place in the files that the pointer comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub place: Option<Place>,
    /// The result in one sentence, without a full stop.
    pub message: String,
    /// The observed value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen: String,
    /// The expected value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// The remedy: one step per line, ready to be pasted. For the verdict `unknown`, the steps that would decide it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedy: Vec<String>,
    /// The expiry of the credential that the finding is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends: Option<Timestamp>,
    /// True if the finding is about the next value of a secret that is being rotated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next: bool,
    /// The reason of the waiver, if the environment waives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<String>,
    /// The time of the proof, if an earlier run proved the finding and the last run could not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub proved_at: Option<Timestamp>,
}

impl Finding {
    fn new(id: FindingId, verdict: Verdict, severity: Severity, pointer: &str, message: impl Into<String>) -> Self {
        Self {
            id,
            verdict,
            severity,
            level: Level::Offline,
            profile: None,
            pointer: pointer.to_owned(),
            place: None,
            message: message.into(),
            seen: String::new(),
            expected: String::new(),
            remedy: Vec::new(),
            ends: None,
            next: false,
            waived: None,
            proved_at: None,
        }
    }

    /// Creates a finding for a check that passed.
    pub(crate) fn pass(id: FindingId, pointer: &str, message: impl Into<String>) -> Self {
        Self::new(id, Verdict::Pass, Severity::Info, pointer, message)
    }

    /// Creates a finding for a check that failed.
    pub(crate) fn fail(id: FindingId, pointer: &str, message: impl Into<String>) -> Self {
        Self::new(id, Verdict::Fail, id.severity(), pointer, message)
    }

    /// Creates a finding for a check that could not be completed.
    pub(crate) fn unknown(id: FindingId, pointer: &str, message: impl Into<String>) -> Self {
        Self::new(id, Verdict::Unknown, id.severity(), pointer, message)
    }

    pub(crate) fn seen(mut self, seen: impl Into<String>) -> Self {
        self.seen = seen.into();
        self
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.remedy.extend(remedy.into_iter().map(Into::into));
        self
    }

    pub(crate) fn ends(mut self, end: Timestamp) -> Self {
        self.ends = Some(end);
        self
    }

    /// Converts a finding to one about the staged value of a secret. The severity is at most a warning, because mail leaves
    /// with the current value.
    pub(crate) fn for_next_secret(self) -> Self {
        Self {
            message: format!("the next value: {}", self.message),
            severity: self.severity.max(Severity::Warning),
            next: true,
            ..self
        }
    }

    /// Returns true if an operator might act on the finding: it did not pass and is not waived.
    pub fn is_open(&self) -> bool {
        self.verdict != Verdict::Pass && self.waived.is_none()
    }
}

/// The results of one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The profile.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The id of the profile's provider.
    pub provider: String,
    /// The highest level that was reached.
    pub reached: Level,
    /// Every finding, failures first.
    pub findings: Vec<Finding>,
    /// The time of the run.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl Verified {
    /// Returns the number of findings with a verdict that are not waived.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict && finding.waived.is_none()).count()
    }

    /// Returns the worst open finding: an error, a warning, or unknown.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().filter(|finding| finding.is_open()).map(|finding| finding.severity).min()
    }
}

/// The limit above which a run fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// Errors exceed the limit.
    #[default]
    Error,
    /// Errors and warnings exceed the limit.
    Warning,
    /// Errors, warnings, and unknown findings exceed the limit.
    Unknown,
}

impl Limit {
    /// Returns true if a finding is above the limit. An unknown result counts with the severity of its check.
    pub fn is_passed_by(self, finding: &Finding) -> bool {
        finding.is_open()
            && match self {
                Limit::Error => finding.severity == Severity::Error,
                Limit::Warning => finding.severity <= Severity::Warning,
                Limit::Unknown => finding.severity <= Severity::Warning || finding.verdict == Verdict::Unknown,
            }
    }
}

/// The report of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of the document, which increases with incompatible changes.
    pub format_version: u32,
    /// The environment.
    pub environment: String,
    /// The results of each profile, by name.
    pub profiles: Vec<Verified>,
    /// Findings about the environment itself: waivers that expired or match nothing.
    pub findings: Vec<Finding>,
    /// The number of requests to sign-in hosts and Graph.
    pub requests: u64,
}

impl Report {
    /// The version of this document.
    pub const FORMAT_VERSION: u32 = 1;

    /// Returns every finding.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.profiles.iter().flat_map(|verified| &verified.findings).chain(&self.findings)
    }

    /// Returns the findings that an operator might act on.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.all().filter(|finding| finding.is_open())
    }

    /// Returns the number of open findings with a severity, unknown ones included.
    pub fn count(&self, severity: Severity) -> usize {
        self.open().filter(|finding| finding.severity == severity).count()
    }

    /// Returns true if an open finding is above the limit.
    pub fn fails_on(&self, limit: Limit) -> bool {
        self.all().any(|finding| limit.is_passed_by(finding))
    }
}
