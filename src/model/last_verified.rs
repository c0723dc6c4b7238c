//! [`LastVerified`]: the last verification of a profile in short: time, level, number of findings by severity, and the expiry
//! of its credentials.
//!
//! The service keeps one per profile; plans, `status` and metrics show it. It is out of date if the profile has another
//! digest. The findings are [`crate::model::finding::Verified`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    Digest, Severity,
    finding::{Finding, Level, Verdict, Verified},
};

/// A short form of the last verification of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastVerified {
    /// The digest of the profile that was checked, without its description. If the profile has another digest, the result is
    /// out of date.
    pub of: Digest,
    /// The time of the verification.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The highest level that the verifier reached.
    pub reached: Level,
    /// Number of checks with the severity `error` that failed or could not be completed.
    pub errors: u32,
    /// Number of failed checks with the severity `warning`.
    pub warnings: u32,
    /// Number of other checks that could not be completed.
    pub unknown: u32,
    /// Number of checks that passed.
    pub passed: u32,
    /// The expiry of each credential that was seen: the current one first, then the next one of a rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialEnd>,
}

/// The expiry of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialEnd {
    /// The time of the expiry.
    #[schema(value_type = String, format = DateTime)]
    pub ends: Timestamp,
    /// The name and id of the credential in its registration, or its thumbprint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// True if the credential is the next value of a rotation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next: bool,
}

impl LastVerified {
    /// Creates the short form of a result.
    pub fn new(of: Digest, verified: &Verified) -> Self {
        let count = |wanted: &dyn Fn(&Finding) -> bool| {
            u32::try_from(verified.findings.iter().filter(|finding| wanted(finding)).count()).unwrap_or(u32::MAX)
        };
        let is_error = |finding: &Finding| finding.severity == Severity::Error && finding.verdict != Verdict::Pass;
        Self {
            of,
            at: verified.at,
            reached: verified.reached,
            errors: count(&is_error),
            warnings: count(&|finding| finding.verdict == Verdict::Fail && finding.severity == Severity::Warning),
            unknown: count(&|finding| finding.verdict == Verdict::Unknown && !is_error(finding)),
            passed: count(&|finding| finding.verdict == Verdict::Pass),
            credentials: credentials(verified),
        }
    }
}

/// Returns the expiry of each credential that findings report.
fn credentials(verified: &Verified) -> Vec<CredentialEnd> {
    let end = |finding: &Finding| {
        // The observed value begins with the credential's name; some values add the expiry.
        let name = finding.seen.split(", until ").next().unwrap_or_default().to_owned();
        Some(CredentialEnd { ends: finding.ends?, name, next: finding.next })
    };
    let mut ends: Vec<CredentialEnd> = verified.findings.iter().filter_map(end).collect();
    ends.sort_by_key(|end| (end.next, end.ends));
    ends
}
