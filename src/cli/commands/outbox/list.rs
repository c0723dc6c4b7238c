//! `mailwright outbox list`: filters and the table of messages.

use crate::{
    cli::{
        CliError, environment,
        ui::{
            table::table,
            wording::{cut, format_time},
        },
    },
    model::{Message, Status},
};

/// Filters of a list of messages.
#[derive(Debug, clap::Args)]
pub(super) struct List {
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

impl List {
    pub(super) fn query(&self) -> Result<Vec<(&'static str, String)>, CliError> {
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

/// Returns messages as a table, with the argument for the next page.
pub(super) fn message_table(messages: &[Message], next: Option<u64>) -> String {
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
            format_time(message.accepted_at),
        ]
    });
    let mut text = table(&["id", "status", "company", "function", "to", "subject", "accepted"], rows);
    if let Some(next) = next {
        text.push_str(&format!("\nThere are more: --before {next}"));
    }
    text
}
