//! Text of rollouts: the plan, one line of progress per entry, the state of a run.
//!
//! Pure functions from plans, entries and runs to text, for `cli`. Long lists are cut, with the number of what is left out. Colours
//! are ANSI sequences, which the printer removes where they are not wanted.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::{
    Entry, Event, Run,
    journal::ApplyOutcome,
    plan::{ChangeGroup, FieldDifference, GeneralizedChange, RolloutPlan},
    run::{EnvironmentOutcome, EnvironmentRun, RollbackStatus, RunStatus, WaveRun},
};
use crate::{
    model::{EnvironmentName, Problem},
    reconcile::{
        plan::{Action, Cause, Summary},
        render::{describe_secret_change_kind, display_value},
    },
    time::local::{format_time, format_time_of_day},
};

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The number of fields of a profile that are shown.
const FIELDS: usize = 12;
/// The number of profiles of a group that are shown.
const PROFILES: usize = 20;
/// The number of names that are shown.
const NAMES: usize = 8;
/// The number of problems that are shown.
const PROBLEMS: usize = 20;

fn format_count(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `a, b, c ... and 39 more`.
fn format_names<'a>(names: impl ExactSizeIterator<Item = &'a EnvironmentName>) -> String {
    let count = names.len();
    let listed: Vec<&str> = names.take(NAMES).map(EnvironmentName::as_str).collect();
    let more = if count > NAMES { format!(" ... and {} more", count - NAMES) } else { String::new() };
    format!("{}{more}", listed.join(", "))
}

/// Renders a plan: each group of equal changes once, with its environments.
pub fn render_plan(plan: &RolloutPlan) -> String {
    // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
    let mut out = String::new();
    let all: usize = plan.waves.iter().map(|wave| wave.environments.len()).sum();
    let _ = writeln!(
        out,
        "{BOLD}{}{BOLD:#}: {} in {}",
        plan.rollout,
        format_count(all, "environment"),
        format_count(plan.waves.len(), "wave")
    );
    if !plan.description.is_empty() {
        let _ = writeln!(out, "{DIM}{}{DIM:#}", plan.description);
    }
    for wave in &plan.waves {
        let soak = wave.soak.map(|soak| format!(", soaks {soak}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "  {} {DIM}({}, {} at once{soak}){DIM:#}",
            wave.name,
            format_count(wave.environments.len(), "environment"),
            wave.parallel
        );
    }
    for group in &plan.groups {
        out.push('\n');
        render_group(&mut out, group, plan);
    }
    if !plan.unchanged.is_empty() {
        let _ = writeln!(
            out,
            "\n{} unchanged: {}",
            format_count(plan.unchanged.len(), "environment"),
            format_names(plan.unchanged.iter())
        );
    }
    if !plan.failed.is_empty() {
        let _ = writeln!(out, "\n{RED}{} could not be planned:{RED:#}", format_count(plan.failed.len(), "environment"));
        render_problems(&mut out, plan.failed.iter());
    }
    let _ = writeln!(out, "\n{BOLD}{}{BOLD:#}", summary(plan));
    out
}

/// Returns the last line: `2 different changes, in 945 environments; 50 unchanged; 5 could not be planned.`
fn summary(plan: &RolloutPlan) -> String {
    let changing: usize = plan.groups.iter().map(|group| group.environments.len()).sum();
    let mut text = match plan.groups.len() {
        0 => "No changes".to_owned(),
        1 => format!("1 change, in {}", format_count(changing, "environment")),
        count => format!("{count} different changes, in {}", format_count(changing, "environment")),
    };
    if !plan.unchanged.is_empty() {
        let _ = write!(text, "; {} unchanged", plan.unchanged.len());
    }
    if !plan.failed.is_empty() {
        let _ = write!(text, "; {} could not be planned", plan.failed.len());
    }
    text.push('.');
    text
}

fn render_group(out: &mut String, group: &ChangeGroup, plan: &RolloutPlan) {
    let in_waves: Vec<String> = plan
        .waves
        .iter()
        .filter_map(|wave| {
            let count = wave.environments.iter().filter(|name| group.environments.binary_search(name).is_ok()).count();
            (count > 0).then(|| format!("{} {count}", wave.name))
        })
        .collect();
    let _ = writeln!(
        out,
        "{BOLD}{}{BOLD:#} ({}): {}",
        format_count(group.environments.len(), "environment"),
        in_waves.join(", "),
        describe_summary(&group.change.summary)
    );
    // Smaller groups show only the profiles whose changes differ from those of the largest group.
    let most = plan.groups.first().filter(|most| most.digest != group.digest);
    render_change(out, &group.change, most.map(|most| &most.change));
    let _ = writeln!(out, "  {DIM}in {}{DIM:#}", format_names(group.environments.iter()));
}

fn describe_summary(summary: &Summary) -> String {
    let counted = [
        (summary.add, "to add"),
        (summary.change, "to change"),
        (summary.destroy, "to destroy"),
        (summary.rename, "to rename"),
        (summary.adopt, "to adopt"),
        (summary.forget, "to forget"),
    ];
    let words: Vec<String> =
        counted.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
    if words.is_empty() { "records only".to_owned() } else { words.join(", ") }
}

fn render_change(out: &mut String, change: &GeneralizedChange, most: Option<&GeneralizedChange>) {
    if !change.settings.is_empty() {
        let _ = writeln!(out, "  {YELLOW}~{YELLOW:#} {BOLD}environment settings{BOLD:#}");
        render_fields(out, &change.settings, true);
    }
    for profile in change.profiles.iter().take(PROFILES) {
        let (symbol, style) = match profile.action {
            Action::Create => ("+", GREEN),
            Action::Update | Action::Rename => ("~", YELLOW),
            Action::Delete => ("-", RED),
            Action::Adopt | Action::Forget => ("=", DIM),
        };
        let word = match profile.action {
            Action::Adopt => " (adopted)",
            Action::Forget => " (forgotten)",
            Action::Rename => " (renamed)",
            _ => "",
        };
        let from = profile.previous_name.as_ref().map(|name| format!("{name} -> ")).unwrap_or_default();
        let cause = describe_cause(profile.cause);
        let as_most = most.is_some_and(|most| most.profiles.contains(profile));
        let word = if as_most { format!("{word} {DIM}as above{DIM:#}") } else { word.to_owned() };
        let _ = writeln!(out, "  {style}{symbol}{style:#} {from}{BOLD}{}{BOLD:#}{word}{cause}", profile.name);
        // A deletion has no fields to show.
        if profile.action != Action::Delete && !as_most {
            render_fields(out, &profile.fields, profile.action != Action::Create);
        }
    }
    if change.profiles.len() > PROFILES {
        let _ = writeln!(out, "  ... and {} more profiles; `--format json` has them", change.profiles.len() - PROFILES);
    }
    for refused in &change.refused {
        let _ = writeln!(out, "  {RED}!{RED:#} would be refused: {refused}");
    }
}

fn describe_cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Git => "",
        Cause::Drift => " (drift)",
        Cause::Both => " (Git and drift)",
    }
}

fn render_fields(out: &mut String, fields: &[FieldDifference], with_before: bool) {
    for field in fields.iter().take(FIELDS) {
        let _ = write!(out, "      {}", field.path);
        match field.secret {
            Some(kind) => {
                let name = if field.after.is_null() { &field.before } else { &field.after };
                let name = name.as_str().unwrap_or_default();
                let _ = write!(out, " = {name} {}", describe_secret_change_kind(kind));
            }
            None if with_before => {
                let _ = write!(out, ": {} -> {}", display_value(&field.before), display_value(&field.after));
            }
            None => {
                let _ = write!(out, " = {}", display_value(&field.after));
            }
        }
        let _ = writeln!(out, "{}", describe_cause(field.cause));
    }
    if fields.len() > FIELDS {
        let _ = writeln!(out, "      ... and {} more fields", fields.len() - FIELDS);
    }
}

fn render_problems<'a>(out: &mut String, problems: impl ExactSizeIterator<Item = (&'a EnvironmentName, &'a Problem)>) {
    let count = problems.len();
    for (name, problem) in problems.take(PROBLEMS) {
        let _ = writeln!(out, "  {RED}!{RED:#} {BOLD}{name}{BOLD:#}: {} [{}]", problem.message, problem.code);
        if !problem.remedy.is_empty() {
            let _ = writeln!(out, "      {DIM}{}{DIM:#}", problem.remedy);
        }
    }
    if count > PROBLEMS {
        let _ = writeln!(out, "  ... and {} more; `--format json` has them", count - PROBLEMS);
    }
}

/// Renders one line of progress; none for entries that only the journal needs.
pub fn render_entry(entry: &Entry, run: &Run) -> Option<String> {
    let at = format_time_of_day(entry.at);
    let line = match &entry.event {
        Event::Started { run, .. } => format!("Run {run} started."),
        Event::Resumed { spec, .. } => {
            let with = if spec.is_some() { " with the present files" } else { "" };
            format!("Run resumed{with}.")
        }
        Event::WaveStarted { wave } => {
            let count = run.waves.iter().find(|own| own.name == *wave).map_or(0, |own| own.environments.len());
            format!("{BOLD}Wave {wave}{BOLD:#}: {}", format_count(count, "environment"))
        }
        Event::Ended { environment, outcome } => {
            let (symbol, style, what) = match outcome {
                ApplyOutcome::Applied { generation, summary, .. } => {
                    ("+", GREEN, format!("generation {generation}: {}", past_tense(summary)))
                }
                ApplyOutcome::Unchanged { generation } => ("=", DIM, format!("unchanged at generation {generation}")),
                ApplyOutcome::Failed { problem } => {
                    ("!", RED, format!("failed: {} [{}]", problem.message, problem.code))
                }
            };
            let (done, of) = count_progress(run, environment);
            format!("  {style}{symbol}{style:#} {environment} {DIM}({done} of {of}){DIM:#} {what}")
        }
        Event::SoakStarted { wave, seconds } => {
            let until = entry.at + std::time::Duration::from_secs(*seconds);
            format!("Wave {wave} soaks for {seconds} s, until {}.", format_time_of_day(until))
        }
        Event::SoakEnded { wave } => format!("The soak time of wave {wave} is over."),
        Event::Checked { environment, problem: None } => {
            format!("  {GREEN}ok{GREEN:#} {environment}: the checks passed")
        }
        Event::Checked { environment, problem: Some(problem) } => {
            format!("  {RED}!{RED:#} {environment}: a check failed: {} [{}]", problem.message, problem.code)
        }
        Event::WaveEnded { wave } => {
            let failed = run.waves.iter().find(|own| own.name == *wave).map_or(0, |own| run.failures(own));
            let tolerated = if failed > 0 { format!(", {failed} failed and tolerated") } else { String::new() };
            format!("Wave {wave} is done{tolerated}.")
        }
        Event::RollbackStarted { wave: Some(wave), reason, .. } => {
            format!("{}. Rolling back wave {wave}.", reason.message)
        }
        Event::RollbackStarted { wave: None, .. } => "Rolling back all waves.".to_owned(),
        Event::RollbackEnded { environment, generation: Some(generation), problem: None } => {
            format!("  {YELLOW}-{YELLOW:#} {environment} is rolled back (generation {generation})")
        }
        Event::RollbackEnded { environment, problem: None, .. } => format!("  = {environment}: nothing to roll back"),
        Event::RollbackEnded { environment, problem: Some(problem), .. } => {
            format!("  {RED}!{RED:#} {environment} is not rolled back: {} [{}]", problem.message, problem.code)
        }
        Event::Paused { reason, .. } => format!("Paused: {reason}."),
        Event::Stopped { .. } => "Stopped.".to_owned(),
        Event::Aborted { by } => format!("Aborted by {by}."),
        Event::Finished => format!("{GREEN}Finished.{GREEN:#}"),
        Event::LeaseAcquired { .. } | Event::Intended { .. } | Event::RollbackIntended { .. } => return None,
    };
    Some(format!("{DIM}{at}{DIM:#} {line}"))
}

/// Turns `0 to add, 1 to change, 0 to destroy` into `1 changed`.
fn past_tense(summary: &str) -> String {
    let parts: Vec<String> = summary
        .split(", ")
        .filter(|part| !part.starts_with("0 "))
        .map(|part| {
            part.replace("to add", "added")
                .replace("to change", "changed")
                .replace("to destroy", "destroyed")
                .replace("to rename", "renamed")
                .replace("to adopt", "adopted")
                .replace("to forget", "forgotten")
        })
        .collect();
    if parts.is_empty() { "recorded".to_owned() } else { parts.join(", ") }
}

/// Counts the environments of the wave that have an outcome, and all of them.
fn count_progress(run: &Run, name: &EnvironmentName) -> (usize, usize) {
    let Some(wave) = run.waves.iter().find(|wave| wave.environments.contains(name)) else { return (0, 0) };
    let ended =
        |name: &&EnvironmentName| run.environments.get(*name).is_some_and(|e| e.outcome != EnvironmentOutcome::Waiting);
    (wave.environments.iter().filter(ended).count(), wave.environments.len())
}

/// Renders the state of a run. `running` is true if a process of this machine works on it.
pub fn render_run(run: &Run, running: bool, now: Timestamp) -> String {
    let mut out = String::new();
    let started = format_time(run.started_at);
    let _ = writeln!(out, "{BOLD}{}{BOLD:#}: run {}, started {started} by {}", run.rollout, run.id, run.by);
    if let Some(commit) = &run.spec.source.commit {
        let dirty = if run.spec.source.dirty { ", with uncommitted changes" } else { "" };
        let _ = writeln!(out, "{DIM}files of commit {}{dirty}{DIM:#}", commit.get(..12).unwrap_or(commit));
    }
    let _ = writeln!(out, "{}\n", describe_status(run, running));
    for wave in &run.waves {
        render_wave(&mut out, run, wave, now);
    }
    let failed: Vec<_> = run.problems().collect();
    if !failed.is_empty() {
        let _ = writeln!(out, "\n{}:", format_count(failed.len(), "failure"));
        render_problems(&mut out, failed.into_iter());
    }
    let open: Vec<&EnvironmentName> =
        run.environments.iter().filter(|(_, own)| !own.open.is_empty()).map(|(name, _)| name).collect();
    if !open.is_empty() {
        let _ = writeln!(
            out,
            "\nSent without a known outcome; `resume` asks the services: {}",
            format_names(open.into_iter())
        );
    }
    out
}

fn describe_status(run: &Run, running: bool) -> String {
    let resume = format!("mailwright rollout resume {}", run.rollout);
    match &run.status {
        RunStatus::Running if running && run.rollback.is_some() => "Rolling back.".to_owned(),
        RunStatus::Running if running => format!("{GREEN}Running.{GREEN:#}"),
        RunStatus::Running => {
            format!("{YELLOW}No process of this machine works on it: it was killed. To resume: {resume}{YELLOW:#}")
        }
        RunStatus::Paused { .. } if running => "Pausing.".to_owned(),
        RunStatus::Paused { reason, .. } => format!("{YELLOW}Paused: {reason}. To resume: {resume}{YELLOW:#}"),
        RunStatus::Stopped { problem } => {
            let remedy = &problem.remedy;
            format!("{RED}Stopped: {} [{}]{RED:#}\n{remedy}", problem.message, problem.code)
        }
        RunStatus::Aborted { by } => format!("Aborted by {by}."),
        RunStatus::Finished => format!("{GREEN}Finished.{GREEN:#}"),
    }
}

fn render_wave(out: &mut String, run: &Run, wave: &WaveRun, now: Timestamp) {
    let count = |test: &dyn Fn(&EnvironmentRun) -> bool| {
        wave.environments.iter().filter(|name| run.environments.get(*name).is_some_and(test)).count()
    };
    let parts = [
        (
            count(&|e| {
                matches!(e.outcome, EnvironmentOutcome::Applied { .. })
                    && !matches!(e.rollback, Some(RollbackStatus::Done { .. }))
            }),
            "applied",
        ),
        (count(&|e| matches!(e.outcome, EnvironmentOutcome::Unchanged { .. })), "unchanged"),
        (count(&EnvironmentRun::has_failed), "failed"),
        (count(&|e| matches!(e.rollback, Some(RollbackStatus::Done { generation: Some(_) }))), "rolled back"),
        (count(&|e| e.rollback == Some(RollbackStatus::Refused)), "not rolled back"),
        (count(&|e| e.outcome == EnvironmentOutcome::Waiting), "waiting"),
    ];
    let words: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let state = match (wave.ended, wave.soaked, wave.soak) {
        (true, _, _) => "done".to_owned(),
        _ if wave.started && run.status.is_final() => "ended early".to_owned(),
        (false, false, Some((since, seconds))) => {
            let left = (since.as_second() + i64::try_from(seconds).unwrap_or(i64::MAX) - now.as_second()).max(0);
            format!("soaking, {left} s left")
        }
        (false, true, _) => "being checked".to_owned(),
        _ if wave.started => "running".to_owned(),
        _ => "not started".to_owned(),
    };
    let _ = writeln!(
        out,
        "  {BOLD}{}{BOLD:#}: {state}; {}",
        wave.name,
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_plan_become_what_was_done() {
        assert_eq!(past_tense("0 to add, 1 to change, 0 to destroy"), "1 changed");
        assert_eq!(past_tense("2 to adopt, 1 to add, 0 to change, 3 to destroy"), "2 adopted, 1 added, 3 destroyed");
        assert_eq!(past_tense("0 to add, 0 to change, 0 to destroy"), "recorded");
    }
}
