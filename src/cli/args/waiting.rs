//! The options `--profile` and `--reason` of commands that list or count waiting mail.
//!
//! [`WaitFilter`] holds them; the service evaluates them. The reasons are in [`crate::model::waiting`]. A text that cannot be a
//! profile's name is an error.

use crate::{
    cli::{CliError, environment},
    model::{ProfileName, WaitReason},
};

/// Filters of mail by its profile and its reason to wait.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct WaitFilter {
    /// Only mail of this profile: the one that sends queued messages now, or that was chosen for others
    #[arg(long)]
    profile: Option<String>,
    /// Only queued mail that waits for this reason: suspended, no-sender, held, server-away, throttled or scheduled
    #[arg(long)]
    pub(crate) reason: Option<WaitReason>,
}

impl WaitFilter {
    /// Returns true if there is a filter.
    pub(crate) fn is_set(&self) -> bool {
        self.profile.is_some() || self.reason.is_some()
    }

    /// Returns the profile, or an error if the text is not a profile's name.
    pub(crate) fn profile(&self) -> Result<Option<ProfileName>, CliError> {
        self.profile.as_deref().map(environment::profile_name).transpose()
    }
}
