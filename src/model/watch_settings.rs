//! The section `watch` of an environment file: if `mailwright watch` applies changes and reverts drift, and who receives its
//! reports.
//!
//! The section is used by [`crate::watch`], and by `mailwright rollout` when it continues a rollout that a watch began. It is not
//! sent to the service. Without it, watch only plans, and its reports have no receivers. An unknown mode is an error of the file,
//! and the environment is not loaded.

use serde::{Deserialize, Serialize};

use super::{CompanyId, Function, RolloutName};

/// The section `watch` of an environment file. It is not sent to the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct WatchSettings {
    /// Handling of changes of the files.
    pub apply: ApplyMode,
    /// Handling of changes outside Git.
    pub drift: DriftMode,
    /// Receivers of reports.
    pub notify: Notify,
}

/// Handling of changes of the files: `manual`, `auto`, or `rollout NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ApplyMode {
    /// An operator applies changes of the files.
    #[default]
    Manual,
    /// `watch` applies changes of the files.
    Auto,
    /// The watch does, in the waves of this rollout.
    Rollout(RolloutName),
}

impl TryFrom<String> for ApplyMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "manual" => Ok(Self::Manual),
            "auto" => Ok(Self::Auto),
            other => {
                let name = other.strip_prefix("rollout ").and_then(|name| name.trim().parse().ok());
                name.map(Self::Rollout).ok_or_else(|| "neither `manual`, `auto` nor `rollout NAME`".to_owned())
            }
        }
    }
}

impl From<ApplyMode> for String {
    fn from(mode: ApplyMode) -> Self {
        match mode {
            ApplyMode::Manual => "manual".to_owned(),
            ApplyMode::Auto => "auto".to_owned(),
            ApplyMode::Rollout(name) => format!("rollout {name}"),
        }
    }
}

/// Handling of changes outside Git.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftMode {
    /// Changes outside Git are reported and stay.
    #[default]
    Report,
    /// Changes outside Git are reported and reverted.
    Revert,
}

/// Receivers of reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Notify {
    /// Webhooks: programs, by HTTP.
    pub webhooks: Vec<NotifyWebhook>,
    /// Recipients: people, by mail through the environment's own service.
    pub mail: Option<NotifyMail>,
}

/// A webhook that receives reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NotifyWebhook {
    /// An `https://` address; `http://` only on this machine.
    pub url: String,
}

/// People who receive reports by mail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NotifyMail {
    /// The company that the mail is sent for.
    pub company: CompanyId,
    /// The function that it is sent as.
    pub function: Function,
    /// The recipients.
    #[serde(deserialize_with = "super::address::deserialize_list")]
    pub to: Vec<String>,
}
