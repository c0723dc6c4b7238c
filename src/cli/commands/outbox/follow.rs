//! `mailwright outbox status --follow` over many environments: a report that is repeated.
//!
//! Reads all services at once, with a limit, so that Ctrl-C is obeyed while one of them does not answer. A service that does not
//! answer is shown as such and asked again for the next report.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    api::messages::OutboxStatus,
    cli::{
        CliError, Context, Exit, Format,
        commands::outbox::{
            Outbox,
            status::{FOLLOW_INTERVAL, Reading, STATUS_LABELS, Status, without_ages},
        },
        fleet::EnvironmentSet,
        signals::wait_for_stop,
        ui::fleet_report::{FleetReport, TaskResult},
    },
    client::Client,
    model::{EnvironmentName, Problem},
    time::local::format_time,
};

/// The state of an environment, or the reason for which it is unknown.
type Seen = Result<OutboxStatus, CliError>;

/// A live view of several environments.
pub(super) struct Follow<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) context: &'a Context,
    pub(super) status: &'a Status,
}

impl Follow<'_> {
    /// Prints reports until the command is stopped. On a terminal each replaces the one before; elsewhere only changes are
    /// printed, and in JSON one document per line.
    pub(super) fn run(&self, set: &EnvironmentSet) -> Result<Exit, CliError> {
        let runtime = self.context.runtime()?;
        let repository = set.repository();
        let mut stopped = Box::pin(wait_for_stop(false));
        let mut clients = BTreeMap::new();
        let mut last = None;
        loop {
            let seen = self.create_clients(set, &mut clients);
            let reading = read_all(&clients, set.parallel(), self.status.reading());
            let answers = runtime.block_on(async {
                tokio::select! {
                    () = &mut stopped => None,
                    answers = reading => Some(answers),
                }
            });
            let Some(answers) = answers else { return Ok(Exit::Done) };
            let mut seen: BTreeMap<EnvironmentName, Seen> = seen;
            for (name, answer) in answers {
                let status = answer.map_err(CliError::from).and_then(|status| self.status.select(self.context, status));
                seen.insert(name, status);
            }
            let state: Vec<Result<OutboxStatus, String>> =
                seen.values().map(|seen| seen.as_ref().map(without_ages).map_err(CliError::headline)).collect();
            let is_new = last.as_ref() != Some(&state);
            last = Some(state);
            let results = seen.into_iter().map(|(name, seen)| {
                let result = seen.map(|status| self.status.summarize(&status, name.as_str()));
                TaskResult { name, notes: String::new(), result }
            });
            let report =
                FleetReport::new(results.collect(), repository.as_deref()).summary_only(self.outbox.labels.summary);
            self.show(&report, is_new);
            let is_stopped = runtime.block_on(async {
                tokio::select! {
                    () = &mut stopped => true,
                    () = tokio::time::sleep(FOLLOW_INTERVAL) => false,
                }
            });
            if is_stopped {
                return Ok(Exit::Done);
            }
        }
    }

    /// Creates the clients that are missing. Returns the environments for which that fails.
    fn create_clients(
        &self,
        set: &EnvironmentSet,
        clients: &mut BTreeMap<EnvironmentName, Arc<Client>>,
    ) -> BTreeMap<EnvironmentName, Seen> {
        let mut failed = BTreeMap::new();
        for environment in &set.environments {
            if clients.contains_key(&environment.name) {
                continue;
            }
            match environment.client(self.context, &self.outbox.service) {
                Ok(client) => drop(clients.insert(environment.name.clone(), Arc::new(client))),
                Err(error) => drop(failed.insert(environment.name.clone(), Err(error))),
            }
        }
        failed
    }

    fn show(&self, report: &FleetReport, is_new: bool) {
        let printer = &self.context.printer;
        if self.outbox.format == Format::Json {
            printer.json_line(&report.document(&STATUS_LABELS));
        } else if printer.clear_screen() {
            let time = format_time(self.context.clock.now());
            printer.out(&format!("{time}\n{}", report.text(&STATUS_LABELS)));
        } else if is_new {
            printer.out(&report.text(&STATUS_LABELS));
        }
    }
}

/// Reads the state of all services, at most `parallel` at once.
async fn read_all(
    clients: &BTreeMap<EnvironmentName, Arc<Client>>,
    parallel: usize,
    reading: Reading,
) -> Vec<(EnvironmentName, Result<OutboxStatus, Problem>)> {
    let limit = Arc::new(Semaphore::new(parallel.max(1)));
    let mut running = JoinSet::new();
    for (name, client) in clients {
        let (name, client, limit) = (name.clone(), Arc::clone(client), Arc::clone(&limit));
        running.spawn(async move {
            // The semaphore is never closed.
            let _permit = limit.acquire().await;
            let answer = reading.fetch(&client).await;
            (name, answer)
        });
    }
    let mut answers = Vec::with_capacity(clients.len());
    while let Some(finished) = running.join_next().await {
        // A task neither panics nor is cancelled before the set is dropped.
        answers.extend(finished);
    }
    answers
}
