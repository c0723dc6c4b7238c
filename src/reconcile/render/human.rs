//! A plan for a terminal, with the symbols, colours and summary line that Terraform users know. Colours are ANSI
//! sequences; whoever prints takes them out where they are not wanted. Nothing depends on colour alone.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::{secret_words, sender_groups, sender_words, shown};
use crate::{
    changes::drift::{Drift, DriftKind},
    reconcile::plan::{
        Action, Cause, FieldChange, Hint, Plan, PlannedChange, RedirectedSecret, SettingsChange, VerifiedBefore,
    },
    text::printable,
};

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED_BOLD: Style = AnsiColor::Red.on_default().bold();
const GREEN_BOLD: Style = AnsiColor::Green.on_default().bold();

/// How many groups of senders are shown; the rest is counted.
const GROUPS: usize = 30;

/// The whole plan.
pub fn human(plan: &Plan) -> String {
    // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
    let mut out = String::new();
    head(&mut out, plan);
    drift_section(&mut out, plan);
    if plan.is_empty() {
        unmanaged(&mut out, plan);
        hints(&mut out, plan);
        let _ = writeln!(out, "{GREEN_BOLD}No changes.{GREEN_BOLD:#} The service holds what the files say.");
        if plan.notes() > 0 {
            let _ = writeln!(out, "{DIM}An apply would note {} more as known to Git.{DIM:#}", plan.notes());
        }
        return out;
    }
    legend(&mut out, plan);
    sections(&mut out, plan);
    senders(&mut out, plan);
    unmanaged(&mut out, plan);
    verified(&mut out, plan);
    hints(&mut out, plan);
    for secret in &plan.redirected {
        redirected(&mut out, plan, secret);
    }
    guards(&mut out, plan);
    policy(&mut out, plan);
    approvals(&mut out, plan);
    let _ = writeln!(out, "{BOLD}{}{BOLD:#}", plan.summary_line());
    out
}

/// What a plan changes, by itself: without where it is from, and without what only a service can tell.
pub(super) fn changes(plan: &Plan) -> String {
    let mut out = String::new();
    sections(&mut out, plan);
    senders(&mut out, plan);
    hints(&mut out, plan);
    for secret in &plan.redirected {
        redirected(&mut out, plan, secret);
    }
    guards(&mut out, plan);
    out
}

fn sections(out: &mut String, plan: &Plan) {
    if let Some(settings) = &plan.settings {
        settings_section(out, settings);
    }
    for change in plan.changes.iter().filter(|change| change.action != Action::Delete) {
        change_section(out, change);
    }
    // Deletions stand together at the end: the part that is worth a second look.
    for change in plan.changes.iter().filter(|change| change.action == Action::Delete) {
        change_section(out, change);
    }
}

/// What changed outside Git, by itself.
pub fn drift_text(drift: &[Drift]) -> String {
    let mut out = String::new();
    for entry in drift {
        drift_entry(&mut out, entry);
    }
    out
}

fn head(out: &mut String, plan: &Plan) {
    let _ = writeln!(out, "{BOLD}{}{BOLD:#} at {}, generation {}", plan.environment, plan.service, plan.base);
    if let Some(commit) = &plan.source.commit {
        let branch = plan.source.branch.as_ref().map(|branch| format!(" on {branch}")).unwrap_or_default();
        let dirty = if plan.source.dirty { ", with changes that are not committed" } else { "" };
        let _ = writeln!(out, "{DIM}files of commit {}{branch}{dirty}{DIM:#}", commit.get(..12).unwrap_or(commit));
    }
    if !plan.only.is_empty() {
        let names = plan.only.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "{YELLOW}limited to {names}; other differences are not shown{YELLOW:#}");
    }
    if let Some(moved) = &plan.moved {
        let _ = writeln!(out, "{RED_BOLD}!{RED_BOLD:#} {}.", printable(&moved.words()));
        let _ = writeln!(out, "    Tokens of this environment are sent there. See that it is meant before you apply.");
    }
    out.push('\n');
}

fn drift_section(out: &mut String, plan: &Plan) {
    if plan.drift.is_empty() {
        return;
    }
    let _ = writeln!(out, "{CYAN}{BOLD}Changed outside Git since the last apply:{BOLD:#}{CYAN:#}\n");
    for entry in &plan.drift {
        drift_entry(out, entry);
    }
    let taken_back = plan.cause().is_some_and(|cause| cause != Cause::Git);
    let what = if taken_back {
        "What the files say differs: the plan below takes back what is marked `drift`.\n"
    } else {
        "The plan does not touch this.\n"
    };
    let _ = writeln!(out, "{what}");
}

fn drift_entry(out: &mut String, entry: &Drift) {
    let name = entry.name.as_ref().map_or("environment settings".to_owned(), ToString::to_string);
    let (symbol, style, verb) = match entry.kind {
        DriftKind::Changed => ("~", YELLOW, "was changed"),
        DriftKind::Removed => ("-", RED, "was removed"),
        DriftKind::Restored => ("+", GREEN, "was removed by an apply, and brought back"),
    };
    let by = entry.by.as_ref().map(|by| {
        format!(
            " by `{}` at {} (generation {}, {})",
            by.by,
            by.at.strftime("%Y-%m-%d %H:%M:%SZ"),
            by.generation,
            by.kind.id()
        )
    });
    let _ = writeln!(out, "  {style}{symbol}{style:#} {BOLD}{name}{BOLD:#} {verb}{}", by.unwrap_or_default());
    for field in &entry.fields {
        let _ = writeln!(
            out,
            "      {YELLOW}~{YELLOW:#} {}: {} -> {}",
            field.path,
            shown(&field.applied),
            shown(&field.live)
        );
    }
    out.push('\n');
}

fn legend(out: &mut String, plan: &Plan) {
    let _ = writeln!(out, "Mailwright would do this:\n");
    let mut used: Vec<Action> = plan.changes.iter().map(|change| change.action).collect();
    if plan.settings.is_some() {
        used.push(Action::Update);
    }
    used.sort_unstable();
    used.dedup();
    for action in used {
        let (symbol, style) = symbol(action);
        let _ = writeln!(out, "  {style}{symbol:>2}{style:#} {}", legend_word(action));
    }
    out.push('\n');
}

fn symbol(action: Action) -> (&'static str, Style) {
    match action {
        Action::Create => ("+", GREEN),
        Action::Update => ("~", YELLOW),
        Action::Rename => ("->", CYAN),
        Action::Adopt => ("=", CYAN),
        Action::Delete => ("-", RED),
        Action::Forget => (".", RED),
    }
}

fn legend_word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update in-place",
        Action::Rename => "rename",
        Action::Adopt => "adopt",
        Action::Delete => "destroy",
        Action::Forget => "forget",
    }
}

fn settings_section(out: &mut String, settings: &SettingsChange) {
    let _ =
        writeln!(out, "  {BOLD}# environment settings{BOLD:#} will be updated in-place{}", cause_words(settings.cause));
    let place = if settings.place.is_in_a_file() { format!("  {DIM}{}{DIM:#}", settings.place) } else { String::new() };
    let _ = writeln!(out, "  {YELLOW}~{YELLOW:#} settings{place}");
    field_lines(out, &settings.fields);
    if settings.fields.is_empty() {
        let _ = writeln!(out, "      {DIM}# (as they are; recorded as applied){DIM:#}");
    }
    out.push('\n');
}

fn change_section(out: &mut String, change: &PlannedChange) {
    let name = &change.name;
    let verb = match change.action {
        Action::Create => "will be created".to_owned(),
        Action::Update => "will be updated in-place".to_owned(),
        Action::Rename => match &change.previous_name {
            Some(from) => format!("is the new name of {from}"),
            None => "will be renamed".to_owned(),
        },
        Action::Adopt => "will be adopted".to_owned(),
        Action::Delete => format!("will be {RED_BOLD}destroyed{RED_BOLD:#}"),
        Action::Forget => "will be forgotten".to_owned(),
    };
    let _ = writeln!(out, "  {BOLD}# {name}{BOLD:#} {verb}{}", cause_words(change.cause));
    if let Some(reason) = &change.reason {
        let _ = writeln!(out, "  {DIM}# ({reason}){DIM:#}");
    }
    let (symbol, style) = symbol(change.action);
    let place = change.place.as_ref().map(|place| format!("  {DIM}{}{DIM:#}", place.file)).unwrap_or_default();
    let _ = writeln!(out, "  {style}{symbol}{style:#} {name}{place}");
    if change.action != Action::Delete {
        field_lines(out, &change.fields);
        if change.unchanged > 0 {
            let s = if change.unchanged == 1 { "" } else { "s" };
            let _ = writeln!(out, "      {DIM}# ({} unchanged field{s} hidden){DIM:#}", change.unchanged);
        }
    }
    out.push('\n');
}

fn cause_words(cause: Cause) -> String {
    match cause {
        Cause::Git => String::new(),
        Cause::Drift => format!(" {CYAN}(drift){CYAN:#}"),
        Cause::Both => format!(" {CYAN}(Git and drift){CYAN:#}"),
    }
}

fn field_lines(out: &mut String, fields: &[FieldChange]) {
    let width = fields.iter().map(|field| field.path.len()).max().unwrap_or(0);
    for field in fields {
        let (symbol, style) = match (&field.before, &field.after) {
            (Value::Null, _) => ("+", GREEN),
            (_, Value::Null) => ("-", RED),
            _ => ("~", YELLOW),
        };
        let _ = write!(out, "      {style}{symbol}{style:#} {:<width$} = {}", field.path, field_words(field));
        let _ = write!(out, "{}", cause_words(field.cause));
        // For a whole new profile its file stands above; for a single field the line is worth the room.
        if let (false, Some(place)) = (field.before.is_null(), &field.place) {
            let _ = write!(out, "  {DIM}{place}{DIM:#}");
        }
        // The other side's place is worth it where it is another file: a layer that took over, or gave way.
        if let Some(before) = &field.before_place
            && field.place.as_ref().is_none_or(|place| place.file != before.file)
        {
            let _ = write!(out, "  {DIM}(was {before}){DIM:#}");
        }
        out.push('\n');
    }
}

fn field_words(field: &FieldChange) -> String {
    if let Some(secret) = &field.secret {
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names = match (&field.before, &field.after) {
            (Value::Null, after) => name(after),
            (before, Value::Null) => name(before),
            (before, after) if before == after => name(after),
            (before, after) => format!("{} -> {}", name(before), name(after)),
        };
        return format!("{names} {}", secret_words(secret));
    }
    match (&field.before, &field.after) {
        (Value::Null, after) => shown(after),
        (before, Value::Null) => format!("{} {DIM}-> null{DIM:#}", shown(before)),
        (Value::Array(before), Value::Array(after)) => {
            let gone =
                before.iter().filter(|item| !after.contains(item)).map(|item| format!("{RED}-{}{RED:#}", shown(item)));
            let new = after
                .iter()
                .filter(|item| !before.contains(item))
                .map(|item| format!("{GREEN}+{}{GREEN:#}", shown(item)));
            let kept = after.iter().filter(|item| before.contains(item)).count();
            let kept = if kept > 0 { format!(" {DIM}({kept} unchanged){DIM:#}") } else { String::new() };
            format!("[{}]{kept}", gone.chain(new).collect::<Vec<_>>().join(", "))
        }
        (before, after) => format!("{} -> {}", shown(before), shown(after)),
    }
}

fn senders(out: &mut String, plan: &Plan) {
    if plan.senders.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "{BOLD}Who sends differently afterwards{BOLD:#} ({} cells of company and function):\n",
        plan.senders.len()
    );
    let groups = sender_groups(&plan.senders);
    for group in groups.iter().take(GROUPS) {
        let (before, after) = (sender_words(group.before), sender_words(group.after));
        let (style, symbol) = match (group.before, group.after) {
            (_, None) => (RED_BOLD, "!"),
            (None, _) => (GREEN, "+"),
            _ => (YELLOW, "~"),
        };
        for line in group.lines() {
            let _ = writeln!(out, "  {style}{symbol}{style:#} {line}");
        }
        let _ = writeln!(out, "      {before} -> {style}{after}{style:#}");
    }
    if groups.len() > GROUPS {
        let _ = writeln!(
            out,
            "  {DIM}... and {} more groups; `--format json` lists every cell{DIM:#}",
            groups.len() - GROUPS
        );
    }
    out.push('\n');
}

fn unmanaged(out: &mut String, plan: &Plan) {
    if plan.unmanaged.is_empty() {
        return;
    }
    let names = crate::text::enumerate(plan.unmanaged.iter().map(ToString::to_string), 20);
    let _ = writeln!(out, "{BOLD}Not in Git and left alone:{BOLD:#} {names}");
    let _ = writeln!(out, "  {DIM}`mailwright import {}` writes files for them.{DIM:#}\n", plan.environment);
}

/// What the verifier last said of the profiles that change.
fn verified(out: &mut String, plan: &Plan) {
    if plan.verified.is_empty() {
        return;
    }
    let _ = writeln!(out, "{BOLD}Verify, last known:{BOLD:#}");
    for before in plan.verified.iter().filter(|before| before.last.is_some()).take(GROUPS) {
        let (colour, words) = verified_words(before);
        let _ = writeln!(out, "  {}: {colour}{words}{colour:#}", before.profile);
    }
    let never = plan.verified.iter().filter(|before| before.last.is_none()).count();
    if never > 0 {
        let _ = writeln!(
            out,
            "  {DIM}{never} never verified; an apply does it, and so does `mailwright verify {}`{DIM:#}",
            plan.environment
        );
    }
    out.push('\n');
}

fn verified_words(before: &VerifiedBefore) -> (Style, String) {
    let words = super::verified_words(before);
    let colour = match &before.last {
        Some(last) if last.errors > 0 => RED,
        Some(last) if last.warnings + last.unknown > 0 => YELLOW,
        _ => GREEN,
    };
    (colour, words)
}

/// When the line goes that renamed a profile: one that others inherit has work to do in each of them.
fn line_can_go(plan: &Plan, place: &crate::model::Place) -> String {
    if place.file.starts_with(&format!("environments/{}/", plan.environment)) {
        format!("the line at {place} can go")
    } else {
        format!("the line at {place} can go when every environment that inherits it has been applied")
    }
}

fn hints(out: &mut String, plan: &Plan) {
    for hint in &plan.hints {
        match hint {
            Hint::ProbablyRename { from, to, file } => {
                let _ = writeln!(
                    out,
                    "{YELLOW}hint:{YELLOW:#} `{to}` has the contents of `{from}`. If it is the same profile, add to {file}:\n"
                );
                let _ = writeln!(out, "    renamedFrom: {from}\n");
            }
            Hint::RenameDone { name, place } => {
                let _ =
                    writeln!(out, "{YELLOW}hint:{YELLOW:#} `{name}` has been renamed; {}.\n", line_can_go(plan, place));
            }
        }
    }
}

fn redirected(out: &mut String, plan: &Plan, secret: &RedirectedSecret) {
    let _ = writeln!(
        out,
        "{RED_BOLD}!{RED_BOLD:#} {BOLD}{}{BOLD:#}: this secret would go to a new place  {DIM}{}{DIM:#}",
        secret.user(),
        secret.place
    );
    let _ = writeln!(out, "    `{}` {}", secret.secret, secret.accepted_for_words());
    let _ = writeln!(out, "    and would travel to {}.", secret.would_go_to);
    let _ = writeln!(
        out,
        "    The service refuses this. Whoever knows the value can seal it again: mailwright secrets set {} {}\n",
        plan.environment, secret.secret
    );
}

fn approvals(out: &mut String, plan: &Plan) {
    let Some(approvals) = &plan.approvals else { return };
    for need in &approvals.needs {
        let _ = writeln!(out, "{CYAN}?{CYAN:#} It needs {}, because it {}.", need.words(), need.because.join(", "));
    }
    let _ = writeln!(out, "  {DIM}approval digest {}{DIM:#}\n", approvals.digest);
}

fn guards(out: &mut String, plan: &Plan) {
    for guard in &plan.guards {
        let _ = writeln!(out, "{RED_BOLD}!{RED_BOLD:#} {}", guard.message());
        let _ = writeln!(out, "    If that is meant, for this plan only: --allow-deletes {}\n", guard.allowance());
    }
}

/// Why an apply from here would be refused.
fn policy(out: &mut String, plan: &Plan) {
    for breach in &plan.policy {
        let _ = writeln!(out, "{RED_BOLD}!{RED_BOLD:#} An apply from here would be refused: {}", breach.message);
        let _ = writeln!(out, "    {}\n", breach.remedy);
    }
}
