//! [`Severity`]: the severity of a finding of `verify`, in documents and in the catalogue of findings.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Mail will not leave, or not as configured.
    Error,
    /// Mail leaves today, but something needs attention.
    Warning,
    /// The finding is for information only.
    Info,
}

impl Severity {
    /// Returns the severity as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}
