//! `mailwright outbox` over many environments: states and lists are grouped; what changes mail is counted per environment and
//! confirmed once. An id is that of whichever environment has it.
//!
//! An environment whose service fails is reported with the others, and changes elsewhere are made. Nothing is changed if an id is that
//! of no message, or of messages in several environments.

mod holds;
mod messages;

use serde_json::json;
use uuid::Uuid;

use self::{
    holds::{HOLD_LABELS, place_hold, release_holds, summarize_holds},
    messages::{Change, change_messages},
};
use crate::{
    api::messages::{Action, ActionOptions},
    cli::{
        CliError, Context, Exit, Format,
        commands::outbox::{
            Outbox, OutboxCommand,
            follow::Follow,
            list::{List, message_table},
            only_id,
            selection::{ChangeOptions, find_messages},
            status::STATUS_LABELS,
        },
        environment::Environment,
        fleet::{self, EnvironmentSet, Fleet},
        short_id::is_message_id,
        ui::{
            confirm::confirm,
            fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
            wording::count_of,
        },
    },
    client::Client,
    model::{Code, EnvironmentName},
    text::enumerate,
};

/// The number of environments that an error names.
const NAMED: usize = 5;
/// The totals of messages that were looked up.
const MESSAGE_LABELS: SummaryLabels =
    SummaryLabels { notable: ("found", "with messages"), quiet: ("empty", "without messages") };

/// The pending change of one environment.
struct Pending<I> {
    name: EnvironmentName,
    client: Client,
    item: I,
}

/// Several environments of an outbox command.
pub(super) struct ManyOutboxes<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) context: &'a Context,
    /// The environments as they were named.
    pub(super) environments: Vec<String>,
    pub(super) ids: Vec<String>,
}

impl ManyOutboxes<'_> {
    /// Runs the subcommand in each environment.
    pub(super) fn run(&self, set: EnvironmentSet) -> Result<Exit, CliError> {
        if set.print_if_empty(self.context, self.outbox.format) {
            return Ok(Exit::Done);
        }
        match &self.outbox.command {
            OutboxCommand::Status(status) if status.follow => {
                let Self { outbox, context, .. } = self;
                Follow { outbox, context, status }.run(&set)
            }
            OutboxCommand::Status(status) => self.report(set, &STATUS_LABELS, |context, environment, client| {
                let outbox = context.runtime()?.block_on(status.reading().fetch(client))?;
                Ok(status.summarize(&status.select(context, outbox)?, environment.name.as_str()))
            }),
            OutboxCommand::List(list) => self.list(set, list),
            OutboxCommand::Holds(_) => self.report(set, &HOLD_LABELS, |context, _, client| {
                let holds = context.runtime()?.block_on(client.outbox())?.holds;
                Ok(Summary { significance: shown_if(!holds.is_empty()), ..summarize_holds(&holds) })
            }),
            OutboxCommand::Retry { selection, change } => {
                change_messages(self, set, selection, &Change::Act(Action::Retry, ActionOptions::default()), change)
            }
            OutboxCommand::Cancel { selection, change } => {
                change_messages(self, set, selection, &Change::Act(Action::Cancel, ActionOptions::default()), change)
            }
            OutboxCommand::Replay(replay) => {
                let options = ActionOptions { all_recipients: replay.all_recipients };
                change_messages(self, set, &replay.selection, &Change::Act(Action::Replay, options), &replay.change)
            }
            OutboxCommand::Resolve(resolve) => {
                change_messages(self, set, &resolve.selection, &Change::Resolve(resolve.resolved()), &resolve.change)
            }
            OutboxCommand::Hold(hold) => place_hold(self, set, hold),
            OutboxCommand::Release { reason, change, .. } => release_holds(self, set, reason.as_deref(), change),
            OutboxCommand::ConfirmRestore { change, .. } => self.confirm_restore(set, change),
            OutboxCommand::Show(_) | OutboxCommand::Export(_) => {
                let (environment, id) = self.locate(set)?;
                self.outbox.start(self.context, environment, vec![id])
            }
        }
    }

    /// Runs `work` in each environment, and reports the results.
    fn report(
        &self,
        set: EnvironmentSet,
        labels: &SummaryLabels,
        work: impl Fn(&Context, &Environment, &Client) -> Result<Summary, CliError> + Sync,
    ) -> Result<Exit, CliError> {
        Fleet::Many(set).run(self.context, self.outbox.format, labels, |context, environment| {
            work(context, environment, &environment.client(context, &self.outbox.service)?)
        })
    }

    fn list(&self, set: EnvironmentSet, list: &List) -> Result<Exit, CliError> {
        if let (Some(before), Some(first)) = (list.before, set.environments.first()) {
            return Err(CliError::coded(Code::SeveralEnvironments, "`--before` continues the list of one environment")
                .remedy(format!("Name it: mailwright outbox list {} --before {before}", first.name)));
        }
        let query = list.query(self.context.clock.now())?;
        self.report(set, &MESSAGE_LABELS, |context, environment, client| {
            let page = context.runtime()?.block_on(client.messages(&query))?;
            let count = page.messages.len();
            let mut text = message_table(&page.messages, None);
            let mut line = count_of(count, "message");
            if let Some(next) = page.next_before {
                text.push_str(&format!("\nMore: mailwright outbox list {} --before {next}", environment.name));
                line = format!("at least {line}");
            }
            Ok(Summary::new(shown_if(count > 0), line, text, json!(page)))
        })
    }

    /// Finds the environment that has the only message of the command line, and its id.
    fn locate(&self, set: EnvironmentSet) -> Result<(Environment, String), CliError> {
        let text = match only_id(&self.ids) {
            Ok(text) if is_message_id(text) => text,
            other => {
                let named = self.outbox.labels.describe(&self.environments);
                let error = match other {
                    Ok(text) => CliError::coded(Code::Usage, format!("`{}` is not a message id", text.escape_debug())),
                    Err(error) => error,
                };
                return Err(error.remedy(format!("`mailwright outbox list {named}` shows the ids.")));
            }
        };
        let headline = |found: &Option<(Environment, Uuid)>| if found.is_some() { "found" } else { "-" }.to_owned();
        let results = set.run(self.context, headline, |context, environment| {
            let client = environment.client(context, &self.outbox.service)?;
            let find = find_messages(&client, environment.name.as_str(), &self.ids);
            let found = context.runtime()?.block_on(find)?;
            Ok(found.first().map(|(_, message)| (environment.clone(), message.id)))
        })?;
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for TaskResult { name, result, .. } in results {
            match result {
                Ok(one) => found.extend(one),
                Err(error) => failed.push((name, error)),
            }
        }
        let verb = if matches!(self.outbox.command, OutboxCommand::Show(_)) { "show" } else { "export" };
        match found.as_slice() {
            [(environment, id)] => Ok((environment.clone(), id.to_string())),
            [] => Err(self.missing(text, &failed)),
            [(first, id), ..] => {
                let names = enumerate(found.iter().map(|(environment, _)| environment.name.as_str()), NAMED);
                Err(CliError::coded(
                    Code::AmbiguousArgument,
                    format!("several environments have a message whose id begins with `{text}`: {names}"),
                )
                .remedy(format!("Name one: mailwright outbox {verb} {} {id}", first.name)))
            }
        }
    }

    /// Returns the error for an id that no environment has.
    fn missing(&self, text: &str, failed: &[(EnvironmentName, CliError)]) -> CliError {
        let shown = text.escape_debug();
        let Some((first, error)) = failed.first() else {
            return CliError::coded(
                Code::NotFound,
                format!("no environment has a message whose id begins with `{shown}`"),
            )
            .remedy(format!(
                "`mailwright outbox list {}` shows the ids.",
                self.outbox.labels.describe(&self.environments)
            ));
        };
        let names = enumerate(failed.iter().map(|(name, _)| name.as_str()), NAMED);
        CliError::coded(
            Code::SomeEnvironmentsFailed,
            format!(
                "cannot find the message `{shown}`: {} could not be asked: {names}",
                count_of(failed.len(), "environment")
            ),
        )
        .detail(format!("{first}: {}", error.headline()))
        .remedy(format!("Check the first one: mailwright doctor {first}"))
    }

    /// Accepts mail again in all environments that were restored.
    fn confirm_restore(&self, set: EnvironmentSet, change: &ChangeOptions) -> Result<Exit, CliError> {
        let labels = SummaryLabels { notable: ("restored", "restored"), quiet: ("unchanged", "not restored") };
        let find = |context: &Context, _: &Environment, client: &Client| {
            let Some(restored) = context.runtime()?.block_on(client.outbox())?.restored else {
                return Ok((nothing(), None));
            };
            let waited = usize::try_from(restored.messages).unwrap_or(usize::MAX);
            let line = format!("restored, {} that waited are unknown", count_of(waited, "message"));
            Ok((Summary::new(Significance::Listed, line, String::new(), json!(restored)), Some(())))
        };
        let question = |pending: &[Pending<()>], _: &[(EnvironmentName, CliError)]| {
            Ok(format!("Accept mail in {} again?", count_of(pending.len(), "environment")))
        };
        self.confirm_and_run(set, &labels, change, "confirmed", find, question, |context, pending| {
            context.runtime()?.block_on(pending.client.confirm_restore())?;
            Ok(Summary::new(Significance::Listed, "confirmed".to_owned(), String::new(), json!({ "confirmed": true })))
        })
    }

    /// Looks up in each environment what would change, shows it, asks once, and changes it. `find` returns none if nothing
    /// would change in an environment, and `question` an error if nothing may change in any. `label` names the changed
    /// environments in the totals.
    #[expect(clippy::too_many_arguments, reason = "the steps of one sequence")]
    fn confirm_and_run<I: Send>(
        &self,
        set: EnvironmentSet,
        labels: &SummaryLabels,
        options: &ChangeOptions,
        label: &'static str,
        find: impl Fn(&Context, &Environment, &Client) -> Result<(Summary, Option<I>), CliError> + Sync,
        question: impl Fn(&[Pending<I>], &[(EnvironmentName, CliError)]) -> Result<String, CliError>,
        work: impl Fn(&Context, Pending<I>) -> Result<Summary, CliError> + Sync,
    ) -> Result<Exit, CliError> {
        let repository = set.repository();
        let headline = |(summary, _): &(Summary, Option<Pending<I>>)| summary.headline();
        let results = set.run(self.context, headline, |context, environment| {
            let client = environment.client(context, &self.outbox.service)?;
            let (summary, item) = find(context, environment, &client)?;
            Ok((summary, item.map(|item| Pending { name: environment.name.clone(), client, item })))
        })?;
        let (mut pending, mut rest, mut counted, mut failed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for TaskResult { name, notes, result } in results {
            let task = |result| TaskResult { name: name.clone(), notes: notes.clone(), result };
            match result {
                Ok((summary, item)) => {
                    if item.is_none() {
                        rest.push(task(Ok(summary.clone())));
                    }
                    counted.push(task(Ok(summary)));
                    pending.extend(item);
                }
                Err(error) => {
                    counted.push(task(Err(error.clone())));
                    rest.push(task(Err(error.clone())));
                    failed.push((name, error));
                }
            }
        }
        let question = question(&pending, &failed)?;
        let report = FleetReport::new(counted, repository.as_deref()).summary_only(self.outbox.labels.summary);
        if options.dry_run || pending.is_empty() {
            return report.print(self.context, self.outbox.format, labels);
        }
        if self.outbox.format == Format::Human {
            report.print_text(self.context, labels);
        } else {
            report.print_failures(self.context);
        }
        confirm(
            self.context,
            options.yes,
            &question,
            "Pass `--yes` to skip the prompt, or `--dry-run` to see what would be changed.",
        )?;
        let items = pending.into_iter().map(|pending| (pending.name.clone(), pending)).collect();
        let parallel = self.outbox.labels.selection().parallel();
        rest.extend(fleet::run_parallel(self.context, parallel, items, Summary::headline, work)?);
        rest.sort_by(|a, b| a.name.cmp(&b.name));
        if self.outbox.format == Format::Human {
            self.context.printer.out("");
        }
        let report = FleetReport::new(rest, repository.as_deref()).summary_only(self.outbox.labels.summary);
        let labels = SummaryLabels { notable: ("changed", label), quiet: ("unchanged", "unchanged") };
        report.print(self.context, self.outbox.format, &labels)
    }
}

/// Returns the place of a result that has a section if there is something to show.
fn shown_if(has_content: bool) -> Significance {
    if has_content { Significance::Counted } else { Significance::Quiet }
}

/// The result of an environment without anything to change.
fn nothing() -> Summary {
    Summary::new(Significance::Quiet, "nothing".to_owned(), String::new(), json!({ "messages": [] }))
}
