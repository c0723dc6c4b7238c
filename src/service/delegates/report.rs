//! The report of a person's client about one lease: its limits, its text for people, and whether it was recorded before.
//!
//! [`check_report`] bounds what a client can write into the audit log, [`describe_report`] describes the outcome for people, and
//! [`is_reported`] recognises a repeated report. The transition itself is in `lease`.

use super::{REASON, lease::LEASES};
use crate::{
    api::delegates::{DelegateOutcome, DelegateReport},
    model::{Message, Status},
    service::http::HttpProblem,
    text::{printable, shortened},
};

/// The longest id of a request to Graph.
const REQUEST_ID: usize = 100;

/// Bounds the texts of a report: they go to the audit log and to people.
pub(super) fn check_report(report: DelegateReport) -> Result<DelegateReport, HttpProblem> {
    let is_id = |id: &str| id.len() <= REQUEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_id(&report.request_id) || !is_id(&report.client_request_id) {
        return Err(HttpProblem::malformed(
            "`requestId` and `clientRequestId` must have at most 100 printable characters without spaces",
        ));
    }
    let reason = shortened(&printable(&report.reason), REASON).into_owned();
    Ok(DelegateReport { reason, ..report })
}

/// Describes a report for people.
pub(super) fn describe_report(report: &DelegateReport) -> String {
    let what = match report.outcome {
        DelegateOutcome::Sent => "accepted by Exchange",
        DelegateOutcome::Failed => "refused by Exchange",
        DelegateOutcome::Released => "not sent",
        DelegateOutcome::Unknown => "it is not known whether Exchange accepted it",
    };
    let mut text = format!("{what}, as the person's client reports");
    if !report.request_id.is_empty() {
        text.push_str(&format!(", request {}", report.request_id));
    }
    if !report.reason.is_empty() {
        text.push_str(&format!(": {}", report.reason));
    }
    text
}

/// Returns true if the message has the outcome of a report already, by the same lease.
pub(super) fn is_reported(message: &Message, report: &DelegateReport) -> bool {
    let Some(sender) = message.sender.as_ref().filter(|sender| sender.epoch > 0 && sender.epoch == report.epoch) else {
        return false;
    };
    match report.outcome {
        DelegateOutcome::Sent => message.status == Status::Delivered,
        DelegateOutcome::Failed => message.status == Status::Failed,
        DelegateOutcome::Unknown => message.status == Status::Unknown,
        DelegateOutcome::Released if sender.leases() >= LEASES => {
            matches!(message.status, Status::Failed | Status::Unknown)
        }
        DelegateOutcome::Released => message.status == Status::AwaitingSender,
    }
}
