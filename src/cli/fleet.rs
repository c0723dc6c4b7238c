//! Many environments at once: which are meant, side by side, and told in the order of their names.
//!
//! A command says what it does for one environment, and gives an [`Outcome`] or an error. One that is named alone is
//! answered as if there were no others. Of several, each has its part under its name, then comes one summary; one that
//! fails hides none of the others. Whether there are several is a matter of what was asked for and not of how many were
//! found, so that a document's form does not depend on it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{CliError, Context, Exit, Format, ServiceOptions, environment::Environment};
use crate::{
    cli::{
        revisions,
        ui::{printer::TaskLog, progress::ProgressDisplay, table::table},
    },
    config::{Repository, Selection},
    model::{Code, EnvironmentName},
    reconcile::plan::MovedService,
    text::{
        markdown::{code_block, escape_inline},
        printable,
    },
};

/// The environments that a command is about.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Environments {
    /// The environments: names, or patterns such as 'prod-*'
    #[arg(value_name = "ENV", required_unless_present_any = ["selector", "since"])]
    pub(super) environments: Vec<String>,
    #[command(flatten)]
    pub(super) choice: Choice,
}

/// Which of them, and how many at once.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Choice {
    /// Only environments with these labels: region=emea, tier!=test, 'wave in (1, 2)', canary, '!frozen'; those given
    /// must all hold
    #[arg(short = 'l', long, value_name = "LABELS", help_heading = "Many environments")]
    pub(super) selector: Vec<String>,
    /// Only environments that the change of files since REV touches, through layers, variables and secrets too;
    /// `REV...` means since the work tree parted from REV, and a REV of zeros means every one
    #[arg(long, value_name = "REV", help_heading = "Many environments")]
    pub(super) since: Option<String>,
    /// How many are worked on at once [default: 16; `validate`: as many as there are cores]
    #[arg(long, value_name = "N", help_heading = "Many environments", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) parallel: Option<u16>,
}

impl Choice {
    /// How many are worked on at once: mostly they wait for their services.
    pub(super) fn parallel(&self) -> usize {
        usize::from(self.parallel.unwrap_or(16))
    }

    /// Whether environments are chosen by more than their names.
    pub(super) fn is_given(&self) -> bool {
        !self.selector.is_empty() || self.since.is_some()
    }

    /// The environments that are meant, by name.
    pub(super) fn names(
        &self,
        context: &Context,
        repository: &Repository,
        selection: &Selection,
    ) -> Result<Chosen, CliError> {
        let mut names = repository.select(selection)?;
        let Some(revision) = &self.since else { return Ok(Chosen { names, nothing: None, moved: BTreeMap::new() }) };
        let since = revisions::changed_since(context, revision)?;
        if selection.is_empty() {
            for name in &since.removed {
                context.printer.note(&format!("{name} is gone since {}; its service is left alone.", since.from));
            }
        }
        names.retain(|name| since.names.contains(name));
        let nothing = Some(format!("No environment says anything else than {}.", since.from));
        Ok(Chosen { names, nothing, moved: since.moved })
    }
}

/// The environments that were chosen, by name.
pub(super) struct Chosen {
    pub(super) names: Vec<EnvironmentName>,
    /// What to say where there are none, if that may be.
    pub(super) nothing: Option<String>,
    /// Those whose files name another service than before.
    pub(super) moved: BTreeMap<EnvironmentName, MovedService>,
}

/// The environments that were found.
pub(super) enum Fleet {
    /// One, named alone.
    One(Environment),
    /// Several were asked for, or as many as there are.
    Several(Several),
}

/// Several environments, ordered by name.
pub(super) struct Several {
    pub(super) environments: Vec<Environment>,
    pub(super) parallel: usize,
    /// What to say where there are none, if that may be.
    pub(super) nothing: Option<String>,
}

impl Environments {
    /// Finds them. `service` is refused where it can only be right for one.
    pub(super) fn find(&self, context: &Context, service: &ServiceOptions) -> Result<Fleet, CliError> {
        let repository = Arc::new(context.repository()?);
        Fleet::find(context, &repository, &self.environments, &self.choice, service)
    }
}

impl Fleet {
    pub(super) fn find(
        context: &Context,
        repository: &Arc<Repository>,
        patterns: &[String],
        choice: &Choice,
        service: &ServiceOptions,
    ) -> Result<Self, CliError> {
        let selection = Selection::parse(patterns, &choice.selector)?;
        let Chosen { names, nothing, mut moved } = choice.names(context, repository, &selection)?;
        let mut environments: Vec<Environment> = Vec::with_capacity(names.len());
        for name in names {
            let mut environment = match environments.first() {
                Some(first) => first.sibling(name),
                None => Environment::new(name, Arc::clone(repository)),
            };
            environment.moved = moved.remove(&environment.name);
            environments.push(environment);
        }
        if selection.single_name().is_some()
            && let Some(environment) = environments.pop()
        {
            return Ok(Self::One(environment));
        }
        if environments.len() > 1 {
            service.fit_for_several()?;
        }
        Ok(Self::Several(Several { environments, parallel: choice.parallel(), nothing }))
    }

    /// Does the work for each, and tells what came of it.
    pub(super) fn tell(
        self,
        context: &Context,
        format: Format,
        words: &Words,
        work: impl Fn(&Context, &Environment) -> Result<Outcome, CliError> + Sync,
    ) -> Result<Exit, CliError> {
        match self {
            Fleet::One(environment) => work(context, &environment)?.tell_alone(context, format),
            Fleet::Several(several) if several.tell_nothing(context, format) => Ok(Exit::Done),
            Fleet::Several(several) => {
                let headline = |outcome: &Outcome| outcome.headline();
                let ended = several.each(context, headline, |context, environment| work(context, environment))?;
                Sheet::new(ended).tell(context, format, words)
            }
        }
    }
}

impl Several {
    /// Says that there are none, to people. True if there is nothing else to do.
    pub(super) fn tell_nothing(&self, context: &Context, format: Format) -> bool {
        match &self.nothing {
            Some(words) if self.environments.is_empty() && format != Format::Json => {
                context.printer.out(words);
                true
            }
            _ => false,
        }
    }

    /// Does the same for each, side by side.
    pub(super) fn each<T: Send>(
        self,
        context: &Context,
        headline: impl Fn(&T) -> String + Sync,
        work: impl Fn(&Context, &Environment) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<Ended<T>>, CliError> {
        let items = self.environments.into_iter().map(|environment| (environment.name.clone(), environment)).collect();
        side_by_side(context, self.parallel, items, headline, |context, environment| work(context, &environment))
    }
}

/// How it ended for one environment.
pub(super) struct Ended<T> {
    pub(super) name: EnvironmentName,
    /// What was said meanwhile.
    pub(super) notes: String,
    pub(super) result: Result<T, CliError>,
}

/// What a worker says to whoever watches.
enum Event<T> {
    Begun(usize, Arc<TaskLog>),
    Ended(usize, String, Ended<T>),
}

/// Works on each item in a thread of its own, so many at once. What came of them is in the order of the items.
pub(super) fn side_by_side<I: Send, T: Send>(
    context: &Context,
    parallel: usize,
    items: Vec<(EnvironmentName, I)>,
    headline: impl Fn(&T) -> String + Sync,
    work: impl Fn(&Context, I) -> Result<T, CliError> + Sync,
) -> Result<Vec<Ended<T>>, CliError> {
    // Made here, so that it is made once.
    context.runtime()?;
    let mut board = ProgressDisplay::new(&context.printer, items.iter().map(|(name, _)| name.to_string()).collect());
    let workers = parallel.clamp(1, items.len().max(1));
    let queue = Mutex::new(items.into_iter().enumerate().collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (sender, events) = mpsc::channel();
    let mut ended = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, work, headline) = (sender.clone(), &next, &work, &headline);
            scope.spawn(move || {
                while let Some((index, (name, item))) = next() {
                    let (context, aside) = context.with_task_log();
                    drop(sender.send(Event::Begun(index, Arc::clone(&aside))));
                    let result = work(&context, item);
                    let line = match &result {
                        Ok(value) => headline(value),
                        Err(error) => error.headline(),
                    };
                    let ended = Ended { name, notes: aside.notes(), result };
                    drop(sender.send(Event::Ended(index, line, ended)));
                }
            });
        }
        drop(sender);
        loop {
            match events.recv_timeout(Duration::from_millis(100)) {
                Ok(Event::Begun(index, aside)) => board.started(index, aside),
                Ok(Event::Ended(index, line, one)) => {
                    board.finished(index, &line);
                    ended.push((index, one));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => board.draw(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    board.clear();
    ended.sort_by_key(|(index, _)| *index);
    Ok(ended.into_iter().map(|(_, one)| one).collect())
}

/// What a command has to say of one environment.
pub(super) struct Outcome {
    /// For people, or as Markdown, whichever was asked for.
    pub(super) text: String,
    /// For programs.
    pub(super) document: Value,
    /// In one line.
    pub(super) line: String,
    /// The exit code, if it were alone.
    pub(super) code: u8,
    /// Whether there is more to tell than the line.
    pub(super) telling: bool,
    /// Whether a summary counts it among those with something to tell.
    pub(super) counts: bool,
    /// Why it is a failure all the same.
    pub(super) refusal: Option<CliError>,
}

impl Outcome {
    fn headline(&self) -> String {
        self.refusal.as_ref().map_or_else(|| self.line.clone(), CliError::headline)
    }

    fn tell_alone(self, context: &Context, format: Format) -> Result<Exit, CliError> {
        if format == Format::Json {
            context.printer.out(&format!("{:#}", self.document));
        } else {
            context.printer.out(&self.text);
        }
        match self.refusal {
            // The document has it already.
            Some(refusal) => Err(CliError { in_json: format == Format::Json, ..refusal }),
            None if self.code == 0 => Ok(Exit::Done),
            None => Ok(Exit::Code(self.code)),
        }
    }
}

/// What a summary calls those with something to tell, and those without: a key for programs, and words for people.
pub(super) struct Words {
    pub(super) some: (&'static str, &'static str),
    pub(super) none: (&'static str, &'static str),
}

/// How many lines a summary has; where there are more, those with nothing to tell are only counted.
const LINES: usize = 50;
/// How many names a heading or a list has.
const NAMES: usize = 8;

/// What is told of several environments.
pub(super) struct Sheet {
    rows: Vec<Row>,
}

struct Row {
    name: EnvironmentName,
    line: String,
    /// What stands under its name, if anything does.
    part: Option<String>,
    document: Value,
    code: u8,
    counts: bool,
    failed: bool,
}

impl Sheet {
    pub(super) fn new(ended: Vec<Ended<Outcome>>) -> Self {
        let row = |Ended { name, notes, result }: Ended<Outcome>| match result {
            Err(error) => Row {
                name,
                line: error.headline(),
                part: Some(joined(&[&notes, &error.render()])),
                document: error.to_json(),
                code: 1,
                counts: true,
                failed: true,
            },
            Ok(outcome) => {
                let refusal = outcome.refusal.as_ref().map(CliError::render).unwrap_or_default();
                Row {
                    name,
                    line: outcome.headline(),
                    part: outcome.telling.then(|| joined(&[&outcome.text, &notes, &refusal])),
                    document: outcome.document,
                    code: if outcome.refusal.is_some() { 1 } else { outcome.code },
                    counts: outcome.counts,
                    failed: outcome.refusal.is_some(),
                }
            }
        };
        Self { rows: ended.into_iter().map(row).collect() }
    }

    /// Prints all of it, and gives the exit code.
    pub(super) fn tell(&self, context: &Context, format: Format, words: &Words) -> Result<Exit, CliError> {
        match format {
            Format::Human => self.show(context, words),
            Format::Markdown => context.printer.out(&self.markdown(words)),
            Format::Json => {
                self.tell_failures(context);
                context.printer.out(&format!("{:#}", self.document(words)));
            }
        }
        self.exit(format == Format::Json)
    }

    /// Prints what people read of it.
    pub(super) fn show(&self, context: &Context, words: &Words) {
        context.printer.out(&self.text(words));
    }

    /// Says what failed on standard error, where standard output is for programs.
    pub(super) fn tell_failures(&self, context: &Context) {
        for (names, part) in self.parts(true) {
            context.printer.note(&format!("{}\n{part}\n", heading(&names)));
        }
    }

    /// The parts in the order of names. Environments that failed in the same words share one.
    fn parts(&self, failures_only: bool) -> Vec<(Vec<&str>, &str)> {
        let mut parts: Vec<(Vec<&str>, &str)> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for row in self.rows.iter().filter(|row| row.failed || !failures_only) {
            let Some(part) = row.part.as_deref() else { continue };
            let at = if row.failed { *known.entry(part).or_insert(parts.len()) } else { parts.len() };
            match parts.get_mut(at) {
                Some((names, _)) => names.push(row.name.as_str()),
                None => parts.push((vec![row.name.as_str()], part)),
            }
        }
        parts
    }

    fn text(&self, words: &Words) -> String {
        let mut out = String::new();
        for (names, part) in self.parts(false) {
            out.push_str(&format!("{}\n\n{}\n\n", heading(&names), part.trim_matches('\n')));
        }
        out.push_str(&self.table());
        format!("{out}\n\n{}", self.count(words))
    }

    fn listed(&self) -> (Vec<&Row>, usize) {
        let telling = |row: &&Row| self.rows.len() <= LINES || row.failed || row.counts || row.part.is_some();
        let listed: Vec<&Row> = self.rows.iter().filter(telling).collect();
        let left = self.rows.len() - listed.len();
        (listed, left)
    }

    fn table(&self) -> String {
        let (listed, left) = self.listed();
        let mut text = String::new();
        if !listed.is_empty() {
            let rows = listed.iter().map(|row| vec![row.name.to_string(), printable(&row.line).into_owned()]);
            text = table(&["environment", "result"], rows);
        }
        if left > 0 {
            text = format!("{text}\n... and {left} more with nothing to tell");
        }
        text.trim_start_matches('\n').to_owned()
    }

    fn markdown(&self, words: &Words) -> String {
        let mut out = format!("### Summary\n\n**{}**\n\n| environment | result |\n| --- | --- |\n", self.count(words));
        let (listed, left) = self.listed();
        for row in listed {
            out.push_str(&format!("| `{}` | {} |\n", row.name, escape_inline(&row.line)));
        }
        if left > 0 {
            out.push_str(&format!("\n... and {left} more with nothing to tell\n"));
        }
        for (names, part) in self.parts(false) {
            let failed = self.rows.iter().any(|row| row.failed && names.first() == Some(&row.name.as_str()));
            let part = anstream::adapter::strip_str(part.trim_matches('\n')).to_string();
            if failed || !part.starts_with("<!--") && !part.starts_with('#') {
                out.push_str(&format!("\n### {}\n\n{}", few(&names, "`"), code_block(&part)));
            } else {
                out.push_str(&format!("\n{part}\n"));
            }
        }
        out
    }

    fn document(&self, words: &Words) -> Value {
        let environments: Map<String, Value> =
            self.rows.iter().map(|row| (row.name.to_string(), row.document.clone())).collect();
        json!({ "environments": environments, "summary": self.summary(words) })
    }

    /// How it ended, in numbers.
    fn summary(&self, words: &Words) -> Value {
        let (failed, some, none) = self.counts();
        json!({
            "environments": self.rows.len(), "failed": failed, words.some.0: some, words.none.0: none,
            "exitCode": self.code(),
        })
    }

    fn counts(&self) -> (usize, usize, usize) {
        let failed = self.rows.iter().filter(|row| row.failed).count();
        let some = self.rows.iter().filter(|row| !row.failed && row.counts).count();
        (failed, some, self.rows.len() - failed - some)
    }

    /// `7 environments: 2 with changes, 4 without changes, 1 failed.`
    fn count(&self, words: &Words) -> String {
        let (failed, some, none) = self.counts();
        let counts = [(some, words.some.1), (none, words.none.1), (failed, "failed")];
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
        let noun = if self.rows.len() == 1 { "environment" } else { "environments" };
        format!("{} {noun}: {}.", self.rows.len(), counts.join(", "))
    }

    /// An error beats everything; otherwise the code that tells most. Of a plan's causes, two that differ are both.
    fn code(&self) -> u8 {
        let codes: std::collections::BTreeSet<u8> =
            self.rows.iter().map(|row| row.code).filter(|code| *code > 0).collect();
        let mut codes = codes.into_iter();
        match (codes.next(), codes.next()) {
            (None, _) => 0,
            (Some(1), _) => 1,
            (Some(only), None) => only,
            (Some(_), Some(_)) => 4,
        }
    }

    /// The exit code, or the error that ends a run in which one failed.
    pub(super) fn exit(&self, in_json: bool) -> Result<Exit, CliError> {
        let failed: Vec<&str> = self.rows.iter().filter(|row| row.failed).map(|row| row.name.as_str()).collect();
        if failed.is_empty() {
            return Ok(match self.code() {
                0 => Exit::Done,
                code => Exit::Code(code),
            });
        }
        let message = format!("{} of {} environments failed: {}", failed.len(), self.rows.len(), few(&failed, ""));
        Err(CliError { in_json, ..CliError::coded(Code::SomeEnvironmentsFailed, message) })
    }
}

/// Pieces of text below each other, those that are empty left out.
fn joined(pieces: &[&str]) -> String {
    let pieces: Vec<&str> =
        pieces.iter().map(|piece| piece.trim_matches('\n')).filter(|piece| !piece.is_empty()).collect();
    pieces.join("\n\n")
}

fn heading(names: &[&str]) -> String {
    let bold = anstyle::Style::new().bold();
    format!("{bold}=== {}{bold:#}", few(names, ""))
}

/// The first few names, and how many more there are.
fn few(names: &[&str], quote: &str) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| format!("{quote}{name}{quote}")).collect();
    let more = names.len().saturating_sub(NAMES);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
