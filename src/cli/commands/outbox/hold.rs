//! `mailwright outbox hold`: the arguments of a hold (profile, company, function, reason, duration) and the request that they
//! make.
//!
//! The meaning of a hold is in [`crate::model::hold`]; holds are released by the parent module. A hold without a profile, company or
//! function is refused before a request is sent.

use jiff::Timestamp;

use crate::{
    api::messages::NewHold,
    cli::{
        CliError,
        commands::outbox::selection::{ChangeOptions, Environments},
        environment,
        ui::wording::count_of,
    },
    client::Client,
    model::{Code, HumanDuration, Problem, Status},
};

/// The scope, the reason and the duration of a hold.
#[derive(Debug, clap::Args)]
pub(super) struct HoldArgs {
    #[command(flatten)]
    pub(super) environments: Environments,
    /// Profile whose mail is held
    #[arg(long)]
    profile: Option<String>,
    /// Company whose mail is held
    #[arg(long)]
    company: Option<String>,
    /// Function whose mail is held
    #[arg(long)]
    function: Option<String>,
    /// Reason
    #[arg(long)]
    reason: String,
    /// Duration: 30m, 2h, 3d [default: until it is released]
    #[arg(long = "for", value_name = "TIME")]
    lasting: Option<HumanDuration>,
    #[command(flatten)]
    pub(super) change: ChangeOptions,
}

impl HoldArgs {
    /// Returns the request for the service.
    pub(super) fn request(&self, now: Timestamp) -> Result<NewHold, CliError> {
        if self.profile.is_none() && self.company.is_none() && self.function.is_none() {
            return Err(CliError::coded(Code::HoldUnlimited, "cannot hold all mail at once")
                .remedy("Pass `--profile`, `--company` or `--function`."));
        }
        Ok(NewHold {
            profile: self.profile.as_deref().map(environment::profile_name).transpose()?,
            company: self.company.as_deref().map(environment::company).transpose()?,
            function: self.function.as_deref().map(environment::function).transpose()?,
            reason: self.reason.clone(),
            until: self.lasting.map(|lasting| now + lasting.duration()),
        })
    }
}

/// The largest number of messages that are counted.
const COUNTED: usize = 500;

/// The number of queued messages that a hold would stop.
pub(super) struct HeldMessages {
    pub(super) count: usize,
    /// True if there may be more.
    pub(super) more: bool,
}

impl HeldMessages {
    /// Counts the queued messages that match a hold.
    pub(super) async fn count(client: &Client, hold: &NewHold) -> Result<Self, Problem> {
        let mut query = vec![("status", Status::Queued.id().to_owned()), ("limit", COUNTED.to_string())];
        query.extend(hold.profile.as_ref().map(|profile| ("profile", profile.to_string())));
        query.extend(hold.company.as_ref().map(|company| ("company", company.to_string())));
        query.extend(hold.function.map(|function| ("function", function.id().to_owned())));
        let count = client.messages(&query).await?.messages.len();
        Ok(Self { count, more: count == COUNTED })
    }

    /// Describes them: `3 queued messages`.
    pub(super) fn describe(&self) -> String {
        let at_least = if self.more { "at least " } else { "" };
        format!("{at_least}{}", count_of(self.count, "queued message"))
    }
}
