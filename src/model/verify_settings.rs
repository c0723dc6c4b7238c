//! The section `verify` of an environment file: [`Waiver`]s, which accept findings until a day, and the application that reads
//! the directory.
//!
//! Waivers are applied by [`crate::operations::waivers`]. The section stays with the client, except for the reader.

use serde::{Deserialize, Serialize};

use super::{GraphDirect, ProfileName};

/// The section `verify` of an environment file. It is not sent to the service, except for the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct VerifySettings {
    /// A credential that expires within so many days is a warning.
    pub credential_days: u16,
    /// Findings that are known and accepted for a time.
    pub waivers: Vec<Waiver>,
    /// A separate application for reading the directory, so that the applications that send need no such permission. It names
    /// its own cloud and tenant: no profile decides where its secret is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<GraphDirect>,
}

impl Default for VerifySettings {
    fn default() -> Self {
        Self { credential_days: 30, waivers: Vec::new(), reader: None }
    }
}

/// A finding that is known and accepted for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Waiver {
    /// The id of the finding.
    pub finding: String,
    /// The profile; none means every profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// The reason why the finding is accepted.
    pub reason: String,
    /// The last day (UTC) on which the waiver counts.
    pub expires: jiff::civil::Date,
}
