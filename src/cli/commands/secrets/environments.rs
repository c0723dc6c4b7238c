//! Selection of environments for commands on the secrets of many, and parallel queries of their services.
//!
//! [`EnvironmentFilter`] has the arguments, [`query_each`] the queries. Environments whose services do not answer are
//! reported, and do not hide the others.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    cli::{
        CliError, Context,
        environment::Environment,
        fleet,
        ui::{fleet_report::TaskResult, wording::count_of},
    },
    config::{Repository, Selection},
    model::EnvironmentName,
};

/// Maximum number of services that are queried in parallel.
const PARALLEL_QUERIES: usize = 16;

/// Arguments that select environments.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct EnvironmentFilter {
    /// Environments, or patterns such as 'prod-*' [default: all]
    #[arg(value_name = "ENV")]
    pub(super) environments: Vec<String>,
    /// Only environments with these labels, such as region=emea,tier!=test
    #[arg(long = "selector", short = 'l', value_name = "LABELS")]
    pub(super) selectors: Vec<String>,
}

impl EnvironmentFilter {
    /// Returns the selected environments. Abstract layers have no secrets and are included only if they are named.
    pub(super) fn select(&self, repository: &Repository) -> Result<Vec<EnvironmentName>, CliError> {
        let selection = Selection::parse(&self.environments, &self.selectors)?;
        let mut names = repository.select(&selection)?;
        if selection.is_empty() {
            names.retain(|name| !repository.is_abstract(name));
        }
        Ok(names)
    }

    /// Returns true if a single environment is named.
    pub(super) fn is_single(&self) -> Result<bool, CliError> {
        Ok(Selection::parse(&self.environments, &self.selectors)?.single_name().is_some())
    }

    /// Returns the JSON document of a command: that of the single environment that is named, or all by name.
    pub(super) fn document(&self, environments: Map<String, Value>) -> Result<Value, CliError> {
        match environments.values().next() {
            Some(only) if self.is_single()? => Ok(only.clone()),
            _ => Ok(json!({ "environments": environments })),
        }
    }

    /// Returns the selected environments with their repository.
    fn environments(&self, context: &Context) -> Result<Vec<Environment>, CliError> {
        let repository = Arc::new(context.repository()?);
        let names = self.select(&repository)?;
        Ok(names.into_iter().map(|name| Environment::new(name, Arc::clone(&repository))).collect())
    }

    /// Queries the service of each environment, in parallel.
    pub(super) fn query_each<T: Send>(
        &self,
        context: &Context,
        query: impl Fn(&Context, &Environment) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<TaskResult<T>>, CliError> {
        let mut environments = self.environments(context)?;
        // A single query needs no progress display.
        if environments.len() == 1
            && let Some(environment) = environments.pop()
        {
            let result = query(context, &environment);
            return Ok(vec![TaskResult { name: environment.name, notes: String::new(), result }]);
        }
        let items = environments.into_iter().map(|environment| (environment.name.clone(), environment)).collect();
        let headline = |_: &T| "queried".to_owned();
        fleet::run_parallel(context, PARALLEL_QUERIES, items, headline, |context, environment| {
            query(context, &environment)
        })
    }
}

/// Describes an empty result, which applies only to environments whose services answered. `queried` is the number of
/// environments, and the number of services that could not be queried.
pub(super) fn nothing_found(nothing: &str, queried: (usize, usize)) -> String {
    let environments = |count: usize| count_of(count, "environment");
    match queried {
        (_, 0) => format!("{nothing}."),
        (all, silent) if silent >= all => format!("Nothing is known: {} could not be queried.", environments(silent)),
        (all, silent) => {
            let (other, silent) = (environments(all - silent), environments(silent));
            format!("{nothing} in {other}. Nothing is known about {silent}: the service could not be queried.")
        }
    }
}

/// Describes the services that could not be queried. Those with the same reason share a line.
pub(super) fn describe_unreachable<'a>(
    unreachable: impl IntoIterator<Item = (&'a EnvironmentName, &'a CliError)>,
) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&EnvironmentName>)> = Vec::new();
    for (name, error) in unreachable {
        match groups.iter_mut().find(|(message, _)| *message == error.message) {
            Some((_, names)) => names.push(name),
            None => groups.push((&error.message, vec![name])),
        }
    }
    let describe = |(message, names): (&str, Vec<&EnvironmentName>)| {
        let others = match names.len() {
            0 | 1 => String::new(),
            count => format!(" and {}", count_of(count - 1, "other")),
        };
        let first = names.first().map_or("", |name| name.as_str());
        format!("{first}{others}: cannot query its service: {message}")
    };
    groups.into_iter().map(describe).collect()
}
