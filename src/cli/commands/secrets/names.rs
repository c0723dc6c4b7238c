//! The arguments of commands on one secret of one or many environments: `ENV... NAME/KEY`.
//!
//! [`SecretNames::split`] separates the name, which is the last argument, from the environments; [`SecretNames::find`] finds the
//! environments. Without a `NAME/KEY` the command ends with an error.

use std::sync::Arc;

use crate::{
    cli::{
        CliError, Context, ServiceArgs, args::environments::SelectionArgs,
        commands::secrets::environments::EnvironmentFilter, fleet::Fleet,
    },
    model::Code,
};

/// Environments, and the name of a secret.
#[derive(Debug, clap::Args)]
pub(super) struct SecretNames {
    /// Environments: names, or patterns such as 'prod-*'; then the secret: NAME/KEY
    #[arg(value_name = "ENV... NAME/KEY")]
    names: Vec<String>,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
}

impl SecretNames {
    /// Returns true if neither an environment nor a secret is named.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.selection.has_filter()
    }

    /// Returns the environments, and the name of the secret, which is the last argument. No environment means the only one.
    pub(super) fn split(&self) -> Result<(&[String], &str), CliError> {
        match self.names.split_last() {
            Some((secret, environments))
                if !environments.is_empty() || self.selection.has_filter() || secret.contains('/') =>
            {
                Ok((environments, secret))
            }
            Some((environment, _)) => Err(CliError::coded(Code::Usage, "no secret is named")
                .remedy(format!("`mailwright secrets list {environment}` lists them; name one: NAME/KEY."))),
            None => Err(CliError::coded(Code::Usage, "no environment and no secret is named")
                .remedy("Name environments, then the secret: prod relay/password.")),
        }
    }

    /// Finds the environments, and returns the name of the secret.
    pub(super) fn find(&self, context: &Context, service: Option<&ServiceArgs>) -> Result<(Fleet, &str), CliError> {
        let (environments, secret) = self.split()?;
        let repository = Arc::new(context.repository()?);
        let fleet = match service {
            Some(service) => Fleet::find(context, &repository, environments, &self.selection, service)?,
            None => Fleet::without_services(context, &repository, environments, &self.selection)?,
        };
        Ok((fleet, secret))
    }

    /// Returns the arguments of a command that takes environments alone.
    pub(super) fn filter(&self) -> EnvironmentFilter {
        EnvironmentFilter { environments: self.names.clone(), selectors: self.selection.selector.clone() }
    }

    /// Returns the environments as they were named, for the next command.
    pub(super) fn describe_environments(&self) -> String {
        let quoted = self
            .names
            .iter()
            .rev()
            .skip(1)
            .rev()
            .map(|name| if name.contains(['*', '?', '[', '{']) { format!("'{name}'") } else { name.clone() });
        let filters = self.selection.selector.iter().map(|labels| format!("-l '{labels}'"));
        quoted.chain(filters).collect::<Vec<_>>().join(" ")
    }
}
