//! `mailwright outbox resolve`: records whether unknown messages were delivered, as an operator found out elsewhere.
//!
//! It sends nothing. A message that was not delivered can be replayed afterwards.

use uuid::Uuid;

use crate::{
    api::messages::{Resolved, ResolvedOutcome},
    cli::{
        CliError, Context, Exit, Format,
        commands::outbox::{
            Outbox, Target,
            list::message_table,
            selection::{ChangeOptions, MessageSelection},
        },
        ui::{confirm::confirm, wording::count_of},
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright outbox resolve prod 01980c1e-... --delivered --reason 'in Sent Items, 14:02'\n  \
    mailwright outbox resolve prod --status unknown --company EDU1 --failed --reason 'not in the server log'\n\n\
    `mailwright explain MW0267` describes how to find the outcome.")]
#[command(group = clap::ArgGroup::new("outcome").required(true).args(["delivered", "failed"]))]
pub(super) struct Resolve {
    #[command(flatten)]
    pub(super) selection: MessageSelection,
    /// The recipients received it
    #[arg(long)]
    delivered: bool,
    /// The recipients did not receive it
    #[arg(long)]
    failed: bool,
    /// Evidence for the outcome; 1 to 200 characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    pub(super) change: ChangeOptions,
}

impl Resolve {
    /// Returns the outcome to record.
    pub(super) fn resolved(&self) -> Resolved {
        let outcome = if self.delivered { ResolvedOutcome::Delivered } else { ResolvedOutcome::Failed };
        Resolved { outcome, reason: self.reason.clone() }
    }

    /// Records the outcome of the messages. Asks first if they were selected by their status.
    pub(super) async fn run(&self, outbox: &Outbox, context: &Context, target: &Target) -> Result<Exit, CliError> {
        if self.change.dry_run {
            return outbox.show_selected(context, target, &self.selection).await;
        }
        let client = &target.client;
        let resolved = self.resolved();
        let outcome = resolved.outcome;
        let ids: Vec<Uuid> = if self.selection.status.is_some() {
            let messages = self.selection.fetch(client, &[]).await?;
            if outbox.format != Format::Json {
                context.printer.out(&message_table(&messages, None));
            }
            if messages.is_empty() {
                if outbox.format == Format::Json {
                    outbox.print(context, target, "messages", &messages, String::new);
                }
                return Ok(Exit::Done);
            }
            let question = format!("Resolve {} as {}?", count_of(messages.len(), "message"), outcome.id());
            confirm(context, self.change.yes, &question, "Pass `--yes` to skip the prompt.")?;
            messages.iter().map(|message| message.id).collect()
        } else {
            target.message_ids().await?
        };
        let done = format!("resolved as {}", outcome.id());
        outbox.for_each(context, target, &ids, &done, async |id| client.resolve_message(id, &resolved).await).await
    }
}
