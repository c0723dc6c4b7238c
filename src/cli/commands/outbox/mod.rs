//! `mailwright outbox`: inspects accepted mail, and retries, cancels, replays, resolves or holds it. One file per
//! subcommand with arguments of its own.
//!
//! If an action on several messages is refused for one, that is noted, and the others are changed; the exit code is then 1.

mod export;
mod follow;
mod hold;
mod list;
mod many;
mod replay;
mod resolve;
mod selection;
mod show;
mod status;

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use export::Export;
use hold::{HeldMessages, HoldArgs};
use list::{List, message_table};
use many::ManyOutboxes;
use replay::Replay;
use resolve::Resolve;
use selection::{ChangeOptions, Environments, MessageSelection, Names, OneMessage};
use show::describe_message;
use status::Status;

use crate::{
    api::messages::{Action, ActionOptions},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        args::environments::LabelArgs,
        environment::Environment,
        fleet::Fleet,
        short_id::{find_id, find_message_id},
        ui::{
            confirm::confirm,
            format::document_of,
            outbox::{hold_table, restored_lines, waiting_times},
            progress::CountDisplay,
            wording::count_of,
        },
    },
    client::Client,
    config::Repository,
    model::{Code, Hold, Message, Problem, WaitReason},
    text::{printable, shell::quote_posix},
};

/// The number of messages that are shown before a question; a dry run shows all.
const SHOWN: usize = 20;

/// Inspect, retry, cancel or hold queued mail
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright outbox status prod\n  \
    mailwright outbox status prod --trouble\n  \
    mailwright outbox status prod --follow\n  \
    mailwright outbox list prod --status failed\n  \
    mailwright outbox list prod --reason suspended --since 2d\n  \
    mailwright outbox list prod --document invoice/4711\n  \
    mailwright outbox show prod 01980c1e-...\n  \
    mailwright outbox replay prod 01980c1e-...\n  \
    mailwright outbox replay prod --status failed --dry-run\n  \
    mailwright outbox resolve prod 01980c1e-... --delivered --reason 'in Sent Items, 14:02'\n  \
    mailwright outbox hold prod --company EDU1 --reason 'wrong price list' --for 2h\n  \
    mailwright outbox status 'cust-*' --trouble       many, by cause; worst last\n  \
    mailwright outbox show 'cust-*' 01980c1e-...      whichever has it\n  \
    mailwright outbox retry 'cust-*' --status queued  counts, then asks once\n\n\
    `delivered` means that the mail server or Exchange has accepted the message. A\n\
    later bounce is sent to the sender's mailbox. `unknown` means that the message\n\
    may have been accepted; `resolve` records the outcome.")]
pub(crate) struct Outbox {
    #[command(subcommand)]
    command: OutboxCommand,
    #[command(flatten)]
    labels: LabelArgs,
    /// Output format
    #[arg(long, global = true, value_parser = Format::text_or_json(), default_value = Format::HUMAN, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, clap::Subcommand)]
enum OutboxCommand {
    /// Show the state of delivery: counts, why mail waits, holds
    Status(Status),
    /// List messages, newest first
    List(List),
    /// Show one message with every attempt
    Show(OneMessage),
    /// Retry waiting messages now
    Retry {
        #[command(flatten)]
        selection: MessageSelection,
        #[command(flatten)]
        change: ChangeOptions,
    },
    /// Cancel waiting messages
    Cancel {
        #[command(flatten)]
        selection: MessageSelection,
        #[command(flatten)]
        change: ChangeOptions,
    },
    /// Send failed and unknown messages again to the recipients that they did not reach
    Replay(Replay),
    /// Record the outcome of unknown messages: delivered or failed
    Resolve(Resolve),
    /// Write a message's contents to standard output or to a file
    Export(Export),
    /// Hold mail of a profile, a company or a function
    Hold(HoldArgs),
    /// List the holds
    Holds(Environments),
    /// Remove a hold
    Release {
        /// Environments: names, or patterns such as 'prod-*'; then the id of a hold
        #[arg(value_name = "ENV... ID")]
        environments: Vec<String>,
        /// Release the holds with this reason instead of an id
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        change: ChangeOptions,
    },
    /// Accept mail again after the store was restored from a backup
    ConfirmRestore {
        #[command(flatten)]
        environments: Environments,
        #[command(flatten)]
        change: ChangeOptions,
    },
}

impl Runnable for Outbox {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let repository = Arc::new(context.repository()?);
        let Names { environments, ids } = self.command.names(&repository);
        self.command.check(&ids)?;
        match Fleet::find(context, &repository, &environments, &self.labels.selection(), &self.service)? {
            Fleet::Single(environment) => self.start(context, environment, ids),
            Fleet::Many(set) => ManyOutboxes { outbox: self, context, environments, ids }.run(set),
        }
    }
}

impl OutboxCommand {
    /// Returns the environments and the ids of the command line.
    fn names(&self, repository: &Repository) -> Names {
        match self {
            Self::Status(Status { environments, .. })
            | Self::List(List { environments, .. })
            | Self::Hold(HoldArgs { environments, .. })
            | Self::Holds(environments)
            | Self::ConfirmRestore { environments, .. } => {
                Names { environments: environments.environments.clone(), ids: Vec::new() }
            }
            Self::Release { environments, .. } => Names::split(environments, repository, |_| true),
            Self::Show(OneMessage { environments })
            | Self::Export(Export { message: OneMessage { environments }, .. })
            | Self::Retry { selection: MessageSelection { environments, .. }, .. }
            | Self::Cancel { selection: MessageSelection { environments, .. }, .. }
            | Self::Replay(Replay { selection: MessageSelection { environments, .. }, .. })
            | Self::Resolve(Resolve { selection: MessageSelection { environments, .. }, .. }) => {
                Names::of_messages(environments, repository)
            }
        }
    }

    /// Returns an error if the ids do not fit the options.
    fn check(&self, ids: &[String]) -> Result<(), CliError> {
        match self {
            Self::Retry { selection, .. }
            | Self::Cancel { selection, .. }
            | Self::Replay(Replay { selection, .. })
            | Self::Resolve(Resolve { selection, .. }) => selection.check(ids),
            Self::Release { reason: Some(_), .. } if !ids.is_empty() => {
                Err(CliError::coded(Code::Usage, "`--reason` cannot be used with the id of a hold"))
            }
            _ => Ok(()),
        }
    }
}

/// The service that a subcommand calls, and the ids that the command line names.
struct Target {
    environment: Environment,
    client: Client,
    ids: Vec<String>,
}

impl Target {
    /// Returns the only id of the command line.
    fn id(&self) -> Result<&str, CliError> {
        only_id_of(&self.ids, &format!("mailwright outbox list {}", self.environment.name))
    }

    /// Finds the only message of the command line.
    async fn message_id(&self) -> Result<Uuid, CliError> {
        find_message_id(&self.client, self.environment.name.as_str(), self.id()?).await
    }

    /// Finds the messages of the command line. One that is named twice is returned once.
    async fn message_ids(&self) -> Result<Vec<Uuid>, CliError> {
        let mut ids = Vec::with_capacity(self.ids.len());
        for id in &self.ids {
            let id = find_message_id(&self.client, self.environment.name.as_str(), id).await?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

/// Returns the only id of a command line. `list` is the command that shows the ids.
fn only_id_of<'a>(ids: &'a [String], list: &str) -> Result<&'a str, CliError> {
    only_id(ids).map_err(|error| if ids.is_empty() { error.remedy(format!("`{list}` shows the ids.")) } else { error })
}

/// Returns the only id of a command line.
fn only_id(ids: &[String]) -> Result<&str, CliError> {
    match ids {
        [id] => Ok(id),
        [] => Err(CliError::coded(Code::Usage, "an id is required")),
        [_, more, ..] => Err(CliError::coded(Code::Usage, format!("unexpected argument `{}`", more.escape_debug()))),
    }
}

impl Outbox {
    /// Creates the client for an environment's service, and runs the subcommand.
    fn start(&self, context: &Context, environment: Environment, ids: Vec<String>) -> Result<Exit, CliError> {
        let client = environment.client(context, &self.service)?;
        let target = Target { environment, client, ids };
        context.runtime()?.block_on(self.dispatch(context, &target))
    }

    async fn dispatch(&self, context: &Context, target: &Target) -> Result<Exit, CliError> {
        let Target { environment, client, .. } = target;
        let name = environment.name.as_str();
        match &self.command {
            OutboxCommand::Status(status) => return status.run(self, context, target).await,
            OutboxCommand::List(list) => {
                let page = client.messages(&list.query(context.clock.now())?).await?;
                self.print(context, target, "page", &page, || message_table(&page.messages, page.next_before));
            }
            OutboxCommand::Show(_) => {
                let detail = client.message(target.message_id().await?).await?;
                self.print(context, target, "detail", &detail, || describe_message(&detail));
            }
            OutboxCommand::Retry { selection, change } => {
                return self.apply_action(context, target, selection, change, Action::Retry).await;
            }
            OutboxCommand::Cancel { selection, change } => {
                return self.apply_action(context, target, selection, change, Action::Cancel).await;
            }
            OutboxCommand::Replay(replay) => return replay.run(self, context, target).await,
            OutboxCommand::Resolve(resolve) => return resolve.run(self, context, target).await,
            OutboxCommand::Export(export) => export.run(self, context, target).await?,
            OutboxCommand::Hold(options) => {
                let request = options.request(context.clock.now())?;
                if options.change.dry_run {
                    let held = HeldMessages::count(client, &request).await?;
                    let document = json!({ "queued": held.count, "more": held.more });
                    self.print(context, target, "held", &document, || format!("Would hold {}.", held.describe()));
                    return Ok(Exit::Done);
                }
                let hold = client.hold(&request).await?;
                self.print(context, target, "hold", &hold, || {
                    format!("Held. To release it: mailwright outbox release {name} {}", quote_posix(&hold.id))
                });
            }
            OutboxCommand::Holds(_) => {
                let holds = client.outbox().await?.holds;
                self.print(context, target, "holds", &holds, || hold_table(&holds));
            }
            OutboxCommand::ConfirmRestore { change, .. } => return self.confirm_restore(context, target, change).await,
            OutboxCommand::Release { reason, change, .. } => {
                let holds = find_holds(client.outbox().await?.holds, reason.as_deref(), &target.ids, name)?;
                if change.dry_run {
                    self.print(context, target, "holds", &holds, || hold_table(&holds));
                    return Ok(Exit::Done);
                }
                for hold in &holds {
                    client.release(&hold.id).await?;
                }
                let ids: Vec<&str> = holds.iter().map(|hold| hold.id.as_str()).collect();
                let text = if ids.is_empty() { "Nothing is held for this reason." } else { "Released." };
                self.print_done(context, target, &json!({ "released": ids }), text);
            }
        }
        Ok(Exit::Done)
    }

    /// Prints a result; in JSON with the name of the environment. A list gets the key `list_key`.
    fn print(
        &self,
        context: &Context,
        target: &Target,
        list_key: &str,
        document: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) {
        if self.format == Format::Json {
            context.printer.json(&document_of(target.environment.name.as_str(), list_key, document));
        } else {
            context.printer.out(&text());
        }
    }

    /// Prints that something was done: as a message, or as a JSON document.
    fn print_done(&self, context: &Context, target: &Target, document: &serde_json::Value, text: &str) {
        if self.format == Format::Json {
            context.printer.json(&document_of(target.environment.name.as_str(), "done", document));
        } else {
            context.printer.note(text);
        }
    }

    /// Applies an action to the selected messages.
    async fn apply_action(
        &self,
        context: &Context,
        target: &Target,
        selection: &MessageSelection,
        change: &ChangeOptions,
        action: Action,
    ) -> Result<Exit, CliError> {
        if change.dry_run {
            return self.show_selected(context, target, selection).await;
        }
        let client = &target.client;
        let ids: Vec<Uuid> = if selection.status.is_some() {
            let messages = selection.fetch(client, &[]).await?;
            // A retry can be repeated; a cancelled message is not sent any more.
            if action == Action::Cancel && !messages.is_empty() {
                self.confirm_cancel(context, target, &messages, change)?;
            }
            messages.iter().map(|message| message.id).collect()
        } else {
            target.message_ids().await?
        };
        let done = if action == Action::Retry { "retried" } else { "cancelled" };
        self.for_each(context, target, &ids, done, async |id| {
            let message = client.act(id, action, ActionOptions::default()).await?;
            if action == Action::Retry {
                self.note_wait(context, client, id).await?;
            }
            Ok(message)
        })
        .await
    }

    /// Shows messages that were selected by their status, and asks before they are cancelled.
    fn confirm_cancel(
        &self,
        context: &Context,
        target: &Target,
        messages: &[Message],
        change: &ChangeOptions,
    ) -> Result<(), CliError> {
        if self.format != Format::Json && !change.yes {
            context.printer.out(&message_table(messages.get(..messages.len().min(SHOWN)).unwrap_or_default(), None));
            if messages.len() > SHOWN {
                context.printer.out(&format!("... and {} more; --dry-run shows all", messages.len() - SHOWN));
            }
        }
        let question = format!("Cancel {} in {}?", count_of(messages.len(), "message"), target.environment.name);
        let remedy = "Pass `--yes` to skip the prompt, or `--dry-run` to see what would be cancelled.";
        confirm(context, change.yes, &question, remedy)
    }

    /// Prints the messages that an action would change.
    async fn show_selected(
        &self,
        context: &Context,
        target: &Target,
        selection: &MessageSelection,
    ) -> Result<Exit, CliError> {
        let messages = selection.fetch(&target.client, &target.message_ids().await?).await?;
        self.print(context, target, "messages", &messages, || message_table(&messages, None));
        Ok(Exit::Done)
    }

    /// Prints why a message waits although it was retried.
    async fn note_wait(&self, context: &Context, client: &Client, id: Uuid) -> Result<(), Problem> {
        let waiting = client.message(id).await?.waiting.filter(|waiting| waiting.reason != WaitReason::Scheduled);
        if let Some(waiting) = waiting {
            let times = waiting_times(&waiting);
            let times = if times.is_empty() { times } else { format!(" ({times})") };
            context.printer.note(&format!("{id} still waits: {}{times}", printable(&waiting.describe())));
        }
        Ok(())
    }

    async fn confirm_restore(
        &self,
        context: &Context,
        target: &Target,
        change: &ChangeOptions,
    ) -> Result<Exit, CliError> {
        let Target { environment, client, .. } = target;
        let Some(restored) = client.outbox().await?.restored else {
            self.print_done(context, target, &json!({ "confirmed": false }), "No restore is waiting for confirmation.");
            return Ok(Exit::Done);
        };
        context.printer.note(&format!(
            "{}\nClients may repeat submissions that were accepted after the backup; such messages would be sent a second time.",
            restored_lines(&restored, environment.name.as_str()).join("\n")
        ));
        if change.dry_run {
            self.print_done(context, target, &json!({ "confirmed": false }), "No changes were made.");
            return Ok(Exit::Done);
        }
        let question = format!("Accept mail in {} again?", environment.name);
        confirm(context, change.yes, &question, "Pass `--yes` to skip the prompt.")?;
        client.confirm_restore().await?;
        self.print_done(context, target, &json!({ "confirmed": true }), "Confirmed. Mail is accepted again.");
        Ok(Exit::Done)
    }

    /// Does the same for each message, and continues if the service refuses one.
    async fn for_each(
        &self,
        context: &Context,
        target: &Target,
        ids: &[Uuid],
        what: &str,
        act: impl AsyncFn(Uuid) -> Result<Message, crate::model::Problem>,
    ) -> Result<Exit, CliError> {
        let mut done = Vec::new();
        let mut failed = None;
        let mut progress = CountDisplay::new(&context.printer, ids.len());
        for (index, id) in ids.iter().enumerate() {
            progress.show(index);
            match act(*id).await {
                Ok(message) => done.push(message),
                Err(error) if ids.len() == 1 => return Err(error.into()),
                Err(error) => {
                    progress.clear();
                    context.printer.note(&format!("{id}: {}", printable(&error.message)));
                    failed = Some(error);
                }
            }
        }
        progress.clear();
        self.print(context, target, "messages", &done, || {
            format!("{} of {} {what}", done.len(), count_of(ids.len(), "message"))
        });
        failed.map_or(Ok(Exit::Done), |error| Err(error.into()))
    }
}

/// Returns the holds with a reason, or else the hold that the only id names.
fn find_holds(
    holds: Vec<Hold>,
    reason: Option<&str>,
    ids: &[String],
    environment: &str,
) -> Result<Vec<Hold>, CliError> {
    if let Some(reason) = reason {
        return Ok(holds.into_iter().filter(|hold| hold.reason == reason).collect());
    }
    let known: Vec<String> = holds.iter().map(|hold| hold.id.clone()).collect();
    let list = format!("mailwright outbox holds {environment}");
    let id = find_id("hold", &known, only_id_of(ids, &list)?, &list)?;
    Ok(holds.into_iter().filter(|hold| hold.id == id).collect())
}
