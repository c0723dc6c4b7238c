//! What `mailwright watch` may do in an environment, and whom it tells.

use serde::{Deserialize, Serialize};

use super::{CompanyId, Function};

/// What the environment file says under `watch`. The service does not hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct WatchSettings {
    /// Whether changes of the files are applied.
    pub apply: ApplyMode,
    /// What happens to changes outside Git.
    pub drift: DriftMode,
    /// Who is told.
    pub notify: Notify,
}

/// Whether changes of the files are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyMode {
    /// Somebody applies them.
    #[default]
    Manual,
    /// The watch does.
    Auto,
}

/// What happens to changes outside Git.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftMode {
    /// They are told, and stay.
    #[default]
    Report,
    /// They are told, and undone.
    Revert,
}

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Notify {
    /// Programs, by HTTP.
    pub webhooks: Vec<NotifyWebhook>,
    /// People, by mail through the environment's own service.
    pub mail: Option<NotifyMail>,
}

/// A program that is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NotifyWebhook {
    /// An `https://` address; `http://` on this machine alone.
    pub url: String,
}

/// People who are told.
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
