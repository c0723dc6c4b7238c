//! Holds in many environments: [`place_hold`] places the same one in each, [`release_holds`] releases those with a reason.
//!
//! If some environments fail, the others have the hold all the same, and the command that removes it is printed.

use serde_json::json;

use super::{ManyOutboxes, Pending};
use crate::{
    api::messages::NewHold,
    cli::{
        CliError, Context, Exit, Format,
        commands::outbox::{
            find_holds,
            hold::{HeldMessages, HoldArgs},
            only_id,
            selection::ChangeOptions,
        },
        environment::Environment,
        fleet::EnvironmentSet,
        ui::{
            fleet_report::{Significance, Summary, SummaryLabels},
            outbox::hold_table,
            wording::count_of,
        },
    },
    client::Client,
    model::{Code, EnvironmentName, Hold},
    text::shell::quote_posix,
};

/// The totals of holds.
pub(super) const HOLD_LABELS: SummaryLabels =
    SummaryLabels { notable: ("held", "with holds"), quiet: ("free", "without holds") };

/// Holds mail in all environments.
pub(super) fn place_hold(many: &ManyOutboxes<'_>, set: EnvironmentSet, hold: &HoldArgs) -> Result<Exit, CliError> {
    let request = hold.request(many.context.clock.now())?;
    let labels = SummaryLabels { notable: ("toHold", "to hold"), quiet: ("unchanged", "unchanged") };
    let find = |context: &Context, _: &Environment, client: &Client| {
        let held = context.runtime()?.block_on(HeldMessages::count(client, &request))?;
        let document = json!({ "queued": held.count, "more": held.more });
        Ok((Summary::new(Significance::Listed, held.describe(), String::new(), document), Some(())))
    };
    let question = |pending: &[Pending<()>], _: &[(EnvironmentName, CliError)]| {
        Ok(format!("Hold this mail in {}?", count_of(pending.len(), "environment")))
    };
    let exit = many.confirm_and_run(set, &labels, &hold.change, "with the hold", find, question, |context, pending| {
        let hold = context.runtime()?.block_on(pending.client.hold(&request))?;
        Ok(Summary::new(Significance::Listed, "held".to_owned(), String::new(), json!(hold)))
    });
    // Some environments may have the hold if others failed.
    if exit.as_ref().err().is_none_or(|error| error.code == Some(Code::SomeEnvironmentsFailed)) {
        note_release(many, &request, hold.change.dry_run);
    }
    exit
}

/// Prints the command that removes the holds again.
fn note_release(many: &ManyOutboxes<'_>, hold: &NewHold, is_dry_run: bool) {
    if many.outbox.format == Format::Human && !is_dry_run {
        many.context.printer.note(&format!(
            "To release all: mailwright outbox release {} --reason={}",
            many.outbox.labels.describe(&many.environments),
            quote_posix(&hold.reason)
        ));
    }
}

/// Releases the holds with a reason, or the one with an id.
pub(super) fn release_holds(
    many: &ManyOutboxes<'_>,
    set: EnvironmentSet,
    reason: Option<&str>,
    change: &ChangeOptions,
) -> Result<Exit, CliError> {
    if reason.is_none() {
        only_id(&many.ids).map_err(|error| {
            let named = many.outbox.labels.describe(&many.environments);
            error.remedy(format!(
                "`mailwright outbox holds {named}` lists the holds; `--reason TEXT` selects all with a reason."
            ))
        })?;
    }
    let find = |context: &Context, environment: &Environment, client: &Client| {
        let holds = context.runtime()?.block_on(client.outbox())?.holds;
        let holds = match find_holds(holds, reason, &many.ids, environment.name.as_str()) {
            Err(error) if error.code == Some(Code::NotFound) => Vec::new(),
            holds => holds?,
        };
        let significance = if holds.is_empty() { Significance::Quiet } else { Significance::Listed };
        let summary = Summary { significance, ..summarize_holds(&holds) };
        Ok((summary, Some(holds).filter(|holds| !holds.is_empty())))
    };
    let question = |pending: &[Pending<Vec<Hold>>], failed: &[(EnvironmentName, CliError)]| {
        if let (true, None, [], Some(id)) = (pending.is_empty(), reason, failed, many.ids.first()) {
            let named = many.outbox.labels.describe(&many.environments);
            return Err(CliError::coded(
                Code::NotFound,
                format!("no environment has a hold whose id begins with `{}`", id.escape_debug()),
            )
            .remedy(format!("`mailwright outbox holds {named}` lists the holds.")));
        }
        let holds = pending.iter().map(|pending| pending.item.len()).sum();
        Ok(format!("Release {} in {}?", count_of(holds, "hold"), count_of(pending.len(), "environment")))
    };
    many.confirm_and_run(set, &HOLD_LABELS, change, "released", find, question, |context, pending| {
        let ids: Vec<&str> = pending.item.iter().map(|hold| hold.id.as_str()).collect();
        for id in &ids {
            context.runtime()?.block_on(pending.client.release(id))?;
        }
        let line = format!("released {}", count_of(ids.len(), "hold"));
        Ok(Summary::new(Significance::Listed, line, String::new(), json!({ "released": ids })))
    })
}

/// Describes holds.
pub(super) fn summarize_holds(holds: &[Hold]) -> Summary {
    let line = count_of(holds.len(), "hold");
    Summary::new(Significance::Listed, line, hold_table(holds), json!({ "holds": holds }))
}
