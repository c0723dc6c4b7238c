//! `mailwright outbox hold`: the arguments of a hold (profile, company, function, reason, duration) and the request that they
//! make.
//!
//! What a hold means is [`crate::model::hold`]; holds are released by the parent module.

use jiff::Timestamp;

use crate::{
    api::messages::NewHold,
    cli::{CliError, args::environment::EnvironmentArg, environment},
    model::{Code, HumanDuration},
};

/// The scope, the reason and the duration of a hold.
#[derive(Debug, clap::Args)]
pub(super) struct HoldArgs {
    #[command(flatten)]
    pub(super) environment: EnvironmentArg,
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
    /// For several environments: skip the confirmation prompt
    #[arg(long, short)]
    pub(super) yes: bool,
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
