//! Outbox: search, counts by status, the reasons for which mail waits, and messages in pages of [`ROWS`] rows, newest first.
//!
//! [`Filter`] is the form, whose address can be shared; `bulk` reads the same one. Contents of mail are not shown. [`follow`]
//! sends the list again when it has changed.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    api::messages::MessagePage,
    console::{
        answer::{Answer, render},
        extract::Parameters,
        live,
        page::{Page, SignedIn, shown, shown_up_to},
        parameters::{address, parse, parse_time},
    },
    model::{
        CompanyId, Function, Message, ProfileName, Status, WaitReason, Waiting,
        access::{Activity, Area},
    },
    service::{Caller, HttpProblem, MessageFilter, Service},
};

/// Number of rows of a page.
const ROWS: u32 = 100;
/// Maximum number of names that a field suggests.
const SUGGESTIONS: usize = 200;
/// Maximum number of groups of waiting mail.
const GROUPS: usize = 30;
/// Maximum size of a search text, in characters.
const TEXT: usize = 200;

/// The page.
#[derive(Template)]
#[template(path = "outbox.html")]
struct OutboxPage {
    page: Page,
    filter: Filter,
    /// The labels of fields whose value cannot match anything.
    invalid: Vec<&'static str>,
    counts: Vec<(&'static str, u64)>,
    groups: Vec<Group>,
    more_groups: usize,
    holds: usize,
    store_writable: bool,
    rows: Vec<Row>,
    /// The address of the newest messages, if others are shown.
    newest: Option<String>,
    /// The address of the next page.
    older: Option<String>,
    /// The address of the updates; none for an older page, and for a text, because each update would search all mail.
    live: Option<String>,
    /// The actions for all messages that match, if the caller may do that.
    bulk: Vec<&'static str>,
    companies: Vec<CompanyId>,
    profiles: Vec<String>,
    functions: Vec<Function>,
}

/// Queued messages that wait for the same reason.
pub(super) struct Group {
    pub(super) reason: &'static str,
    pub(super) profile: Option<String>,
    pub(super) explanation: String,
    pub(super) last_reply: String,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) oldest_at: Option<Timestamp>,
    pub(super) messages: u64,
    pub(super) needs_operator: bool,
    pub(super) command: Option<String>,
}

impl Group {
    pub(super) fn new(waiting: Waiting) -> Self {
        Self {
            reason: waiting.reason.id(),
            profile: waiting.profile.map(|profile| profile.to_string()),
            explanation: shown(&waiting.explanation),
            last_reply: shown(&waiting.last_reply),
            since: waiting.since,
            until: waiting.until,
            next_attempt_at: waiting.next_attempt_at,
            oldest_at: waiting.oldest_at,
            messages: waiting.messages,
            needs_operator: waiting.needs_operator,
            command: waiting.command.as_deref().map(shown),
        }
    }
}

/// A message in the list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) subject: String,
    pub(super) status: &'static str,
    pub(super) company: CompanyId,
    pub(super) function: Function,
    pub(super) recipient: String,
    pub(super) more_recipients: usize,
    pub(super) profile: String,
    pub(super) document: String,
    pub(super) reason: String,
    pub(super) accepted_at: Timestamp,
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) attempts: u32,
}

impl Row {
    pub(super) fn new(message: Message, now: Timestamp) -> Self {
        let document = message.document.map(|document| format!("{} {}", document.kind, document.number));
        Self {
            id: message.id.to_string(),
            subject: shown_up_to(&message.subject, 70),
            status: message.status.id(),
            company: message.company,
            function: message.function,
            recipient: message.recipients.first().map(|first| shown_up_to(&first.address, 50)).unwrap_or_default(),
            more_recipients: message.recipients.len().saturating_sub(1),
            profile: message.profile.to_string(),
            document: document.map(|document| shown_up_to(&document, 40)).unwrap_or_default(),
            reason: shown_up_to(&message.reason, 90),
            accepted_at: message.accepted_at,
            // One that is due waits for something else.
            next_attempt_at: message.next_attempt_at.filter(|at| *at > now),
            attempts: message.attempts,
        }
    }
}

/// The parameters of the page, as they were entered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Filter {
    pub(super) q: String,
    pub(super) status: String,
    pub(super) profile: String,
    pub(super) company: String,
    pub(super) function: String,
    pub(super) reason: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) before: String,
}

impl Filter {
    /// Returns the parameters but `before`, by name.
    pub(super) fn pairs(&self) -> [(&'static str, &str); 8] {
        [
            ("q", &self.q),
            ("status", &self.status),
            ("profile", &self.profile),
            ("company", &self.company),
            ("function", &self.function),
            ("reason", &self.reason),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }

    /// Returns the address of the list with other values of a parameter, at its first page unless that is the parameter.
    pub(super) fn with(&self, name: &str, value: impl std::fmt::Display) -> String {
        let value = value.to_string();
        // Only queued messages wait for a reason.
        let is_other = |key: &str| key != name && !(key == "reason" && name == "status");
        let pairs = self.pairs().into_iter().filter(|(key, _)| is_other(key));
        address("/console/outbox", pairs.chain([(name, value.as_str())]))
    }

    /// Returns the address of the list without anything of this filter but a group of waiting mail.
    fn group(group: &Group) -> String {
        let profile = group.profile.as_deref().unwrap_or_default();
        address("/console/outbox", [("reason", group.reason), ("profile", profile)])
    }

    /// Returns true if nothing is filtered.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs().iter().all(|(_, value)| value.trim().is_empty())
    }

    /// Returns the number that the page begins after.
    pub(super) fn before(&self) -> Option<u64> {
        parse(&self.before).unwrap_or_default()
    }

    /// Reads the conditions; the labels of the fields that cannot be read otherwise.
    pub(super) fn read(&self) -> Result<MessageFilter, Vec<&'static str>> {
        let mut invalid = Vec::new();
        let mut filter = MessageFilter::default();
        let text = self.q.trim();
        if text.len() == 36 && text.parse::<uuid::Uuid>().is_ok() {
            filter.id = Some(text.to_owned());
        } else if text.starts_with('<') && text.ends_with('>') {
            filter.message_id = Some(text.to_owned());
        } else if text.chars().count() > TEXT {
            invalid.push("outbox-search");
        } else if !text.is_empty() {
            filter.text = Some(text.to_owned());
        }
        macro_rules! read {
            ($($field:ident $label:literal $parse:ident;)*) => { $(
                match $parse(&self.$field) {
                    Ok(value) => filter.$field = value,
                    Err(_) => invalid.push($label),
                }
            )* };
        }
        read! {
            status "outbox-status" parse;
            profile "outbox-profile" parse;
            company "outbox-company" parse;
            function "outbox-function" parse;
            reason "outbox-reason" parse;
            since "outbox-since" parse_time;
            until "outbox-until" parse_time;
        }
        if filter.reason.is_some() && filter.status.is_some_and(|status| status != Status::Queued) {
            invalid.push("outbox-reason");
        }
        if invalid.is_empty() { Ok(filter) } else { Err(invalid) }
    }
}

/// Returns the actions that all messages of a status can be given.
pub(super) fn bulk_actions(status: Option<Status>) -> &'static [&'static str] {
    match status {
        Some(Status::Queued) => &["retry", "cancel"],
        Some(Status::AwaitingSender) => &["cancel"],
        Some(Status::Failed) => &["replay"],
        Some(Status::Unknown) => &["resolve-delivered", "resolve-failed", "replay"],
        Some(Status::Delivered | Status::Cancelled) => &["replay-all"],
        Some(Status::Sending) | None => &[],
    }
}

/// Returns the activity that an action for all messages needs.
pub(super) fn bulk_activity(action: &str) -> Activity {
    match action {
        "retry" => Activity::Retry,
        "cancel" => Activity::Cancel,
        "replay" | "replay-all" => Activity::Replay,
        _ => Activity::Resolve,
    }
}

/// The part of the page that changes with the mail, on its own.
#[derive(Template)]
#[template(path = "outbox_list.html")]
struct OutboxList {
    page: Page,
    filter: Filter,
    counts: Vec<(&'static str, u64)>,
    groups: Vec<Group>,
    more_groups: usize,
    holds: usize,
    rows: Vec<Row>,
}

/// Shows the list.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(filter): Parameters<Filter>,
) -> Answer {
    render(&read_page(&service, &caller, page, filter).await?)
}

async fn read_page(
    service: &Arc<Service>,
    caller: &Caller,
    page: Page,
    filter: Filter,
) -> Result<OutboxPage, HttpProblem> {
    let status = service.outbox_status(caller, None).await?;
    let (found, invalid, bulk) = match filter.read() {
        Ok(read) => {
            let allowed = |action: &&'static str| page.may(Area::Outbox, bulk_activity(action));
            let bulk: Vec<&'static str> = bulk_actions(read.status()).iter().copied().filter(allowed).collect();
            (service.find_messages(caller, read, filter.before(), ROWS).await?, Vec::new(), bulk)
        }
        Err(invalid) => (MessagePage::default(), invalid, Vec::new()),
    };
    let groups: Vec<Group> = status.waiting.into_iter().filter(|group| group.messages > 0).map(Group::new).collect();
    let count = |one: &Status| (one.id(), status.messages.get(one).copied().unwrap_or_default());
    let state = service.state();
    let (sees_all, sees_profiles) = (caller.sees_all(Area::Outbox), caller.sees_all(Area::Profiles));
    let is_own =
        |company: &&CompanyId| sees_all || caller.may(Area::Outbox, Activity::See, Some(company), None).is_allowed();
    let is_seen = |name: &ProfileName| sees_all || sees_profiles || caller.sees_profile_named(name, &state);
    let is_live = filter.before.is_empty() && filter.q.trim().is_empty() && invalid.is_empty();
    Ok(OutboxPage {
        counts: Status::ALL.iter().map(count).collect(),
        more_groups: groups.len().saturating_sub(GROUPS),
        groups: groups.into_iter().take(GROUPS).collect(),
        holds: status.holds.len(),
        store_writable: status.store_writable,
        live: is_live.then(|| address("/console/outbox/live", filter.pairs())),
        bulk: if found.messages.is_empty() { Vec::new() } else { bulk },
        rows: found.messages.into_iter().map(|message| Row::new(message, service.now())).collect(),
        newest: (!filter.before.is_empty()).then(|| filter.with("before", "")),
        older: found.next_before.map(|number| filter.with("before", number)),
        companies: state.settings.companies.iter().filter(is_own).take(SUGGESTIONS).cloned().collect(),
        profiles: state
            .live()
            .filter(|(name, _)| is_seen(name))
            .take(SUGGESTIONS)
            .map(|(name, _)| name.to_string())
            .collect(),
        functions: Function::all().collect(),
        invalid,
        filter,
        page,
    })
}

/// Sends the list whenever it has changed, until the session ends.
pub(in crate::console) async fn follow(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, HttpProblem> {
    let own = (Arc::clone(&service), caller.clone());
    live::follow(&service, &caller, move || {
        let ((service, caller), page, filter) = (own.clone(), page.clone(), filter.clone());
        async move { read_list(&service, &caller, page, filter).await }
    })
}

async fn read_list(service: &Arc<Service>, caller: &Caller, page: Page, filter: Filter) -> Result<String, HttpProblem> {
    let OutboxPage { page, filter, counts, groups, more_groups, holds, rows, .. } =
        read_page(service, caller, page, filter).await?;
    let list = OutboxList { page, filter, counts, groups, more_groups, holds, rows };
    list.render().map_err(HttpProblem::internal)
}

/// Returns the ids of the reasons for which mail waits.
fn reasons() -> impl Iterator<Item = &'static str> {
    WaitReason::ALL.iter().map(|reason| reason.id())
}
