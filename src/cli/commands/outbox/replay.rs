//! `mailwright outbox replay`: shows failed and unknown messages with their recipients, asks, and puts them back into the
//! queue.
//!
//! By default only recipients that did not get the message are addressed. The service decides which messages may be replayed.
//! Without `--all-recipients`, a delivered or cancelled message is refused.

use uuid::Uuid;

use crate::{
    api::messages::{Action, ActionOptions},
    cli::{
        CliError, Context, Exit, Format,
        commands::outbox::{
            Outbox, SHOWN, Target,
            selection::{ChangeOptions, MessageSelection},
        },
        ui::{
            confirm::confirm,
            format::document_of,
            table::table,
            wording::{count_of, cut, wire_name},
        },
    },
    model::{
        Code, Message, Status,
        message::{Recipient, RecipientStatus},
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright outbox replay prod 01980c1e-...\n  \
    mailwright outbox replay prod --status failed --company EDU1 --dry-run\n  \
    mailwright outbox replay prod --status failed --yes\n  \
    mailwright outbox replay prod 01980c1e-... --all-recipients\n  \
    mailwright outbox replay 'cust-*' --status failed --dry-run\n\n\
    Lists the messages with their recipients, and asks for confirmation. Messages\n\
    that were delivered or cancelled are rejected without --all-recipients.")]
pub(super) struct Replay {
    #[command(flatten)]
    pub(super) selection: MessageSelection,
    /// Send to all recipients, including those that it reached, and include delivered and cancelled messages
    #[arg(long, alias = "again")]
    pub(super) all_recipients: bool,
    #[command(flatten)]
    pub(super) change: ChangeOptions,
}

impl Replay {
    /// Shows the messages and their recipients, asks, and puts them back into the queue.
    pub(super) async fn run(&self, outbox: &Outbox, context: &Context, target: &Target) -> Result<Exit, CliError> {
        let Self { selection, all_recipients, change: ChangeOptions { dry_run, yes } } = self;
        let client = &target.client;
        let messages = selection.fetch(client, &target.message_ids().await?).await?;
        check_not_sent(&messages, *all_recipients)?;
        let planned: Vec<PlannedReplay<'_>> =
            messages.iter().map(|message| PlannedReplay::new(message, *all_recipients)).collect();
        if *dry_run && outbox.format == Format::Json {
            context.printer.json(&document_of(target.environment.name.as_str(), "messages", &planned));
            return Ok(Exit::Done);
        }
        if outbox.format != Format::Json {
            context.printer.out(&replay_table(&planned, *dry_run));
        }
        if *dry_run || planned.is_empty() {
            if planned.is_empty() && outbox.format == Format::Json {
                context.printer.json(&document_of(target.environment.name.as_str(), "messages", &planned));
            }
            return Ok(Exit::Done);
        }
        let question = format!("Send {} again in {}?", count_of(planned.len(), "message"), target.environment.name);
        confirm(
            context,
            *yes,
            &question,
            "Pass `--yes` to skip the prompt, or `--dry-run` to see what would be sent.",
        )?;
        let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
        let options = ActionOptions { all_recipients: *all_recipients };
        outbox
            .for_each(context, target, &ids, "put back into the queue", async |id| {
                client.act(id, Action::Replay, options).await
            })
            .await
    }
}

/// Returns an error if messages were delivered or cancelled, unless they are sent to all recipients again.
pub(super) fn check_not_sent(messages: &[Message], all_recipients: bool) -> Result<(), CliError> {
    let is_refused = |message: &&Message| matches!(message.status, Status::Delivered | Status::Cancelled);
    let refused: Vec<&Message> = messages.iter().filter(is_refused).collect();
    if let Some(first) = refused.first().filter(|_| !all_recipients) {
        let shown: Vec<String> = refused.iter().take(5).map(|message| message.id.to_string()).collect();
        let more = if refused.len() > shown.len() { ", ..." } else { "" };
        return Err(CliError::coded(
            Code::MessageAlreadySent,
            format!(
                "cannot replay {} of {} messages: they were {} before ({}{more})",
                refused.len(),
                messages.len(),
                if refused.iter().all(|message| message.status == first.status) {
                    first.status.id()
                } else {
                    "delivered or cancelled"
                },
                shown.join(", ")
            ),
        )
        .remedy("Omit them, or pass `--all-recipients` to send them again to all recipients."));
    }
    Ok(())
}

/// A message to send again, with its recipients and their last status.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedReplay<'a> {
    id: Uuid,
    status: Status,
    subject: &'a str,
    recipients: Vec<PlannedRecipient<'a>>,
}

/// A recipient of a message to send again.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedRecipient<'a> {
    #[serde(flatten)]
    last: &'a Recipient,
    /// True if the message is sent to this recipient.
    sent: bool,
}

impl<'a> PlannedReplay<'a> {
    fn new(message: &'a Message, all_recipients: bool) -> Self {
        let recipients = message.recipients.iter().map(|last| {
            let sent = all_recipients || last.status != RecipientStatus::Delivered;
            PlannedRecipient { last, sent }
        });
        Self { id: message.id, status: message.status, subject: &message.subject, recipients: recipients.collect() }
    }
}

/// Returns the messages and recipients as a table, with totals.
fn replay_table(planned: &[PlannedReplay<'_>], all: bool) -> String {
    if planned.is_empty() {
        return "No messages.".to_owned();
    }
    let shown = if all { planned.len() } else { SHOWN };
    let rows = planned.iter().take(shown).flat_map(|message| {
        message.recipients.iter().enumerate().map(|(index, PlannedRecipient { last, sent })| {
            let first = |text: String| if index == 0 { text } else { String::new() };
            vec![
                first(message.id.to_string()),
                first(message.status.id().to_owned()),
                cut(&last.address, 40),
                if *sent { "yes" } else { "no" }.to_owned(),
                wire_name(last.status),
                cut(&last.reply, 60),
                first(cut(message.subject, 30)),
            ]
        })
    });
    let mut text = table(&["id", "status", "recipient", "sent", "last time", "reply", "subject"], rows);
    if planned.len() > shown {
        text.push_str(&format!("\n... and {} more; --dry-run shows all", planned.len() - shown));
    }
    let recipients = |wanted: &dyn Fn(&PlannedRecipient<'_>) -> bool| {
        planned.iter().flat_map(|message| &message.recipients).filter(|recipient| wanted(recipient)).count()
    };
    let sent = recipients(&|recipient| recipient.sent);
    let had = recipients(&|recipient| recipient.sent && recipient.last.status == RecipientStatus::Delivered);
    let unknown = recipients(&|recipient| recipient.sent && recipient.last.status == RecipientStatus::Unknown);
    text.push_str(&format!(
        "\n{} to {}: {had} received it before, {unknown} may have received it.",
        count_of(planned.len(), "message"),
        count_of(sent, "recipient")
    ));
    text
}
