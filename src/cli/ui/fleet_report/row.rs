//! [`ReportRow`]: one environment in a report, and [`RowGroup`]: environments that share a row of the table.
//!
//! The content of a row, by which equal environments are found, leaves out the [`Particulars`] of its environment. An environment
//! whose task failed has a row as well: the first line of the error, with the whole error as its section.

use serde_json::Value;

use crate::{
    cli::{
        CliError, Exit,
        ui::{
            fleet_report::summary::{RESULTS, Significance, Summary, TaskResult, VARYING, line_with},
            format::document_of,
            wording::count_of,
        },
    },
    config::Repository,
    model::EnvironmentName,
    rollout::plan::Generalizer,
};

/// The number of characters of a UUID.
const UUID_LENGTH: usize = 36;

/// One environment in a report.
pub(super) struct ReportRow {
    pub(super) name: EnvironmentName,
    pub(super) line: String,
    /// Numbers that are added up over the environments of a row.
    pub(super) amounts: Vec<(&'static str, u64)>,
    /// The differences that sections with equal content can have.
    pub(super) varying: &'static str,
    pub(super) section: Option<String>,
    /// The part that must be equal for two environments to share a section.
    pub(super) content: String,
    /// The part that must be equal for two environments to share a row.
    pub(super) row_content: String,
    pub(super) document: Value,
    pub(super) exit: Exit,
    pub(super) significance: Significance,
    pub(super) has_failed: bool,
}

/// Environments that share a row of the table.
pub(super) struct RowGroup<'a> {
    pub(super) first: &'a ReportRow,
    pub(super) others: usize,
    pub(super) amounts: Vec<(&'static str, u64)>,
}

/// The values that are particular to an environment: its name, its companies and its variables.
pub(crate) struct Particulars(Option<Generalizer>);

impl Particulars {
    /// Finds the particular values of an environment. Without a repository there are none.
    pub(crate) fn new(name: &EnvironmentName, repository: Option<&Repository>) -> Self {
        Self(repository.map(|repository| Generalizer::for_environment(name, repository)))
    }

    /// Replaces these values, and times, ages, generations and ids of objects, so that texts of different environments can be
    /// compared. Without a repository nothing is replaced.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.0.as_ref().map_or_else(|| text.to_owned(), |own| mask_particulars(&own.normalize(text)))
    }
}

impl ReportRow {
    pub(super) fn new(result: TaskResult<Summary>, particulars: &Particulars) -> Self {
        let TaskResult { name, notes, result } = result;
        let normalize = |text: &str| particulars.mask(text);
        match result {
            Err(error) => {
                let section = join_nonempty(&[&notes, &error.render()]);
                Self {
                    line: error.headline(),
                    amounts: Vec::new(),
                    varying: VARYING,
                    row_content: normalize(&error.headline()),
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
                let content = match (&section, summary.content, &particulars.0) {
                    (Some(_), Some(content), Some(own)) => {
                        format!("{} {} {}", own.value(&content), normalize(&notes), normalize(&refusal))
                    }
                    (Some(section), ..) => normalize(section),
                    (None, ..) => String::new(),
                };
                let labels: Vec<&str> = summary.amounts.iter().map(|(label, _)| *label).collect();
                let row_content = format!("{} {}", normalize(&line), labels.join(" "));
                Self {
                    content: format!("{row_content} {content}"),
                    row_content,
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

    pub(super) fn is_notable(&self) -> bool {
        self.has_failed || matches!(self.significance, Significance::Counted | Significance::Listed)
    }

    /// Returns the position in the report: failures are last, as is what the exit code reports.
    pub(super) fn rank(&self) -> u8 {
        match (self.has_failed, self.is_notable(), self.exit) {
            (true, ..) => 3,
            (false, true, Exit::Done) => 1,
            (false, true, _) => 2,
            (false, false, _) => 0,
        }
    }
}

impl RowGroup<'_> {
    /// Adds an environment. Rows of a group have numbers with the same labels.
    pub(super) fn add(&mut self, row: &ReportRow) {
        self.others += 1;
        for ((_, sum), (_, amount)) in self.amounts.iter_mut().zip(&row.amounts) {
            *sum = sum.saturating_add(*amount);
        }
    }

    pub(super) fn line(&self) -> String {
        line_with(&self.first.line, &self.amounts)
    }

    /// Returns the first name, and the number of others.
    pub(super) fn name(&self) -> String {
        match self.others {
            0 => self.first.name.to_string(),
            others => format!("{} and {}", self.first.name, count_of(others, "other")),
        }
    }
}

/// Replaces the ids of objects (UUIDs).
fn mask_ids(text: &str) -> String {
    let is_id = |text: &str| {
        text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(id) = rest.get(..UUID_LENGTH).filter(|id| is_id(id)) {
            masked.push_str("${id}");
            rest = &rest[id.len()..];
        } else {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    masked
}

/// Returns a text of single spaces in which times, ages, generations and ids of objects are replaced. They differ between
/// environments that have the same settings and the same trouble.
fn mask_particulars(text: &str) -> String {
    let text = &mask_ids(text);
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

/// Joins texts with blank lines, without the empty ones.
fn join_nonempty(texts: &[&str]) -> String {
    let texts: Vec<&str> = texts.iter().map(|text| text.trim_matches('\n')).filter(|text| !text.is_empty()).collect();
    texts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn ids_of_objects_make_no_difference() {
        let text = |id: &str| mask_particulars(&format!("New-ServicePrincipal -ObjectId {id}, 'b{id}'"));
        let one = text("b623a52e-4cf0-8c83-b01c-35174e083fab");
        assert_eq!(one, text("3E57C8FA-19c7-87f4-bd7a-4d37e687eaa5"));
        assert!(one.contains("-ObjectId ${id}"), "{one}");
        assert_ne!(mask_particulars("b623a52e-4cf0"), mask_particulars("b623a52e-4cf1"));
    }
}
