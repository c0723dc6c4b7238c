//! `mailwright outbox status`: counts of messages by status, the reasons for which mail waits, and trouble; once, or followed.
//!
//! The groups of waiting mail come from the service; their text is in `ui::outbox`, the text of causes and trouble is here. In
//! a report of many environments, equal causes share a section only with `--trouble` or a filter.
//!
//! The exit code is 2 for a suspended profile, waiting mail that needs an operator (not held mail), an unconfirmed restore or a
//! store that cannot be written. `--trouble` omits waiting mail that needs no operator; if there is trouble, counts, rotations and
//! holds are printed whole. For the exit code it adds unknown messages, messages that failed in the last 24 hours, mail that is
//! held without an end, and refused rotations. Filters limit what waits and the suspended profiles; with a filter, `--trouble`
//! leaves out unknown messages, failed messages and rotations; one environment and many follow the same rule. `--follow` stopped
//! with Ctrl-C ends with 0. A service that does not answer is an error, also while one environment is followed.

use std::time::Duration;

use serde_json::json;

use crate::{
    api::messages::OutboxStatus,
    cli::{
        CliError, Context, Exit, Format,
        args::{since::Since, waiting::WaitFilter},
        commands::outbox::{Outbox, Target, selection::Environments},
        signals::wait_for_stop,
        ui::{
            delivery_summary::DeliverySummary,
            fleet_report::{Significance, Summary, SummaryLabels},
            format::document_of,
            outbox::{describe_outbox, needs_attention, waiting_lines},
            wording::cut,
        },
    },
    client::Client,
    model::{Problem, ProfileName, Status as MessageStatus, WaitReason, Waiting, rotation::Standing},
    time::local::format_time,
};

/// The time between two readings of `--follow`.
pub(super) const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);
/// The totals of a state.
pub(super) const STATUS_LABELS: SummaryLabels =
    SummaryLabels { notable: ("trouble", "with trouble"), quiet: ("fine", "fine") };
/// The largest part of a server's reply that a line of a table quotes, in characters.
const QUOTED: usize = 40;
/// The differences between environments whose mail waits for the same cause.
const VARYING: &str = "names, counts and times";
/// Failed messages of this period are trouble, in seconds.
const RECENT: u32 = 24 * 3600;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright outbox status prod\n  \
    mailwright outbox status prod --reason throttled --profile documents\n  \
    mailwright outbox status prod --trouble           only what needs an operator\n  \
    mailwright outbox status prod --follow            until Ctrl-C\n  \
    mailwright outbox status 'cust-*' --trouble       many; equal causes together\n\n\
    Exit code 2 if a profile is suspended, mail has no sender, a server has been\n\
    away for 15 minutes, a restore is not confirmed or the store cannot be written;\n\
    with `--trouble` also for mail held without an end, a refused rotation, an\n\
    unknown outcome, or a message that failed in the last 24 hours. Filters apply to\n\
    this; rotations, unknown and failed messages count only without them.")]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) environments: Environments,
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
    pub(super) follow: bool,
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
        self.select(context, self.reading().fetch(client).await?)
    }

    /// Returns what is read from the service.
    pub(super) fn reading(&self) -> Reading {
        Reading { with_finished: self.trouble }
    }

    /// Limits a status to what the options select.
    pub(super) fn select(&self, context: &Context, mut status: OutboxStatus) -> Result<OutboxStatus, CliError> {
        let profile = self.waiting.profile()?;
        let since = self.since.map(|since| since.timestamp(context.clock.now()));
        status.waiting.retain(|waiting| {
            (!self.trouble || waiting.needs_operator)
                && self.waiting.reason.is_none_or(|reason| reason == waiting.reason)
                && profile.as_ref().is_none_or(|profile| waiting.profile.as_ref() == Some(profile))
                && since.is_none_or(|since| waiting.since.or(waiting.oldest_at).is_none_or(|began| began >= since))
        });
        status.suspended.retain(|suspended| {
            self.waiting.reason.is_none_or(|reason| reason == WaitReason::Suspended)
                && profile.as_ref().is_none_or(|profile| suspended.profile == *profile)
                && since.is_none_or(|since| suspended.since >= since)
        });
        status.parked.clone_from(&status.suspended);
        if self.trouble && self.has_filter() {
            // These are known for the whole environment only.
            status.messages.remove(&MessageStatus::Unknown);
            status.finished = None;
            status.rotations.clear();
        }
        Ok(status)
    }

    fn describe(&self, status: &OutboxStatus, environment: &str) -> String {
        if !self.trouble {
            return describe_outbox(status, environment);
        }
        if has_trouble(status) {
            describe_trouble(status, environment)
        } else {
            "Nothing needs an operator.".to_owned()
        }
    }

    /// Returns true if only a part of what waits is selected.
    fn has_filter(&self) -> bool {
        self.waiting.is_set() || self.since.is_some()
    }

    /// Returns the status as the result of one environment of many.
    pub(super) fn summarize(&self, status: &OutboxStatus, environment: &str) -> Summary {
        if self.trouble {
            return summarize_trouble(status, environment);
        }
        if self.has_filter() {
            return summarize_waiting(status);
        }
        let DeliverySummary { trouble, counts, is_restricted } = DeliverySummary::new(status);
        let significance = match (trouble.is_empty(), is_restricted) {
            (false, _) => Significance::Listed,
            (true, true) => Significance::Noted,
            (true, false) => Significance::Quiet,
        };
        let exit = if needs_attention(status) { Exit::Attention } else { Exit::Done };
        let line = trouble.into_iter().chain(counts).collect::<Vec<_>>().join(", ");
        Summary { exit, ..Summary::new(significance, line, String::new(), json!(status)) }
    }
}

/// The options with which a status is read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// True to count the messages that finished in the last day.
    with_finished: bool,
}

impl Reading {
    pub(super) async fn fetch(self, client: &Client) -> Result<OutboxStatus, Problem> {
        if self.with_finished { client.outbox_finished_within(RECENT).await } else { client.outbox().await }
    }
}

/// Returns what the options of `--trouble` found in one environment of many. Environments with equal causes are equal.
fn summarize_trouble(status: &OutboxStatus, environment: &str) -> Summary {
    if !has_trouble(status) {
        return Summary::new(Significance::Quiet, "fine".to_owned(), String::new(), json!(status));
    }
    let mut causes = describe_causes(status);
    let refused = status.rotations.iter().filter(|rotation| rotation.standing == Standing::Refused);
    causes.extend(refused.map(|rotation| format!("next value of {} refused", rotation.secret)));
    let waiting = status.waiting.iter().map(|waiting| waiting.messages).sum();
    let amounts = [("waiting", waiting), ("unknown", unknown_messages(status)), ("failed", failed_messages(status))];
    let amounts = amounts.into_iter().filter(|(_, amount)| *amount > 0).collect();
    let text = describe_trouble(status, environment);
    summarize_causes(&causes, amounts, text, Exit::Attention, status)
}

/// Returns what waits in one environment of many, limited by filters.
fn summarize_waiting(status: &OutboxStatus) -> Summary {
    let is_attention = needs_attention(status);
    if status.waiting.is_empty() && !is_attention {
        return Summary::new(Significance::Quiet, "nothing".to_owned(), String::new(), json!(status));
    }
    let causes = describe_causes(status);
    let lines: Vec<String> = status.waiting.iter().flat_map(|waiting| waiting_lines(waiting, status)).collect();
    let exit = if is_attention { Exit::Attention } else { Exit::Done };
    let waiting = status.waiting.iter().map(|waiting| waiting.messages).sum();
    summarize_causes(&causes, vec![("waiting", waiting)], lines.join("\n"), exit, status)
}

/// Returns a section that is shared by all environments with these causes.
fn summarize_causes(
    causes: &[String],
    amounts: Vec<(&'static str, u64)>,
    text: String,
    exit: Exit,
    status: &OutboxStatus,
) -> Summary {
    let summary = Summary::new(Significance::Counted, causes.join(", "), text, json!(status));
    Summary { exit, amounts, content: Some(json!(causes)), varying: VARYING, ..summary }
}

/// Describes why mail waits or none is accepted.
fn describe_causes(status: &OutboxStatus) -> Vec<String> {
    let store = (!status.store_writable).then(|| "store not writable".to_owned());
    let restored = status.restored.as_ref().map(|_| "restored from a backup and not confirmed".to_owned());
    let waiting = status.waiting.iter().map(|waiting| describe_cause(waiting, status));
    store.into_iter().chain(restored).chain(waiting).collect()
}

/// Describes why mail waits, without what differs between environments: `suspended relay (SMTP-LOGIN)`.
fn describe_cause(waiting: &Waiting, status: &OutboxStatus) -> String {
    let suspended = status.suspended.iter().find(|suspended| Some(&suspended.profile) == waiting.profile.as_ref());
    let finding = suspended.filter(|_| waiting.reason == WaitReason::Suspended).and_then(|own| own.finding.as_ref());
    let detail = match finding {
        Some(finding) => finding.id.to_string(),
        None => cut(&waiting.last_reply, QUOTED),
    };
    let profile = waiting.profile.as_ref().map(ProfileName::as_str).unwrap_or_default();
    let cause = format!("{} {profile}", waiting.reason.id());
    let cause = cause.trim_end();
    if detail.is_empty() { cause.to_owned() } else { format!("{cause} ({detail})") }
}

/// Describes what needs an operator.
fn describe_trouble(status: &OutboxStatus, environment: &str) -> String {
    let lines = trouble_lines(status, environment).join("\n");
    format!("{}\n{lines}", describe_outbox(status, environment)).trim_end().to_owned()
}

fn unknown_messages(status: &OutboxStatus) -> u64 {
    status.messages.get(&MessageStatus::Unknown).copied().unwrap_or_default()
}

/// Returns the number of messages that failed in the period that was asked for.
fn failed_messages(status: &OutboxStatus) -> u64 {
    status.finished.as_ref().and_then(|finished| finished.get(&MessageStatus::Failed).copied()).unwrap_or_default()
}

/// Returns true if something needs an operator.
pub(super) fn has_trouble(status: &OutboxStatus) -> bool {
    needs_attention(status)
        || status.waiting.iter().any(|waiting| waiting.needs_operator)
        || status.rotations.iter().any(|rotation| rotation.standing == Standing::Refused)
        || !trouble_lines(status, "").is_empty()
}

/// Returns the messages that have ended and need an operator.
fn trouble_lines(status: &OutboxStatus, environment: &str) -> Vec<String> {
    let (unknown, failed) = (unknown_messages(status), failed_messages(status));
    let mut lines = Vec::new();
    if unknown > 0 {
        lines.push(format!("unknown      {unknown} may have been sent\n             > mailwright outbox list {environment} --status unknown"));
    }
    if failed > 0 {
        lines.push(format!("failed       {failed} in the last 24 hours\n             > mailwright outbox list {environment} --status failed"));
    }
    lines
}

/// Returns the status without what changes with time alone.
pub(super) fn without_ages(status: &OutboxStatus) -> OutboxStatus {
    let mut status = status.clone();
    status.waiting.iter_mut().for_each(|waiting| waiting.oldest_seconds = 0);
    status
}
