//! A short form of a verification result, kept per profile.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    Digest,
    finding::{Finding, Level, Severity, Verdict, Verified},
};

/// A short form of the last verification of a profile.
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
    /// True if it is the next value of a rotation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next: bool,
}

impl LastVerified {
    /// The short form of a result.
    pub fn new(of: Digest, verified: &Verified) -> Self {
        let count = |wanted: &dyn Fn(&Finding) -> bool| {
            u32::try_from(verified.findings.iter().filter(|finding| wanted(finding)).count()).unwrap_or(u32::MAX)
        };
        let failed =
            |severity: Severity| count(&|finding| finding.verdict == Verdict::Fail && finding.severity == severity);
        Self {
            of,
            at: verified.at,
            reached: verified.reached,
            errors: failed(Severity::Error),
            warnings: failed(Severity::Warning),
            unknown: count(&|finding| finding.verdict == Verdict::Unknown),
            passed: count(&|finding| finding.verdict == Verdict::Pass),
            credentials: credentials(verified),
        }
    }
}

/// Returns the ends of credentials that findings report.
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
