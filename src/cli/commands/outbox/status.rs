//! `mailwright outbox status`: counts of messages by status, the reasons for which mail waits, and trouble; once, or followed.
//!
//! The groups of waiting mail come from the service; the text is in `ui::outbox`.

use std::time::Duration;

use crate::{
    api::messages::OutboxStatus,
    cli::{
        CliError, Context, Exit, Format,
        args::{environment::EnvironmentArg, since::Since, waiting::WaitFilter},
        commands::outbox::{Outbox, Target},
        signals::wait_for_stop,
        ui::{
            format::document_of,
            outbox::{describe_outbox, needs_attention},
        },
    },
    client::Client,
    model::{Status as MessageStatus, rotation::Standing},
    time::local::format_time,
};

/// The time between two readings of `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);
/// Failed messages of this period are trouble, in seconds.
const RECENT: u32 = 24 * 3600;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright outbox status prod\n  \
    mailwright outbox status prod --reason throttled --profile documents\n  \
    mailwright outbox status prod --trouble           only what needs an operator\n  \
    mailwright outbox status prod --follow            until Ctrl-C\n\n\
    With `--trouble`, exit code 2 if something needs an operator: a suspended profile,\n\
    mail without a sender, a hold without an end, a server that has been away for 15\n\
    minutes, an unknown outcome, or a message that failed in the last 24 hours.")]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) environment: EnvironmentArg,
    /// Only what needs an operator
    #[arg(long)]
    trouble: bool,
    #[command(flatten)]
    waiting: WaitFilter,
    /// Only what began since then: 2h, 3d, 2026-11-23, or a time with its offset
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Repeat every 2 seconds until Ctrl-C; without a terminal, print only changes
    #[arg(long, short)]
    follow: bool,
}

impl Status {
    /// Prints the status once, or until the command is stopped.
    pub(super) async fn run(&self, outbox: &Outbox, context: &Context, target: &Target) -> Result<Exit, CliError> {
        if self.follow {
            return self.follow(outbox, context, target).await;
        }
        let status = self.fetch(context, &target.client).await?;
        outbox.print(context, target, "status", &status, || self.describe(&status, target.environment.name.as_str()));
        let attention = if self.trouble { has_trouble(&status) } else { needs_attention(&status) };
        Ok(if attention { Exit::Attention } else { Exit::Done })
    }

    async fn follow(&self, outbox: &Outbox, context: &Context, target: &Target) -> Result<Exit, CliError> {
        let name = target.environment.name.as_str();
        let stopped = wait_for_stop(false);
        tokio::pin!(stopped);
        let mut last = None;
        loop {
            let status = self.fetch(context, &target.client).await?;
            if outbox.format == Format::Json {
                // One document per line.
                context.printer.json_line(&document_of(name, "status", &status));
            } else if context.printer.clear_screen() {
                let time = format_time(context.clock.now());
                context.printer.out(&format!("{time}\n{}", self.describe(&status, name)));
            } else {
                let key = without_ages(&status);
                if last.as_ref() != Some(&key) {
                    context.printer.out(&self.describe(&status, name));
                    last = Some(key);
                }
            }
            tokio::select! {
                () = &mut stopped => return Ok(Exit::Done),
                () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
            }
        }
    }

    /// Fetches the status, limited to what the options select.
    async fn fetch(&self, context: &Context, client: &Client) -> Result<OutboxStatus, CliError> {
        let profile = self.waiting.profile()?;
        let since = self.since.map(|since| since.timestamp(context.clock.now()));
        let mut status =
            if self.trouble { client.outbox_finished_within(RECENT).await? } else { client.outbox().await? };
        status.waiting.retain(|waiting| {
            (!self.trouble || waiting.needs_operator)
                && self.waiting.reason.is_none_or(|reason| reason == waiting.reason)
                && profile.as_ref().is_none_or(|profile| waiting.profile.as_ref() == Some(profile))
                && since.is_none_or(|since| waiting.since.or(waiting.oldest_at).is_none_or(|began| began >= since))
        });
        Ok(status)
    }

    fn describe(&self, status: &OutboxStatus, environment: &str) -> String {
        if !self.trouble {
            return describe_outbox(status, environment);
        }
        if has_trouble(status) {
            format!("{}\n{}", describe_outbox(status, environment), trouble_lines(status, environment).join("\n"))
                .trim_end()
                .to_owned()
        } else {
            "Nothing needs an operator.".to_owned()
        }
    }
}

/// Returns true if something needs an operator.
pub(super) fn has_trouble(status: &OutboxStatus) -> bool {
    status.waiting.iter().any(|waiting| waiting.needs_operator)
        || !status.store_writable
        || status.restored.is_some()
        || status.rotations.iter().any(|rotation| rotation.standing == Standing::Refused)
        || !trouble_lines(status, "").is_empty()
}

/// Returns the messages that have ended and need an operator.
fn trouble_lines(status: &OutboxStatus, environment: &str) -> Vec<String> {
    let unknown = status.messages.get(&MessageStatus::Unknown).copied().unwrap_or_default();
    let failed = status.finished.as_ref().and_then(|finished| finished.get(&MessageStatus::Failed).copied());
    let mut lines = Vec::new();
    if unknown > 0 {
        lines.push(format!("unknown      {unknown} may have been sent\n             > mailwright outbox list {environment} --status unknown"));
    }
    if let Some(failed) = failed.filter(|failed| *failed > 0) {
        lines.push(format!("failed       {failed} in the last 24 hours\n             > mailwright outbox list {environment} --status failed"));
    }
    lines
}

/// Returns the status without what changes with time alone.
fn without_ages(status: &OutboxStatus) -> OutboxStatus {
    let mut status = status.clone();
    status.waiting.iter_mut().for_each(|waiting| waiting.oldest_seconds = 0);
    status
}
