//! Renders a [`Plan`] as Markdown for a comment on a pull request: the result first, details folded.
//!
//! It begins with a hidden marker, by which a workflow finds and replaces its comment. The whole has at most 60,000 characters,
//! because GitHub limits a comment: each section has a share, and what does not fit is counted instead of shown. Text from files is
//! escaped ([`crate::text::markdown`]).

use std::fmt::Write as _;

use serde_json::Value;

use super::{describe_secret_change, describe_sender, display_value};
use crate::{
    changes::{
        drift::DriftKind,
        guards::Guard,
        routing::{SenderGroup, sender_groups},
    },
    reconcile::plan::{Action, Cause, FieldChange, Hint, Plan, PlannedChange},
    text::markdown::{code_span, escape_inline, html_text},
    time::local::format_utc,
};

/// The maximum length of the output. GitHub accepts comments of up to 65,536 characters; the rest is for the workflow.
const LIMIT: usize = 60_000;
/// The number of equal parts of the length: one each for the warnings, the drift, the routing changes and the settings, and the
/// rest for the profiles.
const PARTS: usize = 5;

/// Renders the whole plan. It begins with a hidden marker, so that a workflow can replace its comment instead of adding one.
pub fn render_markdown(plan: &Plan) -> String {
    // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
    let mut out = String::new();
    let _ = writeln!(out, "<!-- mailwright plan {} -->", plan.environment);
    let _ = writeln!(out, "### Mailwright plan: `{}`\n", plan.environment);
    let result = if plan.is_empty() { "No changes.".to_owned() } else { plan.summary_line() };
    let _ = writeln!(out, "**{result}**\n");
    let part = LIMIT / PARTS;
    write_warnings(&mut out, plan, part);
    write_drift(&mut out, plan, part);
    write_senders(&mut out, plan, part);
    let tail = render_tail(plan);
    write_details(&mut out, plan, LIMIT.saturating_sub(tail.len()));
    out.push_str(&tail);
    out
}

/// Renders the changes of a plan alone, without its provenance and without what only a service knows.
pub(super) fn render_changes(plan: &Plan, room: usize) -> String {
    let mut out = String::new();
    write_warnings(&mut out, plan, room / PARTS);
    write_senders(&mut out, plan, room / PARTS);
    write_details(&mut out, plan, room);
    out
}

fn write_warnings(out: &mut String, plan: &Plan, room: usize) {
    let warnings = render_warnings(plan);
    let shown = fitting(&warnings, room);
    out.extend(warnings.iter().take(shown).map(String::as_str));
    if shown < warnings.len() {
        let left = warnings.len() - shown;
        let _ = writeln!(out, "> [!CAUTION]\n> {left} more warnings; the plan as text or JSON has them all.\n");
    }
}

/// Returns the number of texts that fit into a length, from the first one on.
fn fitting(texts: &[String], room: usize) -> usize {
    let mut used = 0;
    let fits = |text: &&String| {
        used += text.len();
        used <= room
    };
    texts.iter().take_while(fits).count()
}

/// Renders each warning as a block quotation, the most urgent kind first.
fn render_warnings(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(moved) = &plan.moved {
        warnings.push(format!(
            "> [!CAUTION]\n> {}. Tokens of this environment are sent there; check that this is intended.\n\n",
            escape_inline(&moved.describe())
        ));
    }
    for secret in &plan.redirected {
        warnings.push(format!(
            "> [!CAUTION]\n> `{}`: the secret `{}` would go to a new place, {}. It {}. The service refuses this; \
             seal the value again.\n\n",
            secret.user(),
            secret.secret,
            escape_inline(&secret.would_go_to.to_string()),
            escape_inline(&secret.describe_acceptance())
        ));
    }
    for guard in &plan.guards {
        warnings.push(format!(
            "> [!WARNING]\n> {}. If this is intended: `{}`\n\n",
            escape_inline(&guard.message()),
            Guard::options(std::slice::from_ref(guard))
        ));
    }
    for breach in &plan.policy {
        warnings.push(format!(
            "> [!NOTE]\n> The service would reject an apply from this source: {}.\n\n",
            escape_inline(&breach.message)
        ));
    }
    for need in plan.approvals.iter().flat_map(|approvals| &approvals.needs) {
        warnings.push(format!(
            "> [!IMPORTANT]\n> It needs {}, because it {}.\n\n",
            escape_inline(&need.describe()),
            escape_inline(&need.because.join(", "))
        ));
    }
    for before in plan.verified.iter().filter(|before| before.last.as_ref().is_some_and(|last| last.errors > 0)) {
        warnings.push(format!(
            "> [!WARNING]\n> Verify, last known, of `{}`: {}\n\n",
            before.profile,
            super::describe_verification(before, format_utc)
        ));
    }
    for hint in &plan.hints {
        if let Hint::ProbablyRename { from, to, file } = hint {
            warnings.push(format!(
                "> [!TIP]\n> `{to}` has the contents of `{from}`. If it is the same profile, add \
                 `renamedFrom: {from}` to {}.\n\n",
                code_span(file)
            ));
        }
    }
    warnings
}

fn write_drift(out: &mut String, plan: &Plan, room: usize) {
    if plan.drift.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "**Changed outside Git since the last apply**\n\n| Profile | Field | Applied | Live | By |\n| --- | --- | --- | --- | --- |"
    );
    let mut rows = Vec::new();
    for entry in &plan.drift {
        let mut row = String::new();
        let name = entry.name.as_ref().map_or("(settings)".to_owned(), |name| format!("`{name}`"));
        let by = entry
            .by
            .as_ref()
            .map(|by| format!("{}, generation {}", code_span(&by.by), by.generation))
            .unwrap_or_default();
        if entry.kind == DriftKind::Removed {
            let _ = writeln!(row, "| {name} | | | removed | {by} |");
        }
        if entry.kind == DriftKind::Restored {
            let _ = writeln!(row, "| {name} | | removed | brought back | {by} |");
        }
        for field in &entry.fields {
            let _ = writeln!(
                row,
                "| {name} | {} | {} | {} | {by} |",
                code_span(&field.path),
                value_span(&field.applied),
                value_span(&field.live)
            );
        }
        rows.push(row);
    }
    let shown = fitting(&rows, room).min(50);
    out.extend(rows.iter().take(shown).map(String::as_str));
    if shown < rows.len() {
        let _ = writeln!(out, "| ... and {} more | | | | |", rows.len() - shown);
    }
    out.push('\n');
}

fn write_senders(out: &mut String, plan: &Plan, room: usize) {
    if plan.routing_changes.is_empty() {
        return;
    }
    let groups = sender_groups(&plan.routing_changes);
    let lost = plan.routing_changes.iter().filter(|change| change.after.is_none()).count();
    let lost = if lost > 0 { format!(", **{lost} lose theirs**") } else { String::new() };
    let _ = writeln!(out, "<details><summary>Routing changes ({} cells{lost})</summary>\n", plan.routing_changes.len());
    let _ = writeln!(out, "| Company: function | Now | Afterwards |\n| --- | --- | --- |");
    let row = |group: &SenderGroup<'_>| {
        let (before, after) = (describe_sender(group.before), describe_sender(group.after));
        format!("| {} | {} | {} |\n", group.lines().join("<br>"), escape_inline(&before), escape_inline(&after))
    };
    let rows: Vec<String> = groups.iter().map(row).collect();
    let shown = fitting(&rows, room).min(50);
    out.extend(rows.iter().take(shown).map(String::as_str));
    if shown < rows.len() {
        let _ = writeln!(out, "| ... and {} more | | |", rows.len() - shown);
    }
    out.push_str("\n</details>\n\n");
}

/// Renders one folded block per change up to the size limit, and counts the rest.
fn write_details(out: &mut String, plan: &Plan, room: usize) {
    if let Some(settings) = &plan.settings {
        let place = html_text(&settings.place.to_string());
        let mut block = format!("<details><summary>~ environment settings ({place})</summary>\n\n```diff\n");
        let lines: Vec<String> = settings.fields.iter().map(render_diff_lines).collect();
        let shown = fitting(&lines, room / PARTS);
        block.extend(lines.iter().take(shown).map(String::as_str));
        block.push_str("```\n");
        if shown < lines.len() {
            let left = lines.len() - shown;
            let _ = writeln!(block, "\n_... and {left} more fields; the plan as text or JSON has them all._");
        }
        block.push_str("\n</details>\n\n");
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
        block.extend(change.fields.iter().map(render_diff_lines));
        block.push_str("```\n");
    }
    block.push_str("\n</details>\n\n");
    block
}

/// Renders a field as lines of a diff.
fn render_diff_lines(field: &FieldChange) -> String {
    if let Some(secret) = &field.secret {
        let name = field.after.as_str().or(field.before.as_str()).unwrap_or_default();
        return format!("! {} = {name} {}\n", field.path, describe_secret_change(secret));
    }
    let line = |sign: char, value: &Value| format!("{sign} {} = {}\n", field.path, display_value(value));
    let before = if field.before.is_null() { String::new() } else { line('-', &field.before) };
    let after = if field.after.is_null() { String::new() } else { line('+', &field.after) };
    before + &after
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
