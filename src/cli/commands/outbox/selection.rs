//! The environments of a subcommand, the messages of an action (named by id, or all with a status), and the options of every
//! subcommand that changes something.
//!
//! [`MessageSelection::fetch`] and [`find_messages`] get messages from the service in their present state. Whether an action
//! applies is decided by the service. In several environments, one without the named message is left out. More than 500,000
//! selected messages are an error, and nothing is changed.

use uuid::Uuid;

use crate::{
    cli::{
        CliError, environment,
        short_id::{find_message_id, is_message_id},
    },
    client::Client,
    config::Repository,
    model::{Code, Message, Status},
};

/// The maximum number of messages that one command changes.
const SELECTED: usize = 500_000;

/// The environments of a subcommand that takes no other names.
#[derive(Debug, clap::Args)]
pub(super) struct Environments {
    /// Environments: names, or patterns such as 'prod-*' [default: the only one]
    #[arg(value_name = "ENV")]
    pub(super) environments: Vec<String>,
}

/// The names of a command line: those of environments, and ids behind them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) environments: Vec<String>,
    pub(super) ids: Vec<String>,
}

impl Names {
    /// Splits names. The first one is an environment unless `is_id` returns true for it; behind it are ids, and names and
    /// patterns of environments.
    pub(super) fn split(names: &[String], repository: &Repository, is_id: impl Fn(&str) -> bool) -> Self {
        let known = repository.environments();
        let mut split = Self::default();
        for (index, name) in names.iter().enumerate() {
            let is_environment = name.contains(['*', '?', '[', '{']) || known.iter().any(|own| own.as_str() == name);
            let is_first = index == 0 && !is_id(name);
            let list = if is_environment || is_first { &mut split.environments } else { &mut split.ids };
            list.push(name.clone());
        }
        split
    }

    /// Splits environments and ids of messages.
    pub(super) fn of_messages(names: &[String], repository: &Repository) -> Self {
        Self::split(names, repository, is_message_id)
    }
}

/// Options of a subcommand that changes something.
#[derive(Debug, clap::Args)]
pub(super) struct ChangeOptions {
    /// Show what would be changed, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
    /// Skip the confirmation prompt
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// The messages that an action is for.
#[derive(Debug, clap::Args)]
pub(super) struct MessageSelection {
    /// Environments: names, or patterns such as 'prod-*'; then message ids
    #[arg(value_name = "ENV... ID")]
    pub(super) environments: Vec<String>,
    /// All messages with this status instead of ids
    #[arg(long)]
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
        let mut messages = Vec::with_capacity(ids.len());
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

/// Finds those of `texts` that are the id of a message, or its beginning, of one environment. Returns the position of each.
pub(super) async fn find_messages(
    client: &Client,
    environment: &str,
    texts: &[String],
) -> Result<Vec<(usize, Message)>, CliError> {
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let id = find_message_id(client, environment, text).await;
        let message = match id {
            Ok(id) => client.message(id).await.map_err(CliError::from),
            Err(error) => Err(error),
        };
        match message {
            Ok(detail) => found.push((index, detail.message)),
            Err(error) if error.code == Some(Code::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// One message.
#[derive(Debug, clap::Args)]
pub(super) struct OneMessage {
    /// Environments: names, or patterns such as 'prod-*'; then the message id
    #[arg(value_name = "ENV... ID")]
    pub(super) environments: Vec<String>,
}
