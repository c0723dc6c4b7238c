//! `mailwright outbox`: what was accepted, what became of it, and what can be done about it.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    api::messages::{Action, ActionOptions, MessageDetail, NewHold, OutboxStatus, Resolved, ResolvedOutcome},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        environment::{self, Environment},
        ui::{confirm::confirm, table::table},
    },
    client::Client,
    model::{
        Code, Message, Status,
        message::{Recipient, RecipientStatus},
    },
    text::printable,
};

/// Follow accepted mail, and try again, call back or hold it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright outbox prod status\n  mailwright outbox prod list --status failed\n  \
    mailwright outbox prod list --document invoice/4711\n  mailwright outbox prod show 01980c1e-...\n  \
    mailwright outbox prod replay 01980c1e-...\n  \
    mailwright outbox prod replay --status failed --dry-run\n  \
    mailwright outbox prod resolve 01980c1e-... --delivered --reason 'in Sent Items, 14:02'\n  \
    mailwright outbox prod hold --company EDU1 --reason 'wrong price list' --for 2h\n\n\
    `delivered` means that the mail server, or Exchange, has taken it. What bounces later comes back to the sender's\n\
    mailbox. `unknown` means that it may have been taken, and that nobody can know; `resolve` says what you found.")]
pub(crate) struct Outbox {
    /// The environment
    environment: String,
    #[command(subcommand)]
    command: OutboxCommand,
    /// How to print it
    #[arg(long, global = true, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

#[derive(Debug, clap::Subcommand)]
enum OutboxCommand {
    /// How delivery stands: counts, parked profiles, holds
    Status,
    /// List messages, newest first
    List(List),
    /// One message with every attempt
    Show {
        /// The message's id
        id: Uuid,
    },
    /// Try messages that wait now
    Retry(Chosen),
    /// Call back messages that wait
    Cancel(Chosen),
    /// Send failed and unknown messages again, to those whom they did not reach
    Replay(Replay),
    /// Say what became of unknown messages: delivered or failed
    Resolve(Resolve),
    /// Write a message's contents to standard output, or into a file
    Export {
        /// The message's id
        id: Uuid,
        /// Where to write it
        #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Hold mail of a profile, a company, a function
    Hold(HoldOptions),
    /// The holds that last
    Holds,
    /// Remove a hold
    Release {
        /// The hold's id
        id: String,
    },
    /// Accept mail again after the store was restored from a backup
    ConfirmRestore {
        /// Skip the confirmation prompt
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// What became of them: queued, sending, delivered, failed, unknown, cancelled
    #[arg(long)]
    status: Option<Status>,
    /// Whose mail
    #[arg(long)]
    company: Option<String>,
    /// What kind of mail
    #[arg(long)]
    function: Option<String>,
    /// The document: a type, or type/number
    #[arg(long, value_name = "TYPE[/NUMBER]")]
    document: Option<String>,
    /// Somebody whom it is for
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The `Message-ID`
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Older than this, as the page before said
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// The messages' ids
    #[arg(required_unless_present = "status")]
    ids: Vec<Uuid>,
    /// All of this status instead
    #[arg(long, conflicts_with = "ids")]
    status: Option<Status>,
    /// With `--status`: of this company alone
    #[arg(long, requires = "status")]
    company: Option<String>,
    /// With `--status`: of this function alone
    #[arg(long, requires = "status")]
    function: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright outbox prod replay 01980c1e-...\n  \
    mailwright outbox prod replay --status failed --company EDU1 --dry-run\n  \
    mailwright outbox prod replay --status failed --yes\n  \
    mailwright outbox prod replay 01980c1e-... --again\n\n\
    It lists who would get which message, and asks. Messages that were delivered or cancelled\n\
    are refused without --again.")]
struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Send to every recipient, also to those who had it, and messages that were delivered or cancelled
    #[arg(long)]
    again: bool,
    /// Show what would be sent to whom, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Skip the confirmation prompt
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright outbox prod resolve 01980c1e-... --delivered --reason 'in Sent Items, 14:02'\n  \
    mailwright outbox prod resolve --status unknown --company EDU1 --failed --reason 'not in the server log'\n\n\
    `mailwright explain MW0267` says how to find out."
)]
#[command(group = clap::ArgGroup::new("outcome").required(true).args(["delivered", "failed"]))]
struct Resolve {
    #[command(flatten)]
    chosen: Chosen,
    /// The recipients have it
    #[arg(long)]
    delivered: bool,
    /// The recipients do not have it
    #[arg(long)]
    failed: bool,
    /// How that is known; 1 to 200 characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Skip the confirmation prompt
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct HoldOptions {
    /// The profile that sends nothing
    #[arg(long)]
    profile: Option<String>,
    /// The company whose mail waits
    #[arg(long)]
    company: Option<String>,
    /// The function whose mail waits
    #[arg(long)]
    function: Option<String>,
    /// Why
    #[arg(long)]
    reason: String,
    /// For how long: 30m, 2h, 3d [default: until it is removed]
    #[arg(long = "for", value_name = "TIME")]
    lasting: Option<crate::model::Lapse>,
}

impl Runnable for Outbox {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let client = environment.client(context, &self.service)?;
        context.runtime()?.block_on(self.with(context, &client))
    }
}

impl Outbox {
    async fn with(&self, context: &Context, client: &Client) -> Result<Exit, CliError> {
        match &self.command {
            OutboxCommand::Status => {
                let status = client.outbox().await?;
                self.print(context, &status, || standing(&status));
            }
            OutboxCommand::List(list) => {
                let page = client.messages(&list.query()?).await?;
                self.print(context, &page, || messages(&page.messages, page.next_before));
            }
            OutboxCommand::Show { id } => {
                let detail = client.message(*id).await?;
                self.print(context, &detail, || one(&detail));
            }
            OutboxCommand::Retry(chosen) => return self.act(context, client, chosen, Action::Retry).await,
            OutboxCommand::Cancel(chosen) => return self.act(context, client, chosen, Action::Cancel).await,
            OutboxCommand::Replay(options) => return self.replay(context, client, options).await,
            OutboxCommand::Resolve(options) => return self.resolve(context, client, options).await,
            OutboxCommand::Export { id, output } => {
                let content = client.content(*id).await?;
                let failed =
                    |error: std::io::Error| CliError::coded(Code::Unwritable, format!("cannot write: {error}"));
                match output {
                    Some(path) => crate::fs::write_atomically(path, &content).map_err(failed)?,
                    // What somebody mailed acts on no terminal; a pipe gets it as it is.
                    None if std::io::stdout().is_terminal() => context.printer.out(&String::from_utf8_lossy(&content)),
                    None => std::io::stdout().write_all(&content).map_err(failed)?,
                }
            }
            OutboxCommand::Hold(options) => {
                let hold = client.hold(&options.hold(context.clock.now())?).await?;
                self.print(context, &hold, || {
                    format!("Held. To let it go: mailwright outbox {} release {}", self.environment, hold.id)
                });
            }
            OutboxCommand::Holds => {
                let holds = client.outbox().await?.holds;
                self.print(context, &holds, || hold_table(&holds));
            }
            OutboxCommand::ConfirmRestore { yes } => return self.confirm_restore(context, client, *yes).await,
            OutboxCommand::Release { id } => {
                client.release(id).await?;
                context.printer.note("Released.");
            }
        }
        Ok(Exit::Done)
    }

    fn print(&self, context: &Context, document: &impl serde::Serialize, text: impl FnOnce() -> String) {
        let text = if self.format == Format::Json {
            format!("{:#}", serde_json::to_value(document).unwrap_or_default())
        } else {
            text()
        };
        context.printer.out(&text);
    }

    async fn act(&self, context: &Context, client: &Client, chosen: &Chosen, action: Action) -> Result<Exit, CliError> {
        let ids = if chosen.status.is_some() {
            chosen.messages(client).await?.iter().map(|message| message.id).collect()
        } else {
            chosen.ids.clone()
        };
        self.each(context, &ids, action.id(), async |id| client.act(id, action, ActionOptions::default()).await).await
    }

    async fn confirm_restore(&self, context: &Context, client: &Client, yes: bool) -> Result<Exit, CliError> {
        let Some(restored) = client.outbox().await?.restored else {
            context.printer.note("There is no restore to confirm.");
            return Ok(Exit::Done);
        };
        context.printer.note(&format!(
            "{}\nClients may repeat submissions that were answered after the backup; such a mail would be sent a second time.",
            restored_lines(&restored, &self.environment).join("\n")
        ));
        let question = format!("Accept mail in {} again?", self.environment);
        confirm(context, yes, &question, "Pass `--yes` to skip the prompt.")?;
        client.confirm_restore().await?;
        context.printer.note("Confirmed. Mail is accepted again.");
        Ok(Exit::Done)
    }

    async fn replay(&self, context: &Context, client: &Client, options: &Replay) -> Result<Exit, CliError> {
        let Replay { chosen, again, dry_run, yes } = options;
        let messages = chosen.messages(client).await?;
        let is_refused = |message: &&Message| matches!(message.status, Status::Delivered | Status::Cancelled);
        let refused: Vec<&Message> = messages.iter().filter(is_refused).collect();
        if let Some(first) = refused.first().filter(|_| !again) {
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
            .remedy("Leave them out. To send them again to every recipient: add `--again`."));
        }
        let planned: Vec<Replayed<'_>> = messages.iter().map(|message| Replayed::new(message, *again)).collect();
        if *dry_run && self.format == Format::Json {
            context.printer.out(&format!("{:#}", serde_json::json!({ "messages": planned })));
            return Ok(Exit::Done);
        }
        if self.format != Format::Json {
            context.printer.out(&replayed(&planned, *dry_run));
        }
        if *dry_run || planned.is_empty() {
            if planned.is_empty() && self.format == Format::Json {
                context.printer.out("[]");
            }
            return Ok(Exit::Done);
        }
        let question = format!("Send {} again in {}?", counted(planned.len(), "message"), self.environment);
        confirm(
            context,
            *yes,
            &question,
            "Pass `--yes` to skip the prompt, or `--dry-run` to see what would be sent.",
        )?;
        let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
        let options = ActionOptions { again: *again };
        self.each(context, &ids, "put back into the queue", async |id| client.act(id, Action::Replay, options).await)
            .await
    }

    async fn resolve(&self, context: &Context, client: &Client, options: &Resolve) -> Result<Exit, CliError> {
        let outcome = if options.delivered { ResolvedOutcome::Delivered } else { ResolvedOutcome::Failed };
        let resolved = Resolved { outcome, reason: options.reason.clone() };
        let ids: Vec<Uuid> = if options.chosen.status.is_some() {
            let messages = options.chosen.messages(client).await?;
            if self.format != Format::Json {
                context.printer.out(&crate::cli::commands::outbox::messages(&messages, None));
            }
            if messages.is_empty() {
                return Ok(Exit::Done);
            }
            let question = format!("Resolve {} as {}?", counted(messages.len(), "message"), outcome.id());
            confirm(context, options.yes, &question, "Pass `--yes` to skip the prompt.")?;
            messages.iter().map(|message| message.id).collect()
        } else {
            options.chosen.ids.clone()
        };
        let done = format!("resolved as {}", outcome.id());
        self.each(context, &ids, &done, async |id| client.resolve_message(id, &resolved).await).await
    }

    /// Does the same for each message, and goes on where one is refused.
    async fn each(
        &self,
        context: &Context,
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
                    context.printer.note(&format!("{id}: {}", plain(&error.message)));
                    failed = Some(error);
                }
            }
        }
        self.print(context, &done, || format!("{} of {}: {what}", done.len(), counted(ids.len(), "message")));
        failed.map_or(Ok(Exit::Done), |error| Err(error.into()))
    }
}

/// A number with its noun.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

impl Chosen {
    /// The messages that are meant, as they are now.
    async fn messages(&self, client: &Client) -> Result<Vec<Message>, CliError> {
        let mut messages = Vec::new();
        for id in &self.ids {
            messages.push(client.message(*id).await?.message);
        }
        let Some(status) = self.status else { return Ok(messages) };
        let mut query = vec![("status", status.id().to_owned()), ("limit", "500".to_owned())];
        if let Some(company) = &self.company {
            query.push(("company", environment::company(company)?.to_string()));
        }
        if let Some(function) = &self.function {
            query.push(("function", environment::function(function)?.id().to_owned()));
        }
        let mut before = None;
        loop {
            let mut query = query.clone();
            query.extend(before.map(|before: u64| ("before", before.to_string())));
            let page = client.messages(&query).await?;
            messages.extend(page.messages);
            before = page.next_before;
            if before.is_none() {
                return Ok(messages);
            }
        }
    }
}

/// A message that is to be sent again: who gets it, and what each got last time.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Replayed<'a> {
    id: Uuid,
    status: Status,
    subject: &'a str,
    recipients: Vec<ReplayedTo<'a>>,
}

/// A recipient of a message that is to be sent again.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplayedTo<'a> {
    #[serde(flatten)]
    last: &'a Recipient,
    /// Whether it is sent to this one.
    sent: bool,
}

impl<'a> Replayed<'a> {
    fn new(message: &'a Message, again: bool) -> Self {
        let recipients = message.recipients.iter().map(|last| {
            let sent = again || last.status != RecipientStatus::Delivered;
            ReplayedTo { last, sent }
        });
        Self { id: message.id, status: message.status, subject: &message.subject, recipients: recipients.collect() }
    }
}

/// How many messages are shown before the question; a dry run shows all.
const SHOWN: usize = 20;

fn replayed(planned: &[Replayed<'_>], all: bool) -> String {
    if planned.is_empty() {
        return "No messages.".to_owned();
    }
    let shown = if all { planned.len() } else { SHOWN };
    let rows = planned.iter().take(shown).flat_map(|message| {
        message.recipients.iter().enumerate().map(|(index, ReplayedTo { last, sent })| {
            let first = |text: String| if index == 0 { text } else { String::new() };
            let status = serde_json::to_value(last.status).ok();
            let status = status.and_then(|status| status.as_str().map(str::to_owned)).unwrap_or_default();
            vec![
                first(message.id.to_string()),
                first(message.status.id().to_owned()),
                cut(&last.address, 40),
                if *sent { "yes" } else { "no" }.to_owned(),
                status,
                cut(&last.reply, 60),
                first(cut(message.subject, 30)),
            ]
        })
    });
    let mut text = table(&["id", "status", "recipient", "sent", "last time", "reply", "subject"], rows);
    if planned.len() > shown {
        text.push_str(&format!("\n... and {} more; --dry-run shows all", planned.len() - shown));
    }
    let recipients = |wanted: &dyn Fn(&ReplayedTo<'_>) -> bool| {
        planned.iter().flat_map(|message| &message.recipients).filter(|recipient| wanted(recipient)).count()
    };
    let sent = recipients(&|recipient| recipient.sent);
    let had = recipients(&|recipient| recipient.sent && recipient.last.status == RecipientStatus::Delivered);
    let unknown = recipients(&|recipient| recipient.sent && recipient.last.status == RecipientStatus::Unknown);
    text.push_str(&format!(
        "\n{} to {}: {had} had it before, {unknown} may have had it.",
        counted(planned.len(), "message"),
        counted(sent, "recipient")
    ));
    text
}

impl List {
    fn query(&self) -> Result<Vec<(&'static str, String)>, CliError> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.status.map(|status| ("status", status.id().to_owned())));
        query.extend(self.before.map(|before| ("before", before.to_string())));
        query.extend(self.recipient.clone().map(|recipient| ("recipient", recipient)));
        query.extend(self.message_id.clone().map(|id| ("messageId", id)));
        if let Some(company) = &self.company {
            query.push(("company", environment::company(company)?.to_string()));
        }
        if let Some(function) = &self.function {
            query.push(("function", environment::function(function)?.id().to_owned()));
        }
        if let Some(document) = &self.document {
            let (kind, number) =
                document.split_once('/').map_or((document.as_str(), None), |(kind, number)| (kind, Some(number)));
            query.push(("documentType", kind.to_owned()));
            query.extend(number.map(|number| ("documentNumber", number.to_owned())));
        }
        Ok(query)
    }
}

impl HoldOptions {
    fn hold(&self, now: Timestamp) -> Result<NewHold, CliError> {
        if self.profile.is_none() && self.company.is_none() && self.function.is_none() {
            return Err(CliError::coded(Code::Usage, "this would hold everything")
                .remedy("Name what to hold: `--profile`, `--company` or `--function`."));
        }
        Ok(NewHold {
            profile: self.profile.as_deref().map(environment::profile_name).transpose()?,
            company: self.company.as_deref().map(environment::company).transpose()?,
            function: self.function.as_deref().map(environment::function).transpose()?,
            reason: self.reason.clone(),
            until: self.lasting.map(|lasting| now + lasting.duration()),
        })
    }
}

/// A text from elsewhere, on one line and without what a terminal would act on.
pub(crate) fn plain(text: &str) -> String {
    printable(text).into_owned()
}

fn cut(text: &str, length: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= length {
        text
    } else {
        format!("{}…", text.chars().take(length - 1).collect::<String>())
    }
}

fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn messages(messages: &[Message], next: Option<u64>) -> String {
    if messages.is_empty() {
        return "No messages.".to_owned();
    }
    let rows = messages.iter().map(|message| {
        let first = message.recipients.first().map_or("", |recipient| recipient.address.as_str());
        let more = message.recipients.len().saturating_sub(1);
        let to = if more == 0 { cut(first, 40) } else { format!("{} +{more}", cut(first, 36)) };
        let mark = match (message.possible_duplicate, message.sent_again) {
            (true, _) => " (possibly twice)",
            (false, true) => " (again)",
            (false, false) => "",
        };
        vec![
            message.id.to_string(),
            format!("{}{mark}", message.status.id()),
            message.company.to_string(),
            message.function.id().to_owned(),
            to,
            cut(&message.subject, 40),
            at(message.accepted_at),
        ]
    });
    let mut text = table(&["id", "status", "company", "function", "to", "subject", "accepted"], rows);
    if let Some(next) = next {
        text.push_str(&format!("\nThere are more: --before {next}"));
    }
    text
}

fn one(detail: &MessageDetail) -> String {
    let message = &detail.message;
    let mut lines = vec![
        format!("message    {}", message.id),
        format!(
            "status     {}{}{}",
            message.status.id(),
            if message.possible_duplicate { ", possibly sent twice" } else { "" },
            if message.sent_again { ", sent again on request" } else { "" }
        ),
        format!("for        {} {}", message.company, message.function),
        format!("subject    {}", plain(&message.subject)),
        format!("Message-ID {}", plain(&message.message_id)),
        format!("size       {} bytes", message.size),
        format!("accepted   {} from `{}`", at(message.accepted_at), plain(&message.by)),
        format!("chosen     profile `{}` at generation {}", message.profile, message.generation),
    ];
    lines.extend(message.requeued_at.map(|requeued| format!("queued     again at {}", at(requeued))));
    let steps = message.resolution.steps.iter().map(|step| {
        let whom = step.company.as_ref().map_or("system-wide".to_owned(), |company| format!("for {company}"));
        let found = step.found.as_ref().map_or("nobody".to_owned(), ToString::to_string);
        format!("{} {whom}: {found}", step.function)
    });
    lines.push(format!("because    {}", steps.collect::<Vec<_>>().join("; ")));
    if let Some(document) = &message.document {
        lines.push(format!("document   {} {}", plain(&document.kind), plain(&document.number)));
    }
    if !message.reason.is_empty() {
        lines.push(format!("last       {}", plain(&message.reason)));
    }
    if let Some(next) = message.next_attempt_at {
        lines.push(format!("next       {}", at(next)));
    }
    if let Some(waits) = &detail.waits_for {
        lines.push(format!("waits      {}", plain(waits)));
    }
    lines.push(String::new());
    let rows = message.recipients.iter().map(|recipient| {
        let status = serde_json::to_value(recipient.status).ok();
        let status = status.and_then(|status| status.as_str().map(str::to_owned)).unwrap_or_default();
        vec![plain(&recipient.address), status, cut(&recipient.reply, 80)]
    });
    lines.push(table(&["recipient", "status", "reply"], rows));
    if !detail.history.is_empty() {
        lines.push(String::new());
        let rows = detail.history.iter().map(|attempt| {
            let class = serde_json::to_value(attempt.class).ok();
            vec![
                attempt.number.to_string(),
                at(attempt.at),
                format!("{} ms", attempt.milliseconds),
                attempt.profile.to_string(),
                cut(&attempt.server, 40),
                attempt.phase.clone(),
                class.and_then(|class| class.as_str().map(str::to_owned)).unwrap_or_default(),
                cut(&attempt.reply, 80),
                attempt.next_attempt_at.map(at).unwrap_or_default(),
            ]
        });
        lines.push(table(&["attempt", "at", "took", "profile", "server", "phase", "class", "reply", "next try"], rows));
    }
    lines.join("\n")
}

/// What is known of a restore that nobody has confirmed.
fn restored_lines(restored: &crate::model::integrity::Restored, environment: &str) -> Vec<String> {
    let mut lines = vec![
        format!(
            "restored     the store was restored from a backup, noticed {}: {}",
            at(restored.noticed_at),
            plain(&restored.why)
        ),
        format!(
            "             no mail is accepted; {} that waited are unknown",
            counted(usize::try_from(restored.messages).unwrap_or(usize::MAX), "message")
        ),
    ];
    if restored.suspended_tokens > 0 {
        lines.push(format!(
            "             {} tokens are suspended: `mailwright token list {environment}`",
            restored.suspended_tokens
        ));
    }
    lines.push(format!("             > mailwright outbox {environment} confirm-restore"));
    lines
}

/// How delivery stands; `status` shows it as well.
pub(crate) fn standing(status: &OutboxStatus) -> String {
    let counts: Vec<String> = status
        .messages
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(status, count)| format!("{count} {}", status.id()))
        .collect();
    let counts = if counts.is_empty() { "empty".to_owned() } else { counts.join(", ") };
    let mut lines = vec![format!("outbox       {counts}")];
    if !status.records {
        lines.push("store        cannot record what happens; nothing is sent until it can".to_owned());
    }
    if let Some(restored) = &status.restored {
        lines.extend(restored_lines(restored, "ENV"));
    }
    for parked in &status.parked {
        lines.push(format!("parked       {} since {}: {}", parked.profile, at(parked.since), plain(&parked.reason)));
        if let Some(finding) = &parked.finding {
            lines.push(format!("             {}: {}", finding.id, plain(&finding.message)));
            lines.extend(finding.remedy.iter().map(|step| format!("             > {}", plain(step))));
        }
        lines.push(format!("             tried again at {}", at(parked.next_probe_at)));
    }
    for rotation in &status.rotations {
        lines.push(format!("rotation     {}", crate::cli::commands::secrets::standing(rotation)));
    }
    for profile in &status.down {
        lines.push(format!(
            "down         {profile}: its server does not answer as it should; it is tried again by itself"
        ));
    }
    if !status.holds.is_empty() {
        lines.push(String::new());
        lines.push(hold_table(&status.holds));
    }
    lines.join("\n")
}

fn hold_table(holds: &[crate::model::Hold]) -> String {
    if holds.is_empty() {
        return "Nothing is held.".to_owned();
    }
    let all = || "all".to_owned();
    let rows = holds.iter().map(|hold| {
        vec![
            hold.id.clone(),
            hold.profile.as_ref().map_or_else(all, ToString::to_string),
            hold.company.as_ref().map_or_else(all, ToString::to_string),
            hold.function.map_or_else(all, |function| function.id().to_owned()),
            hold.until.map_or("until it is removed".to_owned(), at),
            plain(&hold.owner),
            cut(&hold.reason, 60),
        ]
    });
    table(&["hold", "profile", "company", "function", "until", "owner", "reason"], rows)
}
