//! Commits a checked change as a new generation: one transaction of the store, then the new state in memory.
//!
//! `refuse_change` counts a refused change and records it in the audit log. If another process has committed in the meantime, the
//! state is read again and the change is refused as stale (409); if the store fails, the answer is 503 and the state in memory
//! stays. Nothing is checked here: `changes` has done that.

use std::sync::Arc;

use serde_json::json;

use super::{Change, CheckedChange};
use crate::{
    model::{AuditOutcome, ChangeSummary, Generation, Signature, secret_recipient::find_added},
    service::{Service, caller::Caller, http::HttpProblem},
    store::{AuditEvent, Commit, CommitError},
};

/// Maximum number of profiles that the audit entry of a change names.
const PROFILES_RECORDED: usize = 100;

impl Service {
    /// Commits a checked change as a new generation, and makes it the current state.
    pub(super) async fn commit(
        &self,
        caller: &Caller,
        checked: CheckedChange,
    ) -> Result<(u64, ChangeSummary), HttpProblem> {
        let CheckedChange { after, touched, new_secrets, lifted, change, evaluation, .. } = checked;
        let before = self.state();
        let summary = summarize(&change);
        let at = self.clock.now();
        let generation = Generation {
            number: after.generation,
            at,
            by: caller.name.clone(),
            kind: change.kind,
            changeset: change.changeset.as_ref().map(|(id, _)| *id),
            rolled_back_to: change.rolled_back_to,
            provenance: change.provenance,
            allowances: change.allowances,
            approvals: evaluation.approved,
            summary,
            unmanaged: after.unmanaged_names(),
        };
        if let Some(reason) = &generation.allowances.break_glass {
            metrics::counter!("mailwright_break_glass_total").increment(1);
            tracing::warn!(actor = %caller.name, reason, "an administrator applies a change without approvals");
        }
        // In the background: dropping ten thousand profiles takes a while.
        let changes = change.changes;
        rayon::spawn(move || drop(changes));
        let mut detail = json!({
            "generation": after.generation,
            "changeset": generation.changeset,
            "rolledBackTo": generation.rolled_back_to,
            "provenance": generation.provenance,
            "summary": summary,
            "profiles": touched.iter().take(PROFILES_RECORDED).collect::<Vec<_>>(),
            "allowances": generation.allowances,
            "guardsLifted": lifted,
            "approvals": generation.approvals.iter().map(|approved| json!({
                "signer": approved.signer,
                "name": approved.person(),
                "meaning": approved.meaning,
                "method": approved.method,
                "time": approved.time(),
                "digest": approved.digest,
                "key": approved.key,
                "reason": approved.reason,
                "expires": approved.expires,
                "signature": approved.signature.as_ref().map(|signature| &signature.id),
                "recentPasskey": approved.signature.as_ref().and_then(Signature::describe_recent_passkey),
            })).collect::<Vec<_>>(),
            "approvalsRejected": evaluation.rejected,
        });
        if let Some(reason) = change.reason {
            detail["reason"] = json!(reason);
        }
        if before.settings.access != after.settings.access {
            let gains = crate::model::access::gains(&before.settings.access, &after.settings.access);
            detail["rightsAdded"] = json!(gains.iter().take(PROFILES_RECORDED).collect::<Vec<_>>());
        }
        let recipients = find_added(&before.settings.secret_recipients, &after.settings.secret_recipients);
        if !recipients.is_empty() {
            detail["recipientsAdded"] = json!(recipients);
        }
        let after = Arc::new(after);
        let commit = Commit {
            base: before.generation,
            changeset: change.changeset.map(|(_, digest)| digest),
            after: Arc::clone(&after),
            touched,
            secrets: new_secrets,
            event: AuditEvent {
                at,
                actor: caller.name.clone(),
                action: change.action,
                outcome: AuditOutcome::Accepted,
                detail,
            },
            generation,
        };
        match self.store.commit(commit).await {
            Ok(()) => {
                let number = after.generation;
                self.set_state(after);
                metrics::counter!("mailwright_generations_total").increment(1);
                tracing::info!(generation = number, actor = %caller.name, "generation applied");
                Ok((number, summary))
            }
            Err(CommitError::Stale(generation)) => {
                // Another process writes to the same store.
                self.set_state(Arc::new(self.store.state().await?));
                Err(HttpProblem::stale(generation, before.generation))
            }
            Err(CommitError::Taken { generation, .. }) => Err(HttpProblem::stale(generation, before.generation)),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Counts a refused change and records it in the audit log. A dry run is counted only.
    pub(super) async fn refuse_change<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        mut detail: serde_json::Value,
        problem: HttpProblem,
        dry_run: bool,
    ) -> Result<T, HttpProblem> {
        metrics::counter!("mailwright_changes_refused_total", "code" => problem.code().id()).increment(1);
        if !dry_run {
            detail["code"] = json!(problem.code());
            detail["why"] = json!(problem.message());
            let event = AuditEvent {
                at: self.clock.now(),
                actor: caller.name.clone(),
                action,
                outcome: AuditOutcome::Refused,
                detail,
            };
            self.record_bounded(event).await?;
        }
        Err(problem)
    }
}

/// Counts the changes by kind.
pub(super) fn summarize(change: &Change) -> ChangeSummary {
    ChangeSummary { settings: change.settings.is_some(), ..ChangeSummary::of(&change.changes) }
}
