//! `token confirm --name` and `token revoke --name`: change every token of a name, in one or many environments.
//!
//! [`NamedChange::run`] lists the tokens of each service first, asks once with their number, and then changes them. A service whose
//! tokens cannot be listed is reported and left out. An error in an environment stops the rest of its tokens, not the other
//! environments. A change of tokens by id is in the parent module.

use std::sync::Arc;

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Exit, Format, ServiceArgs,
        args::environments::SelectionArgs,
        environment::check_service,
        fleet::{self, EnvironmentSet, Fleet},
        ui::{
            confirm::confirm,
            fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
            wording::count_of,
        },
    },
    client::Client,
    model::token::Token,
    text::printable,
};

/// An action on all tokens of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedAction {
    Confirm,
    Revoke,
}

impl NamedAction {
    /// Returns true for a token that the action changes.
    fn applies_to(self, token: &Token, now: jiff::Timestamp) -> bool {
        match self {
            Self::Confirm => token.suspended_at.is_some() && token.revoked_at.is_none(),
            Self::Revoke => token.is_in_effect(now),
        }
    }

    /// Returns the verb of the question, the word for what was done, and that for a token without need of it.
    fn wording(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Confirm => ("Confirm", "confirmed", "suspended"),
            Self::Revoke => ("Revoke", "revoked", "in effect"),
        }
    }

    fn labels(self) -> SummaryLabels {
        let quiet = ("unchanged", "without such a token");
        match self {
            Self::Confirm => SummaryLabels { notable: ("confirmed", "with confirmed tokens"), quiet },
            Self::Revoke => SummaryLabels { notable: ("revoked", "with revoked tokens"), quiet },
        }
    }
}

/// A change of all tokens of a name.
pub(super) struct NamedChange<'a> {
    pub(super) action: NamedAction,
    pub(super) name: &'a str,
    pub(super) yes: bool,
}

impl NamedChange<'_> {
    /// Changes the tokens in one or many environments. Counts them first, and asks once.
    pub(super) fn run(
        &self,
        context: &Context,
        patterns: &[String],
        selection: &SelectionArgs,
        format: Format,
        service: &ServiceArgs,
    ) -> Result<Exit, CliError> {
        let Self { action, name, yes } = *self;
        let (verb, done_word, needed) = action.wording();
        let repository = Arc::new(context.repository()?);
        let (set, several) = match Fleet::find(context, &repository, patterns, selection, service)? {
            Fleet::Single(environment) => (EnvironmentSet::single(environment), false),
            Fleet::Many(set) if set.print_if_empty(context, format) => return Ok(Exit::Done),
            Fleet::Many(set) => (set, true),
        };
        let (parallel, summary_only) = (selection.parallel(), selection.summary);
        let now = context.clock.now();
        let headline = |(_, tokens): &(Client, Vec<Token>)| count_of(tokens.len(), "token");
        let found = set.run(context, headline, |context, environment| {
            let client = environment.client(context, service)?;
            let list = context.runtime()?.block_on(async {
                check_service(&client, &environment.name).await?;
                client.tokens().await.map_err(CliError::from)
            })?;
            let is_meant = |token: &Token| token.name == name && action.applies_to(token, now);
            Ok((client, list.tokens.into_iter().filter(is_meant).collect()))
        })?;
        let (mut to_revoke, mut done) = (Vec::new(), Vec::new());
        for TaskResult { name: environment, notes, result } in found {
            let result = match result {
                Ok((_, tokens)) if tokens.is_empty() => {
                    let line = format!("no token `{}` {needed}", printable(name));
                    Ok(Summary::new(Significance::Quiet, line.clone(), line, json!({ "tokens": [] })))
                }
                Ok(found) => {
                    to_revoke.push((environment, found));
                    continue;
                }
                Err(error) => Err(error),
            };
            done.push(TaskResult { name: environment, notes, result });
        }
        let tokens: usize = to_revoke.iter().map(|(_, (_, tokens))| tokens.len()).sum();
        if tokens > 0 {
            let (tokens, environments) = (count_of(tokens, "token"), count_of(to_revoke.len(), "environment"));
            let question = format!("{verb} {tokens} named `{}` in {environments}?", printable(name));
            confirm(context, yes, &question, "Pass `--yes` to skip the prompt.")?;
        }
        let headline = |changed: &Vec<Token>| count_of(changed.len(), "token");
        let changed = fleet::run_parallel(context, parallel, to_revoke, headline, |context, (client, tokens)| {
            let mut changed = Vec::new();
            for token in tokens {
                let runtime = context.runtime()?;
                changed.push(match action {
                    NamedAction::Confirm => runtime.block_on(client.confirm_token(&token.id))?,
                    NamedAction::Revoke => runtime.block_on(client.revoke_token(&token.id))?,
                });
            }
            Ok(changed)
        })?;
        done.extend(changed.into_iter().map(|TaskResult { name, notes, result }| {
            let result = result.map(|changed| {
                let lines = changed.iter().map(|token| {
                    format!("Token {} of `{}` is {done_word}.", printable(&token.id), printable(&token.name))
                });
                let text = lines.collect::<Vec<_>>().join("\n");
                let line = format!("{done_word} {}", count_of(changed.len(), "token"));
                Summary::new(Significance::Listed, line, text, json!({ "tokens": changed }))
            });
            TaskResult { name, notes, result }
        }));
        done.sort_by(|a, b| a.name.cmp(&b.name));
        if !several && let Some(TaskResult { name, result, .. }) = done.pop() {
            return result?.print(context, format, &name);
        }
        let labels = action.labels();
        FleetReport::new(done, Some(&repository)).summary_only(summary_only).print(context, format, &labels)
    }
}
