//! [`ProgressDisplay`]: progress of environments that are processed in parallel. On a terminal a block of lines that is
//! redrawn, elsewhere a line from time to time. [`CountDisplay`]: progress of a list, as one such line.
//!
//! `fleet` and `outbox` report to them. They are removed before the report is printed.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cli::{Printer, ui::printer::TaskLog},
    text::printable,
};

/// The number of lines that are drawn.
const LINES: usize = 16;
/// The width of a line in characters. A line that the terminal wraps could not be redrawn.
const WIDTH: usize = 79;
/// The shortest time between two drawings.
const REDRAW_INTERVAL: Duration = Duration::from_millis(80);
/// The time between two lines where nothing can be redrawn. A command that is quicker prints none.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Progress of environments that are processed in parallel.
pub(crate) struct ProgressDisplay<'a> {
    printer: &'a Printer,
    names: Vec<String>,
    running: BTreeMap<usize, (Instant, Arc<TaskLog>)>,
    finished: BTreeMap<usize, String>,
    drawn: usize,
    last: Option<Instant>,
}

impl<'a> ProgressDisplay<'a> {
    pub(crate) fn new(printer: &'a Printer, names: Vec<String>) -> Self {
        // A terminal is drawn at once; elsewhere the first line waits.
        let last = (!printer.is_live()).then(Instant::now);
        Self { printer, names, running: BTreeMap::new(), finished: BTreeMap::new(), drawn: 0, last }
    }

    pub(crate) fn started(&mut self, index: usize, task_log: Arc<TaskLog>) {
        self.running.insert(index, (Instant::now(), task_log));
        self.draw();
    }

    pub(crate) fn finished(&mut self, index: usize, line: &str) {
        self.running.remove(&index);
        self.finished.insert(index, line.to_owned());
        self.draw();
    }

    /// Redraws the block, unless it was drawn a moment ago.
    pub(crate) fn draw(&mut self) {
        let interval = if self.printer.is_live() { REDRAW_INTERVAL } else { LINE_INTERVAL };
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            return;
        }
        self.last = Some(Instant::now());
        if !self.printer.is_live() {
            self.printer.note(&self.total());
            return;
        }
        let lines = self.lines();
        let erase = self.erase();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.printer.draw(&format!("{erase}{text}"));
        self.drawn = lines.len();
    }

    /// Removes the block; the report follows.
    pub(crate) fn clear(&mut self) {
        let erase = self.erase();
        self.printer.draw(&erase);
        self.drawn = 0;
    }

    /// Returns the control sequence that erases the block.
    fn erase(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\x1b[J", self.drawn) }
    }

    /// Returns one line per environment if there is room for all, otherwise only the running ones; then the total.
    fn lines(&self) -> Vec<String> {
        let all = self.names.len() <= LINES;
        let width = self.names.iter().map(String::len).max().unwrap_or_default().min(40);
        let shown = |(index, name): (usize, &String)| {
            let state = match (self.running.get(&index), self.finished.get(&index)) {
                (Some((since, task_log)), _) => {
                    let step = task_log.status();
                    let seconds = since.elapsed().as_secs();
                    let elapsed = if seconds > 1 { format!(" {seconds} s") } else { String::new() };
                    if step.is_empty() { format!("...{elapsed}") } else { format!("... {step}{elapsed}") }
                }
                (None, Some(line)) if all => line.clone(),
                (None, None) if all => "waiting".to_owned(),
                _ => return None,
            };
            Some(cut(&format!("  {name:width$}  {state}")))
        };
        let mut lines: Vec<String> = self.names.iter().enumerate().filter_map(shown).take(LINES).collect();
        lines.push(cut(&self.total()));
        lines
    }

    fn total(&self) -> String {
        format!("{} of {} done", self.finished.len(), self.names.len())
    }
}

/// Progress of a list whose items are processed one after the other. A short list needs none.
pub(crate) struct CountDisplay<'a> {
    printer: &'a Printer,
    total: usize,
    last: Instant,
    is_drawn: bool,
}

impl<'a> CountDisplay<'a> {
    pub(crate) fn new(printer: &'a Printer, total: usize) -> Self {
        Self { printer, total, last: Instant::now(), is_drawn: false }
    }

    /// Shows how many items are done, unless that was shown a moment ago.
    pub(crate) fn show(&mut self, done: usize) {
        let interval = if self.printer.is_live() { REDRAW_INTERVAL } else { LINE_INTERVAL };
        if self.last.elapsed() < interval {
            return;
        }
        self.last = Instant::now();
        let line = format!("{done} of {} done", self.total);
        if self.printer.is_live() {
            self.printer.draw(&format!("\r\x1b[K{line}"));
            self.is_drawn = true;
        } else {
            self.printer.note(&line);
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            self.printer.draw("\r\x1b[K");
        }
    }
}

fn cut(line: &str) -> String {
    printable(line).chars().take(WIDTH).collect()
}
