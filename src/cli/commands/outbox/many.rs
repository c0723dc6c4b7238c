//! `mailwright outbox` over many environments: states and lists are grouped; what changes mail is counted per environment and
//! confirmed once. An id is that of whichever environment has it.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use crate::{
    api::messages::{Action, ActionOptions, NewHold, Resolved, ResolvedOutcome},
    cli::{
        CliError, Context, Exit, Format,
        commands::outbox::{
            Outbox, OutboxCommand, find_holds,
            follow::Follow,
            hold::{HeldMessages, HoldArgs},
            list::message_table,
            only_id, replay,
            selection::{ChangeOptions, MessageSelection, find_messages},
        },
        environment::Environment,
        fleet::{self, EnvironmentSet, Fleet},
        short_id::is_message_id,
        ui::{
            confirm::confirm,
            fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
            outbox::hold_table,
            wording::count_of,
        },
        usage::quote,
    },
    client::Client,
    model::{Code, EnvironmentName, Hold, Message, Problem, message::RecipientStatus},
    text::enumerate,
};

/// The number of environments that an error names.
const NAMED: usize = 5;
/// The totals of a state.
pub(super) const STATUS_LABELS: SummaryLabels =
    SummaryLabels { notable: ("trouble", "with trouble"), quiet: ("fine", "fine") };
/// The totals of messages that were looked up.
const MESSAGE_LABELS: SummaryLabels =
    SummaryLabels { notable: ("found", "with messages"), quiet: ("empty", "without messages") };
/// The totals of holds.
const HOLD_LABELS: SummaryLabels = SummaryLabels { notable: ("held", "with holds"), quiet: ("free", "without holds") };

/// A change of messages.
#[derive(Clone, Debug)]
enum Change {
    Act(Action, ActionOptions),
    Resolve(Resolved),
}

impl Change {
    async fn apply(&self, client: &Client, id: Uuid) -> Result<Message, Problem> {
        match self {
            Self::Act(action, options) => client.act(id, *action, *options).await,
            Self::Resolve(resolved) => client.resolve_message(id, resolved).await,
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Act(Action::Retry, _) => "retried",
            Self::Act(Action::Cancel, _) => "cancelled",
            Self::Act(Action::Replay, _) => "put back into the queue",
            Self::Resolve(Resolved { outcome: ResolvedOutcome::Delivered, .. }) => "resolved as delivered",
            Self::Resolve(Resolved { outcome: ResolvedOutcome::Failed, .. }) => "resolved as failed",
        }
    }

    /// Returns the question for messages in environments.
    fn question(&self, messages: &str, environments: &str) -> String {
        match self {
            Self::Act(Action::Retry, _) => format!("Retry {messages} in {environments}?"),
            Self::Act(Action::Cancel, _) => format!("Cancel {messages} in {environments}?"),
            Self::Act(Action::Replay, _) => format!("Send {messages} again in {environments}?"),
            Self::Resolve(resolved) => format!("Resolve {messages} in {environments} as {}?", resolved.outcome.id()),
        }
    }
}

/// The pending change of one environment.
struct Pending<I> {
    name: EnvironmentName,
    client: Client,
    item: I,
}

/// Messages of one environment. With ids, the position of the id that selects each.
struct Found {
    messages: Vec<Message>,
    positions: Vec<usize>,
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
                self.change(set, selection, &Change::Act(Action::Retry, ActionOptions::default()), change)
            }
            OutboxCommand::Cancel { selection, change } => {
                self.change(set, selection, &Change::Act(Action::Cancel, ActionOptions::default()), change)
            }
            OutboxCommand::Replay(replay) => {
                let options = ActionOptions { all_recipients: replay.all_recipients };
                self.change(set, &replay.selection, &Change::Act(Action::Replay, options), &replay.change)
            }
            OutboxCommand::Resolve(resolve) => {
                self.change(set, &resolve.selection, &Change::Resolve(resolve.resolved()), &resolve.change)
            }
            OutboxCommand::Hold(hold) => self.hold(set, hold),
            OutboxCommand::Release { reason, change, .. } => self.release(set, reason.as_deref(), change),
            OutboxCommand::ConfirmRestore { change, .. } => self.confirm_restore(set, change),
            OutboxCommand::Show(_) | OutboxCommand::Export { .. } => {
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

    fn list(&self, set: EnvironmentSet, list: &super::list::List) -> Result<Exit, CliError> {
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

    /// Changes all messages that are selected: counts them, asks, and changes them.
    fn change(
        &self,
        set: EnvironmentSet,
        selection: &MessageSelection,
        change: &Change,
        options: &ChangeOptions,
    ) -> Result<Exit, CliError> {
        if let Some(text) = self.ids.iter().find(|text| !is_message_id(text)) {
            let named = self.outbox.labels.describe(&self.environments);
            return Err(CliError::coded(Code::Usage, format!("`{}` is not a message id", text.escape_debug()))
                .remedy(format!("`mailwright outbox list {named}` shows the ids.")));
        }
        let find = |context: &Context, environment: &Environment, client: &Client| {
            let runtime = context.runtime()?;
            let found = if self.ids.is_empty() {
                Found { messages: runtime.block_on(selection.fetch(client, &[]))?, positions: Vec::new() }
            } else {
                let found = runtime.block_on(find_messages(client, environment.name.as_str(), &self.ids))?;
                let (positions, mut messages): (_, Vec<Message>) = found.into_iter().unzip();
                // A message that is named twice is changed once.
                let mut seen = BTreeSet::new();
                messages.retain(|message| seen.insert(message.id));
                Found { messages, positions }
            };
            if let Change::Act(Action::Replay, options) = change {
                replay::check_not_sent(&found.messages, options.all_recipients)?;
            }
            let summary = count_messages(&found.messages, change);
            Ok((summary, Some(found).filter(|found| !found.messages.is_empty())))
        };
        let question = |pending: &[Pending<Found>], failed: &[(EnvironmentName, CliError)]| {
            self.check_ids(pending, failed)?;
            let messages = pending.iter().map(|pending| pending.item.messages.len()).sum();
            Ok(change.question(&count_of(messages, "message"), &count_of(pending.len(), "environment")))
        };
        self.confirm_and_run(set, &MESSAGE_LABELS, options, change.describe(), find, question, |context, pending| {
            let found = pending.item;
            let mut changed = Vec::new();
            let mut refused = None;
            for message in &found.messages {
                match context.runtime()?.block_on(change.apply(&pending.client, message.id)) {
                    Ok(message) => changed.push(message),
                    Err(problem) => refused = Some(problem),
                }
            }
            let line =
                format!("{} of {} {}", changed.len(), count_of(found.messages.len(), "message"), change.describe());
            let summary = Summary::new(Significance::Listed, line, String::new(), json!({ "messages": changed }));
            Ok(Summary { refusal: refused.map(CliError::from), ..summary })
        })
    }

    /// Returns an error unless each id of the command line is that of exactly one message.
    fn check_ids(&self, pending: &[Pending<Found>], failed: &[(EnvironmentName, CliError)]) -> Result<(), CliError> {
        for (index, text) in self.ids.iter().enumerate() {
            let has = pending.iter().filter(|pending| pending.item.positions.contains(&index));
            let names: Vec<&str> = has.map(|pending| pending.name.as_str()).collect();
            match names.as_slice() {
                [] => return Err(self.missing(text, failed)),
                [_] => {}
                several => {
                    let what = format!(
                        "several environments have a message whose id begins with `{text}`: {}",
                        enumerate(several.iter().copied(), NAMED)
                    );
                    return Err(CliError::coded(Code::AmbiguousArgument, what)
                        .remedy("Name one of these environments instead of all."));
                }
            }
        }
        Ok(())
    }

    fn hold(&self, set: EnvironmentSet, hold: &HoldArgs) -> Result<Exit, CliError> {
        let request = hold.request(self.context.clock.now())?;
        let labels = SummaryLabels { notable: ("toHold", "to hold"), quiet: ("unchanged", "unchanged") };
        let find = |context: &Context, _: &Environment, client: &Client| {
            let held = context.runtime()?.block_on(HeldMessages::count(client, &request))?;
            let document = json!({ "queued": held.count, "more": held.more });
            Ok((Summary::new(Significance::Listed, held.describe(), String::new(), document), Some(())))
        };
        let question = |pending: &[Pending<()>], _: &[(EnvironmentName, CliError)]| {
            Ok(format!("Hold this mail in {}?", count_of(pending.len(), "environment")))
        };
        let exit =
            self.confirm_and_run(set, &labels, &hold.change, "with the hold", find, question, |context, pending| {
                let hold = context.runtime()?.block_on(pending.client.hold(&request))?;
                Ok(Summary::new(Significance::Listed, "held".to_owned(), String::new(), json!(hold)))
            });
        // Some environments may have the hold if others failed.
        if exit.as_ref().err().is_none_or(|error| error.code == Some(Code::SomeEnvironmentsFailed)) {
            self.note_release(&request, hold.change.dry_run);
        }
        exit
    }

    /// Prints the command that removes the holds again.
    fn note_release(&self, hold: &NewHold, is_dry_run: bool) {
        if self.outbox.format == Format::Human && !is_dry_run {
            self.context.printer.note(&format!(
                "To release all: mailwright outbox release {} --reason {}",
                self.outbox.labels.describe(&self.environments),
                quote(&hold.reason)
            ));
        }
    }

    /// Releases the holds with a reason, or the one with an id.
    fn release(&self, set: EnvironmentSet, reason: Option<&str>, change: &ChangeOptions) -> Result<Exit, CliError> {
        if reason.is_none() {
            only_id(&self.ids).map_err(|error| {
                let named = self.outbox.labels.describe(&self.environments);
                error.remedy(format!(
                    "`mailwright outbox holds {named}` lists the holds; `--reason TEXT` selects all with a reason."
                ))
            })?;
        }
        let find = |context: &Context, environment: &Environment, client: &Client| {
            let holds = context.runtime()?.block_on(client.outbox())?.holds;
            let holds = match find_holds(holds, reason, &self.ids, environment.name.as_str()) {
                Err(error) if error.code == Some(Code::NotFound) => Vec::new(),
                holds => holds?,
            };
            let significance = if holds.is_empty() { Significance::Quiet } else { Significance::Listed };
            let summary = Summary { significance, ..summarize_holds(&holds) };
            Ok((summary, Some(holds).filter(|holds| !holds.is_empty())))
        };
        let question = |pending: &[Pending<Vec<Hold>>], failed: &[(EnvironmentName, CliError)]| {
            if let (true, None, [], Some(id)) = (pending.is_empty(), reason, failed, self.ids.first()) {
                let named = self.outbox.labels.describe(&self.environments);
                return Err(CliError::coded(
                    Code::NotFound,
                    format!("no environment has a hold whose id begins with `{}`", id.escape_debug()),
                )
                .remedy(format!("`mailwright outbox holds {named}` lists the holds.")));
            }
            let holds = pending.iter().map(|pending| pending.item.len()).sum();
            Ok(format!("Release {} in {}?", count_of(holds, "hold"), count_of(pending.len(), "environment")))
        };
        self.confirm_and_run(set, &HOLD_LABELS, change, "released", find, question, |context, pending| {
            let ids: Vec<&str> = pending.item.iter().map(|hold| hold.id.as_str()).collect();
            for id in &ids {
                context.runtime()?.block_on(pending.client.release(id))?;
            }
            let line = format!("released {}", count_of(ids.len(), "hold"));
            Ok(Summary::new(Significance::Listed, line, String::new(), json!({ "released": ids })))
        })
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

/// Describes holds.
fn summarize_holds(holds: &[Hold]) -> Summary {
    let line = count_of(holds.len(), "hold");
    Summary::new(Significance::Listed, line, hold_table(holds), json!({ "holds": holds }))
}

/// The result of an environment without anything to change.
fn nothing() -> Summary {
    Summary::new(Significance::Quiet, "nothing".to_owned(), String::new(), json!({ "messages": [] }))
}

/// Counts the messages that would be changed; for a replay also the recipients that had them before.
fn count_messages(messages: &[Message], change: &Change) -> Summary {
    if messages.is_empty() {
        return nothing();
    }
    let mut line = count_of(messages.len(), "message");
    if let Change::Act(Action::Replay, options) = change {
        let recipients = messages.iter().flat_map(|message| &message.recipients);
        let of_status = |status: RecipientStatus| recipients.clone().filter(move |one| one.status == status).count();
        let (delivered, unknown) = (of_status(RecipientStatus::Delivered), of_status(RecipientStatus::Unknown));
        let before = if options.all_recipients { delivered } else { 0 };
        let to = recipients.clone().count() - if options.all_recipients { 0 } else { delivered };
        line = format!("{line} to {}: {before} received it before, {unknown} may have", count_of(to, "recipient"));
    }
    let documents: Vec<_> =
        messages.iter().map(|message| json!({ "id": message.id, "status": message.status })).collect();
    Summary::new(Significance::Listed, line, String::new(), json!({ "messages": documents }))
}
