//! The argument of commands that work on one environment: its name, alone or before other names.
//!
//! [`EnvironmentArg::find`] returns the environment, [`EnvironmentArg::find_before`] also the names that follow. The name can be
//! omitted if the repository has only one environment. For commands on several environments see `environments`. If it has several,
//! an omitted name is an error.

use std::sync::Arc;

use crate::{
    cli::{CliError, Context, environment::Environment},
    model::Code,
};

/// Argument that selects one environment. It can be omitted if the repository has only one.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct EnvironmentArg {
    /// Environment [default: the only one]
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
}

impl EnvironmentArg {
    /// Finds the environment.
    pub(crate) fn find(&self, context: &Context) -> Result<Environment, CliError> {
        let repository = Arc::new(context.repository()?);
        match &self.environment {
            Some(name) => Environment::find_in(&repository, name),
            None => Environment::only_in(&repository),
        }
    }

    /// Finds the environment, and returns it with the names that follow on the command line. Without an environment,
    /// clap has taken the first of them for it: `is_item` returns true for a text that can be one of them.
    pub(crate) fn find_before(
        &self,
        context: &Context,
        items: &[String],
        is_item: impl Fn(&str) -> bool,
    ) -> Result<(Environment, Vec<String>), CliError> {
        let repository = Arc::new(context.repository()?);
        match &self.environment {
            None => Ok((Environment::only_in(&repository)?, items.to_vec())),
            Some(first) if is_item(first) && repository.environments().iter().all(|known| known.as_str() != first) => {
                Ok((Environment::only_in(&repository)?, std::iter::once(first).chain(items).cloned().collect()))
            }
            Some(name) => Ok((Environment::find_in(&repository, name)?, items.to_vec())),
        }
    }

    /// As [`Self::find_before`], for a command that takes exactly one more name. `what` describes it.
    pub(crate) fn find_before_one(
        &self,
        context: &Context,
        items: &[String],
        what: &str,
    ) -> Result<(Environment, String), CliError> {
        let (environment, names) = self.find_before(context, items, |_| items.is_empty())?;
        match names.as_slice() {
            [one] => Ok((environment, one.clone())),
            [] => Err(CliError::coded(Code::Usage, format!("{what} is required"))
                .remedy(format!("Name it after the environment: {} NAME.", environment.name))),
            [_, more, ..] => {
                Err(CliError::coded(Code::Usage, format!("unexpected argument `{}`", more.escape_debug())))
            }
        }
    }
}
