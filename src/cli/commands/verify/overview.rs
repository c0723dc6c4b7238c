//! Findings of many environments, by check: in how many environments, what was seen, and the remedy of the first.
//!
//! [`describe`] returns a text whose length depends on the number of different checks and not on that of environments. Results
//! that could not be determined are summed up by check, whatever their causes; errors are last. `verify` of one environment
//! shows all details.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{
    cli::ui::{
        fleet_report::Particulars,
        wording::{count_of, cut},
    },
    config::Repository,
    model::{
        EnvironmentName, ProfileName, Severity,
        finding::{Finding, Report, Verdict},
        finding_id::FindingId,
    },
    text::{enumerate, printable},
};

/// The number of environments and profiles that a group names.
const NAMED: usize = 3;
/// The number of different messages, and of different observations, that a group shows.
const VARIANTS: usize = 3;
/// The number of groups up to which each shows what was seen and the beginning of its remedy. Of more, a failure shows its
/// remedy, and an unknown result its causes.
const DETAILED: usize = 3;
/// The longest message and observation, in characters.
const LENGTH: usize = 200;

/// The place of a group in the text: the last one matters most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Pass,
    Note,
    Unknown,
    Warning,
    /// An unknown result that counts as an error.
    GraveUnknown,
    Error,
}

impl Weight {
    fn from_finding(finding: &Finding) -> Self {
        match (finding.verdict, finding.severity) {
            (Verdict::Pass, _) => Self::Pass,
            (Verdict::Unknown, Severity::Error) => Self::GraveUnknown,
            (Verdict::Unknown, _) => Self::Unknown,
            (Verdict::Fail, Severity::Error) => Self::Error,
            (Verdict::Fail, Severity::Warning) => Self::Warning,
            (Verdict::Fail, Severity::Info) => Self::Note,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Note => "note",
            Self::Unknown | Self::GraveUnknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn is_quiet(self) -> bool {
        self <= Self::Note
    }
}

/// Different texts of a group: an example of each, and the environments that have it.
#[derive(Default)]
struct Variants<'r>(BTreeMap<String, (&'r str, BTreeSet<&'r EnvironmentName>)>);

impl<'r> Variants<'r> {
    fn add(&mut self, name: &'r EnvironmentName, text: &'r str, particulars: &Particulars) {
        if !text.is_empty() {
            self.0.entry(particulars.mask(text)).or_insert_with(|| (text, BTreeSet::new())).1.insert(name);
        }
    }

    /// Returns the most frequent texts, each with its number of environments if there are several.
    fn describe(&self) -> Vec<String> {
        let mut all: Vec<_> = self.0.values().collect();
        all.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
        let mut shown: Vec<String> = all
            .iter()
            .take(VARIANTS)
            .map(|(text, names)| match all.len() {
                1 => cut(text, LENGTH),
                _ => format!("{} ({})", cut(text, LENGTH), names.len()),
            })
            .collect();
        if all.len() > VARIANTS {
            shown.push(format!("and {} others", all.len() - VARIANTS));
        }
        shown
    }
}

/// A check with its results of the same weight.
struct Group<'r> {
    names: BTreeSet<&'r EnvironmentName>,
    profiles: BTreeSet<&'r ProfileName>,
    messages: Variants<'r>,
    seen: Variants<'r>,
    first: (&'r EnvironmentName, &'r Finding),
}

/// Describes the open findings of many environments; with `all`, also the checks that passed.
pub(super) fn describe<'r>(
    reports: impl IntoIterator<Item = (&'r EnvironmentName, &'r Report)>,
    repository: Option<&Repository>,
    all: bool,
) -> String {
    let mut groups: BTreeMap<(Weight, FindingId), Group<'r>> = BTreeMap::new();
    let mut total = 0;
    for (name, report) in reports {
        total += 1;
        let particulars = Particulars::new(name, repository);
        for finding in report.all().filter(|finding| finding.is_open() || all && finding.verdict == Verdict::Pass) {
            let group = groups.entry((Weight::from_finding(finding), finding.id)).or_insert_with(|| Group {
                names: BTreeSet::new(),
                profiles: BTreeSet::new(),
                messages: Variants::default(),
                seen: Variants::default(),
                first: (name, finding),
            });
            group.names.insert(name);
            group.profiles.extend(&finding.profile);
            group.messages.add(name, &finding.message, &particulars);
            group.seen.add(name, &finding.seen, &particulars);
        }
    }
    let loud = groups.keys().filter(|(weight, _)| !weight.is_quiet()).count();
    let mut out = String::new();
    for ((weight, id), group) in &groups {
        group.write(&mut out, *weight, *id, total, loud <= DETAILED);
    }
    if let Some(((weight, _), group)) = groups.last_key_value()
        && !weight.is_quiet()
    {
        // Writing to a String cannot fail.
        let _ = write!(out, "\nAll about one environment: mailwright verify {}", group.first.0);
    }
    out
}

impl Group<'_> {
    fn write(&self, out: &mut String, weight: Weight, id: FindingId, total: usize, is_detailed: bool) {
        let names = enumerate(self.names.iter().map(ToString::to_string), NAMED);
        let scope = match self.names.len() {
            1 => format!("in {names}"),
            count if count == total => format!("in all {total} environments"),
            count => format!("in {}: {names}", count_of(count, "environment")),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{} {id} {scope}", weight.label());
        if weight.is_quiet() {
            let _ = writeln!(out, "  {}", id.title());
            return;
        }
        let profiles = enumerate(self.profiles.iter().map(ToString::to_string), NAMED);
        let subject = if profiles.is_empty() { String::new() } else { format!("{profiles}: ") };
        for (index, message) in self.messages.describe().iter().enumerate() {
            let _ = writeln!(out, "  {}{message}", if index == 0 { subject.as_str() } else { "" });
        }
        let is_unknown = matches!(weight, Weight::Unknown | Weight::GraveUnknown);
        if is_detailed || is_unknown {
            for (index, seen) in self.seen.describe().iter().enumerate() {
                let _ = writeln!(out, "  {:<9} {seen}", if index == 0 { "seen" } else { "" });
            }
        }
        if !is_detailed && is_unknown {
            return;
        }
        let label = if is_unknown { "decides" } else { "remedy" };
        let (name, first) = &self.first;
        let lines: Vec<&str> = first.remedy.iter().flat_map(|step| step.lines()).collect();
        let shown = if is_detailed { 2 } else { 1 };
        for (index, line) in lines.iter().take(shown).enumerate() {
            let _ = writeln!(out, "  {:<9} {}", if index == 0 { label } else { "" }, printable(line));
        }
        if lines.len() > shown {
            let profile = first.profile.as_ref().map(|profile| format!(" {profile}")).unwrap_or_default();
            let more = count_of(lines.len() - shown, "more line");
            let _ = writeln!(out, "  {:<9} ... {more}: mailwright verify {name}{profile}", "");
        }
    }
}
