//! The report of a command on many environments: sections, a table, and totals; as text, Markdown or JSON.
//!
//! Environments with an equal result share a section and a row. Two results are equal if they differ only in what is
//! particular to an environment: its name, its companies, its variables, its generation, and the times in the text. Quiet
//! results come first and are counted; notable ones follow, and failures are last.

use std::{collections::HashMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        ui::{format::document_of, table::table, wording::count_of},
    },
    config::Repository,
    model::{Code, EnvironmentName},
    rollout::plan::Generalizer,
    text::{
        enumerate,
        markdown::{code_block, escape_inline},
        printable,
    },
};

/// The number of rows of a table up to which every environment has its own; above, equal ones share a row.
const ROWS: usize = 16;
/// The key of a result that is a list.
const RESULTS: &str = "results";
/// The number of names in a heading or a list.
const NAMES: usize = 5;

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
    /// A line in the table, or only counted.
    Quiet,
    /// A line in the table, without being counted as notable.
    Noted,
    /// A section, without being counted as notable.
    Shown,
    /// A line in the table, counted as notable.
    Listed,
    /// A section if there is text, and counted as notable.
    Counted,
}

/// The result of a command for one environment.
#[derive(Clone)]
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
    /// The part that must be equal for two results to be reported together. Default: the text.
    pub(crate) content: Option<Value>,
    /// Numbers that follow the line. They can differ between results that are reported together, and are added up.
    pub(crate) amounts: Vec<(&'static str, u64)>,
    /// The differences that results which are reported together can have.
    pub(crate) varying: &'static str,
}

/// The differences that results with equal content can have, unless a command says otherwise.
const VARYING: &str = "names, companies, variables, keys, generations and times";

impl Summary {
    /// A result without an error that is compared by its text.
    pub(crate) fn new(significance: Significance, line: String, text: String, document: Value) -> Self {
        Self {
            text,
            document,
            line,
            exit: Exit::Done,
            significance,
            refusal: None,
            content: None,
            amounts: Vec::new(),
            varying: VARYING,
        }
    }

    /// Returns the result or the error in one line.
    pub(crate) fn headline(&self) -> String {
        self.refusal.as_ref().map_or_else(|| line_with(&self.line, &self.amounts), CliError::headline)
    }

    /// Prints the result of a single environment, and returns the exit.
    pub(crate) fn print(
        self,
        context: &Context,
        format: Format,
        environment: &EnvironmentName,
    ) -> Result<Exit, CliError> {
        if format == Format::Json {
            context.printer.json(&document_of(environment.as_str(), RESULTS, &self.document));
        } else if format == Format::Markdown {
            context.printer.document(&markdown_section(&format!("`{environment}`"), &self.text));
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
    /// Quiet results first, failures last, and by name within each.
    rows: Vec<ReportRow>,
    /// True to leave out the sections.
    summary_only: bool,
}

struct ReportRow {
    name: EnvironmentName,
    line: String,
    /// Numbers that are added up over the environments of a row.
    amounts: Vec<(&'static str, u64)>,
    /// The differences that sections with equal content can have.
    varying: &'static str,
    section: Option<String>,
    /// The part that must be equal for two environments to share a section and a row.
    content: String,
    document: Value,
    exit: Exit,
    significance: Significance,
    has_failed: bool,
}

/// Environments that share a row of the table.
struct RowGroup<'a> {
    first: &'a ReportRow,
    others: usize,
    amounts: Vec<(&'static str, u64)>,
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

impl ReportRow {
    fn new(result: TaskResult<Summary>, generalizer: Option<&Generalizer>) -> Self {
        let TaskResult { name, notes, result } = result;
        let normalize =
            |text: &str| generalizer.map_or_else(|| text.to_owned(), |own| mask_particulars(&own.normalize(text)));
        match result {
            Err(error) => {
                let section = join_nonempty(&[&notes, &error.render()]);
                Self {
                    line: error.headline(),
                    amounts: Vec::new(),
                    varying: VARYING,
                    content: normalize(&section),
                    section: Some(section),
                    document: document_of(name.as_str(), RESULTS, &error.to_json()),
                    exit: Exit::Error,
                    significance: Significance::Counted,
                    has_failed: true,
                    name,
                }
            }
            Ok(summary) => {
                let refusal = summary.refusal.as_ref().map(CliError::render).unwrap_or_default();
                let has_section = matches!(summary.significance, Significance::Shown | Significance::Counted)
                    || summary.refusal.is_some() && summary.significance == Significance::Listed;
                let section = has_section
                    .then(|| join_nonempty(&[&summary.text, &notes, &refusal]))
                    .filter(|section| !section.is_empty());
                let line = summary.refusal.as_ref().map_or(summary.line, CliError::headline);
                let content = match (&section, summary.content, generalizer) {
                    (Some(_), Some(content), Some(own)) => {
                        format!("{} {} {}", own.value(&content), normalize(&notes), normalize(&refusal))
                    }
                    (Some(section), ..) => normalize(section),
                    (None, ..) => String::new(),
                };
                let labels: Vec<&str> = summary.amounts.iter().map(|(label, _)| *label).collect();
                Self {
                    content: format!("{} {} {content}", normalize(&line), labels.join(" ")),
                    line,
                    amounts: if summary.refusal.is_some() { Vec::new() } else { summary.amounts },
                    varying: summary.varying,
                    section,
                    document: document_of(name.as_str(), RESULTS, &summary.document),
                    exit: if summary.refusal.is_some() { Exit::Error } else { summary.exit },
                    significance: summary.significance,
                    has_failed: summary.refusal.is_some(),
                    name,
                }
            }
        }
    }

    fn is_notable(&self) -> bool {
        self.has_failed || matches!(self.significance, Significance::Counted | Significance::Listed)
    }

    /// Returns the position in the report: failures are last, as is what the exit code reports.
    fn rank(&self) -> u8 {
        match (self.has_failed, self.is_notable(), self.exit) {
            (true, ..) => 3,
            (false, true, Exit::Done) => 1,
            (false, true, _) => 2,
            (false, false, _) => 0,
        }
    }
}

impl FleetReport {
    /// Creates a report of results that are ordered by name. Without a repository, only identical results are equal.
    pub(crate) fn new(results: Vec<TaskResult<Summary>>, repository: Option<&Repository>) -> Self {
        let new = |result: TaskResult<Summary>| {
            let generalizer = repository.map(|repository| Generalizer::for_environment(&result.name, repository));
            ReportRow::new(result, generalizer.as_ref())
        };
        let mut rows: Vec<ReportRow> = results.into_iter().map(new).collect();
        rows.sort_by_key(ReportRow::rank);
        Self { rows, summary_only: false }
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
            let shared = is_long.then(|| *known.entry((row.has_failed, &row.content)).or_insert(groups.len()));
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

impl RowGroup<'_> {
    /// Adds an environment. Rows of a group have numbers with the same labels.
    fn add(&mut self, row: &ReportRow) {
        self.others += 1;
        for ((_, sum), (_, amount)) in self.amounts.iter_mut().zip(&row.amounts) {
            *sum = sum.saturating_add(*amount);
        }
    }

    fn line(&self) -> String {
        line_with(&self.first.line, &self.amounts)
    }

    /// Returns the first name, and the number of others.
    fn name(&self) -> String {
        match self.others {
            0 => self.first.name.to_string(),
            others => format!("{} and {}", self.first.name, count_of(others, "other")),
        }
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

/// Returns a text of single spaces in which times, ages and generations are replaced. They differ between environments that
/// have the same settings and the same trouble.
fn mask_particulars(text: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bare = |word: &str| word.trim_matches(|c: char| c.is_ascii_punctuation()).to_owned();
    let is_date =
        |word: &str| word.len() == 10 && word.split('-').map(str::len).eq([4, 2, 2]) && digits(&word.replace('-', ""));
    let is_time = |word: &str| {
        word.get(..8).is_some_and(|time| time.split(':').map(str::len).eq([2, 2, 2]) && digits(&time.replace(':', "")))
    };
    let mut masked: Vec<&str> = Vec::new();
    let mut words = text.split(' ').peekable();
    let mut before = String::new();
    while let Some(word) = words.next() {
        let own = bare(word);
        let next = words.peek().map(|next| bare(next)).unwrap_or_default();
        let is_age = digits(&own) && ["s", "min", "h", "d"].contains(&next.as_str());
        if is_date(&own) && is_time(&next) {
            words.next();
            masked.push("${time}");
        } else if is_age {
            words.next();
            // An age has two units at most.
            if masked.last() != Some(&"${age}") {
                masked.push("${age}");
            }
        } else if before == "generation" && digits(&own) {
            masked.push("${generation}");
        } else {
            masked.push(word);
        }
        before = own;
    }
    masked.join(" ")
}

/// Returns true if a text is Markdown already.
fn is_markdown(text: &str) -> bool {
    let text = text.trim_start_matches('\n');
    text.starts_with("<!--") || text.starts_with('#')
}

/// Returns a text as a section of Markdown, with a heading unless it is Markdown already.
fn markdown_section(heading: &str, text: &str) -> String {
    let plain = anstream::adapter::strip_str(text.trim_matches('\n')).to_string();
    if is_markdown(&plain) { plain } else { format!("### {heading}\n\n{}", code_block(&plain)) }
}

/// Returns a line with the numbers that follow it.
fn line_with(line: &str, amounts: &[(&'static str, u64)]) -> String {
    let amounts = amounts.iter().map(|(label, amount)| format!("{amount} {label}"));
    let line = Some(line.to_owned()).filter(|line| !line.is_empty());
    line.into_iter().chain(amounts).collect::<Vec<_>>().join(", ")
}

/// Joins texts with blank lines, without the empty ones.
fn join_nonempty(texts: &[&str]) -> String {
    let texts: Vec<&str> = texts.iter().map(|text| text.trim_matches('\n')).filter(|text| !text.is_empty()).collect();
    texts.join("\n\n")
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
    fn times_ages_and_generations_make_no_difference() {
        let text = |time: &str, age: &str, generation: u32| {
            mask_particulars(&format!(
                "a (generation {generation}), relay: 2 warnings, {time} (reached credential); oldest {age}, 3 due"
            ))
        };
        let one = text("2026-11-27 10:02:58Z", "5 min", 4);
        assert_eq!(one, text("2026-11-28 00:00:00Z", "3 h 5 min", 17));
        assert!(one.contains("2 warnings") && one.contains("3 due"), "{one}");
        assert_ne!(mask_particulars("until 2027-03-31 or later"), mask_particulars("until 2027-04-30 or later"));
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
