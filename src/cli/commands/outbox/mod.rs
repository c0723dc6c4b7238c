//! `mailwright outbox`: inspects accepted mail, and retries, cancels, replays, resolves or holds it. One file per
//! subcommand with arguments of its own.

mod hold;
mod list;
mod many;
mod replay;
mod resolve;
mod selection;
mod show;
mod status;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::Arc,
};

use serde_json::json;
use uuid::Uuid;

use hold::HoldArgs;
use list::{List, message_table};
use many::ManyOutboxes;
use replay::Replay;
use resolve::Resolve;
use selection::{MessageSelection, OneMessage};
use show::describe_message;
use status::Status;

use crate::{
    api::messages::{Action, ActionOptions},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        args::{environment::EnvironmentArg, environments::SelectionArgs},
        environment::Environment,
        fleet::Fleet,
        short_id::{find_id, find_message_id, is_message_id},
        ui::{
            confirm::confirm,
            format::document_of,
            outbox::{hold_table, restored_lines, waiting_times},
            wording::count_of,
        },
    },
    client::Client,
    model::{Code, Message, Problem, WaitReason},
    text::printable,
};

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
    mailwright outbox status 'cust-*'                       many; those with trouble are last\n  \
    mailwright outbox retry 'cust-*' --status queued        counts, then asks once\n\n\
    `delivered` means that the mail server or Exchange has accepted the message. A\n\
    later bounce is sent to the sender's mailbox. `unknown` means that the message\n\
    may have been accepted; `resolve` records the outcome.")]
pub(crate) struct Outbox {
    #[command(subcommand)]
    command: OutboxCommand,
    /// Only environments with these labels: region=emea, tier!=test (can be repeated)
    #[arg(short = 'l', long, global = true, value_name = "LABELS")]
    selector: Vec<String>,
    /// For several environments: only counts and environments with trouble
    #[arg(long, global = true)]
    summary: bool,
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
        /// For several environments: skip the confirmation prompt
        #[arg(long, short)]
        yes: bool,
    },
    /// Cancel waiting messages
    Cancel {
        #[command(flatten)]
        selection: MessageSelection,
        /// For several environments: skip the confirmation prompt
        #[arg(long, short)]
        yes: bool,
    },
    /// Send failed and unknown messages again to the recipients that they did not reach
    Replay(Replay),
    /// Record the outcome of unknown messages: delivered or failed
    Resolve(Resolve),
    /// Write a message's contents to standard output or to a file
    Export {
        #[command(flatten)]
        message: OneMessage,
        /// Output file
        #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Hold mail of a profile, a company or a function
    Hold(HoldArgs),
    /// List the holds
    Holds(EnvironmentArg),
    /// Remove a hold
    Release {
        #[command(flatten)]
        environment: EnvironmentArg,
        /// Hold id
        #[arg(value_name = "ID")]
        id: Vec<String>,
        /// For several environments: release the holds with this reason
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// For several environments: skip the confirmation prompt
        #[arg(long, short)]
        yes: bool,
    },
    /// Accept mail again after the store was restored from a backup
    ConfirmRestore {
        #[command(flatten)]
        environment: EnvironmentArg,
        /// Skip the confirmation prompt
        #[arg(long, short)]
        yes: bool,
    },
}

impl Runnable for Outbox {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if self.selects_several() {
            let repository = Arc::new(context.repository()?);
            let patterns: Vec<String> = self.command.environment().environment.clone().into_iter().collect();
            let fleet = Fleet::find(context, &repository, &patterns, &self.selection(), &self.service)?;
            if let Fleet::Many(set) = fleet {
                return ManyOutboxes { outbox: self, context }.run(set);
            }
        }
        match &self.command {
            OutboxCommand::Status(Status { environment, .. })
            | OutboxCommand::Holds(environment)
            | OutboxCommand::ConfirmRestore { environment, .. } => {
                self.start(context, environment.find(context)?, Vec::new())
            }
            OutboxCommand::List(list) => self.start(context, list.environment.find(context)?, Vec::new()),
            OutboxCommand::Hold(hold) => self.start(context, hold.environment.find(context)?, Vec::new()),
            OutboxCommand::Release { environment, id, .. } => {
                let (environment, ids) = environment.find_before(context, id, |_| true)?;
                self.start(context, environment, ids)
            }
            OutboxCommand::Show(message) | OutboxCommand::Export { message, .. } => {
                let (environment, ids) = message.environment.find_before(context, &message.id, is_message_id)?;
                self.start(context, environment, ids)
            }
            OutboxCommand::Retry { selection, .. }
            | OutboxCommand::Cancel { selection, .. }
            | OutboxCommand::Replay(Replay { selection, .. })
            | OutboxCommand::Resolve(Resolve { selection, .. }) => {
                let (environment, ids) = selection.environment.find_before(context, &selection.ids, is_message_id)?;
                selection.check(&ids)?;
                self.start(context, environment, ids)
            }
        }
    }
}

impl OutboxCommand {
    /// Returns the environment of the command line.
    fn environment(&self) -> &EnvironmentArg {
        match self {
            Self::Status(Status { environment, .. })
            | Self::Holds(environment)
            | Self::ConfirmRestore { environment, .. }
            | Self::Release { environment, .. } => environment,
            Self::List(list) => &list.environment,
            Self::Hold(hold) => &hold.environment,
            Self::Show(message) | Self::Export { message, .. } => &message.environment,
            Self::Retry { selection, .. }
            | Self::Cancel { selection, .. }
            | Self::Replay(Replay { selection, .. })
            | Self::Resolve(Resolve { selection, .. }) => &selection.environment,
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
        match self.ids.as_slice() {
            [id] => Ok(id),
            [] => Err(CliError::coded(Code::Usage, "an id is required")),
            [_, more, ..] => {
                Err(CliError::coded(Code::Usage, format!("unexpected argument `{}`", more.escape_debug())))
            }
        }
    }

    /// Finds the only message of the command line.
    async fn message_id(&self) -> Result<Uuid, CliError> {
        find_message_id(&self.client, self.environment.name.as_str(), self.id()?).await
    }

    /// Finds the messages of the command line.
    async fn message_ids(&self) -> Result<Vec<Uuid>, CliError> {
        let mut ids = Vec::with_capacity(self.ids.len());
        for id in &self.ids {
            ids.push(find_message_id(&self.client, self.environment.name.as_str(), id).await?);
        }
        Ok(ids)
    }
}

impl Outbox {
    /// Returns true if the command line selects environments by a pattern or by labels.
    fn selects_several(&self) -> bool {
        let named = self.command.environment().environment.as_deref();
        !self.selector.is_empty() || named.is_some_and(|name| name.contains(['*', '?', '[', '{']))
    }

    fn selection(&self) -> SelectionArgs {
        SelectionArgs { selector: self.selector.clone(), summary: self.summary, ..SelectionArgs::default() }
    }

    /// Returns the environments as they were named, for the next command.
    fn describe_environments(&self) -> String {
        let named = self.command.environment().environment.iter().map(|pattern| format!("'{pattern}'"));
        let filters = self.selector.iter().map(|labels| format!("-l '{labels}'"));
        named.chain(filters).collect::<Vec<_>>().join(" ")
    }

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
            OutboxCommand::Retry { selection, .. } => {
                return self.apply_action(context, target, selection, Action::Retry).await;
            }
            OutboxCommand::Cancel { selection, .. } => {
                return self.apply_action(context, target, selection, Action::Cancel).await;
            }
            OutboxCommand::Replay(replay) => return replay.run(self, context, target).await,
            OutboxCommand::Resolve(resolve) => return resolve.run(self, context, target).await,
            OutboxCommand::Export { output, .. } => {
                if self.format == Format::Json && output.is_none() {
                    return Err(CliError::coded(Code::Usage, "the contents of a message are not JSON")
                        .remedy("Omit `--format`, or write them to a file: `--output FILE`."));
                }
                let id = target.message_id().await?;
                let content = client.content(id).await?;
                let shown =
                    output.as_ref().map_or("standard output".to_owned(), |path| format!("`{}`", path.display()));
                let failed =
                    |error: std::io::Error| CliError::coded(Code::Unwritable, format!("cannot write {shown}: {error}"));
                match output {
                    Some(path) => crate::fs::write_atomically(path, &content).map_err(failed)?,
                    // Control characters in mail are escaped on a terminal; a pipe gets the bytes unchanged.
                    None if std::io::stdout().is_terminal() => {
                        context.printer.document(&String::from_utf8_lossy(&content));
                    }
                    None => std::io::stdout().write_all(&content).map_err(failed)?,
                }
                if self.format == Format::Json {
                    self.print_done(context, target, &json!({ "id": id, "file": output }), "");
                }
            }
            OutboxCommand::Hold(options) => {
                let hold = client.hold(&options.request(context.clock.now())?).await?;
                self.print(context, target, "hold", &hold, || {
                    format!("Held. To release it: mailwright outbox release {name} {}", hold.id)
                });
            }
            OutboxCommand::Holds(_) => {
                let holds = client.outbox().await?.holds;
                self.print(context, target, "holds", &holds, || hold_table(&holds));
            }
            OutboxCommand::ConfirmRestore { yes, .. } => return self.confirm_restore(context, target, *yes).await,
            OutboxCommand::Release { .. } => {
                let holds: Vec<String> = client.outbox().await?.holds.into_iter().map(|hold| hold.id).collect();
                let list = format!("mailwright outbox holds {name}");
                let id = find_id("hold", &holds, target.id()?, &list)?;
                client.release(&id).await?;
                self.print_done(context, target, &json!({ "released": [id] }), "Released.");
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
        action: Action,
    ) -> Result<Exit, CliError> {
        let client = &target.client;
        let ids = if selection.status.is_some() {
            selection.fetch(client, &[]).await?.iter().map(|message| message.id).collect()
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

    async fn confirm_restore(&self, context: &Context, target: &Target, yes: bool) -> Result<Exit, CliError> {
        let Target { environment, client, .. } = target;
        let Some(restored) = client.outbox().await?.restored else {
            self.print_done(context, target, &json!({ "confirmed": false }), "No restore is waiting for confirmation.");
            return Ok(Exit::Done);
        };
        context.printer.note(&format!(
            "{}\nClients may repeat submissions that were accepted after the backup; such messages would be sent a second time.",
            restored_lines(&restored, environment.name.as_str()).join("\n")
        ));
        let question = format!("Accept mail in {} again?", environment.name);
        confirm(context, yes, &question, "Pass `--yes` to skip the prompt.")?;
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
        for id in ids {
            match act(*id).await {
                Ok(message) => done.push(message),
                Err(error) if ids.len() == 1 => return Err(error.into()),
                Err(error) => {
                    context.printer.note(&format!("{id}: {}", printable(&error.message)));
                    failed = Some(error);
                }
            }
        }
        self.print(context, target, "messages", &done, || {
            format!("{} of {} {what}", done.len(), count_of(ids.len(), "message"))
        });
        failed.map_or(Ok(Exit::Done), |error| Err(error.into()))
    }
}
