//! Argument that selects one environment, alone or before other names.

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
            None => only(&Environment::all_in(&repository)),
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
        let all = Environment::all_in(&repository);
        match &self.environment {
            None => Ok((only(&all)?, items.to_vec())),
            Some(first) if is_item(first) && all.iter().all(|known| known.name.as_str() != first) => {
                Ok((only(&all)?, std::iter::once(first).chain(items).cloned().collect()))
            }
            Some(name) => Ok((Environment::find_in(&repository, name)?, items.to_vec())),
        }
    }
}

/// Returns the only environment of a repository.
fn only(all: &[Environment]) -> Result<Environment, CliError> {
    match all {
        [one] => Ok(one.clone()),
        [] => Err(CliError::coded(Code::UnknownEnvironment, "the repository has no environment")
            .remedy("Create one: mailwright new environment NAME")),
        several => {
            let names: Vec<&str> = several.iter().map(|environment| environment.name.as_str()).take(10).collect();
            let more = if several.len() > names.len() { ", ..." } else { "" };
            Err(CliError::coded(Code::Usage, "the command needs the name of an environment")
                .remedy(format!("Name one of: {}{more}.", names.join(", "))))
        }
    }
}
