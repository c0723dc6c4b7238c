//! The report of a command on many environments: a section per environment, a table, and totals; as text, Markdown or JSON.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        ui::{table::table, wording::count_of},
    },
    model::{Code, EnvironmentName},
    text::{
        enumerate,
        markdown::{code_block, escape_inline},
        printable,
    },
};

/// The number of lines of a table up to which environments without a section are listed; above, they are only counted.
const LISTED: usize = 50;
/// The number of names in a heading or a list.
const NAMES: usize = 8;

/// The result of a task for one environment.
pub(crate) struct TaskResult<T> {
    pub(crate) name: EnvironmentName,
    /// The messages of the task.
    pub(crate) notes: String,
    pub(crate) result: Result<T, CliError>,
}

/// The place of a result in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Significance {
    /// A line in the table.
    Quiet,
    /// A section, without being counted.
    Shown,
    /// A section if there is text, and counted as notable.
    Counted,
}

/// The result of a command for one environment.
pub(crate) struct Summary {
    /// The result as text or Markdown, depending on the format.
    pub(crate) text: String,
    /// The result as JSON.
    pub(crate) document: Value,
    /// The result in one line.
    pub(crate) line: String,
    /// The exit code for this environment alone.
    pub(crate) exit: Exit,
    pub(crate) significance: Significance,
    /// The error, if there is a result in spite of it.
    pub(crate) refusal: Option<CliError>,
}

impl Summary {
    /// Returns the result or the error in one line.
    pub(crate) fn headline(&self) -> String {
        self.refusal.as_ref().map_or_else(|| self.line.clone(), CliError::headline)
    }

    /// Prints the result of a single environment, and returns the exit.
    pub(crate) fn print(self, context: &Context, format: Format) -> Result<Exit, CliError> {
        if format == Format::Json {
            context.printer.json(&self.document);
        } else if format == Format::Markdown {
            context.printer.document(&self.text);
        } else {
            context.printer.out(&self.text);
        }
        match self.refusal {
            // The document contains the error.
            Some(refusal) => Err(CliError { in_json: format == Format::Json, ..refusal }),
            None => Ok(self.exit),
        }
    }
}

/// The names of notable and other results in totals: a JSON key and a text each.
pub(crate) struct SummaryLabels {
    pub(crate) notable: (&'static str, &'static str),
    pub(crate) quiet: (&'static str, &'static str),
}

/// The report of several environments.
pub(crate) struct FleetReport {
    rows: Vec<ReportRow>,
}

struct ReportRow {
    name: EnvironmentName,
    line: String,
    section: Option<String>,
    document: Value,
    exit: Exit,
    is_notable: bool,
    has_failed: bool,
}

impl ReportRow {
    fn new(TaskResult { name, notes, result }: TaskResult<Summary>) -> Self {
        match result {
            Err(error) => Self {
                name,
                line: error.headline(),
                section: Some(join_nonempty(&[&notes, &error.render()])),
                document: error.to_json(),
                exit: Exit::Error,
                is_notable: true,
                has_failed: true,
            },
            Ok(summary) => {
                let refusal = summary.refusal.as_ref().map(CliError::render).unwrap_or_default();
                let section = (summary.significance != Significance::Quiet)
                    .then(|| join_nonempty(&[&summary.text, &notes, &refusal]))
                    .filter(|section| !section.is_empty());
                Self {
                    name,
                    line: summary.headline(),
                    section,
                    document: summary.document,
                    exit: if summary.refusal.is_some() { Exit::Error } else { summary.exit },
                    is_notable: summary.significance == Significance::Counted,
                    has_failed: summary.refusal.is_some(),
                }
            }
        }
    }
}

impl FleetReport {
    /// Creates a report of results that are ordered by name.
    pub(crate) fn new(results: Vec<TaskResult<Summary>>) -> Self {
        Self { rows: results.into_iter().map(ReportRow::new).collect() }
    }

    /// Prints the report, and returns the exit.
    pub(crate) fn print(&self, context: &Context, format: Format, labels: &SummaryLabels) -> Result<Exit, CliError> {
        match format {
            Format::Human => self.print_text(context, labels),
            Format::Markdown => context.printer.document(&self.markdown(labels)),
            Format::Json => {
                self.print_failures(context);
                context.printer.json(&self.document(labels));
            }
        }
        self.exit(format == Format::Json)
    }

    /// Prints the report as text.
    pub(crate) fn print_text(&self, context: &Context, labels: &SummaryLabels) {
        context.printer.out(&self.text(labels));
    }

    /// Prints the failures to standard error, for formats in which standard output is for programs.
    pub(crate) fn print_failures(&self, context: &Context) {
        for (names, section) in self.sections(true) {
            context.printer.note(&format!("{}\n{section}\n", heading(&names)));
        }
    }

    /// Returns the sections in the order of names. Environments with the same error share one.
    fn sections(&self, failures_only: bool) -> Vec<(Vec<&str>, &str)> {
        let mut sections: Vec<(Vec<&str>, &str)> = Vec::new();
        let mut known = HashMap::new();
        for row in self.rows.iter().filter(|row| row.has_failed || !failures_only) {
            let Some(section) = row.section.as_deref() else { continue };
            let at = if row.has_failed { *known.entry(section).or_insert(sections.len()) } else { sections.len() };
            match sections.get_mut(at) {
                Some((names, _)) => names.push(row.name.as_str()),
                None => sections.push((vec![row.name.as_str()], section)),
            }
        }
        sections
    }

    fn text(&self, labels: &SummaryLabels) -> String {
        let mut out = String::new();
        for (names, section) in self.sections(false) {
            out.push_str(&format!("{}\n\n{}\n\n", heading(&names), section.trim_matches('\n')));
        }
        out.push_str(&self.table(labels));
        format!("{out}\n\n{}", self.totals(labels))
    }

    /// Returns the rows of the table, and the number of rows that are only counted.
    fn listed_rows(&self) -> (Vec<&ReportRow>, usize) {
        let is_listed =
            |row: &&ReportRow| self.rows.len() <= LISTED || row.has_failed || row.is_notable || row.section.is_some();
        let listed: Vec<&ReportRow> = self.rows.iter().filter(is_listed).collect();
        let omitted = self.rows.len() - listed.len();
        (listed, omitted)
    }

    fn table(&self, labels: &SummaryLabels) -> String {
        let (listed, omitted) = self.listed_rows();
        let mut text = String::new();
        if !listed.is_empty() {
            let rows = listed.iter().map(|row| vec![row.name.to_string(), printable(&row.line).into_owned()]);
            text = table(&["environment", "result"], rows);
        }
        if omitted > 0 {
            text = format!("{text}\n... and {omitted} more {}", labels.quiet.1);
        }
        text.trim_start_matches('\n').to_owned()
    }

    fn markdown(&self, labels: &SummaryLabels) -> String {
        let mut out =
            format!("### Summary\n\n**{}**\n\n| environment | result |\n| --- | --- |\n", self.totals(labels));
        let (listed, omitted) = self.listed_rows();
        for row in listed {
            out.push_str(&format!("| `{}` | {} |\n", row.name, escape_inline(&row.line)));
        }
        if omitted > 0 {
            out.push_str(&format!("\n... and {omitted} more {}\n", labels.quiet.1));
        }
        for (names, section) in self.sections(false) {
            let has_failed = self.rows.iter().any(|row| row.has_failed && names.first() == Some(&row.name.as_str()));
            let section = anstream::adapter::strip_str(section.trim_matches('\n')).to_string();
            if has_failed || !section.starts_with("<!--") && !section.starts_with('#') {
                out.push_str(&format!("\n### {}\n\n{}", first_names(&names, "`"), code_block(&section)));
            } else {
                out.push_str(&format!("\n{section}\n"));
            }
        }
        out
    }

    fn document(&self, labels: &SummaryLabels) -> Value {
        let environments: Map<String, Value> =
            self.rows.iter().map(|row| (row.name.to_string(), row.document.clone())).collect();
        let (failed, notable, quiet) = self.counts();
        let summary = json!({
            "environments": self.rows.len(), "failed": failed, labels.notable.0: notable, labels.quiet.0: quiet,
            "exitCode": self.combined().code(),
        });
        json!({ "environments": environments, "summary": summary })
    }

    fn counts(&self) -> (usize, usize, usize) {
        let failed = self.rows.iter().filter(|row| row.has_failed).count();
        let notable = self.rows.iter().filter(|row| !row.has_failed && row.is_notable).count();
        (failed, notable, self.rows.len() - failed - notable)
    }

    /// Returns the totals: `7 environments: 2 with changes, 4 without changes, 1 failed.`
    fn totals(&self, labels: &SummaryLabels) -> String {
        let (failed, notable, quiet) = self.counts();
        let counts = [(notable, labels.notable.1), (quiet, labels.quiet.1), (failed, "failed")];
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, label)| format!("{count} {label}")).collect();
        format!("{}: {}.", count_of(self.rows.len(), "environment"), counts.join(", "))
    }

    /// Returns the exit code of all environments together.
    fn combined(&self) -> Exit {
        self.rows.iter().map(|row| row.exit).fold(Exit::Done, Exit::combine)
    }

    /// Returns the exit, or an error that names the environments that failed.
    pub(crate) fn exit(&self, in_json: bool) -> Result<Exit, CliError> {
        let failed: Vec<&str> = self.rows.iter().filter(|row| row.has_failed).map(|row| row.name.as_str()).collect();
        if failed.is_empty() {
            return Ok(self.combined());
        }
        let message =
            format!("{} of {} environments failed: {}", failed.len(), self.rows.len(), first_names(&failed, ""));
        Err(CliError { in_json, ..CliError::coded(Code::SomeEnvironmentsFailed, message) })
    }
}

/// Joins texts with blank lines, without the empty ones.
fn join_nonempty(texts: &[&str]) -> String {
    let texts: Vec<&str> = texts.iter().map(|text| text.trim_matches('\n')).filter(|text| !text.is_empty()).collect();
    texts.join("\n\n")
}

fn heading(names: &[&str]) -> String {
    let bold = anstyle::Style::new().bold();
    format!("{bold}=== {}{bold:#}", first_names(names, ""))
}

/// Returns the first names, and the number of others.
fn first_names(names: &[&str], quote: &str) -> String {
    enumerate(names.iter().map(|name| format!("{quote}{name}{quote}")), NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: SummaryLabels =
        SummaryLabels { notable: ("changed", "with changes"), quiet: ("unchanged", "without changes") };

    fn result(name: &str, exit: Exit, significance: Significance) -> TaskResult<Summary> {
        let summary = Summary {
            text: format!("text of {name}"),
            document: json!({ "name": name }),
            line: format!("line of {name}"),
            exit,
            significance,
            refusal: None,
        };
        TaskResult { name: name.parse().unwrap(), notes: String::new(), result: Ok(summary) }
    }

    fn failure(name: &str) -> TaskResult<Summary> {
        let error = CliError::coded(Code::ServiceUnreachable, "cannot connect");
        TaskResult { name: name.parse().unwrap(), notes: String::new(), result: Err(error) }
    }

    #[test]
    fn totals_count_notable_quiet_and_failed_results() {
        let report = FleetReport::new(vec![
            result("a", Exit::Attention, Significance::Counted),
            result("b", Exit::Done, Significance::Quiet),
            result("c", Exit::Done, Significance::Shown),
            failure("d"),
        ]);
        assert_eq!(report.totals(&LABELS), "4 environments: 1 with changes, 2 without changes, 1 failed.");
        let sections: Vec<&str> = report.sections(false).into_iter().flat_map(|(names, _)| names).collect();
        assert_eq!(sections, ["a", "c", "d"]);
        let document = report.document(&LABELS);
        assert_eq!(document["summary"]["exitCode"], 1);
        assert_eq!(document["environments"]["d"]["error"]["message"], "cannot connect");
    }

    #[test]
    fn environments_with_the_same_error_share_a_section() {
        let report = FleetReport::new(vec![failure("a"), failure("b"), result("c", Exit::Done, Significance::Quiet)]);
        let sections = report.sections(false);
        assert_eq!(sections.len(), 1);
        assert_eq!(sections[0].0, ["a", "b"]);
        assert!(report.exit(false).is_err());
    }
}
