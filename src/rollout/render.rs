//! A rollout as people read it: its plan, its progress line by line, where a run stands. Colours are ANSI sequences;
//! whoever prints takes them out where they are not wanted.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::{
    Entry, Event, Problem, Run,
    journal::Outcome,
    plan::{Change, Field, Group, RolloutPlan},
    run::{Back, Became, EnvironmentRun, Standing, WaveRun},
};
use crate::{
    model::EnvironmentName,
    reconcile::{
        plan::{Action, Cause, Summary},
        render::{describe_secret_change_kind, display_value},
    },
};

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// How many fields of a profile are shown.
const FIELDS: usize = 12;
/// How many profiles of a group are shown.
const PROFILES: usize = 20;
/// How many names are shown.
const NAMES: usize = 8;
/// How many problems are shown.
const PROBLEMS: usize = 20;

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `a, b, c ... and 39 more`.
fn names<'a>(names: impl ExactSizeIterator<Item = &'a EnvironmentName>) -> String {
    let count = names.len();
    let listed: Vec<&str> = names.take(NAMES).map(EnvironmentName::as_str).collect();
    let more = if count > NAMES { format!(" ... and {} more", count - NAMES) } else { String::new() };
    format!("{}{more}", listed.join(", "))
}

/// The plan: each change once, with how many environments it is for.
pub fn plan(plan: &RolloutPlan) -> String {
    // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
    let mut out = String::new();
    let all: usize = plan.waves.iter().map(|wave| wave.environments.len()).sum();
    let _ = writeln!(
        out,
        "{BOLD}{}{BOLD:#}: {} in {}",
        plan.rollout,
        counted(all, "environment"),
        counted(plan.waves.len(), "wave")
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
            counted(wave.environments.len(), "environment"),
            wave.parallel
        );
    }
    for group in &plan.groups {
        out.push('\n');
        self::group(&mut out, group, plan);
    }
    if !plan.already.is_empty() {
        let _ = writeln!(
            out,
            "\n{} already so: {}",
            counted(plan.already.len(), "environment"),
            names(plan.already.iter())
        );
    }
    if !plan.failed.is_empty() {
        let _ = writeln!(out, "\n{RED}{} could not be planned:{RED:#}", counted(plan.failed.len(), "environment"));
        problems(&mut out, plan.failed.iter());
    }
    let _ = writeln!(out, "\n{BOLD}{}{BOLD:#}", summary(plan));
    out
}

/// `2 changes: 942 + 3 environments; 50 are already so; 5 could not be planned.`
fn summary(plan: &RolloutPlan) -> String {
    let changing: usize = plan.groups.iter().map(|group| group.environments.len()).sum();
    let mut text = match plan.groups.len() {
        0 => "No changes".to_owned(),
        1 => format!("1 change, in {}", counted(changing, "environment")),
        count => format!("{count} different changes, in {}", counted(changing, "environment")),
    };
    if !plan.already.is_empty() {
        let _ = write!(text, "; {} already so", plan.already.len());
    }
    if !plan.failed.is_empty() {
        let _ = write!(text, "; {} could not be planned", plan.failed.len());
    }
    text.push('.');
    text
}

fn group(out: &mut String, group: &Group, plan: &RolloutPlan) {
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
        counted(group.environments.len(), "environment"),
        in_waves.join(", "),
        summary_words(&group.change.summary)
    );
    // The exceptions are told in full only where they differ from what most get.
    let most = plan.groups.first().filter(|most| most.digest != group.digest);
    change(out, &group.change, most.map(|most| &most.change));
    let _ = writeln!(out, "  {DIM}in {}{DIM:#}", names(group.environments.iter()));
}

fn summary_words(summary: &Summary) -> String {
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
    if words.is_empty() { "something to note".to_owned() } else { words.join(", ") }
}

fn change(out: &mut String, change: &Change, most: Option<&Change>) {
    if !change.settings.is_empty() {
        let _ = writeln!(out, "  {YELLOW}~{YELLOW:#} {BOLD}environment settings{BOLD:#}");
        fields(out, &change.settings, true);
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
        let cause = cause_words(profile.cause);
        let as_most = most.is_some_and(|most| most.profiles.contains(profile));
        let word = if as_most { format!("{word} {DIM}as above{DIM:#}") } else { word.to_owned() };
        let _ = writeln!(out, "  {style}{symbol}{style:#} {from}{BOLD}{}{BOLD:#}{word}{cause}", profile.name);
        // What goes, goes as a whole.
        if profile.action != Action::Delete && !as_most {
            fields(out, &profile.fields, profile.action != Action::Create);
        }
    }
    if change.profiles.len() > PROFILES {
        let _ = writeln!(out, "  ... and {} more profiles; `--format json` has them", change.profiles.len() - PROFILES);
    }
    for refused in &change.refused {
        let _ = writeln!(out, "  {RED}!{RED:#} would be refused: {refused}");
    }
}

fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Git => "",
        Cause::Drift => " (drift)",
        Cause::Both => " (Git and drift)",
    }
}

fn fields(out: &mut String, fields: &[Field], with_before: bool) {
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
        let _ = writeln!(out, "{}", cause_words(field.cause));
    }
    if fields.len() > FIELDS {
        let _ = writeln!(out, "      ... and {} more fields", fields.len() - FIELDS);
    }
}

fn problems<'a>(out: &mut String, problems: impl ExactSizeIterator<Item = (&'a EnvironmentName, &'a Problem)>) {
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

/// One line of progress; none for entries that only matter to the journal.
pub fn entry(entry: &Entry, run: &Run) -> Option<String> {
    let at = entry.at.strftime("%H:%M:%SZ");
    let line = match &entry.event {
        Event::Begun { run, .. } => format!("Run {run} begins."),
        Event::Resumed { order, .. } => {
            let with = if order.is_some() { " with the files as they are now" } else { "" };
            format!("It goes on{with}.")
        }
        Event::WaveBegun { wave } => {
            let count = run.waves.iter().find(|own| own.name == *wave).map_or(0, |own| own.environments.len());
            format!("{BOLD}Wave {wave}{BOLD:#}: {}", counted(count, "environment"))
        }
        Event::Ended { environment, outcome } => {
            let (symbol, style, what) = match outcome {
                Outcome::Applied { generation, summary, .. } => {
                    ("+", GREEN, format!("generation {generation}: {}", done(summary)))
                }
                Outcome::AlreadySo { generation } => ("=", DIM, format!("already so at generation {generation}")),
                Outcome::Failed { problem } => ("!", RED, format!("failed: {} [{}]", problem.message, problem.code)),
            };
            let (done, of) = progress(run, environment);
            format!("  {style}{symbol}{style:#} {environment} {DIM}({done} of {of}){DIM:#} {what}")
        }
        Event::SoakBegun { wave, seconds } => {
            let until = entry.at + std::time::Duration::from_secs(*seconds);
            format!("Wave {wave} soaks for {seconds} s, until {}.", until.strftime("%H:%M:%SZ"))
        }
        Event::SoakEnded { wave } => format!("Wave {wave} has soaked."),
        Event::Checked { environment, problem: None } => format!("  {GREEN}ok{GREEN:#} {environment}: the checks hold"),
        Event::Checked { environment, problem: Some(problem) } => {
            format!("  {RED}!{RED:#} {environment}: a check does not hold: {} [{}]", problem.message, problem.code)
        }
        Event::WaveEnded { wave } => {
            let failed = run.waves.iter().find(|own| own.name == *wave).map_or(0, |own| run.failures(own));
            let tolerated = if failed > 0 { format!(", {failed} failed and tolerated") } else { String::new() };
            format!("Wave {wave} is done{tolerated}.")
        }
        Event::TakingBack { wave: Some(wave), why, .. } => format!("{}. Taking wave {wave} back.", why.message),
        Event::TakingBack { wave: None, .. } => "Taking everything back.".to_owned(),
        Event::TakenBack { environment, generation: Some(generation), problem: None } => {
            format!("  {YELLOW}-{YELLOW:#} {environment} is back, as generation {generation}")
        }
        Event::TakenBack { environment, problem: None, .. } => format!("  = {environment}: nothing to take back"),
        Event::TakenBack { environment, problem: Some(problem), .. } => {
            format!("  {RED}!{RED:#} {environment} is not taken back: {} [{}]", problem.message, problem.code)
        }
        Event::Paused { why, .. } => format!("Paused: {why}."),
        Event::Stopped { .. } => "Stopped.".to_owned(),
        Event::Aborted { by } => format!("Given up by {by}."),
        Event::Finished => format!("{GREEN}Finished.{GREEN:#}"),
        Event::Leased { .. } | Event::Intended { .. } | Event::BackIntended { .. } => return None,
    };
    Some(format!("{DIM}{at}{DIM:#} {line}"))
}

/// `0 to add, 1 to change, 0 to destroy` as what was done, without what was not.
fn done(summary: &str) -> String {
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
    if parts.is_empty() { "noted".to_owned() } else { parts.join(", ") }
}

/// How many environments of the wave have come to an end.
fn progress(run: &Run, name: &EnvironmentName) -> (usize, usize) {
    let Some(wave) = run.waves.iter().find(|wave| wave.environments.contains(name)) else { return (0, 0) };
    let ended = |name: &&EnvironmentName| run.environments.get(*name).is_some_and(|e| e.became != Became::Waiting);
    (wave.environments.iter().filter(ended).count(), wave.environments.len())
}

/// Where a run stands. `running` tells whether a process on this machine is at it.
pub fn run(run: &Run, running: bool, now: Timestamp) -> String {
    let mut out = String::new();
    let begun = run.begun_at.strftime("%Y-%m-%d %H:%M:%SZ");
    let _ = writeln!(out, "{BOLD}{}{BOLD:#}: run {}, begun {begun} by {}", run.rollout, run.id, run.by);
    if let Some(commit) = &run.order.source.commit {
        let dirty = if run.order.source.dirty { ", with changes that are not committed" } else { "" };
        let _ = writeln!(out, "{DIM}files of commit {}{dirty}{DIM:#}", commit.get(..12).unwrap_or(commit));
    }
    let _ = writeln!(out, "{}\n", standing(run, running));
    for wave in &run.waves {
        self::wave(&mut out, run, wave, now);
    }
    let failed: Vec<_> = run.problems().collect();
    if !failed.is_empty() {
        let _ = writeln!(out, "\n{}:", counted(failed.len(), "failure"));
        problems(&mut out, failed.into_iter());
    }
    let open: Vec<&EnvironmentName> =
        run.environments.iter().filter(|(_, own)| !own.open.is_empty()).map(|(name, _)| name).collect();
    if !open.is_empty() {
        let _ = writeln!(
            out,
            "\nSent, and not known whether taken; going on asks the services: {}",
            names(open.into_iter())
        );
    }
    out
}

fn standing(run: &Run, running: bool) -> String {
    let go_on = format!("mailwright rollout resume {}", run.rollout);
    match &run.standing {
        Standing::UnderWay if running && run.taking_back.is_some() => "It is being taken back.".to_owned(),
        Standing::UnderWay if running => format!("{GREEN}It is under way.{GREEN:#}"),
        Standing::UnderWay => {
            format!("{YELLOW}No process here is at it: it ended without a word. To go on: {go_on}{YELLOW:#}")
        }
        Standing::Paused { .. } if running => "It is being ended.".to_owned(),
        Standing::Paused { why, .. } => format!("{YELLOW}Paused: {why}. To go on: {go_on}{YELLOW:#}"),
        Standing::Stopped { problem } => {
            let remedy = &problem.remedy;
            format!("{RED}Stopped: {} [{}]{RED:#}\n{remedy}", problem.message, problem.code)
        }
        Standing::Aborted { by } => format!("Given up by {by}."),
        Standing::Finished => format!("{GREEN}Finished.{GREEN:#}"),
    }
}

fn wave(out: &mut String, run: &Run, wave: &WaveRun, now: Timestamp) {
    let count = |test: &dyn Fn(&EnvironmentRun) -> bool| {
        wave.environments.iter().filter(|name| run.environments.get(*name).is_some_and(test)).count()
    };
    let parts = [
        (
            count(&|e| matches!(e.became, Became::Applied { .. }) && !matches!(e.back, Some(Back::Done { .. }))),
            "applied",
        ),
        (count(&|e| matches!(e.became, Became::AlreadySo { .. })), "already so"),
        (count(&EnvironmentRun::failed), "failed"),
        (count(&|e| matches!(e.back, Some(Back::Done { generation: Some(_) }))), "taken back"),
        (count(&|e| e.back == Some(Back::Refused)), "not taken back"),
        (count(&|e| e.became == Became::Waiting), "waiting"),
    ];
    let words: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let state = match (wave.ended, wave.soaked, wave.soak) {
        (true, _, _) => "done".to_owned(),
        (false, false, Some((since, seconds))) => {
            let left = (since.as_second() + i64::try_from(seconds).unwrap_or(i64::MAX) - now.as_second()).max(0);
            format!("soaks, {left} s left")
        }
        (false, true, _) => "being checked".to_owned(),
        _ if wave.begun => "under way".to_owned(),
        _ => "not begun".to_owned(),
    };
    let _ = writeln!(
        out,
        "  {BOLD}{}{BOLD:#}: {state}; {}",
        wave.name,
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    );
}
