//! [`Cloud`]: the clouds of Microsoft. The addresses of those that have a name are in [`crate::entra`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A Microsoft cloud. Each has its own sign-in and Graph hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// The worldwide cloud.
    #[default]
    Global,
    /// Microsoft Cloud for US Government L4 (GCC High).
    UsGovernmentL4,
    /// Microsoft Cloud for US Government L5 (`DoD`).
    UsGovernmentL5,
    /// The cloud in China, operated by 21Vianet.
    China,
    /// Other hosts: `cloud: { custom: { signIn: ..., graph: ... } }`. They are part of the profile, so that a secret stays
    /// bound to them.
    Custom(CustomCloud),
}

/// The hosts of a cloud that has no name here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CustomCloud {
    /// The sign-in host: an `https://` address without a path.
    #[schema(min_length = 9, max_length = 300)]
    pub sign_in: String,
    /// The host of Microsoft Graph: an `https://` address without a path.
    #[schema(min_length = 9, max_length = 300)]
    pub graph: String,
}

impl Cloud {
    /// Returns the name as files write it; for a custom cloud, its sign-in host.
    pub fn name(&self) -> &str {
        match self {
            Cloud::Global => "global",
            Cloud::UsGovernmentL4 => "us-government-l4",
            Cloud::UsGovernmentL5 => "us-government-l5",
            Cloud::China => "china",
            Cloud::Custom(custom) => &custom.sign_in,
        }
    }
}
