//! [`PlanView`]: the contents of a plan, for the page of a plan and for that of a proposal (`plan_body.html`).
//!
//! A plan of files can have thousands of changes: what is listed is bounded, and the others are counted.

use super::{
    difference::{DifferenceRow, difference_row, display},
    profile::{FindingRow, finding_row},
};
use crate::{
    changes::{
        comparison::FieldDifference,
        guards::Guard,
        routing::{CellSender, sender_groups},
    },
    console::page::{shown, shown_up_to},
    model::{Allowances, ChangeKind, ProfileName, finding::Verdict, finding_id::FindingId},
    service::{PlannedChange, PlannedDifference, ProfileVerification, Verifications},
};

/// Maximum number of profiles whose differences are listed.
const DIFFERENCES: usize = 100;
/// Maximum number of fields that are listed in all, for a plan of several profiles.
const FIELDS: usize = 200;
/// Maximum size of a value in such a plan, in characters.
const VALUE: usize = 120;
/// Maximum number of groups of cells that are shown.
const GROUPS: usize = 50;
/// Maximum number of guards that are shown, each with the box that lifts it.
const GUARDS: usize = 50;
/// Maximum number of warnings that are shown.
const WARNINGS: usize = 20;
/// Maximum number of profiles whose results are shown, those with errors first.
const RESULTS: usize = 25;
/// Maximum number of findings of one profile that are shown, for a plan of several profiles.
const FINDINGS: usize = 4;
/// Maximum number of profiles without a result that are named.
const UNFINISHED: usize = 10;

/// The contents of a plan.
pub(super) struct PlanView {
    /// True for a change by hand: it is of one profile, whose name the page has in its title, and is drift until Git has it.
    pub(super) is_single: bool,
    pub(super) differences: Vec<DifferenceView>,
    pub(super) more_differences: usize,
    pub(super) groups: Vec<GroupRow>,
    pub(super) more_groups: usize,
    pub(super) guards: Vec<GuardRow>,
    pub(super) approvals: Option<ApprovalsView>,
    pub(super) warnings: Vec<Warning>,
    pub(super) more_warnings: usize,
    pub(super) verification: VerificationView,
    pub(super) drift: Vec<DifferenceRow>,
}

/// The differences of a profile or of the settings.
pub(super) struct DifferenceView {
    /// None for the settings.
    pub(super) name: Option<String>,
    /// The id of the change.
    pub(super) action: &'static str,
    pub(super) fields: Vec<DifferenceRow>,
    /// Number of fields that differ and are not listed.
    pub(super) more: usize,
    pub(super) unchanged: usize,
}

pub(super) struct GroupRow {
    pub(super) lines: Vec<String>,
    pub(super) before: Option<SenderView>,
    pub(super) after: Option<SenderView>,
}

pub(super) struct SenderView {
    pub(super) profile: String,
    /// None for a delegate, which sends as the signed-in user.
    pub(super) from: Option<String>,
}

pub(super) struct GuardRow {
    pub(super) message: String,
    /// The field and the value that confirm it.
    pub(super) field: &'static str,
    pub(super) value: String,
    pub(super) is_confirmed: bool,
}

pub(super) struct ApprovalsView {
    pub(super) digest: String,
    pub(super) needs: Vec<String>,
}

pub(super) struct Warning {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// The results of the verifier.
pub(super) struct VerificationView {
    /// False if the change sets no enabled profile.
    pub(super) is_needed: bool,
    pub(super) results: Vec<ResultView>,
    /// Number of verified profiles that are not listed: first those without findings.
    pub(super) more: usize,
    /// Number of profiles with errors that are not listed, and so cannot be accepted here.
    pub(super) more_failing: usize,
    /// The reasons why some profiles have no result.
    pub(super) unfinished: Vec<String>,
    pub(super) more_unfinished: usize,
    pub(super) is_unverified_accepted: bool,
}

/// The result of a profile.
pub(super) struct ResultView {
    pub(super) name: String,
    pub(super) errors: usize,
    pub(super) passed: usize,
    /// None if the findings were not read.
    pub(super) level: Option<&'static str>,
    pub(super) open: Vec<FindingRow>,
    pub(super) more: usize,
    pub(super) is_accepted: bool,
}

impl PlanView {
    /// Returns true if the verifier did not contact the hosts of a profile.
    pub(super) fn has_uncontacted_host(&self) -> bool {
        let mut findings = self.verification.results.iter().flat_map(|result| &result.open);
        findings.any(|finding| finding.id == FindingId::VerifyHost.to_string())
    }

    /// Creates the view of a plan; `confirmed` is what the form has confirmed so far.
    pub(super) fn new(planned: &PlannedChange, verifications: &Verifications, confirmed: &Allowances) -> Self {
        let is_single = planned.kind == ChangeKind::Manual;
        let groups = sender_groups(&planned.routing);
        let (differences, more_differences) = differences(&planned.differences, is_single);
        Self {
            is_single,
            differences,
            more_differences,
            groups: groups
                .iter()
                .take(GROUPS)
                .map(|group| GroupRow {
                    lines: group.lines(),
                    before: group.before.map(sender),
                    after: group.after.map(sender),
                })
                .collect(),
            more_groups: groups.len().saturating_sub(GROUPS),
            guards: planned.guards.iter().take(GUARDS).map(|guard| guard_row(guard, confirmed)).collect(),
            approvals: planned.approvals.as_ref().map(|(digest, needs)| ApprovalsView {
                digest: digest.to_string(),
                needs: needs.iter().map(|need| shown(&need.describe())).collect(),
            }),
            more_warnings: planned.warnings.len().saturating_sub(WARNINGS),
            warnings: planned
                .warnings
                .iter()
                .take(WARNINGS)
                .map(|violation| Warning {
                    code: violation.problem.code.to_string(),
                    message: shown(&violation.problem.message),
                    remedy: shown(&violation.problem.remedy),
                })
                .collect(),
            verification: VerificationView::new(verifications, confirmed, is_single),
            drift: planned
                .drift
                .iter()
                .flat_map(|drift| &drift.fields)
                .map(|field| DifferenceRow {
                    path: field.path.clone(),
                    before: display(&field.applied),
                    after: display(&field.live),
                    secret: None,
                })
                .collect(),
        }
    }
}

/// Returns the differences that are listed, and the number of the others.
fn differences(all: &[PlannedDifference], is_single: bool) -> (Vec<DifferenceView>, usize) {
    let mut left = if is_single { usize::MAX } else { FIELDS };
    let row = |difference: &FieldDifference| {
        let row = difference_row(difference);
        let cut = |text: String| if is_single { text } else { shown_up_to(&text, VALUE) };
        DifferenceRow { before: cut(row.before), after: cut(row.after), ..row }
    };
    let view = |difference: &PlannedDifference| {
        let fields: Vec<DifferenceRow> = difference.fields.iter().take(left).map(row).collect();
        left -= fields.len();
        DifferenceView {
            name: difference.name.as_ref().map(ToString::to_string),
            action: difference.action,
            more: difference.fields.len() - fields.len(),
            unchanged: difference.unchanged,
            fields,
        }
    };
    (all.iter().take(DIFFERENCES).map(view).collect(), all.len().saturating_sub(DIFFERENCES))
}

fn sender(sender: &CellSender) -> SenderView {
    SenderView { profile: sender.profile.to_string(), from: sender.from.as_deref().map(shown) }
}

fn guard_row(guard: &Guard, confirmed: &Allowances) -> GuardRow {
    let (field, value, is_confirmed) = match guard {
        Guard::TooManyDeletes { deletes, .. } => ("allow-deletes", deletes.to_string(), confirmed.deletes.is_some()),
        Guard::DefaultProfile { name } | Guard::LastSender { name, .. } => {
            ("allow-name", name.to_string(), confirmed.names.contains(name))
        }
        Guard::RightsAdded { .. } | Guard::RecipientsAdded { .. } | Guard::RecipientsRemoved { .. } => {
            ("allow-rights", "yes".to_owned(), confirmed.rights)
        }
    };
    GuardRow { message: shown(&guard.message()), field, value, is_confirmed }
}

impl VerificationView {
    fn new(verifications: &Verifications, confirmed: &Allowances, is_single: bool) -> Self {
        let (mut unfinished, mut verified) = (Vec::new(), Vec::new());
        for (name, result) in verifications {
            match result {
                ProfileVerification::Unfinished(reason) => unfinished.push((name, reason)),
                _ => verified.push((name, result)),
            }
        }
        let is_failing = |result: &ProfileVerification| result.errors().is_some_and(|errors| errors > 0);
        let has_findings = |result: &ProfileVerification| match result {
            ProfileVerification::Done(verified) => {
                verified.findings.iter().any(crate::model::finding::Finding::is_open)
            }
            ProfileVerification::Known(last) => last.errors > 0,
            ProfileVerification::Unfinished(_) => false,
        };
        verified.sort_by_key(|(name, result)| (!is_failing(result), !has_findings(result), *name));
        let is_listed = |result: &ProfileVerification| is_single || has_findings(result);
        let listed = verified.iter().take(RESULTS).take_while(|(_, result)| is_listed(result)).count();
        let (shown_results, others) = verified.split_at(listed);
        let reason = |(name, reason): &(&ProfileName, &String)| {
            let named = format!("`{name}`");
            if reason.contains(&named) { shown(reason) } else { shown(&format!("{named}: {reason}")) }
        };
        Self {
            is_needed: !verifications.is_empty(),
            results: shown_results
                .iter()
                .map(|(name, result)| result_view(name, result, confirmed, is_single))
                .collect(),
            more: others.len(),
            more_failing: others.iter().filter(|(_, result)| is_failing(result)).count(),
            more_unfinished: unfinished.len().saturating_sub(UNFINISHED),
            unfinished: unfinished.iter().take(UNFINISHED).map(reason).collect(),
            is_unverified_accepted: confirmed.unverified,
        }
    }
}

fn result_view(
    name: &ProfileName,
    result: &ProfileVerification,
    confirmed: &Allowances,
    is_single: bool,
) -> ResultView {
    let (mut open, passed, level) = match result {
        ProfileVerification::Done(verified) => (
            verified.findings.iter().filter(|finding| finding.is_open()).map(finding_row).collect(),
            verified.count(Verdict::Pass),
            Some(verified.reached.id()),
        ),
        ProfileVerification::Known(_) | ProfileVerification::Unfinished(_) => (Vec::new(), 0, None),
    };
    // What stops the change comes first.
    open.sort_by_key(|finding: &FindingRow| !(finding.severity == "error" && finding.verdict == "fail"));
    let limit = if is_single { open.len() } else { FINDINGS };
    let more = open.len().saturating_sub(limit);
    open.truncate(limit);
    let is_accepted = confirmed.findings.contains(name);
    ResultView {
        name: name.to_string(),
        errors: result.errors().unwrap_or_default(),
        passed,
        level,
        open,
        more,
        is_accepted,
    }
}
