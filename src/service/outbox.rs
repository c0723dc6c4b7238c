//! Search for messages, and actions on all messages that a search finds, for the API and the console.
//!
//! [`MessageFilter`] has the conditions, [`Service::find_messages`] returns a page. [`Service::change_matching`] applies an
//! action to the messages that match, one by one and under the same rules as an action on one message; it is bounded in number
//! and time, and returns where to continue. Nothing here decides whether an action is possible: `message_actions` does.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{
    Service,
    caller::Caller,
    http::{HttpProblem, extract::check_reason},
};
use crate::{
    api::messages::{Action, ActionOptions, MessagePage, Resolved, ResolvedOutcome},
    model::{
        AuditEntry, AuditOutcome, Code, CompanyId, Function, Message, ProfileName, Status, WaitReason,
        access::{Activity, Area, Question},
        address,
    },
    store::{
        AuditEvent,
        outbox::{PAGE_RECIPIENTS, Search, message_id_prefix},
    },
};

/// Maximum number of messages per page.
const PAGE_LIMIT: u32 = 500;
/// Maximum number of messages that are counted.
pub(crate) const COUNTED: u32 = 1_000_000;
/// Maximum number of messages that one request changes.
pub(crate) const CHANGED_AT_ONCE: usize = 500;
/// Time after which a request changes no further message.
const CHANGE_TIME: Duration = Duration::from_secs(60);
/// Number of messages that are read together to be changed.
const CHANGE_PAGE: u32 = 100;
/// The action of audit entries about changes by filter.
const BULK_ACTION: &str = "message.bulk";

/// Conditions of a search. A condition that is not set matches everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct MessageFilter {
    /// The status.
    pub(crate) status: Option<Status>,
    /// The company.
    pub(crate) company: Option<CompanyId>,
    /// The function.
    pub(crate) function: Option<Function>,
    /// The message's id, or its beginning.
    pub(crate) id: Option<String>,
    /// The `Message-ID`.
    pub(crate) message_id: Option<String>,
    /// The document's type.
    pub(crate) document_type: Option<String>,
    /// The document's number; needs the type.
    pub(crate) document_number: Option<String>,
    /// The address of a recipient.
    pub(crate) recipient: Option<String>,
    /// A part of the subject, of an address or of the `Message-ID`, or the beginning of a document's number.
    pub(crate) text: Option<String>,
    /// The profile.
    pub(crate) profile: Option<ProfileName>,
    /// The reason for which queued messages wait.
    pub(crate) reason: Option<WaitReason>,
    /// Accepted at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Accepted before this time.
    pub(crate) until: Option<Timestamp>,
}

impl MessageFilter {
    /// Returns the status of the messages that match, if it is only one.
    pub(crate) fn status(&self) -> Option<Status> {
        self.status.or_else(|| self.reason.map(|_| Status::Queued))
    }
}

/// An action for every message that matches.
#[derive(Clone, Debug)]
pub(crate) enum BulkAction {
    /// An action, with its options.
    Action(Action, ActionOptions),
    /// An outcome for unknown messages.
    Resolve(Resolved),
}

impl BulkAction {
    /// Returns the name in the audit log.
    fn id(&self) -> &'static str {
        match self {
            BulkAction::Action(Action::Replay, options) if options.all_recipients => "replay-all",
            BulkAction::Action(action, _) => action.id(),
            BulkAction::Resolve(resolved) if resolved.outcome == ResolvedOutcome::Delivered => "resolve-delivered",
            BulkAction::Resolve(_) => "resolve-failed",
        }
    }
}

/// A change of all messages that a filter matches.
#[derive(Clone, Debug)]
pub(crate) struct BulkChange {
    pub(crate) filter: MessageFilter,
    pub(crate) action: BulkAction,
    /// Messages that were accepted, put back into the queue or finished at this time or later are left out: the person who
    /// confirmed has not seen them, and a form that is sent twice does not send mail twice.
    pub(crate) seen_at: Timestamp,
    /// The number of messages that was confirmed. Not more are visited, because others can come to match by another reason to
    /// wait.
    pub(crate) confirmed: usize,
    /// Only messages before this one, in the order of acceptance: where an earlier request ended.
    pub(crate) before: Option<u64>,
}

/// The result of a change of many messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct BulkResult {
    /// Number of messages that were changed.
    pub(crate) changed: usize,
    /// Number of messages that were refused, by code, with the first reason.
    pub(crate) refused: BTreeMap<Code, (usize, String)>,
    /// Where to continue; none if every message was visited.
    pub(crate) next_before: Option<u64>,
}

impl Service {
    /// Returns one page of the messages that match, newest first: those that the caller may see.
    pub(crate) async fn find_messages(
        self: &Arc<Self>,
        caller: &Caller,
        filter: MessageFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<MessagePage, HttpProblem> {
        let limit = limit.clamp(1, PAGE_LIMIT);
        let found = self.search_messages(caller, self.search_for(caller, filter, before).await?, limit).await?;
        let recipients: usize = found.iter().map(|(_, message)| message.recipients.len()).sum();
        let is_full = found.len() == limit as usize || recipients >= PAGE_RECIPIENTS;
        let next_before = found.last().map(|(number, _)| *number).filter(|_| is_full);
        let visible = |message: &Message| caller.may_see(&message.owner, &message.company, message.function);
        let messages = found.into_iter().map(|(_, message)| message).filter(visible).collect();
        Ok(MessagePage { messages, next_before })
    }

    /// Returns the number of messages that match, at most [`COUNTED`].
    pub(crate) async fn count_messages(
        self: &Arc<Self>,
        caller: &Caller,
        filter: MessageFilter,
        before: Option<u64>,
    ) -> Result<u64, HttpProblem> {
        let (search, store) = (self.search_for(caller, filter, before).await?, Arc::clone(&self.store));
        self.search(caller, async move { store.count(search, COUNTED).await }).await
    }

    /// Applies an action to the messages that match, and records that in the audit log. Each message is changed in a transaction
    /// of its own, with its own audit entry; one that cannot be changed is counted. Ends at [`CHANGED_AT_ONCE`] messages.
    pub(crate) async fn change_matching(
        self: &Arc<Self>,
        caller: &Caller,
        change: BulkChange,
    ) -> Result<AuditEntry, HttpProblem> {
        let BulkChange { filter, action, seen_at, confirmed, before } = change;
        let limit = confirmed.min(CHANGED_AT_ONCE);
        if let BulkAction::Resolve(resolved) = &action {
            check_reason(&resolved.reason)?;
        }
        let until = Instant::now() + CHANGE_TIME;
        let described = describe_filter(&filter);
        let mut result = BulkResult { next_before: before, ..BulkResult::default() };
        let mut visited = 0;
        loop {
            let search = self.search_for(caller, filter.clone(), result.next_before).await?;
            let found = self.search_messages(caller, search, CHANGE_PAGE).await?;
            if found.is_empty() {
                result.next_before = None;
                break;
            }
            for (number, message) in found {
                let is_new = message.queued_since() >= seen_at || message.finished_at.is_some_and(|at| at >= seen_at);
                if !is_new && visited >= limit {
                    return self.record_bulk_change(caller, &described, &action, &result).await;
                }
                result.next_before = Some(number);
                if is_new {
                    continue;
                }
                visited += 1;
                match self.apply_bulk_action(caller, message.id, &action).await {
                    Ok(()) => result.changed += 1,
                    // The message is as it was; the others are not affected.
                    Err(problem) if problem.is_about_request() => {
                        let refused = result.refused.entry(problem.code()).or_default();
                        refused.0 += 1;
                        if refused.1.is_empty() {
                            problem.message().clone_into(&mut refused.1);
                        }
                    }
                    Err(problem) => {
                        self.record_bulk_change(caller, &described, &action, &result).await?;
                        return Err(problem);
                    }
                }
                if Instant::now() >= until {
                    return self.record_bulk_change(caller, &described, &action, &result).await;
                }
            }
        }
        self.record_bulk_change(caller, &described, &action, &result).await
    }

    /// Returns the audit entry of a change by filter that the caller made.
    pub(crate) async fn bulk_change(&self, caller: &Caller, sequence: u64) -> Result<AuditEntry, HttpProblem> {
        let found = self.store.audit(sequence.saturating_sub(1), 1).await?.into_iter().next();
        let is_visible = |entry: &AuditEntry| {
            let own = entry.actor == caller.name
                || caller.decide(&Question::everywhere(Area::Audit, Activity::See)).is_allowed();
            entry.sequence == sequence && entry.action == BULK_ACTION && own
        };
        found.filter(is_visible).ok_or_else(|| HttpProblem::not_found("this change of messages does not exist"))
    }

    async fn apply_bulk_action(&self, caller: &Caller, id: Uuid, action: &BulkAction) -> Result<(), HttpProblem> {
        match action {
            BulkAction::Action(action, options) => self.apply_action(caller, id, *action, *options).await?,
            BulkAction::Resolve(resolved) => self.resolve_message(caller, id, resolved.clone()).await?,
        };
        Ok(())
    }

    async fn record_bulk_change(
        &self,
        caller: &Caller,
        filter: &serde_json::Value,
        action: &BulkAction,
        result: &BulkResult,
    ) -> Result<AuditEntry, HttpProblem> {
        let refused: Vec<_> = result
            .refused
            .iter()
            .map(|(code, (count, reason))| json!({ "code": code, "messages": count, "reason": reason }))
            .collect();
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action: BULK_ACTION,
            outcome: AuditOutcome::Accepted,
            detail: json!({
                "action": action.id(), "filter": filter, "changed": result.changed, "refused": refused,
                "nextBefore": result.next_before,
            }),
        };
        Ok(self.store.record(event).await?)
    }

    async fn search_messages(
        self: &Arc<Self>,
        caller: &Caller,
        search: Search,
        limit: u32,
    ) -> Result<Vec<(u64, Message)>, HttpProblem> {
        let store = Arc::clone(&self.store);
        self.search(caller, async move { store.search(search, limit).await }).await
    }

    /// Returns the search of the store for a filter.
    async fn search_for(
        &self,
        caller: &Caller,
        filter: MessageFilter,
        before: Option<u64>,
    ) -> Result<Search, HttpProblem> {
        if filter.document_number.is_some() && filter.document_type.is_none() {
            return Err(HttpProblem::malformed("`documentNumber` requires `documentType`"));
        }
        let wrong = || HttpProblem::malformed("`id` is not the beginning of a message's id");
        let status = filter.status();
        let id_prefix = filter.id.map(|text| message_id_prefix(&text).ok_or_else(wrong)).transpose()?;
        let is_other = |status: Status| status != Status::Queued;
        if filter.reason.is_some() && filter.status.is_some_and(is_other) {
            return Err(HttpProblem::malformed("`reason` can be combined only with the status `queued`"));
        }
        let profile = filter.profile.map(|profile| {
            let lanes = self.delivery.find_lanes(Some(&profile), None);
            (profile, lanes)
        });
        Ok(Search {
            status,
            since: filter.since,
            until: filter.until,
            profile,
            lanes: filter.reason.map(|reason| self.delivery.find_lanes(None, Some(reason))),
            company: filter.company,
            function: filter.function,
            id_prefix,
            message_id: filter.message_id,
            document: filter.document_type.map(|kind| (kind, filter.document_number)),
            // As it is stored: the domain in A-labels.
            recipient: filter.recipient.map(|text| address::canonical(&text)),
            text: filter.text,
            owner: caller.sees_own_messages_only().then(|| caller.owner.clone()),
            within: self.lane_scope(caller).await?,
            before,
        })
    }
}

/// Returns the conditions of a filter for the audit log.
fn describe_filter(filter: &MessageFilter) -> serde_json::Value {
    let mut described = serde_json::Map::new();
    let mut add = |name: &str, value: Option<serde_json::Value>| {
        described.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("status", filter.status().map(|status| json!(status)));
    add("company", filter.company.as_ref().map(|company| json!(company)));
    add("function", filter.function.map(|function| json!(function)));
    add("id", filter.id.as_ref().map(|id| json!(id)));
    add("messageId", filter.message_id.as_ref().map(|id| json!(id)));
    add("documentType", filter.document_type.as_ref().map(|kind| json!(kind)));
    add("documentNumber", filter.document_number.as_ref().map(|number| json!(number)));
    add("recipient", filter.recipient.as_ref().map(|address| json!(address)));
    add("text", filter.text.as_ref().map(|text| json!(text)));
    add("profile", filter.profile.as_ref().map(|profile| json!(profile)));
    add("reason", filter.reason.map(|reason| json!(reason)));
    add("since", filter.since.map(|since| json!(since)));
    add("until", filter.until.map(|until| json!(until)));
    described.into()
}
