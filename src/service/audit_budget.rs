//! Audit budget: limits the audit entries that one caller can cause without changing anything.
//!
//! The audit log is never truncated, and a refusal costs its caller nothing. Therefore each caller has a budget of 20 entries that
//! refills by one per minute; callers beyond 10,000 share one. Events beyond it are counted, and one entry per minute and kind
//! states their number, the first and last time, and the details of the last one. A crash loses the counts of the current minute,
//! and a sum that cannot be written is only logged.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::json;

use super::Service;
use crate::{
    store::{AuditEvent, StoreError, outbox::NewEvent},
    sync::Mutex,
};

/// Entries that a caller can cause in a burst.
const BURST: u32 = 20;
/// Time after which a caller gets another entry.
const REFILL: Duration = Duration::from_secs(60);
/// Time for which events are counted before their sum is written.
const SUM_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of callers with a budget of their own; all others share one.
const CALLERS: usize = 10_000;
/// The actor of entries about the shared budget.
const OTHERS: &str = "(others)";

/// The budgets of all callers.
#[derive(Default)]
pub(super) struct AuditBudget {
    callers: Mutex<HashMap<String, Budget>>,
}

struct Budget {
    left: u32,
    refilled: Instant,
    sums: Vec<Sum>,
}

/// Events of one kind that are written as one entry.
struct Sum {
    begun: Instant,
    count: u64,
    since: Timestamp,
    last: AuditEvent,
}

impl Sum {
    fn event(self) -> AuditEvent {
        let detail =
            json!({ "times": self.count, "since": self.since, "until": self.last.at, "last": self.last.detail });
        AuditEvent { detail, ..self.last }
    }
}

/// The sums to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The sums that are old enough.
    Old,
    /// All sums, because the service stops.
    All,
}

impl AuditBudget {
    /// Returns the event if it must be written now. An event beyond the budget is counted.
    pub(super) fn spend(&self, event: AuditEvent, now: Instant) -> Option<AuditEvent> {
        let mut callers = self.callers.lock();
        let has_room = callers.len() < CALLERS || callers.contains_key(&event.actor);
        let event = if has_room { event } else { AuditEvent { actor: OTHERS.to_owned(), ..event } };
        let fresh = || Budget { left: BURST, refilled: now, sums: Vec::new() };
        let budget = callers.entry(event.actor.clone()).or_insert_with(fresh);
        budget.refill(now);
        if budget.left > 0 {
            budget.left -= 1;
            return Some(event);
        }
        match budget.sums.iter_mut().find(|sum| sum.last.action == event.action && sum.last.outcome == event.outcome) {
            Some(sum) => {
                sum.count += 1;
                sum.last = event;
            }
            None => budget.sums.push(Sum { begun: now, count: 1, since: event.at, last: event }),
        }
        None
    }

    /// Removes and returns the sums to write.
    fn take(&self, due: Due, now: Instant) -> Vec<AuditEvent> {
        let mut callers = self.callers.lock();
        let mut events = Vec::new();
        callers.retain(|_, budget| {
            budget.refill(now);
            let is_due = |sum: &mut Sum| due == Due::All || now.duration_since(sum.begun) >= SUM_EVERY;
            events.extend(budget.sums.extract_if(.., is_due).map(Sum::event));
            budget.left < BURST || !budget.sums.is_empty()
        });
        events
    }
}

impl Budget {
    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.refilled).as_secs() / REFILL.as_secs();
        if passed > 0 {
            self.left = self.left.saturating_add(u32::try_from(passed).unwrap_or(BURST)).min(BURST);
            self.refilled = now;
        }
    }
}

impl Service {
    /// Writes an event that changed nothing to the audit log, within the budget of its caller.
    pub(super) async fn record_bounded(&self, event: AuditEvent) -> Result<(), StoreError> {
        match self.audit_budget.spend(event, Instant::now()) {
            Some(event) => self.store.record(event).await.map(drop),
            None => Ok(()),
        }
    }

    /// Does what [`Service::record_bounded`] does, and records and publishes an event with the entry; neither beyond the budget.
    pub(super) async fn record_bounded_with_event(&self, audit: AuditEvent, event: NewEvent) -> Result<(), StoreError> {
        let Some(audit) = self.audit_budget.spend(audit, Instant::now()) else { return Ok(()) };
        let event = self.store.record_event(audit, event).await?;
        self.delivery.publish(vec![event]);
        Ok(())
    }

    /// Writes the sums of events beyond the budgets.
    pub(super) async fn record_sums(&self, due: Due) {
        for event in self.audit_budget.take(due, Instant::now()) {
            let (actor, action) = (event.actor.clone(), event.action);
            if let Err(error) = self.store.record(event).await {
                tracing::error!(%error, actor, action, "cannot record the sum of refusals");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AuditOutcome;

    fn event(actor: &str, action: &'static str) -> AuditEvent {
        AuditEvent {
            at: Timestamp::UNIX_EPOCH,
            actor: actor.to_owned(),
            action,
            outcome: AuditOutcome::Refused,
            detail: json!({ "path": "/v1/changesets" }),
        }
    }

    #[test]
    fn one_entry_counts_the_events_beyond_the_budget() {
        let (budget, start) = (AuditBudget::default(), Instant::now());
        let written = (0..4000).filter(|_| budget.spend(event("sender", "access"), start).is_some()).count();
        assert_eq!(written, 20);
        assert!(budget.spend(event("other", "access"), start).is_some(), "each caller has its own");
        assert!(budget.take(Due::Old, start).is_empty());
        let sums = budget.take(Due::Old, start + SUM_EVERY);
        assert_eq!((sums.len(), &sums[0].detail["times"]), (1, &json!(3980)));
        assert_eq!(sums[0].detail["last"], json!({ "path": "/v1/changesets" }));
        // The sum is written once per minute, for as long as the events continue.
        let mut entries = 0;
        for minute in 2..12 {
            let now = start + REFILL * minute;
            entries += (0..100).filter(|_| budget.spend(event("sender", "access"), now).is_some()).count();
            entries += budget.take(Due::Old, now + SUM_EVERY.saturating_sub(Duration::from_millis(1))).len();
        }
        assert!(entries <= 21, "{entries}");
    }

    #[test]
    fn each_kind_has_its_sum_and_all_are_written_at_the_end() {
        let (budget, start) = (AuditBudget::default(), Instant::now());
        for _ in 0..30 {
            budget.spend(event("sender", "access"), start);
            budget.spend(event("sender", "verify"), start);
        }
        let mut times: Vec<(&str, u64)> = Vec::new();
        for sum in budget.take(Due::All, start) {
            times.push((sum.action, sum.detail["times"].as_u64().unwrap_or_default()));
        }
        assert_eq!(times, [("access", 20), ("verify", 20)]);
        // A caller that was silent for long is forgotten.
        assert!(budget.take(Due::Old, start + REFILL * 21).is_empty());
        assert!(budget.callers.lock().is_empty());
    }

    #[test]
    fn many_callers_cost_bounded_memory() {
        let (budget, start) = (AuditBudget::default(), Instant::now());
        for number in 0..CALLERS + 100 {
            budget.spend(event(&format!("caller {number}"), "access"), start);
        }
        assert_eq!(budget.callers.lock().len(), CALLERS + 1);
    }
}
