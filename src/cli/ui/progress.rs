//! Live progress of many environments: on a terminal a line each that is drawn over, elsewhere a line as each ends.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cli::{Printer, ui::printer::Aside},
    text::printable,
};

/// How many lines are drawn.
const LINES: usize = 16;
/// How wide a line is: one that is broken by the terminal could not be drawn over.
const WIDTH: usize = 79;
/// How long a drawing stays before the next.
const PACE: Duration = Duration::from_millis(80);

/// Who is where.
pub(crate) struct Board<'a> {
    printer: &'a Printer,
    names: Vec<String>,
    running: BTreeMap<usize, (Instant, Arc<Aside>)>,
    ended: BTreeMap<usize, String>,
    drawn: usize,
    last: Option<Instant>,
}

impl<'a> Board<'a> {
    pub(crate) fn new(printer: &'a Printer, names: Vec<String>) -> Self {
        Self { printer, names, running: BTreeMap::new(), ended: BTreeMap::new(), drawn: 0, last: None }
    }

    pub(crate) fn begun(&mut self, index: usize, aside: Arc<Aside>) {
        self.running.insert(index, (Instant::now(), aside));
        self.draw();
    }

    pub(crate) fn ended(&mut self, index: usize, line: &str) {
        self.running.remove(&index);
        if !self.printer.is_live() {
            let name = self.names.get(index).map(String::as_str).unwrap_or_default();
            self.printer.note(&format!("{name}: {}", printable(line)));
        }
        self.ended.insert(index, line.to_owned());
        self.draw();
    }

    /// Draws it anew, unless it was drawn a moment ago.
    pub(crate) fn draw(&mut self) {
        if !self.printer.is_live() || self.last.is_some_and(|last| last.elapsed() < PACE) {
            return;
        }
        self.last = Some(Instant::now());
        let lines = self.lines();
        let up = self.up();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.printer.draw(&format!("{up}{text}"));
        self.drawn = lines.len();
    }

    /// Takes it away: what came of each is told now.
    pub(crate) fn clear(&mut self) {
        let up = self.up();
        self.printer.draw(&up);
        self.drawn = 0;
    }

    fn up(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\x1b[J", self.drawn) }
    }

    /// A line each where there is room for all; otherwise those that are worked on. And how far it has got.
    fn lines(&self) -> Vec<String> {
        let all = self.names.len() <= LINES;
        let width = self.names.iter().map(String::len).max().unwrap_or_default().min(40);
        let shown = |(index, name): (usize, &String)| {
            let what = match (self.running.get(&index), self.ended.get(&index)) {
                (Some((since, aside)), _) => {
                    let doing = aside.doing();
                    let seconds = since.elapsed().as_secs();
                    let long = if seconds > 1 { format!(" {seconds} s") } else { String::new() };
                    if doing.is_empty() { format!("...{long}") } else { format!("... {doing}{long}") }
                }
                (None, Some(line)) if all => line.clone(),
                (None, None) if all => "waits".to_owned(),
                _ => return None,
            };
            Some(cut(&format!("  {name:width$}  {what}")))
        };
        let mut lines: Vec<String> = self.names.iter().enumerate().filter_map(shown).take(LINES).collect();
        lines.push(cut(&format!("{} of {} done", self.ended.len(), self.names.len())));
        lines
    }
}

fn cut(line: &str) -> String {
    printable(line).chars().take(WIDTH).collect()
}
