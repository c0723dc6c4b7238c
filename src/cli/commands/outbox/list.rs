//! `mailwright outbox list`: the filters of a search and the table of messages.
//!
//! The service searches and returns pages; contents of messages are not shown. A page has 50 messages, or up to 500 by option; the
//! end of the output says how to get the next.

use jiff::Timestamp;

use crate::{
    cli::{
        CliError,
        args::{since::Since, waiting::WaitFilter},
        commands::outbox::selection::Environments,
        environment,
        ui::{
            table::table,
            wording::{cut, short_ids},
        },
    },
    model::{Message, Status},
    time::local::format_time,
};

/// Filters of a list of messages.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) environments: Environments,
    /// Status: queued, sending, delivered, failed, unknown or cancelled
    #[arg(long)]
    status: Option<Status>,
    /// Company
    #[arg(long)]
    company: Option<String>,
    /// Function
    #[arg(long)]
    function: Option<String>,
    /// Document: a type, or type/number
    #[arg(long, value_name = "TYPE[/NUMBER]")]
    document: Option<String>,
    /// Address of a recipient
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// `Message-ID` header
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    #[command(flatten)]
    waiting: WaitFilter,
    /// Accepted since: 2h, 3d, 2026-11-23, or a time with its offset
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Number of messages to show
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Only messages older than this number, which the previous page printed
    #[arg(long, value_name = "NUMBER")]
    pub(super) before: Option<u64>,
}

impl List {
    /// Returns the query parameters.
    pub(super) fn query(&self, now: Timestamp) -> Result<Vec<(&'static str, String)>, CliError> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.status.map(|status| ("status", status.id().to_owned())));
        query.extend(self.waiting.reason.map(|reason| ("reason", reason.id().to_owned())));
        query.extend(self.since.map(|since| ("since", since.timestamp(now).to_string())));
        query.extend(self.before.map(|before| ("before", before.to_string())));
        query.extend(self.recipient.clone().map(|recipient| ("recipient", recipient)));
        query.extend(self.message_id.clone().map(|id| ("messageId", id)));
        query.extend(self.waiting.profile()?.map(|profile| ("profile", profile.to_string())));
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

/// Returns messages as a table, with the argument for the next page.
pub(super) fn message_table(messages: &[Message], next: Option<u64>) -> String {
    if messages.is_empty() {
        return "No messages.".to_owned();
    }
    let ids = short_ids(&messages.iter().map(|message| message.id.to_string()).collect::<Vec<_>>());
    let rows = messages.iter().zip(ids).map(|(message, id)| {
        let first = message.recipients.first().map_or("", |recipient| recipient.address.as_str());
        let more = message.recipients.len().saturating_sub(1);
        let to = if more == 0 { cut(first, 40) } else { format!("{} +{more}", cut(first, 36)) };
        let mark = match (message.possible_duplicate, message.sent_again) {
            (true, _) => " (possibly twice)",
            (false, true) => " (again)",
            (false, false) => "",
        };
        vec![
            id,
            format!("{}{mark}", message.status.id()),
            message.company.to_string(),
            message.function.id().to_owned(),
            to,
            cut(&message.subject, 30),
            format_time(message.accepted_at),
            message.next_attempt_at.map(format_time).unwrap_or_default(),
            cut(&message.reason, 40),
        ]
    });
    let mut text =
        table(&["id", "status", "company", "function", "to", "subject", "accepted", "next attempt", "reason"], rows);
    if let Some(next) = next {
        text.push_str(&format!("\nMore: --before {next}"));
    }
    text
}
