//! `mailwright outbox` over many environments: states and lists are grouped; what changes mail is counted per environment and
//! confirmed once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::json;
use uuid::Uuid;

use crate::{
    api::messages::{Action, ActionOptions, Resolved, ResolvedOutcome},
    cli::{
        CliError, Context, Exit, Format,
        commands::outbox::{Outbox, OutboxCommand, list::message_table, replay, selection::MessageSelection},
        environment::Environment,
        fleet::{self, EnvironmentSet, Fleet},
        ui::{
            confirm::confirm,
            delivery_summary::DeliverySummary,
            fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
            outbox::{hold_table, needs_attention},
            wording::count_of,
        },
    },
    client::Client,
    model::{Code, EnvironmentName, Message, Problem, message::RecipientStatus},
};

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

/// The messages of one environment.
struct Found {
    client: Client,
    messages: Vec<Message>,
}

/// Several environments of an outbox command.
pub(super) struct ManyOutboxes<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) context: &'a Context,
}

impl ManyOutboxes<'_> {
    /// Runs the subcommand in each environment.
    pub(super) fn run(&self, set: EnvironmentSet) -> Result<Exit, CliError> {
        if set.print_if_empty(self.context, self.outbox.format) {
            return Ok(Exit::Done);
        }
        match &self.outbox.command {
            OutboxCommand::Status(_) => self.status(set),
            OutboxCommand::List(list) => {
                let query = list.query(self.context.clock.now())?;
                let labels =
                    SummaryLabels { notable: ("found", "with messages"), quiet: ("empty", "without messages") };
                self.report(set, &labels, |context, _, client| {
                    let page = context.runtime()?.block_on(client.messages(&query))?;
                    let count = page.messages.len();
                    let text = message_table(&page.messages, page.next_before);
                    let line = if page.next_before.is_some() {
                        format!("more than {count} messages")
                    } else {
                        count_of(count, "message")
                    };
                    let significance = if count == 0 { Significance::Quiet } else { Significance::Counted };
                    Ok(Summary::new(significance, line, text, json!(page)))
                })
            }
            OutboxCommand::Holds(_) => {
                let labels = SummaryLabels { notable: ("held", "with holds"), quiet: ("free", "without holds") };
                self.report(set, &labels, |context, _, client| {
                    let holds = context.runtime()?.block_on(client.outbox())?.holds;
                    let significance = if holds.is_empty() { Significance::Quiet } else { Significance::Counted };
                    let (line, text) = (count_of(holds.len(), "hold"), hold_table(&holds));
                    Ok(Summary::new(significance, line, text, json!({ "holds": holds })))
                })
            }
            OutboxCommand::Retry { selection, yes } => {
                self.change(set, selection, &Change::Act(Action::Retry, ActionOptions::default()), Some(*yes))
            }
            OutboxCommand::Cancel { selection, yes } => {
                self.change(set, selection, &Change::Act(Action::Cancel, ActionOptions::default()), Some(*yes))
            }
            OutboxCommand::Replay(replay) => {
                let options = ActionOptions { all_recipients: replay.all_recipients };
                let yes = (!replay.dry_run).then_some(replay.yes);
                self.change(set, &replay.selection, &Change::Act(Action::Replay, options), yes)
            }
            OutboxCommand::Resolve(resolve) => {
                self.change(set, &resolve.selection, &Change::Resolve(resolve.resolved()), Some(resolve.yes))
            }
            OutboxCommand::Hold(hold) => self.hold(set, hold),
            OutboxCommand::Release { id, reason, yes, .. } => self.release(set, id, reason.as_deref(), *yes),
            OutboxCommand::ConfirmRestore { yes, .. } => self.confirm_restore(set, *yes),
            OutboxCommand::Show(_) | OutboxCommand::Export { .. } => {
                Err(CliError::coded(Code::SeveralEnvironments, "a message belongs to one environment")
                    .remedy("Name that environment."))
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

    fn status(&self, set: EnvironmentSet) -> Result<Exit, CliError> {
        let labels = SummaryLabels { notable: ("trouble", "with trouble"), quiet: ("fine", "fine") };
        self.report(set, &labels, |context, _, client| {
            let status = context.runtime()?.block_on(client.outbox())?;
            let DeliverySummary { trouble, counts, is_restricted } = DeliverySummary::new(&status);
            let significance = match (trouble.is_empty(), is_restricted) {
                (false, _) => Significance::Listed,
                (true, true) => Significance::Noted,
                (true, false) => Significance::Quiet,
            };
            let exit = if needs_attention(&status) { Exit::Attention } else { Exit::Done };
            let line = trouble.into_iter().chain(counts).collect::<Vec<_>>().join(", ");
            Ok(Summary { exit, ..Summary::new(significance, line, String::new(), json!(status)) })
        })
    }

    /// Changes all messages that are selected: counts them, asks, and changes them. Without `yes` it only counts.
    fn change(
        &self,
        set: EnvironmentSet,
        selection: &MessageSelection,
        change: &Change,
        yes: Option<bool>,
    ) -> Result<Exit, CliError> {
        if selection.status.is_none() || !selection.ids.is_empty() {
            return Err(CliError::coded(Code::SeveralEnvironments, "message ids belong to one environment")
                .remedy("Name that environment, or select messages of all with `--status`."));
        }
        let headline = |found: &Found| count_of(found.messages.len(), "message");
        let repository = set.repository();
        let found = set.run(self.context, headline, |context, environment| {
            let client = environment.client(context, &self.outbox.service)?;
            let messages = context.runtime()?.block_on(selection.fetch(&client, &[]))?;
            if let Change::Act(Action::Replay, options) = change {
                replay::check_not_sent(&messages, options.all_recipients)?;
            }
            Ok(Found { client, messages })
        })?;
        let (mut to_change, mut rest, mut counted) = (Vec::new(), Vec::new(), Vec::new());
        for TaskResult { name, notes, result } in found {
            let count = |summary| TaskResult { name: name.clone(), notes: notes.clone(), result: Ok(summary) };
            match result {
                Ok(found) if found.messages.is_empty() => {
                    counted.push(count(nothing()));
                    rest.push(count(nothing()));
                }
                Ok(found) => {
                    counted.push(count(count_messages(&found.messages, change)));
                    to_change.push((name, found));
                }
                Err(error) => {
                    counted.push(TaskResult { name: name.clone(), notes: notes.clone(), result: Err(error.clone()) });
                    rest.push(TaskResult { name, notes, result: Err(error) });
                }
            }
        }
        let messages: usize = to_change.iter().map(|(_, found)| found.messages.len()).sum();
        let report = FleetReport::new(counted, repository.as_deref()).summary_only(self.outbox.summary);
        let labels = SummaryLabels { notable: ("found", "with messages"), quiet: ("empty", "without messages") };
        let Some(yes) = yes.filter(|_| messages > 0) else {
            return report.print(self.context, self.outbox.format, &labels);
        };
        self.show(&report, &labels);
        let (messages, environments) = (count_of(messages, "message"), count_of(to_change.len(), "environment"));
        self.confirm(yes, &change.question(&messages, &environments))?;
        self.finish(to_change, rest, change.describe(), |context, found| {
            let mut changed = Vec::new();
            let mut refused = None;
            for message in &found.messages {
                match context.runtime()?.block_on(change.apply(&found.client, message.id)) {
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

    fn hold(&self, set: EnvironmentSet, hold: &super::hold::HoldArgs) -> Result<Exit, CliError> {
        let request = hold.request(self.context.clock.now())?;
        let environments = count_of(set.environments.len(), "environment");
        self.confirm(hold.yes, &format!("Hold this mail in {environments}?"))?;
        let labels = SummaryLabels { notable: ("held", "with the hold"), quiet: ("unchanged", "unchanged") };
        let exit = self.report(set, &labels, |context, _, client| {
            let hold = context.runtime()?.block_on(client.hold(&request))?;
            Ok(Summary::new(Significance::Listed, "held".to_owned(), String::new(), json!(hold)))
        });
        if self.outbox.format == Format::Human {
            self.context.printer.note(&format!(
                "To release all: mailwright outbox release {} --reason '{}'",
                self.outbox.describe_environments(),
                request.reason.replace('\'', "'\\''")
            ));
        }
        exit
    }

    /// Releases the holds with a reason. An id is that of one environment.
    fn release(&self, set: EnvironmentSet, ids: &[String], reason: Option<&str>, yes: bool) -> Result<Exit, CliError> {
        let Some(reason) = reason.filter(|_| ids.is_empty()) else {
            return Err(CliError::coded(Code::SeveralEnvironments, "the id of a hold belongs to one environment")
                .remedy("Name that environment, or select holds of all with `--reason TEXT`."));
        };
        let environments = count_of(set.environments.len(), "environment");
        self.confirm(yes, &format!("Release the holds with this reason in {environments}?"))?;
        let labels = SummaryLabels { notable: ("released", "released"), quiet: ("unchanged", "without such a hold") };
        self.report(set, &labels, |context, _, client| {
            let holds = context.runtime()?.block_on(client.outbox())?.holds;
            let ids: Vec<String> = holds.into_iter().filter(|hold| hold.reason == reason).map(|hold| hold.id).collect();
            for id in &ids {
                context.runtime()?.block_on(client.release(id))?;
            }
            let significance = if ids.is_empty() { Significance::Quiet } else { Significance::Listed };
            let line = format!("released {}", count_of(ids.len(), "hold"));
            Ok(Summary::new(significance, line, String::new(), json!({ "released": ids })))
        })
    }

    /// Accepts mail again in all environments that were restored.
    fn confirm_restore(&self, set: EnvironmentSet, yes: bool) -> Result<Exit, CliError> {
        let clients: Mutex<BTreeMap<EnvironmentName, Client>> = Mutex::default();
        let repository = set.repository();
        let found = set.run(self.context, Summary::headline, |context, environment| {
            let client = environment.client(context, &self.outbox.service)?;
            let Some(restored) = context.runtime()?.block_on(client.outbox())?.restored else { return Ok(nothing()) };
            let waited = usize::try_from(restored.messages).unwrap_or(usize::MAX);
            let line = format!("restored, {} that waited are unknown", count_of(waited, "message"));
            clients.lock().unwrap_or_else(PoisonError::into_inner).insert(environment.name.clone(), client);
            Ok(Summary::new(Significance::Listed, line, String::new(), json!(restored)))
        })?;
        let clients = clients.into_inner().unwrap_or_else(PoisonError::into_inner);
        let report = FleetReport::new(found, repository.as_deref()).summary_only(self.outbox.summary);
        let labels = SummaryLabels { notable: ("restored", "restored"), quiet: ("unchanged", "not restored") };
        if clients.is_empty() {
            return report.print(self.context, self.outbox.format, &labels);
        }
        self.show(&report, &labels);
        let environments = count_of(clients.len(), "environment");
        self.confirm(yes, &format!("Accept mail in {environments} again?"))?;
        self.finish(clients.into_iter().collect(), Vec::new(), "confirmed", |context, client| {
            context.runtime()?.block_on(client.confirm_restore())?;
            Ok(Summary::new(Significance::Listed, "confirmed".to_owned(), String::new(), json!({ "confirmed": true })))
        })
    }

    /// Shows what a question is about; failures alone if standard output is for a document.
    fn show(&self, report: &FleetReport, labels: &SummaryLabels) {
        if self.outbox.format == Format::Human {
            report.print_text(self.context, labels);
        } else {
            report.print_failures(self.context);
        }
    }

    fn confirm(&self, yes: bool, question: &str) -> Result<(), CliError> {
        confirm(self.context, yes, question, "Pass `--yes` to skip the prompt.")
    }

    /// Runs `work` in the environments that are changed, and reports them with the others.
    fn finish<I: Send>(
        &self,
        items: Vec<(EnvironmentName, I)>,
        mut rest: Vec<TaskResult<Summary>>,
        label: &'static str,
        work: impl Fn(&Context, I) -> Result<Summary, CliError> + Sync,
    ) -> Result<Exit, CliError> {
        let selection = self.outbox.selection();
        rest.extend(fleet::run_parallel(self.context, selection.parallel(), items, Summary::headline, work)?);
        rest.sort_by(|a, b| a.name.cmp(&b.name));
        if self.outbox.format == Format::Human {
            self.context.printer.out("");
        }
        let repository = Arc::new(self.context.repository()?);
        let report = FleetReport::new(rest, Some(&repository)).summary_only(self.outbox.summary);
        let labels = SummaryLabels { notable: ("changed", label), quiet: ("unchanged", "unchanged") };
        report.print(self.context, self.outbox.format, &labels)
    }
}

/// The result of an environment without anything to change.
fn nothing() -> Summary {
    Summary::new(Significance::Quiet, "nothing".to_owned(), String::new(), json!({ "messages": [] }))
}

/// Counts the messages that would be changed; for a replay also the recipients that had them before.
fn count_messages(messages: &[Message], change: &Change) -> Summary {
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
