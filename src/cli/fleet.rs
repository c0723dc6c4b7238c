//! Commands on many environments: finds the selected environments, runs the command for each in parallel, and reports
//! the results.
//!
//! A command returns a [`Summary`] or an error per environment. A single environment that is named, or the only one of the
//! repository if nothing is selected, is reported as if there were no others. Several are reported in a [`FleetReport`]: a section
//! per environment (not with `--summary`) and a table; an error in one does not hide the others. Whether the result is a report
//! depends on the arguments and not on the number of environments found, so that the form of a JSON document is predictable.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    time::Duration,
};

use super::{
    CliError, Context, Exit, Format, ServiceArgs,
    args::environments::{EnvironmentsArgs, SelectedEnvironments, SelectionArgs},
    environment::Environment,
    ui::{
        fleet_report::{FleetReport, Summary, SummaryLabels, TaskResult},
        printer::TaskLog,
        progress::ProgressDisplay,
    },
};
use crate::{
    config::{Repository, Selection},
    model::EnvironmentName,
    sync::Mutex,
};

/// The time between two updates of the progress display.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// The environments of a command.
pub(super) enum Fleet {
    /// A single environment that was named.
    Single(Environment),
    /// All environments that patterns or filters select.
    Many(EnvironmentSet),
}

/// Several environments, ordered by name.
pub(super) struct EnvironmentSet {
    pub(super) environments: Vec<Environment>,
    /// Maximum number of environments processed in parallel.
    parallel: usize,
    /// True if `--summary` was given.
    pub(super) summary_only: bool,
    /// The message if there are none and that is not an error.
    empty_message: Option<String>,
}

impl Fleet {
    /// Finds the environments that the arguments select.
    pub(super) fn from_args(
        context: &Context,
        args: &EnvironmentsArgs,
        service: &ServiceArgs,
    ) -> Result<Self, CliError> {
        let repository = Arc::new(context.repository()?);
        Self::find(context, &repository, &args.environments, &args.selection, service)
    }

    /// Finds the environments that patterns and filters select. Returns an error if `service` names the service of one
    /// environment but several are selected.
    pub(super) fn find(
        context: &Context,
        repository: &Arc<Repository>,
        patterns: &[String],
        filters: &SelectionArgs,
        service: &ServiceArgs,
    ) -> Result<Self, CliError> {
        let fleet = Self::without_services(context, repository, patterns, filters)?;
        if let Self::Many(set) = &fleet
            && set.environments.len() > 1
        {
            service.check_for_several()?;
        }
        Ok(fleet)
    }

    /// Finds the environments that patterns and filters select, for work on their files. Without both it is the only one of
    /// the repository.
    pub(super) fn without_services(
        context: &Context,
        repository: &Arc<Repository>,
        patterns: &[String],
        filters: &SelectionArgs,
    ) -> Result<Self, CliError> {
        if patterns.is_empty() && !filters.has_filter() {
            return Ok(Self::Single(Environment::only_in(repository)?));
        }
        let selection = Selection::parse(patterns, &filters.selector)?;
        let SelectedEnvironments { names, empty_message, mut moved } =
            filters.select(context, repository, &selection)?;
        let mut environments: Vec<Environment> = Vec::with_capacity(names.len());
        for name in names {
            let mut environment = match environments.first() {
                Some(first) => first.sibling(name),
                None => Environment::new(name, Arc::clone(repository)),
            };
            environment.moved = moved.remove(&environment.name);
            environments.push(environment);
        }
        if selection.single_name().is_some()
            && let Some(environment) = environments.pop()
        {
            return Ok(Self::Single(environment));
        }
        let (parallel, summary_only) = (filters.parallel(), filters.summary);
        Ok(Self::Many(EnvironmentSet { environments, parallel, summary_only, empty_message }))
    }

    /// Runs `work` for each environment, and reports the results.
    pub(super) fn run(
        self,
        context: &Context,
        format: Format,
        labels: &SummaryLabels,
        work: impl Fn(&Context, &Environment) -> Result<Summary, CliError> + Sync,
    ) -> Result<Exit, CliError> {
        match self {
            Fleet::Single(environment) => work(context, &environment)?.print(context, format, &environment.name),
            Fleet::Many(set) if set.print_if_empty(context, format) => Ok(Exit::Done),
            Fleet::Many(set) => {
                let (repository, summary_only) = (set.repository(), set.summary_only);
                let results = set.run(context, Summary::headline, work)?;
                let report = FleetReport::new(results, repository.as_deref()).summary_only(summary_only);
                report.print(context, format, labels)
            }
        }
    }
}

impl EnvironmentSet {
    /// Returns the maximum number of environments processed in parallel.
    pub(super) fn parallel(&self) -> usize {
        self.parallel
    }

    /// A single environment, for a command that treats it like several.
    pub(super) fn single(environment: Environment) -> Self {
        Self { environments: vec![environment], parallel: 1, summary_only: false, empty_message: None }
    }

    /// Prints that there are no environments, unless the format is JSON. Returns true if it did.
    pub(super) fn print_if_empty(&self, context: &Context, format: Format) -> bool {
        match &self.empty_message {
            Some(message) if self.environments.is_empty() && format != Format::Json => {
                context.printer.out(message);
                true
            }
            _ => false,
        }
    }

    /// Returns the repository of the environments; none if there are no environments.
    pub(super) fn repository(&self) -> Option<Arc<Repository>> {
        self.environments.first().map(|environment| Arc::clone(&environment.repository))
    }

    /// Runs `work` for each environment in parallel. `headline` describes a result in one line.
    pub(super) fn run<T: Send>(
        self,
        context: &Context,
        headline: impl Fn(&T) -> String + Sync,
        work: impl Fn(&Context, &Environment) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<TaskResult<T>>, CliError> {
        let items = self.environments.into_iter().map(|environment| (environment.name.clone(), environment)).collect();
        run_parallel(context, self.parallel, items, headline, |context, environment| work(context, &environment))
    }
}

/// An event that a worker reports to the progress display.
enum TaskEvent<T> {
    Started(usize, Arc<TaskLog>),
    Finished(usize, String, TaskResult<T>),
}

/// Runs `work` for each item in threads of their own, at most `parallel` at once. The results are in the order of the items.
pub(super) fn run_parallel<I: Send, T: Send>(
    context: &Context,
    parallel: usize,
    items: Vec<(EnvironmentName, I)>,
    headline: impl Fn(&T) -> String + Sync,
    work: impl Fn(&Context, I) -> Result<T, CliError> + Sync,
) -> Result<Vec<TaskResult<T>>, CliError> {
    // The runtime is started here, so that an error is reported once.
    context.runtime()?;
    let mut progress = ProgressDisplay::new(&context.printer, items.iter().map(|(name, _)| name.to_string()).collect());
    let workers = parallel.clamp(1, items.len().max(1));
    let queue = Mutex::new(items.into_iter().enumerate().collect::<VecDeque<_>>());
    let next = || queue.lock().pop_front();
    let (sender, events) = mpsc::channel();
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, work, headline) = (sender.clone(), &next, &work, &headline);
            scope.spawn(move || {
                while let Some((index, (name, item))) = next() {
                    let (context, task_log) = context.with_task_log();
                    drop(sender.send(TaskEvent::Started(index, Arc::clone(&task_log))));
                    let result = work(&context, item);
                    let line = match &result {
                        Ok(value) => headline(value),
                        Err(error) => error.headline(),
                    };
                    let result = TaskResult { name, notes: task_log.notes(), result };
                    drop(sender.send(TaskEvent::Finished(index, line, result)));
                }
            });
        }
        drop(sender);
        loop {
            match events.recv_timeout(REFRESH_INTERVAL) {
                Ok(TaskEvent::Started(index, task_log)) => progress.started(index, task_log),
                Ok(TaskEvent::Finished(index, line, result)) => {
                    progress.finished(index, &line);
                    results.push((index, result));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => progress.draw(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    progress.clear();
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
