//! Audit log: search in pages of [`ROWS`] entries, newest first, the comparison of the store with it, and the export.
//!
//! An export has what the filter finds, in pages that are read while it is sent. Values in CSV that a spreadsheet would take for
//! a formula are marked as text.

use std::{fmt::Write as _, sync::Arc};

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    console::{
        answer::{Answer, render},
        extract::Parameters,
        page::{Page, SignedIn, shown, shown_up_to},
        parameters::{address, parse, parse_time},
    },
    model::{
        AuditEntry,
        access::{Activity, Area},
    },
    service::{Caller, HttpProblem, Received, Service},
    store::AuditSearch,
    telemetry,
};

/// Number of rows of a page.
const ROWS: u32 = 100;
/// Number of entries that an export reads together.
const EXPORTED: u32 = 500;
/// Maximum size of details in the list, in characters.
const DETAIL: usize = 220;
/// Maximum number of listed differences.
const DIFFERENCES: usize = 50;

/// The page.
#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    page: Page,
    filter: Filter,
    invalid: Vec<&'static str>,
    rows: Vec<Row>,
    may_verify: bool,
    /// The address of the newest entries, if others are shown.
    newest: Option<String>,
    /// The address of the next page.
    older: Option<String>,
}

/// An entry in the list.
struct Row {
    sequence: u64,
    at: Timestamp,
    actor: String,
    action: String,
    outcome: &'static str,
    detail: String,
}

impl Row {
    fn new(entry: AuditEntry) -> Self {
        Self {
            sequence: entry.sequence,
            at: entry.at,
            actor: shown_up_to(&entry.actor, 80),
            action: shown_up_to(&entry.action, 40),
            outcome: entry.outcome.id(),
            detail: shown_up_to(&describe(&entry.detail), DETAIL),
        }
    }
}

/// Returns details on one line, without what is empty. Digests of the store come last: a person rarely reads them.
fn describe(detail: &Value) -> String {
    let Some(fields) = detail.as_object() else { return detail.to_string() };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let (store, own): (Vec<_>, Vec<_>) =
        fields.iter().filter(|(_, value)| !is_empty(value)).partition(|(name, _)| *name == "store");
    let parts = own.into_iter().chain(store).map(|(name, value)| format!("{name}: {}", text(value)));
    parts.collect::<Vec<_>>().join(" · ")
}

/// The parameters of the page, as they were entered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Filter {
    q: String,
    actor: String,
    action: String,
    outcome: String,
    since: String,
    until: String,
    before: String,
    format: String,
}

impl Filter {
    /// Returns an address with the conditions of the filter and another parameter.
    fn with(&self, path: &str, name: &str, value: impl std::fmt::Display) -> String {
        let value = value.to_string();
        let own = [
            ("q", &self.q),
            ("actor", &self.actor),
            ("action", &self.action),
            ("outcome", &self.outcome),
            ("since", &self.since),
            ("until", &self.until),
        ];
        address(path, own.map(|(key, value)| (key, value.as_str())).into_iter().chain([(name, value.as_str())]))
    }

    /// Reads the conditions; the labels of the fields that cannot be read otherwise.
    fn read(&self) -> Result<AuditSearch, Vec<&'static str>> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let mut invalid = Vec::new();
        let mut search = AuditSearch {
            text: text(&self.q),
            actor: text(&self.actor),
            action: text(&self.action),
            before: parse(&self.before).unwrap_or_default(),
            ..AuditSearch::default()
        };
        match parse(&self.outcome) {
            Ok(outcome) => search.outcome = outcome,
            Err(_) => invalid.push("audit-outcome"),
        }
        match parse_time(&self.since) {
            Ok(since) => search.since = since,
            Err(_) => invalid.push("audit-since"),
        }
        match parse_time(&self.until) {
            Ok(until) => search.until = until,
            Err(_) => invalid.push("audit-until"),
        }
        if invalid.is_empty() { Ok(search) } else { Err(invalid) }
    }
}

/// Shows the list.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(filter): Parameters<Filter>,
) -> Answer {
    let (entries, invalid) = match filter.read() {
        Ok(search) => (service.find_audit_entries(&caller, search, ROWS).await?, Vec::new()),
        Err(invalid) => (Vec::new(), invalid),
    };
    let next = entries.last().map(|entry| entry.sequence).filter(|_| entries.len() == ROWS as usize);
    let at = |before: &str| filter.with("/console/audit", "before", before);
    render(&AuditPage {
        may_verify: page.may(Area::Audit, Activity::Verify),
        newest: (!filter.before.is_empty()).then(|| at("")),
        older: next.map(|number| at(&number.to_string())),
        rows: entries.into_iter().map(Row::new).collect(),
        page,
        filter,
        invalid,
    })
}

/// The result of the comparison.
#[derive(Template)]
#[template(path = "audit_check.html")]
struct CheckPage {
    page: Page,
    entries: u64,
    head: String,
    problems: Vec<String>,
    more: usize,
    altered_before: Vec<u64>,
}

/// Compares the store with the audit log, and shows the result.
pub(in crate::console) async fn verify(State(service): State<Arc<Service>>, page: Page) -> Answer {
    let check = service.compare_with_audit_log().await?;
    render(&CheckPage {
        page,
        entries: check.entries,
        head: check.head.to_string(),
        more: check.problems.len().saturating_sub(DIFFERENCES),
        problems: check.problems.iter().take(DIFFERENCES).map(|problem| shown(problem)).collect(),
        altered_before: check.altered_before.into_iter().take(DIFFERENCES).collect(),
    })
}

/// Sends the entries that the filter finds as a file, newest first.
pub(in crate::console) async fn export(
    State(service): State<Arc<Service>>,
    SignedIn { caller, .. }: SignedIn,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, HttpProblem> {
    let search = filter.read().map_err(|_| {
        HttpProblem::malformed("the filter has a value of the wrong form").remedy("Filter the audit log again.")
    })?;
    let is_csv = filter.format == "csv";
    let (sender, receiver) = mpsc::channel(2);
    let environment = service.environment().clone();
    telemetry::spawn(send_entries(service, caller, search, is_csv, sender));
    let mut response = Body::from_stream(Received(receiver)).into_response();
    let (media_type, ending) = if is_csv { ("text/csv; charset=utf-8", "csv") } else { ("application/json", "json") };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let disposition = format!("attachment; filename=\"audit-{environment}.{ending}\"");
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

type Sent = Result<Bytes, std::io::Error>;

/// Reads the entries page by page. The file ends early, without its end mark in JSON, if the store cannot be read.
async fn send_entries(
    service: Arc<Service>,
    caller: Caller,
    mut search: AuditSearch,
    is_csv: bool,
    sender: mpsc::Sender<Sent>,
) {
    let head = if is_csv { "sequence,at,actor,action,outcome,detail,previous,hash\r\n" } else { "[\n" };
    let mut text = head.to_owned();
    let mut is_first = true;
    loop {
        // The session may have ended meanwhile.
        let entries = if service.is_still_authorized(&caller).await {
            service.find_audit_entries(&caller, search.clone(), EXPORTED).await
        } else {
            Err(HttpProblem::internal("the session ended during an export"))
        };
        let Ok(entries) = entries else {
            drop(sender.send(Err(std::io::Error::other("the audit log cannot be read"))).await);
            return;
        };
        search.before = entries.last().map(|entry| entry.sequence);
        for entry in &entries {
            if is_csv {
                write_row(&mut text, entry);
            } else if let Ok(document) = serde_json::to_string(entry) {
                if !std::mem::replace(&mut is_first, false) {
                    text.push_str(",\n");
                }
                text.push_str(&document);
            }
        }
        let is_last = entries.len() < EXPORTED as usize;
        if is_last && !is_csv {
            text.push_str("\n]\n");
        }
        if sender.send(Ok(std::mem::take(&mut text).into())).await.is_err() || is_last {
            return;
        }
    }
}

/// Writes an entry as a row of CSV (RFC 4180).
fn write_row(text: &mut String, entry: &AuditEntry) {
    let detail = entry.detail.to_string();
    let _ = write!(text, "{},{},", entry.sequence, entry.at);
    let values = [
        entry.actor.as_str(),
        entry.action.as_str(),
        entry.outcome.id(),
        detail.as_str(),
        entry.previous.as_str(),
        entry.hash.as_str(),
    ];
    for value in values {
        // A spreadsheet would compute it.
        let mark = if value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
            "'"
        } else {
            ""
        };
        let _ = write!(text, "\"{mark}{}\",", value.replace('"', "\"\""));
    }
    text.pop();
    text.push_str("\r\n");
}
