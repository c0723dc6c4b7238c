//! The messages of an action: named by id, or all with a status.
//!
//! [`MessageSelection::fetch`] gets them from the service in their present state. Whether an action applies is decided by the
//! service.

use uuid::Uuid;

use crate::{
    cli::{CliError, args::environment::EnvironmentArg, environment},
    client::Client,
    model::{Code, Message, Status},
};

/// The maximum number of messages that one command changes.
const SELECTED: usize = 500_000;

/// The messages that an action is for.
#[derive(Debug, clap::Args)]
pub(super) struct MessageSelection {
    #[command(flatten)]
    pub(super) environment: EnvironmentArg,
    /// Message ids
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// All messages with this status instead of ids
    #[arg(long, conflicts_with = "ids")]
    pub(super) status: Option<Status>,
    /// With `--status`: only this company
    #[arg(long, requires = "status")]
    pub(super) company: Option<String>,
    /// With `--status`: only this function
    #[arg(long, requires = "status")]
    pub(super) function: Option<String>,
}

impl MessageSelection {
    /// Returns an error unless there are either ids or a status.
    pub(super) fn check(&self, ids: &[String]) -> Result<(), CliError> {
        match (ids, self.status) {
            ([], None) => Err(CliError::coded(Code::Usage, "neither a message id nor `--status` is given")
                .remedy("Name the messages by their ids, as `mailwright outbox list` shows them, or pass `--status`.")),
            ([_, ..], Some(_)) => Err(CliError::coded(Code::Usage, "`--status` cannot be used with message ids")),
            _ => Ok(()),
        }
    }

    /// Fetches the messages with these ids, or the selected ones, in their present state.
    pub(super) async fn fetch(&self, client: &Client, ids: &[Uuid]) -> Result<Vec<Message>, CliError> {
        let mut messages = Vec::new();
        for id in ids {
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
            let Some(next) = page.next_before else { return Ok(messages) };
            // A service that never ends its answer would fill the memory.
            if before.is_some_and(|before| next >= before) {
                return Err(CliError::coded(Code::IncompleteAnswer, "the service lists the same messages again")
                    .remedy("Check the version and the address of the service."));
            }
            if messages.len() > SELECTED {
                return Err(CliError::coded(
                    Code::Usage,
                    format!("more than {SELECTED} messages are selected; nothing was changed"),
                )
                .remedy("Select fewer with `--company` or `--function`."));
            }
            before = Some(next);
        }
    }
}

/// One message of an environment.
#[derive(Debug, clap::Args)]
pub(super) struct OneMessage {
    #[command(flatten)]
    pub(super) environment: EnvironmentArg,
    /// Message id
    #[arg(value_name = "ID")]
    pub(super) id: Vec<String>,
}
