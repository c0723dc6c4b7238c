//! Renders a [`Plan`] as text for a terminal, with the symbols, colours and summary line of Terraform.
//!
//! Colours are ANSI sequences, which the printer removes where they are not supported; no information depends on colour alone.
//! Routing changes and verifications beyond 30 groups are counted, not shown; the changes are not cut. Parts of a plan can be
//! rendered alone: [`render_changes`] and [`render_drift`]. Returns text and prints nothing.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::{describe_secret_change, describe_sender, display_value};
use crate::{
    changes::{
        drift::{Drift, DriftKind},
        guards::Guard,
        routing::sender_groups,
    },
    reconcile::plan::{
        Action, Cause, FieldChange, Hint, Plan, PlannedChange, PreviousVerification, RedirectedSecret, SettingsChange,
    },
    text::printable,
    time::local::format_time,
};

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED_BOLD: Style = AnsiColor::Red.on_default().bold();
const GREEN_BOLD: Style = AnsiColor::Green.on_default().bold();

/// The maximum number of groups of senders that are shown; the rest is counted.
const GROUPS: usize = 30;

/// The number of characters up to which the fields of a new profile share a line in a compact plan.
const PACKED: usize = 90;

/// How much room a plan takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A line for each field.
    Full,
    /// Without legend, and with the fields of a new profile next to each other: for one of many environments. Nothing that
    /// changes is left out.
    Compact,
}

/// Renders the whole plan.
pub fn render_human(plan: &Plan) -> String {
    render(plan, Layout::Full)
}

/// Renders the whole plan in few lines, for a report of many environments.
pub fn render_human_compact(plan: &Plan) -> String {
    render(plan, Layout::Compact)
}

fn render(plan: &Plan, layout: Layout) -> String {
    // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
    let mut out = String::new();
    write_head(&mut out, plan);
    write_drift_section(&mut out, plan);
    if plan.is_empty() {
        write_unmanaged(&mut out, plan);
        write_hints(&mut out, plan);
        let _ = writeln!(out, "{GREEN_BOLD}No changes.{GREEN_BOLD:#} The service holds what the files say.");
        if plan.notes() > 0 {
            let _ = writeln!(out, "{DIM}An apply would record {} more as managed.{DIM:#}", plan.notes());
        }
        return out;
    }
    if layout == Layout::Full {
        write_legend(&mut out, plan);
    }
    write_sections(&mut out, plan, layout);
    write_senders(&mut out, plan);
    write_unmanaged(&mut out, plan);
    if layout == Layout::Full || plan.verified.iter().any(|before| before.last.is_some()) {
        write_verified(&mut out, plan);
    }
    write_hints(&mut out, plan);
    for secret in &plan.redirected {
        write_redirected(&mut out, plan, secret);
    }
    write_guards(&mut out, plan);
    write_policy(&mut out, plan);
    write_approvals(&mut out, plan);
    let _ = writeln!(out, "{BOLD}{}{BOLD:#}", plan.summary_line());
    out
}

/// Renders the changes of a plan alone, without its provenance and without what only a service knows.
pub(super) fn render_changes(plan: &Plan) -> String {
    let mut out = String::new();
    write_sections(&mut out, plan, Layout::Full);
    write_senders(&mut out, plan);
    write_hints(&mut out, plan);
    for secret in &plan.redirected {
        write_redirected(&mut out, plan, secret);
    }
    write_guards(&mut out, plan);
    out
}

fn write_sections(out: &mut String, plan: &Plan, layout: Layout) {
    if let Some(settings) = &plan.settings {
        write_settings(out, settings);
    }
    for change in plan.changes.iter().filter(|change| change.action != Action::Delete) {
        write_change(out, change, layout);
    }
    // Deletions come last, together: they deserve attention.
    for change in plan.changes.iter().filter(|change| change.action == Action::Delete) {
        write_change(out, change, layout);
    }
}

/// Renders drift alone.
pub fn render_drift(drift: &[Drift]) -> String {
    let mut out = String::new();
    for entry in drift {
        write_drift_entry(&mut out, entry);
    }
    out
}

fn write_head(out: &mut String, plan: &Plan) {
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
        let _ = writeln!(out, "{RED_BOLD}!{RED_BOLD:#} {}.", printable(&moved.describe()));
        let _ = writeln!(
            out,
            "    Tokens of this environment are sent there. Check that this is intended before you apply."
        );
    }
    out.push('\n');
}

fn write_drift_section(out: &mut String, plan: &Plan) {
    if plan.drift.is_empty() {
        return;
    }
    let _ = writeln!(out, "{CYAN}{BOLD}Changed outside Git since the last apply:{BOLD:#}{CYAN:#}\n");
    for entry in &plan.drift {
        write_drift_entry(out, entry);
    }
    let taken_back = plan.cause().is_some_and(|cause| cause != Cause::Git);
    let what = if taken_back {
        "The files differ: the plan below reverts what is marked `drift`.\n"
    } else {
        "The plan does not change this.\n"
    };
    let _ = writeln!(out, "{what}");
}

fn write_drift_entry(out: &mut String, entry: &Drift) {
    let name = entry.name.as_ref().map_or("environment settings".to_owned(), ToString::to_string);
    let (symbol, style, verb) = match entry.kind {
        DriftKind::Changed => ("~", YELLOW, "was changed"),
        DriftKind::Removed => ("-", RED, "was removed"),
        DriftKind::Restored => ("+", GREEN, "was removed by an apply, and brought back"),
    };
    let by = entry.by.as_ref().map(|by| {
        format!(" by `{}` at {} (generation {}, {})", by.by, format_time(by.at), by.generation, by.kind.id())
    });
    let _ = writeln!(out, "  {style}{symbol}{style:#} {BOLD}{name}{BOLD:#} {verb}{}", by.unwrap_or_default());
    for field in &entry.fields {
        let _ = writeln!(
            out,
            "      {YELLOW}~{YELLOW:#} {}: {} -> {}",
            field.path,
            display_value(&field.applied),
            display_value(&field.live)
        );
    }
    out.push('\n');
}

fn write_legend(out: &mut String, plan: &Plan) {
    let _ = writeln!(out, "Mailwright would do this:\n");
    let mut used: Vec<Action> = plan.changes.iter().map(|change| change.action).collect();
    if plan.settings.is_some() {
        used.push(Action::Update);
    }
    used.sort_unstable();
    used.dedup();
    for action in used {
        let (symbol, style) = symbol(action);
        let _ = writeln!(out, "  {style}{symbol:>2}{style:#} {}", legend_label(action));
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

fn legend_label(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update in-place",
        Action::Rename => "rename",
        Action::Adopt => "adopt",
        Action::Delete => "destroy",
        Action::Forget => "forget",
    }
}

fn write_settings(out: &mut String, settings: &SettingsChange) {
    let _ = writeln!(
        out,
        "  {BOLD}# environment settings{BOLD:#} will be updated in-place{}",
        describe_cause(settings.cause)
    );
    let place = if settings.place.is_in_a_file() { format!("  {DIM}{}{DIM:#}", settings.place) } else { String::new() };
    let _ = writeln!(out, "  {YELLOW}~{YELLOW:#} settings{place}");
    write_fields(out, &settings.fields);
    if settings.fields.is_empty() {
        let _ = writeln!(out, "      {DIM}# (as they are; recorded as applied){DIM:#}");
    }
    out.push('\n');
}

fn write_change(out: &mut String, change: &PlannedChange, layout: Layout) {
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
    let _ = writeln!(out, "  {BOLD}# {name}{BOLD:#} {verb}{}", describe_cause(change.cause));
    if let Some(reason) = &change.reason {
        let _ = writeln!(out, "  {DIM}# ({reason}){DIM:#}");
    }
    let (symbol, style) = symbol(change.action);
    let place = change.place.as_ref().map(|place| format!("  {DIM}{}{DIM:#}", place.file)).unwrap_or_default();
    let _ = writeln!(out, "  {style}{symbol}{style:#} {name}{place}");
    if change.action == Action::Create && layout == Layout::Compact {
        write_packed_fields(out, &change.fields);
    } else if change.action != Action::Delete {
        write_fields(out, &change.fields);
        if change.unchanged > 0 {
            let s = if change.unchanged == 1 { "" } else { "s" };
            let _ = writeln!(out, "      {DIM}# ({} unchanged field{s} hidden){DIM:#}", change.unchanged);
        }
    }
    out.push('\n');
}

/// Writes the fields of a new profile next to each other. Those of the provider follow its name, which is written once.
fn write_packed_fields(out: &mut String, fields: &[FieldChange]) {
    let mut line = String::new();
    let mut before = None;
    for field in fields {
        let provider = provider_of(&field.path);
        let own = provider.and_then(|provider| field.path.strip_prefix(provider)?.strip_prefix('.'));
        let name = match (provider, own) {
            (Some(provider), Some(own)) if provider != before.unwrap_or_default() => format!("{provider}: {own}"),
            (_, Some(own)) => own.to_owned(),
            (_, None) => field.path.clone(),
        };
        // A field behind those of a provider would look like one of them.
        if before.is_some() && provider != before && !line.is_empty() {
            let _ = writeln!(out, "      {GREEN}+{GREEN:#} {line}");
            line.clear();
        }
        before = provider;
        let text = format!("{name} = {}", render_field(field));
        if !line.is_empty() && line.chars().count() + text.chars().count() + 2 > PACKED {
            let _ = writeln!(out, "      {GREEN}+{GREEN:#} {line}");
            line.clear();
            if own.is_some() && !text.starts_with("provider.") {
                line.push_str("  ");
            }
        }
        let separator = if line.trim().is_empty() { "" } else { "; " };
        let _ = write!(line, "{separator}{text}");
    }
    if !line.is_empty() {
        let _ = writeln!(out, "      {GREEN}+{GREEN:#} {line}");
    }
}

/// Returns the beginning of the path of a provider's field: `provider.smtp`.
fn provider_of(path: &str) -> Option<&str> {
    let (kind, _) = path.strip_prefix("provider.")?.split_once('.')?;
    path.get(.."provider.".len() + kind.len())
}

fn describe_cause(cause: Cause) -> String {
    match cause {
        Cause::Git => String::new(),
        Cause::Drift => format!(" {CYAN}(drift){CYAN:#}"),
        Cause::Both => format!(" {CYAN}(Git and drift){CYAN:#}"),
    }
}

fn write_fields(out: &mut String, fields: &[FieldChange]) {
    let width = fields.iter().map(|field| field.path.len()).max().unwrap_or(0);
    for field in fields {
        let (symbol, style) = match (&field.before, &field.after) {
            (Value::Null, _) => ("+", GREEN),
            (_, Value::Null) => ("-", RED),
            _ => ("~", YELLOW),
        };
        let _ = write!(out, "      {style}{symbol}{style:#} {:<width$} = {}", field.path, render_field(field));
        let _ = write!(out, "{}", describe_cause(field.cause));
        // The file of a new profile is shown above; a changed field shows its own line.
        if let (false, Some(place)) = (field.before.is_null(), &field.place) {
            let _ = write!(out, "  {DIM}{place}{DIM:#}");
        }
        // The earlier place is shown if it is in another file: the value moved to another layer.
        if let Some(before) = &field.before_place
            && field.place.as_ref().is_none_or(|place| place.file != before.file)
        {
            let _ = write!(out, "  {DIM}(was {before}){DIM:#}");
        }
        out.push('\n');
    }
}

fn render_field(field: &FieldChange) -> String {
    if let Some(secret) = &field.secret {
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names = match (&field.before, &field.after) {
            (Value::Null, after) => name(after),
            (before, Value::Null) => name(before),
            (before, after) if before == after => name(after),
            (before, after) => format!("{} -> {}", name(before), name(after)),
        };
        return format!("{names} {}", describe_secret_change(secret));
    }
    match (&field.before, &field.after) {
        (Value::Null, after) => display_value(after),
        (before, Value::Null) => format!("{} {DIM}-> null{DIM:#}", display_value(before)),
        (Value::Array(before), Value::Array(after)) => {
            let gone = before
                .iter()
                .filter(|item| !after.contains(item))
                .map(|item| format!("{RED}-{}{RED:#}", display_value(item)));
            let new = after
                .iter()
                .filter(|item| !before.contains(item))
                .map(|item| format!("{GREEN}+{}{GREEN:#}", display_value(item)));
            let kept = after.iter().filter(|item| before.contains(item)).count();
            let kept = if kept > 0 { format!(" {DIM}({kept} unchanged){DIM:#}") } else { String::new() };
            format!("[{}]{kept}", gone.chain(new).collect::<Vec<_>>().join(", "))
        }
        (before, after) => format!("{} -> {}", display_value(before), display_value(after)),
    }
}

fn write_senders(out: &mut String, plan: &Plan) {
    if plan.routing_changes.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "{BOLD}Routing changes{BOLD:#} ({} cells of company and function):\n",
        plan.routing_changes.len()
    );
    let groups = sender_groups(&plan.routing_changes);
    for group in groups.iter().take(GROUPS) {
        let (before, after) = (describe_sender(group.before), describe_sender(group.after));
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

fn write_unmanaged(out: &mut String, plan: &Plan) {
    if plan.unmanaged.is_empty() {
        return;
    }
    let names = crate::text::enumerate(plan.unmanaged.iter().map(ToString::to_string), 20);
    let _ = writeln!(out, "{BOLD}Not in Git and not changed:{BOLD:#} {names}");
    let _ = writeln!(out, "  {DIM}`mailwright import {}` writes files for them.{DIM:#}\n", plan.environment);
}

/// Renders the last results of `verify` for the profiles that change.
fn write_verified(out: &mut String, plan: &Plan) {
    if plan.verified.is_empty() {
        return;
    }
    let _ = writeln!(out, "{BOLD}Verify, last known:{BOLD:#}");
    for before in plan.verified.iter().filter(|before| before.last.is_some()).take(GROUPS) {
        let (colour, words) = describe_verification(before);
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

fn describe_verification(before: &PreviousVerification) -> (Style, String) {
    let words = super::describe_verification(before, format_time);
    let colour = match &before.last {
        Some(last) if last.errors > 0 => RED,
        Some(last) if last.warnings + last.unknown > 0 => YELLOW,
        _ => GREEN,
    };
    (colour, words)
}

/// Describes when a `renamedFrom` line can be removed. A line that is inherited must first be applied in every environment.
fn removable_line(plan: &Plan, place: &crate::model::Place) -> String {
    if place.file.starts_with(&format!("environments/{}/", plan.environment)) {
        format!("the line at {place} can be removed")
    } else {
        format!("the line at {place} can be removed when every environment that inherits it has been applied")
    }
}

fn write_hints(out: &mut String, plan: &Plan) {
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
                let _ = writeln!(
                    out,
                    "{YELLOW}hint:{YELLOW:#} `{name}` has been renamed; {}.\n",
                    removable_line(plan, place)
                );
            }
        }
    }
}

fn write_redirected(out: &mut String, plan: &Plan, secret: &RedirectedSecret) {
    let _ = writeln!(
        out,
        "{RED_BOLD}!{RED_BOLD:#} {BOLD}{}{BOLD:#}: this secret would go to a new place  {DIM}{}{DIM:#}",
        secret.user(),
        secret.place
    );
    let _ = writeln!(out, "    `{}` {}", secret.secret, secret.describe_acceptance());
    let _ = writeln!(out, "    and would travel to {}.", secret.would_go_to);
    let _ = writeln!(
        out,
        "    The service rejects this. To send it there, seal the value again: mailwright secrets set {} {}\n",
        plan.environment, secret.secret
    );
}

fn write_approvals(out: &mut String, plan: &Plan) {
    let Some(approvals) = &plan.approvals else { return };
    for need in &approvals.needs {
        let _ = writeln!(out, "{CYAN}?{CYAN:#} It needs {}, because it {}.", need.describe(), need.because.join(", "));
    }
    let _ = writeln!(out, "  {DIM}approval digest {}{DIM:#}\n", approvals.digest);
}

fn write_guards(out: &mut String, plan: &Plan) {
    for guard in &plan.guards {
        let _ = writeln!(out, "{RED_BOLD}!{RED_BOLD:#} {}", guard.message());
        let _ = writeln!(
            out,
            "    If this is intended, for this plan only: {}\n",
            Guard::options(std::slice::from_ref(guard))
        );
    }
}

/// Renders the reasons why an apply from this source would be rejected.
fn write_policy(out: &mut String, plan: &Plan) {
    for breach in &plan.policy {
        let _ = writeln!(
            out,
            "{RED_BOLD}!{RED_BOLD:#} The service would reject an apply from this source: {}",
            breach.message
        );
        let _ = writeln!(out, "    {}\n", breach.remedy);
    }
}
