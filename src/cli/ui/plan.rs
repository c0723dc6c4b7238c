//! Plans and rollbacks as results of a command: rendered, summarized in a line, and made comparable between environments.
//!
//! [`plan_outcome`] is used by `plan` and `apply`. Equal plans of several environments are shown once, so what differs by
//! environment is replaced first. The rendering is [`crate::reconcile::render`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    api::Changed,
    cli::{
        CliError, Context, Format,
        ui::fleet_report::{Significance, Summary, SummaryLabels},
        ui::wording::describe_changes,
    },
    model::CompanyId,
    reconcile::{Plan, render},
};

/// The labels of a summary of plans.
pub(crate) const PLAN_LABELS: SummaryLabels =
    SummaryLabels { notable: ("changed", "with changes"), quiet: ("unchanged", "without changes") };

/// Renders a plan, followed by the reason for which it would be refused. `of_several` is true for one of several environments.
pub(crate) fn plan_outcome(format: Format, plan: &Plan, refusal: Option<CliError>, of_several: bool) -> Summary {
    let (mut text, mut document) = (String::new(), Value::Null);
    match format {
        Format::Human if of_several => text = render::render_human_compact(plan),
        Format::Human => text = render::render_human(plan),
        Format::Markdown => {
            text = render::render_markdown(plan);
            if let Some(refusal) = &refusal {
                text = format!("{text}\n> [!CAUTION]\n> The service would refuse this plan: {}\n", refusal.message);
            }
        }
        Format::Json => {
            document = serde_json::to_value(plan).unwrap_or_default();
            document["generation"] = json!(plan.base);
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
    let content = Some(comparable_plan(plan));
    Summary { refusal, content, varying: VARYING, ..Summary::new(significance, plan_line(plan), text, document) }
}

/// The differences that plans which are reported together can have.
const VARYING: &str = "names, companies, variables, keys, generations, times and warnings of verify";

/// Returns a plan without what differs between equal plans of different environments: addresses, generations, digests and
/// places.
fn comparable_plan(plan: &Plan) -> Value {
    let mut document = serde_json::to_value(plan).unwrap_or_default();
    remove_particulars(&mut document);
    remove_verification_particulars(&mut document["verified"]);
    // The companies of each change of routing form a list, which is compared with the companies of the environment.
    let mut routing: BTreeMap<String, Vec<&CompanyId>> = BTreeMap::new();
    for change in &plan.routing_changes {
        let change_of_cell = json!([change.cell.function, change.cell.client, change.before, change.after]);
        routing.entry(change_of_cell.to_string()).or_default().push(&change.cell.company);
    }
    document["senders"] = json!(routing.into_iter().collect::<Vec<_>>());
    document
}

/// Leaves of earlier verifications whether there were errors. Warnings and unknown results differ between environments whose
/// settings are equal, for example by the name server's answers.
fn remove_verification_particulars(verified: &mut Value) {
    for before in verified.as_array_mut().into_iter().flatten() {
        if let Some(last) = before.get_mut("last").filter(|last| last.is_object()) {
            *last = json!(last["errors"].as_u64().is_some_and(|errors| errors > 0));
        }
    }
}

fn remove_particulars(value: &mut Value) {
    const PARTICULAR: [&str; 9] =
        ["environment", "service", "base", "place", "beforePlace", "file", "digest", "at", "generation"];
    /// The values of fields, and destinations of secrets.
    const VALUES: [&str; 5] = ["before", "after", "acceptedFor", "wouldGoTo", "moved"];
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !PARTICULAR.contains(&key.as_str()));
            if let Some(Value::Object(secret)) = map.get_mut("secret") {
                secret.retain(|key, _| key == "kind");
            }
            let parts = map.iter_mut().filter(|(key, _)| !VALUES.contains(&key.as_str()));
            parts.for_each(|(_, part)| remove_particulars(part));
        }
        Value::Array(items) => items.iter_mut().for_each(remove_particulars),
        _ => {}
    }
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
        context.printer.json(&json!({
            "environment": shown.environment, "generation": changed.generation, "plan": shown, "result": changed,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_verifications_with_the_same_result_are_equal() {
        let verified = |digest: &str, passed: u32, errors: u32| {
            let last = json!({ "of": digest, "at": "2026-11-23T08:00:00Z", "passed": passed, "errors": errors });
            let mut verified = json!([{ "profile": "relay", "current": true, "last": last }, { "profile": "other" }]);
            remove_verification_particulars(&mut verified);
            verified
        };
        assert_eq!(verified("sha256:1", 7, 0), verified("sha256:2", 9, 0));
        assert_ne!(verified("sha256:1", 7, 0), verified("sha256:1", 7, 1));
    }
}
