//! The environments of a command that works on the secrets of many.

use std::sync::Arc;

use crate::{
    cli::{CliError, Context, environment::Environment, fleet, ui::wording::count_of},
    config::{Repository, Selection},
    model::EnvironmentName,
};

/// How many services are asked at once.
const ASKED_AT_ONCE: usize = 16;

/// The environments that a command over many is for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Many {
    /// The environments, or patterns such as 'prod-*'; all if none is named
    #[arg(value_name = "ENV")]
    pub(super) environments: Vec<String>,
    /// Environments with these labels, such as region=emea,tier!=test
    #[arg(long = "selector", short = 'l', value_name = "LABELS")]
    pub(super) selectors: Vec<String>,
}

impl Many {
    /// Those that are meant. Layers that are only extended have no secrets, and are meant only where they are named.
    pub(super) fn select(&self, repository: &Repository) -> Result<Vec<EnvironmentName>, CliError> {
        let selection = Selection::parse(&self.environments, &self.selectors)?;
        let mut names = repository.select(&selection)?;
        if selection.is_empty() {
            names.retain(|name| !repository.is_abstract(name));
        }
        Ok(names)
    }

    /// The same, ready to be worked with.
    fn environments(&self, context: &Context) -> Result<Vec<Environment>, CliError> {
        let repository = Arc::new(context.repository()?);
        let names = self.select(&repository)?;
        Ok(names.into_iter().map(|name| Environment::new(name, Arc::clone(&repository))).collect())
    }

    /// Asks the service of each, side by side.
    pub(super) fn each<T: Send>(
        &self,
        context: &Context,
        ask: impl Fn(&Context, &Environment) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<fleet::Ended<T>>, CliError> {
        let mut environments = self.environments(context)?;
        // One alone is no matter for progress.
        if environments.len() == 1
            && let Some(environment) = environments.pop()
        {
            let result = ask(context, &environment);
            return Ok(vec![fleet::Ended { name: environment.name, notes: String::new(), result }]);
        }
        let items = environments.into_iter().map(|environment| (environment.name.clone(), environment)).collect();
        let asked = |_: &T| "asked".to_owned();
        fleet::side_by_side(context, ASKED_AT_ONCE, items, asked, |context, environment| ask(context, &environment))
    }
}

/// What to say where nothing was found: it holds of the environments whose services were asked, and of no others.
/// `asked` is how many there are, and how many of them could not be asked.
pub(super) fn nothing_found(nothing: &str, asked: (usize, usize)) -> String {
    let environments = |count: usize| count_of(count, "environment");
    match asked {
        (_, 0) => format!("{nothing}."),
        (all, silent) if silent >= all => format!("Nothing is known: {} could not be asked.", environments(silent)),
        (all, silent) => {
            let (other, silent) = (environments(all - silent), environments(silent));
            format!("{nothing} in {other}. Of {silent} nothing is known: the service could not be asked.")
        }
    }
}
