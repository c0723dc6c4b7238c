//! Changes of all messages that match a filter: a page with their number and a confirmation, the change itself, and its result.
//!
//! The form has the filter, not the messages. It also has the number that was shown, and the time: not more are changed, and
//! messages that were accepted, put back into the queue or finished since are left out, so that a form that is sent twice sends
//! no mail twice. The result is read from the audit log, to which the browser is redirected.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{extract::State, http::Method, response::Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::outbox::{Filter, Row, bulk_actions, bulk_activity};
use crate::{
    api::messages::{Action, ActionOptions, Resolved, ResolvedOutcome},
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Parameters, Segment},
        page::{Page, SignedIn, shown},
        parameters::address,
    },
    model::{
        Function, Status,
        access::{Area, Question},
    },
    service::{BulkAction, BulkChange, CHANGED_AT_ONCE, COUNTED, Caller, HttpProblem, MessageFilter, Service},
};

/// Number of messages that are shown as examples.
const EXAMPLES: u32 = 10;
/// Time for which a confirmation can be used.
const CONFIRMATION_KEPT: Duration = Duration::from_secs(60 * 60);

/// The parameters of the confirmation, and the fields of its form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Request {
    #[serde(flatten)]
    filter: Filter,
    action: String,
    /// The time at which the number of messages was shown.
    seen_at: String,
    /// The number that was shown.
    count: String,
    /// Why an outcome is set.
    why: String,
    /// `yes` if mail is sent to recipients that have it.
    again: String,
}

impl Request {
    /// Returns the conditions and the name of the action, if the messages can be given it.
    fn read(&self) -> Result<(MessageFilter, &'static str), HttpProblem> {
        let malformed = |reason: &str| {
            HttpProblem::malformed(reason.to_owned())
                .remedy("Filter the outbox again, and choose an action from its list.")
        };
        let filter = self.filter.read().map_err(|_| malformed("the filter has a value that cannot match"))?;
        let actions = bulk_actions(filter.status());
        let action = actions.iter().copied().find(|action| *action == self.action);
        let action = action.ok_or_else(|| malformed("messages of this status cannot be given this action"))?;
        Ok((filter, action))
    }
}

/// The confirmation.
#[derive(Template)]
#[template(path = "bulk.html")]
struct ConfirmationPage {
    page: Page,
    filter: Filter,
    /// The conditions in words: the keys of their labels, and their values.
    conditions: Vec<(&'static str, String)>,
    action: &'static str,
    count: u64,
    is_counted_to_end: bool,
    examples: Vec<Row>,
    at_once: usize,
    /// True if more messages match than one request changes.
    is_limited: bool,
    seen_at: Timestamp,
}

/// Shows how many messages match, and asks.
pub(in crate::console) async fn confirm(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(request): Parameters<Request>,
) -> Answer {
    let seen_at = service.delivery_now();
    let (conditions, action) = request.read()?;
    check_right(&service, &caller, action, &Method::GET).await?;
    let filter = request.filter;
    let count = service.count_messages(&caller, conditions.clone(), filter.before()).await?;
    let examples = service.find_messages(&caller, conditions, filter.before(), EXAMPLES).await?;
    render(&ConfirmationPage {
        conditions: describe(&page, &filter),
        action,
        count,
        is_counted_to_end: count < u64::from(COUNTED),
        examples: examples.messages.into_iter().map(|message| Row::new(message, service.now())).collect(),
        at_once: CHANGED_AT_ONCE,
        is_limited: count > CHANGED_AT_ONCE as u64,
        seen_at,
        filter,
        page,
    })
}

/// Returns the conditions of a filter with the keys of their labels.
fn describe(page: &Page, filter: &Filter) -> Vec<(&'static str, String)> {
    let word = |group: &str, id: &str| if id.is_empty() { String::new() } else { page.word(group, id) };
    let all = [
        ("outbox-search", shown(&filter.q)),
        ("outbox-status", if filter.status.parse::<Status>().is_ok() { filter.status.clone() } else { String::new() }),
        ("outbox-profile", shown(&filter.profile)),
        ("outbox-company", shown(&filter.company)),
        (
            "outbox-function",
            filter.function.parse().map(|function: Function| page.function(&function)).unwrap_or_default(),
        ),
        ("outbox-reason", filter.reason.clone()),
        ("outbox-since", shown(&filter.since)),
        ("outbox-until", shown(&filter.until)),
    ];
    let in_words = |(label, value): (&'static str, String)| match label {
        "outbox-status" => (label, word("status", &value)),
        "outbox-reason" => (label, word("waiting", &value)),
        _ => (label, value),
    };
    all.into_iter().map(in_words).filter(|(_, value)| !value.trim().is_empty()).collect()
}

/// Changes the messages.
pub(in crate::console) async fn change(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(request): Form<Request>,
) -> Result<Response, HttpProblem> {
    let (filter, action) = request.read()?;
    check_right(&service, &caller, action, &Method::POST).await?;
    let seen_at = read_seen_at(&request.seen_at, service.delivery_now())?;
    let confirmed = request.count.parse().map_err(|_| {
        HttpProblem::malformed("the confirmation does not have the number of messages")
            .remedy("Filter the outbox again, and choose the action again.")
    })?;
    let action = match action {
        "retry" => BulkAction::Action(Action::Retry, ActionOptions::default()),
        "cancel" => BulkAction::Action(Action::Cancel, ActionOptions::default()),
        "resolve-delivered" => resolve(ResolvedOutcome::Delivered, &request),
        "resolve-failed" => resolve(ResolvedOutcome::Failed, &request),
        "replay-all" if request.again != "yes" => {
            return Err(HttpProblem::malformed("the confirmation that mail is sent again is missing")
                .remedy("Go back, and tick that the recipients get the mail again."));
        }
        "replay-all" => BulkAction::Action(Action::Replay, ActionOptions { all_recipients: true }),
        _ => BulkAction::Action(Action::Replay, ActionOptions::default()),
    };
    let before = request.filter.before();
    let entry = service.change_matching(&caller, BulkChange { filter, action, seen_at, confirmed, before }).await?;
    Ok(redirect(&format!("{}/console/outbox/bulk/{}", page.base, entry.sequence)))
}

/// Checks that the caller may use an action for at least some messages. For each message, the service checks it again.
async fn check_right(service: &Service, caller: &Caller, action: &str, method: &Method) -> Result<(), HttpProblem> {
    let question = Question::any(Area::Outbox, bulk_activity(action));
    service.check_right(caller, &question, method, "/console/outbox/bulk").await
}

fn resolve(outcome: ResolvedOutcome, request: &Request) -> BulkAction {
    BulkAction::Resolve(Resolved { outcome, reason: request.why.clone() })
}

/// Reads the time of a confirmation, which must not be old, nor in the future.
fn read_seen_at(text: &str, now: Timestamp) -> Result<Timestamp, HttpProblem> {
    let seen_at: Option<Timestamp> = text.parse().ok();
    let oldest = now.checked_sub(CONFIRMATION_KEPT).unwrap_or(Timestamp::UNIX_EPOCH);
    seen_at.filter(|seen_at| (oldest..=now).contains(seen_at)).ok_or_else(|| {
        HttpProblem::malformed("the confirmation is more than an hour old")
            .remedy("Filter the outbox again, and choose the action again.")
    })
}

/// The result of a change.
#[derive(Template)]
#[template(path = "bulk_result.html")]
struct ResultPage {
    page: Page,
    action: String,
    changed: u64,
    refused: Vec<Refused>,
    at: Timestamp,
    sequence: u64,
    /// The address of the confirmation for the messages that were not visited.
    next: Option<String>,
}

/// Messages that were refused for the same reason.
struct Refused {
    code: String,
    messages: u64,
    reason: String,
}

/// Shows the result of a change.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(sequence): Segment<u64>,
) -> Answer {
    let entry = service.bulk_change(&caller, sequence).await?;
    let text = |value: &serde_json::Value| value.as_str().map(shown).unwrap_or_default();
    let detail = &entry.detail;
    let refused = detail["refused"].as_array().into_iter().flatten().map(|refused| Refused {
        code: text(&refused["code"]),
        messages: refused["messages"].as_u64().unwrap_or_default(),
        reason: text(&refused["reason"]),
    });
    let refused: Vec<Refused> = refused.collect();
    let (action, filter) = (text(&detail["action"]), &detail["filter"]);
    let next = detail["nextBefore"].as_u64().map(|before| {
        let value = |name: &str| filter[name].as_str().unwrap_or_default();
        // The field of the form finds messages by id and by `Message-ID` as well.
        let q = ["text", "id", "messageId"].map(value).into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let (before, names) =
            (before.to_string(), ["status", "profile", "company", "function", "reason", "since", "until"]);
        let own = [("q", q), ("before", before.as_str()), ("action", action.as_str())];
        address("/console/outbox/bulk", names.map(|name| (name, value(name))).into_iter().chain(own))
    });
    render(&ResultPage {
        changed: detail["changed"].as_u64().unwrap_or_default(),
        refused,
        at: entry.at,
        sequence,
        next,
        action,
        page,
    })
}
