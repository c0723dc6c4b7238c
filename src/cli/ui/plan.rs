//! Plans and rollbacks as a command reports them.

use serde_json::{Value, json};

use crate::{
    api::Changed,
    cli::{
        CliError, Context, Exit, Format,
        ui::fleet_report::{Significance, Summary, SummaryLabels},
        ui::wording::describe_changes,
    },
    reconcile::{Plan, render},
};

/// The labels of a summary of plans.
pub(crate) const PLAN_LABELS: SummaryLabels =
    SummaryLabels { notable: ("changed", "with changes"), quiet: ("unchanged", "without changes") };

/// Renders a plan, followed by the reason for which it would be refused.
pub(crate) fn plan_outcome(format: Format, plan: &Plan, refusal: Option<CliError>) -> Summary {
    let (mut text, mut document) = (String::new(), Value::Null);
    match format {
        Format::Human => text = render::render_human(plan),
        Format::Markdown => {
            text = render::render_markdown(plan);
            if let Some(refusal) = &refusal {
                text = format!("{text}\n> [!CAUTION]\n> The service would refuse this plan: {}\n", refusal.message);
            }
        }
        Format::Json => {
            document = serde_json::to_value(plan).unwrap_or_default();
            if let (Value::Object(map), Some(refusal)) = (&mut document, &refusal) {
                map.insert("error".to_owned(), refusal.to_json()["error"].clone());
            }
        }
    }
    let significance = match (plan.is_empty(), plan.drift.is_empty() && refusal.is_none()) {
        (false, _) => Significance::Counted,
        (true, false) => Significance::Shown,
        (true, true) => Significance::Quiet,
    };
    Summary { text, document, line: plan_line(plan), exit: Exit::Done, significance, refusal }
}

/// Describes a plan in one line.
pub(crate) fn plan_line(plan: &Plan) -> String {
    match (plan.is_empty(), plan.notes()) {
        (true, 0) => "no changes".to_owned(),
        (true, notes) => format!("no changes; {notes} to record as managed by Git"),
        (false, _) => {
            let line = plan.summary_counts();
            match (plan.redirected.is_empty(), plan.guards.is_empty()) {
                (false, _) => format!("{line}; a secret would be sent to a new destination"),
                (true, false) => format!("{line}; a guard blocks it"),
                (true, true) => line,
            }
        }
    }
}

/// Prints the result of a rollback.
pub(crate) fn report_rollback(context: &Context, format: Format, shown: &Plan, to: u64, changed: &Changed) {
    if format == Format::Human {
        context.printer.out(&format!(
            "Rolled back to generation {to}: {}. This is generation {}.",
            describe_changes(&changed.summary),
            changed.generation
        ));
    } else {
        context.printer.json(&json!({ "plan": shown, "result": changed }));
    }
}
