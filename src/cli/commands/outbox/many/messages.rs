//! Changes of messages in many environments: retry, cancel, replay and resolve.
//!
//! [`change_messages`] counts the messages that a [`Change`] concerns, asks once, and changes them. Without ids, the options of the
//! command select messages in each environment; an id is that of whichever environment has it. If the service refuses to change a
//! message, the others are still changed, and the refusal is reported.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use super::{MESSAGE_LABELS, ManyOutboxes, NAMED, Pending, nothing};
use crate::{
    api::messages::{Action, ActionOptions, Resolved, ResolvedOutcome},
    cli::{
        CliError, Context, Exit,
        commands::outbox::{
            replay,
            selection::{ChangeOptions, MessageSelection, find_messages},
        },
        environment::Environment,
        fleet::EnvironmentSet,
        short_id::is_message_id,
        ui::{
            fleet_report::{Significance, Summary},
            wording::count_of,
        },
    },
    client::Client,
    model::{Code, EnvironmentName, Message, Problem, message::RecipientStatus},
    text::enumerate,
};

/// A change of messages.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Act(Action, ActionOptions),
    Resolve(Resolved),
}

impl Change {
    async fn apply(&self, client: &Client, id: Uuid) -> Result<Message, Problem> {
        match self {
            Self::Act(action, options) => client.act(id, *action, *options).await,
            Self::Resolve(resolved) => client.resolve_message(id, resolved).await,
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Act(Action::Retry, _) => "retried",
            Self::Act(Action::Cancel, _) => "cancelled",
            Self::Act(Action::Replay, _) => "put back into the queue",
            Self::Resolve(Resolved { outcome: ResolvedOutcome::Delivered, .. }) => "resolved as delivered",
            Self::Resolve(Resolved { outcome: ResolvedOutcome::Failed, .. }) => "resolved as failed",
        }
    }

    /// Returns the question for messages in environments.
    fn question(&self, messages: &str, environments: &str) -> String {
        match self {
            Self::Act(Action::Retry, _) => format!("Retry {messages} in {environments}?"),
            Self::Act(Action::Cancel, _) => format!("Cancel {messages} in {environments}?"),
            Self::Act(Action::Replay, _) => format!("Send {messages} again in {environments}?"),
            Self::Resolve(resolved) => format!("Resolve {messages} in {environments} as {}?", resolved.outcome.id()),
        }
    }
}

/// Messages of one environment. With ids, the position of the id that selects each.
struct Found {
    messages: Vec<Message>,
    positions: Vec<usize>,
}

/// Changes all messages that are selected: counts them, asks, and changes them.
pub(super) fn change_messages(
    many: &ManyOutboxes<'_>,
    set: EnvironmentSet,
    selection: &MessageSelection,
    change: &Change,
    options: &ChangeOptions,
) -> Result<Exit, CliError> {
    if let Some(text) = many.ids.iter().find(|text| !is_message_id(text)) {
        let named = many.outbox.labels.describe(&many.environments);
        return Err(CliError::coded(Code::Usage, format!("`{}` is not a message id", text.escape_debug()))
            .remedy(format!("`mailwright outbox list {named}` shows the ids.")));
    }
    let find = |context: &Context, environment: &Environment, client: &Client| {
        let runtime = context.runtime()?;
        let found = if many.ids.is_empty() {
            Found { messages: runtime.block_on(selection.fetch(client, &[]))?, positions: Vec::new() }
        } else {
            let found = runtime.block_on(find_messages(client, environment.name.as_str(), &many.ids))?;
            let (positions, mut messages): (_, Vec<Message>) = found.into_iter().unzip();
            // A message that is named twice is changed once.
            let mut seen = BTreeSet::new();
            messages.retain(|message| seen.insert(message.id));
            Found { messages, positions }
        };
        if let Change::Act(Action::Replay, options) = change {
            replay::check_not_sent(&found.messages, options.all_recipients)?;
        }
        let summary = count_messages(&found.messages, change);
        Ok((summary, Some(found).filter(|found| !found.messages.is_empty())))
    };
    let question = |pending: &[Pending<Found>], failed: &[(EnvironmentName, CliError)]| {
        check_ids(many, pending, failed)?;
        let messages = pending.iter().map(|pending| pending.item.messages.len()).sum();
        Ok(change.question(&count_of(messages, "message"), &count_of(pending.len(), "environment")))
    };
    many.confirm_and_run(set, &MESSAGE_LABELS, options, change.describe(), find, question, |context, pending| {
        let found = pending.item;
        let mut changed = Vec::new();
        let mut refused = None;
        for message in &found.messages {
            match context.runtime()?.block_on(change.apply(&pending.client, message.id)) {
                Ok(message) => changed.push(message),
                Err(problem) => refused = Some(problem),
            }
        }
        let line = format!("{} of {} {}", changed.len(), count_of(found.messages.len(), "message"), change.describe());
        let summary = Summary::new(Significance::Listed, line, String::new(), json!({ "messages": changed }));
        Ok(Summary { refusal: refused.map(CliError::from), ..summary })
    })
}

/// Returns an error unless each id of the command line is that of exactly one message.
fn check_ids(
    many: &ManyOutboxes<'_>,
    pending: &[Pending<Found>],
    failed: &[(EnvironmentName, CliError)],
) -> Result<(), CliError> {
    for (index, text) in many.ids.iter().enumerate() {
        let has = pending.iter().filter(|pending| pending.item.positions.contains(&index));
        let names: Vec<&str> = has.map(|pending| pending.name.as_str()).collect();
        match names.as_slice() {
            [] => return Err(many.missing(text, failed)),
            [_] => {}
            several => {
                let what = format!(
                    "several environments have a message whose id begins with `{text}`: {}",
                    enumerate(several.iter().copied(), NAMED)
                );
                return Err(CliError::coded(Code::AmbiguousArgument, what)
                    .remedy("Name one of these environments instead of all."));
            }
        }
    }
    Ok(())
}

/// Counts the messages that would be changed; for a replay also the recipients that had them before.
fn count_messages(messages: &[Message], change: &Change) -> Summary {
    if messages.is_empty() {
        return nothing();
    }
    let mut line = count_of(messages.len(), "message");
    if let Change::Act(Action::Replay, options) = change {
        let recipients = messages.iter().flat_map(|message| &message.recipients);
        let of_status = |status: RecipientStatus| recipients.clone().filter(move |one| one.status == status).count();
        let (delivered, unknown) = (of_status(RecipientStatus::Delivered), of_status(RecipientStatus::Unknown));
        let before = if options.all_recipients { delivered } else { 0 };
        let to = recipients.clone().count() - if options.all_recipients { 0 } else { delivered };
        line = format!("{line} to {}: {before} received it before, {unknown} may have", count_of(to, "recipient"));
    }
    let documents: Vec<_> =
        messages.iter().map(|message| json!({ "id": message.id, "status": message.status })).collect();
    Summary::new(Significance::Listed, line, String::new(), json!({ "messages": documents }))
}
