//! A plan as a comment on a pull request: the result first, details folded, and short enough to be posted.

use std::fmt::Write as _;

use serde_json::Value;

use super::{secret_words, sender_groups, sender_words, shown};
use crate::{
    changes::drift::DriftKind,
    reconcile::plan::{Action, Cause, FieldChange, Hint, Plan, PlannedChange},
    text::markdown::{code_span, html_text, inline},
};

/// GitHub takes comments of up to 65,536 characters; this leaves room for what a workflow adds.
const LIMIT: usize = 60_000;

/// The whole plan. Begins with a hidden marker, so that a workflow can replace its comment instead of adding one.
pub fn markdown(plan: &Plan) -> String {
    // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
    let mut out = String::new();
    let _ = writeln!(out, "<!-- mailwright plan {} -->", plan.environment);
    let _ = writeln!(out, "### Mailwright plan: `{}`\n", plan.environment);
    let result = if plan.is_empty() { "No changes.".to_owned() } else { plan.summary_line() };
    let _ = writeln!(out, "**{result}**\n");
    warnings(&mut out, plan);
    drift(&mut out, plan);
    senders(&mut out, plan);
    let tail = tail(plan);
    details(&mut out, plan, LIMIT.saturating_sub(tail.len()));
    out.push_str(&tail);
    out
}

/// What a plan changes, by itself: without where it is from, and without what only a service can tell.
pub(super) fn changes(plan: &Plan, room: usize) -> String {
    let mut out = String::new();
    warnings(&mut out, plan);
    senders(&mut out, plan);
    details(&mut out, plan, room);
    out
}

fn warnings(out: &mut String, plan: &Plan) {
    if let Some(moved) = &plan.moved {
        let _ = writeln!(
            out,
            "> [!CAUTION]\n> {}. Tokens of this environment are sent there; see that it is meant.\n",
            inline(&moved.words())
        );
    }
    for secret in &plan.redirected {
        let _ = writeln!(
            out,
            "> [!CAUTION]\n> `{}`: the secret `{}` would go to a new place, {}. It {}. The service refuses this; seal the value again.\n",
            secret.user(),
            secret.secret,
            inline(&secret.would_go_to.to_string()),
            inline(&secret.accepted_for_words())
        );
    }
    for guard in &plan.guards {
        let _ = writeln!(
            out,
            "> [!WARNING]\n> {}. If that is meant: `--allow-deletes {}`\n",
            inline(&guard.message()),
            guard.allowance()
        );
    }
    for breach in &plan.policy {
        let _ = writeln!(out, "> [!NOTE]\n> An apply from here would be refused: {}.\n", inline(&breach.message));
    }
    for need in plan.approvals.iter().flat_map(|approvals| &approvals.needs) {
        let _ = writeln!(
            out,
            "> [!IMPORTANT]\n> It needs {}, because it {}.\n",
            inline(&need.words()),
            inline(&need.because.join(", "))
        );
    }
    for before in plan.verified.iter().filter(|before| before.last.as_ref().is_some_and(|last| last.errors > 0)) {
        let _ = writeln!(
            out,
            "> [!WARNING]\n> Verify, last known, of `{}`: {}\n",
            before.profile,
            super::verified_words(before)
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

fn drift(out: &mut String, plan: &Plan) {
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
                code(&field.applied),
                code(&field.live)
            );
        }
    }
    if plan.drift.len() > 50 {
        let _ = writeln!(out, "| ... and {} more | | | | |", plan.drift.len() - 50);
    }
    out.push('\n');
}

fn senders(out: &mut String, plan: &Plan) {
    if plan.senders.is_empty() {
        return;
    }
    let groups = sender_groups(&plan.senders);
    let lost = plan.senders.iter().filter(|change| change.after.is_none()).count();
    let lost = if lost > 0 { format!(", **{lost} lose theirs**") } else { String::new() };
    let _ = writeln!(
        out,
        "<details><summary>Who sends differently afterwards ({} cells{lost})</summary>\n",
        plan.senders.len()
    );
    let _ = writeln!(out, "| Company: function | Now | Afterwards |\n| --- | --- | --- |");
    for group in groups.iter().take(50) {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            group.lines().join("<br>"),
            inline(&sender_words(group.before)),
            inline(&sender_words(group.after))
        );
    }
    if groups.len() > 50 {
        let _ = writeln!(out, "| ... and {} more | | |", groups.len() - 50);
    }
    out.push_str("\n</details>\n\n");
}

/// One folded block a change, as long as there is room; then the rest is counted.
fn details(out: &mut String, plan: &Plan, room: usize) {
    if let Some(settings) = &plan.settings {
        let place = html_text(&settings.place.to_string());
        let mut block = format!("<details><summary>~ environment settings ({place})</summary>\n\n```diff\n");
        diff_lines(&mut block, &settings.fields);
        block.push_str("```\n\n</details>\n\n");
        out.push_str(&block);
    }
    for (index, change) in plan.changes.iter().enumerate() {
        let block = change_block(change);
        if out.len() + block.len() + 200 > room {
            let left = plan.changes.len() - index;
            let _ = writeln!(out, "_... and {left} more changes; the plan as text or JSON has them all._\n");
            return;
        }
        out.push_str(&block);
    }
}

fn change_block(change: &PlannedChange) -> String {
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
        let _ = writeln!(block, "{}.\n", inline(reason));
    }
    if !change.fields.is_empty() && change.action != Action::Delete {
        block.push_str("```diff\n");
        diff_lines(&mut block, &change.fields);
        block.push_str("```\n");
    }
    block.push_str("\n</details>\n\n");
    block
}

fn diff_lines(out: &mut String, fields: &[FieldChange]) {
    for field in fields {
        if let Some(secret) = &field.secret {
            let name = field.after.as_str().or(field.before.as_str()).unwrap_or_default();
            let _ = writeln!(out, "! {} = {name} {}", field.path, secret_words(secret));
            continue;
        }
        if !field.before.is_null() {
            let _ = writeln!(out, "- {} = {}", field.path, shown(&field.before));
        }
        if !field.after.is_null() {
            let _ = writeln!(out, "+ {} = {}", field.path, shown(&field.after));
        }
    }
}

fn tail(plan: &Plan) -> String {
    let mut tail = String::new();
    if !plan.unmanaged.is_empty() {
        let names = crate::text::enumerate(plan.unmanaged.iter().map(|name| format!("`{name}`")), 20);
        let _ = writeln!(tail, "Not in Git and left alone: {names}\n");
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

/// A value in a table's cell.
fn code(value: &Value) -> String {
    if value.is_null() { String::new() } else { code_span(&shown(value)) }
}
