//! The report of a command on many environments: sections, a table, and totals; as text, Markdown or JSON.
//!
//! Environments with an equal result share a section and a row. Two results are equal if they differ only in what is particular to
//! an environment: its name, its companies, its variables, its generation, and the times and ids of objects in the text. Quiet results
//! come first and are counted; notable ones follow, and failures are last. If an environment failed, the command ends with an error
//! that names those that did.

mod row;
mod summary;

use std::{collections::HashMap, fmt::Write as _};

use serde_json::{Map, Value, json};

pub(crate) use self::row::Particulars;
pub(crate) use self::summary::{Significance, Summary, SummaryLabels, TaskResult};
use self::{
    row::{ReportRow, RowGroup},
    summary::{is_markdown, markdown_section},
};
use crate::{
    cli::{
        CliError, Context, Exit, Format,
        ui::{table::table, wording::count_of},
    },
    config::Repository,
    model::Code,
    text::{
        enumerate,
        markdown::{code_block, escape_inline},
        printable,
    },
};

/// The number of rows of a table up to which every environment has its own; above, equal ones share a row.
pub(crate) const ROWS: usize = 16;
/// The number of names in a heading or a list.
const NAMES: usize = 5;

/// The report of several environments.
pub(crate) struct FleetReport {
    /// Quiet results first, failures last, and by name within each.
    rows: Vec<ReportRow>,
    /// True to leave out the sections.
    summary_only: bool,
    /// A text about all environments, before the table.
    overview: String,
}

/// Environments that share a section.
struct Section<'a> {
    names: Vec<&'a str>,
    text: &'a str,
    /// True if the text differs in what is particular to an environment.
    varies: bool,
    /// The name of these differences.
    varying: &'static str,
    has_failed: bool,
}

impl FleetReport {
    /// Creates a report of results that are ordered by name. Without a repository, only identical results are equal.
    pub(crate) fn new(results: Vec<TaskResult<Summary>>, repository: Option<&Repository>) -> Self {
        let new = |result: TaskResult<Summary>| {
            let particulars = Particulars::new(&result.name, repository);
            ReportRow::new(result, &particulars)
        };
        let mut rows: Vec<ReportRow> = results.into_iter().map(new).collect();
        rows.sort_by_key(ReportRow::rank);
        Self { rows, summary_only: false, overview: String::new() }
    }

    /// Adds a text about all environments, which takes the place of their sections.
    pub(crate) fn with_overview(self, overview: String) -> Self {
        Self { overview, ..self }
    }

    /// Leaves out the sections, and the documents of environments without trouble.
    pub(crate) fn summary_only(mut self, summary_only: bool) -> Self {
        self.summary_only = summary_only;
        self
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
        for section in self.sections(true) {
            context.printer.note(&format!("{}\n{}\n", section.heading(), section.text));
        }
    }

    /// Returns the sections. Environments with the same content share one.
    fn sections(&self, failures_only: bool) -> Vec<Section<'_>> {
        let mut sections: Vec<Section<'_>> = Vec::new();
        let mut known = HashMap::new();
        for row in self.rows.iter().filter(|row| row.has_failed || !failures_only) {
            let Some(text) = row.section.as_deref() else { continue };
            let at = *known.entry((row.has_failed, row.content.as_str())).or_insert(sections.len());
            match sections.get_mut(at) {
                Some(section) => {
                    section.names.push(row.name.as_str());
                    section.varies |= section.text != text;
                }
                None => sections.push(Section {
                    names: vec![row.name.as_str()],
                    text,
                    varies: false,
                    varying: row.varying,
                    has_failed: row.has_failed,
                }),
            }
        }
        sections
    }

    /// Returns the report as text.
    pub(crate) fn text(&self, labels: &SummaryLabels) -> String {
        let mut out = String::new();
        if !self.summary_only {
            for section in self.sections(false) {
                // Writing to a String cannot fail.
                let _ = write!(out, "{}\n\n{}\n\n", section.heading(), section.text.trim_matches('\n'));
            }
            if !self.overview.is_empty() {
                let _ = write!(out, "{}\n\n", self.overview.trim_matches('\n'));
            }
        }
        let table = self.table(labels);
        if !table.is_empty() {
            let _ = write!(out, "{table}\n\n");
        }
        format!("{out}{}", self.totals(labels))
    }

    /// Returns the rows of the table, and the number of quiet environments that are only counted.
    fn row_groups(&self) -> (Vec<RowGroup<'_>>, usize) {
        let is_long = self.rows.len() > ROWS;
        let mut groups: Vec<RowGroup<'_>> = Vec::new();
        let mut known = HashMap::new();
        let mut counted = 0;
        for row in &self.rows {
            let is_counted = !row.is_notable() && row.section.is_none() && row.significance != Significance::Noted;
            if is_counted && (is_long || self.summary_only) {
                counted += 1;
                continue;
            }
            let shared = is_long.then(|| *known.entry((row.has_failed, &row.row_content)).or_insert(groups.len()));
            match shared.and_then(|at| groups.get_mut(at)) {
                Some(group) => group.add(row),
                None => groups.push(RowGroup { first: row, others: 0, amounts: row.amounts.clone() }),
            }
        }
        (groups, counted)
    }

    fn table(&self, labels: &SummaryLabels) -> String {
        let (groups, counted) = self.row_groups();
        if groups.is_empty() {
            return String::new();
        }
        let quiet = (counted > 0).then(|| vec![count_of(counted, "other"), labels.quiet.1.to_owned()]);
        let rows = groups.iter().map(|group| vec![group.name(), printable(&group.line()).into_owned()]);
        table(&["environment", "result"], quiet.into_iter().chain(rows))
    }

    fn markdown(&self, labels: &SummaryLabels) -> String {
        let mut out =
            format!("### Summary\n\n**{}**\n\n| environment | result |\n| --- | --- |\n", self.totals(labels));
        let (groups, counted) = self.row_groups();
        // Writing to a String cannot fail.
        if counted > 0 {
            let _ = writeln!(out, "| {} | {} |", count_of(counted, "other"), labels.quiet.1);
        }
        for group in groups {
            let others =
                if group.others > 0 { format!(" and {}", count_of(group.others, "other")) } else { String::new() };
            let _ = writeln!(out, "| `{}`{others} | {} |", group.first.name, escape_inline(&group.line()));
        }
        if self.summary_only {
            return out;
        }
        if !self.overview.is_empty() {
            let _ = write!(out, "\n{}", code_block(self.overview.trim_matches('\n')));
        }
        for Section { names, text, has_failed, .. } in self.sections(false) {
            if has_failed || !is_markdown(text) {
                let _ = write!(out, "\n{}", markdown_section(&first_names(&names, "`"), text));
                continue;
            }
            let text = anstream::adapter::strip_str(text.trim_matches('\n')).to_string();
            if names.len() > 1 {
                let _ = write!(out, "\n{text}\n\nEqual changes in: {}\n", first_names(&names, "`"));
            } else {
                let _ = write!(out, "\n{text}\n");
            }
        }
        out
    }

    /// Returns the report as JSON.
    pub(crate) fn document(&self, labels: &SummaryLabels) -> Value {
        let rows = self.rows.iter().filter(|row| !self.summary_only || row.has_failed || row.exit != Exit::Done);
        let environments: Map<String, Value> = rows.map(|row| (row.name.to_string(), row.document.clone())).collect();
        let (failed, notable, quiet) = self.counts();
        let summary = json!({
            "environments": self.rows.len(), "failed": failed, labels.notable.0: notable, labels.quiet.0: quiet,
            "exitCode": self.combined().code(),
        });
        json!({ "environments": environments, "summary": summary })
    }

    fn counts(&self) -> (usize, usize, usize) {
        let failed = self.rows.iter().filter(|row| row.has_failed).count();
        let notable = self.rows.iter().filter(|row| !row.has_failed && row.is_notable()).count();
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

impl Section<'_> {
    fn heading(&self) -> String {
        let (bold, dim) = (anstyle::Style::new().bold(), anstyle::Style::new().dimmed());
        let mut heading = format!("{bold}=== {}{bold:#}", first_names(&self.names, ""));
        if let (true, Some(first)) = (self.varies, self.names.first()) {
            // Writing to a String cannot fail.
            let _ = write!(heading, "\n{dim}This is {first}; the others differ only in {}.{dim:#}", self.varying);
        }
        heading
    }
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
        let (line, text) = (format!("line of {name}"), format!("text of {name}"));
        let summary = Summary { exit, ..Summary::new(significance, line, text, json!({ "name": name })) };
        TaskResult { name: name.parse().unwrap(), notes: String::new(), result: Ok(summary) }
    }

    fn failure(name: &str) -> TaskResult<Summary> {
        let error = CliError::coded(Code::ServiceUnreachable, "cannot connect");
        TaskResult { name: name.parse().unwrap(), notes: String::new(), result: Err(error) }
    }

    #[test]
    fn totals_count_notable_quiet_and_failed_results() {
        let results = vec![
            result("a", Exit::Attention, Significance::Counted),
            result("b", Exit::Done, Significance::Quiet),
            result("c", Exit::Done, Significance::Shown),
            failure("d"),
        ];
        let report = FleetReport::new(results, None);
        assert_eq!(report.totals(&LABELS), "4 environments: 1 with changes, 2 without changes, 1 failed.");
        let sections: Vec<&str> = report.sections(false).into_iter().flat_map(|section| section.names).collect();
        assert_eq!(sections, ["c", "a", "d"]);
        let document = report.document(&LABELS);
        assert_eq!(document["summary"]["exitCode"], 1);
        assert_eq!(document["environments"]["d"]["error"]["message"], "cannot connect");
    }

    #[test]
    fn environments_with_the_same_error_share_a_section() {
        let report =
            FleetReport::new(vec![failure("a"), failure("b"), result("c", Exit::Done, Significance::Quiet)], None);
        let sections = report.sections(false);
        assert_eq!(sections.len(), 1);
        assert_eq!(sections[0].names, ["a", "b"]);
        assert!(report.exit(false).is_err());
    }
}
