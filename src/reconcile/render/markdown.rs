//! Renders a [`Plan`] as Markdown for a comment on a pull request: the result first, details folded.
//!
//! It begins with a hidden marker, by which a workflow finds and replaces its comment. Changes of profiles beyond 60,000 characters
//! are counted instead of shown, because GitHub limits a comment; warnings and settings are not cut. Text from files is escaped
//! ([`crate::text::markdown`]).

use std::fmt::Write as _;

use serde_json::Value;

use super::{describe_secret_change, describe_sender, display_value, sender_groups};
use crate::{
    changes::{drift::DriftKind, guards::Guard},
    reconcile::plan::{Action, Cause, FieldChange, Hint, Plan, PlannedChange},
    text::markdown::{code_span, escape_inline, html_text},
    time::local::format_utc,
};

/// The maximum length of the output. GitHub accepts comments of up to 65,536 characters; the rest is for the workflow.
const LIMIT: usize = 60_000;

/// Renders the whole plan. It begins with a hidden marker, so that a workflow can replace its comment instead of adding one.
pub fn render_markdown(plan: &Plan) -> String {
    // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
    let mut out = String::new();
    let _ = writeln!(out, "<!-- mailwright plan {} -->", plan.environment);
    let _ = writeln!(out, "### Mailwright plan: `{}`\n", plan.environment);
    let result = if plan.is_empty() { "No changes.".to_owned() } else { plan.summary_line() };
    let _ = writeln!(out, "**{result}**\n");
    write_warnings(&mut out, plan);
    write_drift(&mut out, plan);
    write_senders(&mut out, plan);
    let tail = render_tail(plan);
    write_details(&mut out, plan, LIMIT.saturating_sub(tail.len()));
    out.push_str(&tail);
    out
}

/// Renders the changes of a plan alone, without its provenance and without what only a service knows.
pub(super) fn render_changes(plan: &Plan, room: usize) -> String {
    let mut out = String::new();
    write_warnings(&mut out, plan);
    write_senders(&mut out, plan);
    write_details(&mut out, plan, room);
    out
}

fn write_warnings(out: &mut String, plan: &Plan) {
    if let Some(moved) = &plan.moved {
        let _ = writeln!(
            out,
            "> [!CAUTION]\n> {}. Tokens of this environment are sent there; check that this is intended.\n",
            escape_inline(&moved.describe())
        );
    }
    for secret in &plan.redirected {
        let _ = writeln!(
            out,
            "> [!CAUTION]\n> `{}`: the secret `{}` would go to a new place, {}. It {}. The service refuses this; seal the value again.\n",
            secret.user(),
            secret.secret,
            escape_inline(&secret.would_go_to.to_string()),
            escape_inline(&secret.describe_acceptance())
        );
    }
    for guard in &plan.guards {
        let _ = writeln!(
            out,
            "> [!WARNING]\n> {}. If this is intended: `{}`\n",
            escape_inline(&guard.message()),
            Guard::options(std::slice::from_ref(guard))
        );
    }
    for breach in &plan.policy {
        let _ = writeln!(
            out,
            "> [!NOTE]\n> The service would reject an apply from this source: {}.\n",
            escape_inline(&breach.message)
        );
    }
    for need in plan.approvals.iter().flat_map(|approvals| &approvals.needs) {
        let _ = writeln!(
            out,
            "> [!IMPORTANT]\n> It needs {}, because it {}.\n",
            escape_inline(&need.describe()),
            escape_inline(&need.because.join(", "))
        );
    }
    for before in plan.verified.iter().filter(|before| before.last.as_ref().is_some_and(|last| last.errors > 0)) {
        let _ = writeln!(
            out,
            "> [!WARNING]\n> Verify, last known, of `{}`: {}\n",
            before.profile,
            super::describe_verification(before, format_utc)
        );
    }
    for hint in &plan.hints {
        if let Hint::ProbablyRename { from, to, file } = hint {
            let _ = writeln!(
                out,
                "> [!TIP]\n> `{to}` has the contents of `{from}`. If it is the same profile, add `renamedFrom: {from}` to {}.\n",
                code_span(file)
            );
        }
    }
}

fn write_drift(out: &mut String, plan: &Plan) {
    if plan.drift.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "**Changed outside Git since the last apply**\n\n| Profile | Field | Applied | Live | By |\n| --- | --- | --- | --- | --- |"
    );
    for entry in plan.drift.iter().take(50) {
        let name = entry.name.as_ref().map_or("(settings)".to_owned(), |name| format!("`{name}`"));
        let by = entry
            .by
            .as_ref()
            .map(|by| format!("{}, generation {}", code_span(&by.by), by.generation))
            .unwrap_or_default();
        if entry.kind == DriftKind::Removed {
            let _ = writeln!(out, "| {name} | | | removed | {by} |");
        }
        if entry.kind == DriftKind::Restored {
            let _ = writeln!(out, "| {name} | | removed | brought back | {by} |");
        }
        for field in &entry.fields {
            let _ = writeln!(
                out,
                "| {name} | {} | {} | {} | {by} |",
                code_span(&field.path),
                value_span(&field.applied),
                value_span(&field.live)
            );
        }
    }
    if plan.drift.len() > 50 {
        let _ = writeln!(out, "| ... and {} more | | | | |", plan.drift.len() - 50);
    }
    out.push('\n');
}

fn write_senders(out: &mut String, plan: &Plan) {
    if plan.routing_changes.is_empty() {
        return;
    }
    let groups = sender_groups(&plan.routing_changes);
    let lost = plan.routing_changes.iter().filter(|change| change.after.is_none()).count();
    let lost = if lost > 0 { format!(", **{lost} lose theirs**") } else { String::new() };
    let _ = writeln!(out, "<details><summary>Routing changes ({} cells{lost})</summary>\n", plan.routing_changes.len());
    let _ = writeln!(out, "| Company: function | Now | Afterwards |\n| --- | --- | --- |");
    for group in groups.iter().take(50) {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            group.lines().join("<br>"),
            escape_inline(&describe_sender(group.before)),
            escape_inline(&describe_sender(group.after))
        );
    }
    if groups.len() > 50 {
        let _ = writeln!(out, "| ... and {} more | | |", groups.len() - 50);
    }
    out.push_str("\n</details>\n\n");
}

/// Renders one folded block per change up to the size limit, and counts the rest.
fn write_details(out: &mut String, plan: &Plan, room: usize) {
    if let Some(settings) = &plan.settings {
        let place = html_text(&settings.place.to_string());
        let mut block = format!("<details><summary>~ environment settings ({place})</summary>\n\n```diff\n");
        write_diff_lines(&mut block, &settings.fields);
        block.push_str("```\n\n</details>\n\n");
        out.push_str(&block);
    }
    for (index, change) in plan.changes.iter().enumerate() {
        let block = render_change(change);
        if out.len() + block.len() + 200 > room {
            let left = plan.changes.len() - index;
            let _ = writeln!(out, "_... and {left} more changes; the plan as text or JSON has them all._\n");
            return;
        }
        out.push_str(&block);
    }
}

fn render_change(change: &PlannedChange) -> String {
    let (symbol, word) = match change.action {
        Action::Create => ("+", "create"),
        Action::Update => ("~", "update"),
        Action::Rename => ("→", "rename"),
        Action::Adopt => ("=", "adopt"),
        Action::Delete => ("-", "destroy"),
        Action::Forget => (".", "forget"),
    };
    let from = change.previous_name.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    let cause = match change.cause {
        Cause::Git => "",
        Cause::Drift => ", drift",
        Cause::Both => ", Git and drift",
    };
    let place = change.place.as_ref().map(|place| format!(", {}", html_text(&place.file))).unwrap_or_default();
    let mut block =
        format!("<details><summary>{symbol} <b>{}</b> ({word}{from}{cause}{place})</summary>\n\n", change.name);
    if let Some(reason) = &change.reason {
        let _ = writeln!(block, "{}.\n", escape_inline(reason));
    }
    if !change.fields.is_empty() && change.action != Action::Delete {
        block.push_str("```diff\n");
        write_diff_lines(&mut block, &change.fields);
        block.push_str("```\n");
    }
    block.push_str("\n</details>\n\n");
    block
}

fn write_diff_lines(out: &mut String, fields: &[FieldChange]) {
    for field in fields {
        if let Some(secret) = &field.secret {
            let name = field.after.as_str().or(field.before.as_str()).unwrap_or_default();
            let _ = writeln!(out, "! {} = {name} {}", field.path, describe_secret_change(secret));
            continue;
        }
        if !field.before.is_null() {
            let _ = writeln!(out, "- {} = {}", field.path, display_value(&field.before));
        }
        if !field.after.is_null() {
            let _ = writeln!(out, "+ {} = {}", field.path, display_value(&field.after));
        }
    }
}

fn render_tail(plan: &Plan) -> String {
    let mut tail = String::new();
    if !plan.unmanaged.is_empty() {
        let names = crate::text::enumerate(plan.unmanaged.iter().map(|name| format!("`{name}`")), 20);
        let _ = writeln!(tail, "Not in Git and not changed: {names}\n");
    }
    let commit =
        plan.source.commit.as_deref().map(|c| format!(", commit `{}`", c.get(..12).unwrap_or(c))).unwrap_or_default();
    let dirty = if plan.source.dirty { " with uncommitted changes" } else { "" };
    let _ = writeln!(
        tail,
        "<sub>generation {}{commit}{dirty}. To apply: <code>mailwright apply {}</code></sub>",
        plan.base, plan.environment
    );
    tail
}

/// Renders a value in a cell of a table.
fn value_span(value: &Value) -> String {
    if value.is_null() { String::new() } else { code_span(&display_value(value)) }
}
