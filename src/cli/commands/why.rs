//! `mailwright why`: answers why a message did not leave, from everything that the services know about it.
//!
//! Of several environments, those that accepted a matching message answer, and those that could not be asked are named. A token
//! with the role `sender` sees its own messages, without the state of the outbox and the routing. If none matches, that is the
//! answer, with the profile that would send, and the exit code is 0.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use crate::{
    api::messages::{MessageDetail, MessagePage, OutboxStatus},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        args::environments::LabelArgs,
        args::since::{Since, end_of, parse_day, start_of},
        environment::{self, Environment},
        fleet::{EnvironmentSet, Fleet},
        short_id::{find_message_id, is_message_id},
        ui::{
            fleet_report::{FleetReport, Significance, Summary, SummaryLabels},
            outbox::{describe_sender, waiting_times},
            wording::{count_of, cut, format_age, resolution_steps, wire_name},
        },
    },
    client::Client,
    model::{
        Code, CompanyId, EnvironmentName, Message, Resolution, Status, WaitReason,
        finding::Finding,
        message::{Class, RecipientStatus, describe_phase},
        resolution::Cell,
    },
    text::{enumerate, printable},
    time::local::format_time,
};

/// The number of messages that a question may match. More are counted as "at least".
const FOUND: u32 = 100;
/// The number of attempts that are listed.
const ATTEMPTS: usize = 5;
/// The number of companies whose sender is named if no message was found.
const COMPANIES: usize = 10;

/// Explain why a message did not leave, and what to do
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("question").required(true).multiple(true)
        .args(["document", "message", "recipient", "function"]),
    after_help = "Examples:\n  \
    mailwright why prod --document invoice/4711\n  \
    mailwright why prod --message 01980c1e-2222-7333-8444-555566667777\n  \
    mailwright why prod --recipient customer@example.com --since 3d\n  \
    mailwright why prod --function documents-accounts-receivable --day 2026-11-23\n  \
    mailwright why 'cust-*' --document invoice/4711       whichever has it answers\n\n\
    Of several messages, the newest one that was not delivered is explained. A token\n\
    with the role `sender` sees its own messages only. Exit code 1 if an environment\n\
    could not be asked."
)]
pub(crate) struct Why {
    /// Environments: names, or patterns such as 'prod-*' [default: the only one]
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
    #[command(flatten)]
    labels: LabelArgs,
    /// Document: type/number
    #[arg(long, value_name = "TYPE/NUMBER")]
    document: Option<String>,
    /// Message id
    #[arg(long, value_name = "ID", conflicts_with_all = ["document", "recipient", "function", "company", "day", "since"])]
    message: Option<String>,
    /// Address of a recipient
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Function of the mail
    #[arg(long)]
    function: Option<String>,
    /// Company of the mail
    #[arg(long)]
    company: Option<String>,
    /// Day on which it was accepted, in the local time zone: 2026-11-23
    #[arg(long, value_name = "DAY", value_parser = parse_day, conflicts_with = "since")]
    day: Option<Date>,
    /// Accepted since: 2h, 3d, 2026-11-23, or a time with its offset
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Output format
    #[arg(long, value_parser = Format::text_or_json(), default_value = Format::HUMAN, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

/// The answer of the service's documents to a question.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    environment: EnvironmentName,
    /// Number of messages that match, at most [`FOUND`].
    found: usize,
    /// True if more may match.
    more: bool,
    /// The message that is explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageDetail>,
    /// The profile that would send now, with every step.
    resolutions: Vec<Resolution>,
    /// The finding that explains a suspension.
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<Finding>,
    /// Number of other messages that wait for the same reason; none if the token may not read that.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_with_it: Option<u64>,
    /// The command that removes the cause, or the next one to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

impl Answer {
    /// The answer of an environment that knows nothing.
    fn nothing(environment: EnvironmentName) -> Self {
        Self {
            environment,
            found: 0,
            more: false,
            message: None,
            resolutions: Vec::new(),
            finding: None,
            waiting_with_it: None,
            command: None,
        }
    }
}

impl Runnable for Why {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let now = context.clock.now();
        // A mistake in the question is reported once, and before a service is asked.
        self.query(now)?;
        let repository = Arc::new(context.repository()?);
        let selection = self.labels.selection();
        match Fleet::find(context, &repository, &self.environments, &selection, &self.service)? {
            Fleet::Single(environment) => self.answer(context, environment, now),
            Fleet::Many(set) => self.answer_many(context, set, now),
        }
    }
}

/// The totals of the environments that were asked.
const LABELS: SummaryLabels = SummaryLabels { notable: ("found", "with a match"), quiet: ("empty", "without a match") };

impl Why {
    /// Asks one environment.
    fn answer(&self, context: &Context, environment: Environment, now: Timestamp) -> Result<Exit, CliError> {
        let client = environment.client(context, &self.service)?;
        let answer = context.runtime()?.block_on(self.ask(&client, environment.name, now))?;
        if self.format == Format::Json {
            context.printer.json(&serde_json::to_value(&answer).unwrap_or_default());
        } else {
            context.printer.out(&Self::describe(&answer, now));
        }
        Ok(Exit::Done)
    }

    /// Asks several environments, and reports those that know something and those that could not be asked.
    fn answer_many(&self, context: &Context, set: EnvironmentSet, now: Timestamp) -> Result<Exit, CliError> {
        if let Some(text) = self.message.as_ref().filter(|text| !is_message_id(text)) {
            let named = self.labels.describe(&self.environments);
            return Err(CliError::coded(Code::Usage, format!("`{}` is not a message id", text.escape_debug()))
                .remedy(format!("`mailwright outbox list {named}` shows the ids.")));
        }
        let repository = set.repository();
        let results = set.run(context, Summary::headline, |context, environment| {
            let client = environment.client(context, &self.service)?;
            match context.runtime()?.block_on(self.ask(&client, environment.name.clone(), now)) {
                // The id is that of a message of another environment.
                Err(error) if self.message.is_some() && error.code == Some(Code::NotFound) => {
                    Ok(Self::summarize(&Answer::nothing(environment.name.clone()), now))
                }
                answer => Ok(Self::summarize(&answer?, now)),
            }
        })?;
        let report = FleetReport::new(results, repository.as_deref()).summary_only(self.labels.summary);
        report.print(context, self.format, &LABELS)
    }

    /// Returns an answer as the result of one environment of many.
    fn summarize(answer: &Answer, now: Timestamp) -> Summary {
        let document = serde_json::to_value(answer).unwrap_or_default();
        let Some(detail) = &answer.message else {
            return Summary::new(Significance::Quiet, "no match".to_owned(), String::new(), document);
        };
        let mut line = format!("{} is {}", describe_subject(&detail.message), detail.message.status.id());
        if let Some(waiting) = &detail.waiting {
            line = format!("{line}: {}", cut(&waiting.explanation, 60));
        }
        Summary::new(Significance::Counted, line, Self::describe(answer, now), document)
    }

    async fn ask(&self, client: &Client, environment: EnvironmentName, now: Timestamp) -> Result<Answer, CliError> {
        let (message, found, more) = self.find(client, &environment, now).await?;
        let mut answer = Answer { found, more, message, ..Answer::nothing(environment) };
        if answer.message.is_none() && self.function.is_none() {
            return Ok(answer);
        }
        // A sender may read neither the state of the outbox nor how mail is routed.
        let status = match client.outbox().await {
            Err(problem) if problem.code == Code::RoleTooLow => None,
            status => Some(status?),
        };
        if let (Some(status), Some(message)) = (&status, &answer.message) {
            (answer.waiting_with_it, answer.finding) = waiting_with(status, message);
        }
        if status.is_some() {
            answer.resolutions = self.resolve(client, &answer).await?;
        }
        answer.command = answer.message.as_ref().and_then(|message| command(message, &answer.environment));
        Ok(answer)
    }

    /// Finds the message to explain, and how many match.
    async fn find(
        &self,
        client: &Client,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<(Option<MessageDetail>, usize, bool), CliError> {
        if let Some(text) = &self.message {
            let id = find_message_id(client, environment.as_str(), text).await?;
            return Ok((Some(client.message(id).await?), 1, false));
        }
        let MessagePage { messages, next_before } = client.messages(&self.query(now)?).await?;
        let chosen = messages.iter().find(|message| message.status != Status::Delivered).or_else(|| messages.first());
        let detail = match chosen {
            Some(message) => Some(client.message(message.id).await?),
            None => None,
        };
        Ok((detail, messages.len(), next_before.is_some()))
    }

    fn query(&self, now: Timestamp) -> Result<Vec<(&'static str, String)>, CliError> {
        let mut query = vec![("limit", FOUND.to_string())];
        if let Some(document) = &self.document {
            let (kind, number) = document
                .split_once('/')
                .filter(|(kind, number)| !kind.is_empty() && !number.is_empty())
                .ok_or_else(|| {
                    CliError::coded(Code::Usage, "cannot read `--document`: it is not type/number")
                        .remedy("Write it as type/number: `--document invoice/4711`.")
                })?;
            query.extend([("documentType", kind.to_owned()), ("documentNumber", number.to_owned())]);
        }
        query.extend(self.recipient.clone().map(|recipient| ("recipient", recipient)));
        if let Some(function) = &self.function {
            query.push(("function", environment::function(function)?.id().to_owned()));
        }
        if let Some(company) = &self.company {
            query.push(("company", environment::company(company)?.to_string()));
        }
        let (since, until) = match self.day {
            Some(day) => (start_of(day), end_of(day)),
            None => (self.since.map(|since| since.timestamp(now)), None),
        };
        query.extend(since.map(|since| ("since", since.to_string())));
        query.extend(until.map(|until| ("until", until.to_string())));
        Ok(query)
    }

    /// Asks who sends now: for the message, or for the function if there is no message.
    async fn resolve(&self, client: &Client, answer: &Answer) -> Result<Vec<Resolution>, CliError> {
        let cells: Vec<Cell> = match (&answer.message, &self.function) {
            (Some(detail), _) => vec![detail.message.resolution.cell.clone()],
            (None, Some(function)) => {
                let function = environment::function(function)?;
                let companies: Vec<CompanyId> = if let Some(company) = &self.company {
                    vec![environment::company(company)?]
                } else {
                    let state = environment::state(client, &answer.environment).await?;
                    state.settings.companies.iter().take(COMPANIES).cloned().collect()
                };
                companies.into_iter().map(|company| Cell { company, function, client: None }).collect()
            }
            (None, None) => Vec::new(),
        };
        let mut resolutions = Vec::new();
        for cell in &cells {
            // A company that was removed since then has no route.
            resolutions.extend(client.resolve(cell).await.ok());
        }
        Ok(resolutions)
    }

    fn describe(answer: &Answer, now: Timestamp) -> String {
        let Some(detail) = &answer.message else { return Self::describe_nothing(answer) };
        let message = &detail.message;
        let mut lines = Vec::new();
        if answer.found > 1 {
            let more = if answer.more { "at least " } else { "" };
            lines.push(format!(
                "{more}{} match; this is the newest one that was not delivered.\n",
                count_of(answer.found, "message")
            ));
        }
        lines.push(headline(message, now));
        lines.push(String::new());
        lines.push(format!(
            "Sender:  profile `{}`, chosen at generation {} ({})",
            message.profile,
            message.generation,
            resolution_steps(&message.resolution)
        ));
        if let Some(current) = answer.resolutions.first().filter(|_| !message.status.is_final()) {
            match &current.profile {
                Some(profile) if *profile == message.profile => {}
                Some(profile) => lines.push(format!("         now `{profile}` ({})", resolution_steps(current))),
                None => lines.push(format!("         now no profile ({})", resolution_steps(current))),
            }
        }
        lines.extend(attempt_lines(detail));
        lines.extend(outcome_lines(answer, detail));
        if let Some(command) = &answer.command {
            lines.push(format!("\nNext:    {}", printable(command)));
        }
        lines.join("\n")
    }

    fn describe_nothing(answer: &Answer) -> String {
        let mut lines = vec![
            "No accepted message matches: it was not submitted to this service, or with another token, or it is not kept any more."
                .to_owned(),
        ];
        for resolution in &answer.resolutions {
            let profile = resolution.profile.as_ref().map_or("no profile".to_owned(), |profile| format!("`{profile}`"));
            lines.push(format!("{} would be sent by {profile} ({}).", resolution.cell, resolution_steps(resolution)));
        }
        lines.join("\n")
    }
}

/// Returns how many other messages wait for the same reason, and the finding that explains it.
fn waiting_with(status: &OutboxStatus, detail: &MessageDetail) -> (Option<u64>, Option<Finding>) {
    let Some(own) = &detail.waiting else { return (None, None) };
    let is_same = |group: &&crate::model::Waiting| {
        (group.reason, &group.profile, &group.hold) == (own.reason, &own.profile, &own.hold)
    };
    let others = status.waiting.iter().find(is_same).map_or(0, |group| group.messages.saturating_sub(1));
    let suspended = status.suspended.iter().find(|suspended| Some(&suspended.profile) == own.profile.as_ref());
    let finding = suspended.filter(|_| own.reason == WaitReason::Suspended).and_then(|found| found.finding.clone());
    (Some(others), finding)
}

/// Returns the command for a message in its state.
fn command(detail: &MessageDetail, environment: &EnvironmentName) -> Option<String> {
    let id = detail.message.id;
    match detail.message.status {
        Status::Queued => detail.waiting.as_ref()?.plain_command().map(str::to_owned),
        Status::AwaitingSender => Some(format!("mailwright outbox cancel {environment} {id}")),
        Status::Sending | Status::Delivered => None,
        Status::Failed => Some(format!("mailwright outbox replay {environment} {id}")),
        Status::Cancelled => Some(format!("mailwright outbox replay {environment} {id} --all-recipients")),
        Status::Unknown => {
            Some(format!("mailwright outbox resolve {environment} {id} --delivered --reason 'found at the recipient'"))
        }
    }
}

/// Returns what the message is: its document, or else its id.
fn describe_subject(message: &Message) -> String {
    match &message.document {
        Some(document) => printable(&format!("{}/{}", document.kind, document.number)).into_owned(),
        None => format!("message {}", message.id),
    }
}

/// Returns what the message is, and its status.
fn headline(message: &Message, now: Timestamp) -> String {
    let what = describe_subject(message);
    let recipients = enumerate(message.recipients.iter().map(|recipient| recipient.address.as_str()), 3);
    let age = u64::try_from(now.as_second().saturating_sub(message.accepted_at.as_second())).unwrap_or(0);
    format!(
        "{} of {} ({}) to {} is {}; accepted {} ({} ago).",
        what,
        message.company,
        message.function,
        printable(&recipients),
        message.status.id(),
        format_time(message.accepted_at),
        format_age(age)
    )
}

/// Returns the last attempts, with the replies of the server.
fn attempt_lines(detail: &MessageDetail) -> Vec<String> {
    let history = &detail.history;
    if history.is_empty() {
        return vec!["Tried:   not yet".to_owned()];
    }
    let mut lines = vec![format!("Tried:   {}", count_of(history.len(), "attempt"))];
    let shown = &history[history.len().saturating_sub(ATTEMPTS)..];
    lines.extend(shown.iter().map(|attempt| {
        let server =
            if attempt.server.is_empty() { String::new() } else { format!(" at {}", cut(&attempt.server, 60)) };
        // The phase in which a message was accepted is always the last one.
        let phase = match attempt.class {
            Class::Delivered => String::new(),
            _ => format!(" at {}", printable(describe_phase(&attempt.phase))),
        };
        format!(
            "         {} by `{}`{server}: {}{phase}: {}",
            format_time(attempt.at),
            attempt.profile,
            wire_name(attempt.class),
            cut(&attempt.reply, 200)
        )
    }));
    lines
}

/// Returns what stops the message, or what its status means.
fn outcome_lines(answer: &Answer, detail: &MessageDetail) -> Vec<String> {
    let message = &detail.message;
    let reason = cut(&message.reason, 300);
    let mut lines = Vec::new();
    match message.status {
        Status::Queued => {
            let Some(waiting) = &detail.waiting else { return lines };
            lines.push(format!("Waits:   {}", printable(&waiting.describe())));
            let times = waiting_times(waiting);
            if !times.is_empty() {
                lines.push(format!("         {times}"));
            }
            if let Some(finding) = &answer.finding {
                lines.push(format!("         {}: {}", finding.id, printable(&finding.message)));
                lines.extend(finding.remedy.iter().map(|step| format!("         > {}", printable(step))));
            }
            match answer.waiting_with_it {
                Some(0) => lines.push("         No other message waits for this.".to_owned()),
                Some(others) => lines.push(format!(
                    "         {} for the same reason.",
                    if others == 1 {
                        "1 other message waits".to_owned()
                    } else {
                        format!("{others} other messages wait")
                    }
                )),
                None => {}
            }
        }
        Status::AwaitingSender => lines.extend(describe_sender(message).map(|wait| format!("Waits:   {wait}"))),
        Status::Sending => {
            let now = describe_sender(message).unwrap_or_else(|| "an attempt is under way".to_owned());
            lines.push(format!("Now:     {now}"));
        }
        Status::Delivered => lines.push(format!(
            "Result:  the mail server accepted it{}: {reason}. A later bounce is sent to the sender's mailbox.",
            message.finished_at.map(|at| format!(" at {}", format_time(at))).unwrap_or_default()
        )),
        Status::Failed => lines.push(format!("Result:  it failed: {reason}")),
        Status::Cancelled => lines.push(format!("Result:  {reason}")),
        Status::Unknown => {
            lines.push(format!("Result:  it is not known whether the server accepted it: {reason}"));
            lines.push(
                "         `mailwright explain MW0267` describes how to find out; `--failed` if it did not.".to_owned(),
            );
        }
    }
    let refused = message.recipients.iter().filter(|recipient| recipient.status == RecipientStatus::Failed);
    lines.extend(
        refused
            .take(3)
            .map(|recipient| format!("         {}: {}", printable(&recipient.address), cut(&recipient.reply, 200))),
    );
    lines
}
