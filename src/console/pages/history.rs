//! History: the generations of the configuration with author, source and what they changed, and the differences of any two.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    changes::GenerationDifference,
    console::{
        answer::{Answer, render},
        extract::Parameters,
        page::{Page, SignedIn, shown, shown_up_to},
        parameters::{address, parse},
    },
    model::{
        ChangeSummary, Generation,
        access::{Activity, Area},
        approvals::Approved,
        provenance::Signature,
        settings::ConsolePolicy,
        signature::with_offset,
    },
    service::{HttpProblem, Service},
};

/// Number of rows of a page.
const ROWS: u32 = 50;
/// Maximum number of profiles whose differences are listed.
const PROFILES: usize = 100;
/// Maximum number of fields that are listed in all.
const FIELDS: usize = 250;
/// Maximum size of a value, in characters.
const VALUE: usize = 120;

/// The page.
#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage {
    page: Page,
    rows: Vec<Row>,
    current: u64,
    may_roll_back: bool,
    /// The address of the newest generations, if others are shown.
    newest: Option<String>,
    /// The address of the next page.
    older: Option<String>,
}

/// A generation in the list.
pub(super) struct Row {
    pub(super) number: u64,
    pub(super) previous: u64,
    pub(super) at: Timestamp,
    pub(super) by: String,
    /// The names of the signers.
    pub(super) approvals: String,
    pub(super) signatures: Vec<Manifestation>,
    pub(super) break_glass: Option<String>,
    pub(super) kind: &'static str,
    pub(super) rolled_back_to: Option<u64>,
    pub(super) commit: String,
    pub(super) dirty: bool,
    pub(super) branch: String,
    pub(super) author: String,
    pub(super) signature: Option<&'static str>,
    pub(super) counts: Vec<(&'static str, u64)>,
    pub(super) settings: bool,
}

/// A signature, as every record of it shows it.
pub(super) struct Manifestation {
    pub(super) name: String,
    pub(super) signer: String,
    pub(super) meaning: &'static str,
    /// The time on the clock of the person; empty in entries of earlier versions.
    pub(super) time: String,
    pub(super) at: Option<Timestamp>,
    pub(super) method: &'static str,
    pub(super) reason: String,
    pub(super) digest: String,
    /// The passkey, if it was registered shortly before the signature.
    pub(super) recent: Option<String>,
}

impl Manifestation {
    pub(super) fn new(approved: &Approved) -> Self {
        Self {
            name: shown_up_to(approved.person(), 200),
            signer: shown_up_to(&approved.signer, 64),
            meaning: approved.meaning.id(),
            time: approved.time().unwrap_or_default(),
            at: approved.at,
            method: approved.method.id(),
            reason: shown_up_to(&approved.reason, 400),
            digest: approved.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
            recent: approved.signature.as_ref().and_then(describe_recent),
        }
    }
}

impl From<&crate::model::Signature> for Manifestation {
    fn from(signature: &crate::model::Signature) -> Self {
        Self {
            name: shown_up_to(&signature.printed_name, 200),
            signer: shown_up_to(&signature.signer, 64),
            meaning: signature.meaning.id(),
            time: with_offset(signature.at, signature.offset_minutes),
            at: Some(signature.at),
            method: signature.method.id(),
            reason: shown_up_to(&signature.reason, 400),
            digest: signature.digest.to_string(),
            recent: describe_recent(signature),
        }
    }
}

fn describe_recent(signature: &crate::model::Signature) -> Option<String> {
    signature.describe_recent_passkey().map(|recent| shown_up_to(&recent, 300))
}

impl Row {
    pub(super) fn new(generation: Generation) -> Self {
        let signers: Vec<&str> = generation.approvals.iter().map(|approved| approved.signer.as_str()).collect();
        let source = generation.provenance;
        Self {
            number: generation.number,
            previous: generation.number.saturating_sub(1),
            at: generation.at,
            by: shown_up_to(&generation.by, 80),
            approvals: shown_up_to(&signers.join(", "), 120),
            signatures: generation.approvals.iter().map(Manifestation::new).collect(),
            break_glass: generation.allowances.break_glass.map(|reason| shown_up_to(&reason, 200)),
            kind: generation.kind.id(),
            rolled_back_to: generation.rolled_back_to,
            commit: source.commit.map(|commit| shown(&commit).chars().take(12).collect()).unwrap_or_default(),
            dirty: source.dirty,
            branch: source.branch.map(|branch| shown_up_to(&branch, 60)).unwrap_or_default(),
            author: source.author.map(|author| shown_up_to(&author.name, 60)).unwrap_or_default(),
            signature: source.signature.map(Signature::id),
            counts: counts(&generation.summary),
            settings: generation.summary.settings,
        }
    }
}

/// Returns the numbers of changed profiles that are not 0, with the ids of their texts.
pub(super) fn counts(summary: &ChangeSummary) -> Vec<(&'static str, u64)> {
    let all = [
        ("history-added", summary.added),
        ("history-changed", summary.changed),
        ("history-destroyed", summary.destroyed),
        ("history-renamed", summary.renamed),
        ("history-adopted", summary.adopted),
        ("history-forgotten", summary.forgotten),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Older {
    before: String,
}

/// Lists the generations.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(Older { before }): Parameters<Older>,
) -> Answer {
    let before: Option<u64> = parse(&before).unwrap_or_default();
    let found = service.generations(&caller, before, ROWS).await?;
    let at = |before: &str| address("/console/history", [("before", before)]);
    render(&HistoryPage {
        rows: found.generations.into_iter().map(Row::new).collect(),
        current: service.state().generation,
        may_roll_back: page.may(Area::Changes, Activity::Rollback) && service.console_policy() == ConsolePolicy::Apply,
        newest: before.map(|_| at("")),
        older: found.next_before.map(|number| at(&number.to_string())),
        page,
    })
}

/// The differences of two generations.
#[derive(Template)]
#[template(path = "history_diff.html")]
struct DifferencePage {
    page: Page,
    from: u64,
    to: u64,
    /// The entry of the later generation.
    generation: Option<Row>,
    differences: Differences,
}

/// Differences, as far as a page lists them.
pub(super) struct Differences {
    pub(super) listed: Vec<Difference>,
    /// Number of profiles that are not listed.
    pub(super) more: usize,
}

/// The differences of a profile or of the settings.
pub(super) struct Difference {
    pub(super) name: Option<String>,
    pub(super) kind: &'static str,
    pub(super) fields: Vec<Field>,
    pub(super) more: usize,
}

/// A field that differs.
pub(super) struct Field {
    pub(super) path: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Differences {
    pub(super) fn new(all: Vec<GenerationDifference>) -> Self {
        let (more, mut left) = (all.len().saturating_sub(PROFILES), FIELDS);
        let list = |difference: GenerationDifference| {
            let fields: Vec<Field> = difference
                .fields
                .iter()
                .take(left)
                .map(|field| Field {
                    path: shown(&field.path),
                    before: value(&field.before),
                    after: value(&field.after),
                })
                .collect();
            left -= fields.len();
            Difference {
                name: difference.name.map(|name| name.to_string()),
                kind: difference.kind.id(),
                more: difference.fields.len() - fields.len(),
                fields,
            }
        };
        Self { listed: all.into_iter().take(PROFILES).map(list).collect(), more }
    }
}

/// Returns a value as text; none for null.
fn value(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    Some(shown_up_to(&text, VALUE))
}

/// The parameters of the differences.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Pair {
    from: String,
    to: String,
}

/// Shows the differences of two generations. Without the earlier one, it is the one before.
pub(in crate::console) async fn compare(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(Pair { from, to }): Parameters<Pair>,
) -> Answer {
    let missing = || {
        HttpProblem::not_found("the generation does not exist")
            .remedy("Choose two numbers from the list of the history.")
    };
    let to = parse(&to).map_err(|_| missing())?.unwrap_or_else(|| service.state().generation);
    let from = parse(&from).map_err(|_| missing())?.unwrap_or_else(|| to.saturating_sub(1));
    let differences = service.compare_generations(&caller, from, to).await?;
    let generation = service.generation_entry(to).await?.map(Row::new);
    render(&DifferencePage { page, from, to, generation, differences: Differences::new(differences) })
}
