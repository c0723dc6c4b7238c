//! Proposals: changes of a profile that are stored for another person, who applies or rejects them.
//!
//! A proposal is planned against the current generation whenever it is shown, and cannot be applied once its profile was changed by
//! another way: it would undo that change. Approvals (SSH signatures over the digest of the change) are added to it. In an
//! environment whose console only proposes, the proposer cannot apply it. Everything is in the audit log.

use std::sync::Arc;

use serde_json::json;

use super::{
    Service,
    caller::Caller,
    changes::edit::{Edit, EditTerms, PlannedEdit, WantedProfile},
    http::HttpProblem,
};
use crate::{
    approvals::APPROVALS_LIMIT,
    model::{
        Allowances, Approval, AuditOutcome, Code, ProfileChange,
        access::{Activity, Area},
        proposal::{Decision, Proposal},
        settings::ConsolePolicy,
    },
    store::{AuditEvent, ProposalStored},
};

impl Service {
    /// Stores the change of a plan as a proposal, and returns its id.
    pub(crate) async fn propose(
        &self,
        caller: &Caller,
        planned: PlannedEdit,
        reason: String,
    ) -> Result<String, HttpProblem> {
        let mut id = [0; 6];
        getrandom::fill(&mut id).map_err(HttpProblem::internal)?;
        let proposal = Proposal {
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            at: self.clock.now(),
            by: caller.name.clone(),
            reason,
            base: planned.base,
            change: planned.change,
            age_files: planned.age_files,
            approvals: Vec::new(),
            decision: None,
        };
        let event = self.proposal_event(caller, "proposal.create", &proposal);
        let id = proposal.id.clone();
        match self.store.create_proposal(proposal, event).await? {
            ProposalStored::Stored => Ok(id),
            ProposalStored::TooMany | ProposalStored::NotOpen => {
                Err(HttpProblem::new(Code::Busy, "too many proposals are open")
                    .remedy("Apply or reject some of them first."))
            }
        }
    }

    /// Returns the proposals: open ones first, newest first.
    pub(crate) async fn proposals(&self) -> Result<Vec<Proposal>, HttpProblem> {
        Ok(self.store.proposals().await?)
    }

    /// Returns a proposal.
    pub(crate) async fn proposal(&self, id: &str) -> Result<Proposal, HttpProblem> {
        self.store.proposal(id).await?.ok_or_else(|| {
            HttpProblem::not_found("the proposal does not exist").remedy("Choose one from the list of proposals.")
        })
    }

    /// Returns the edit that a proposal makes.
    pub(crate) fn proposed_edit(proposal: &Proposal) -> Edit {
        let name = proposal.change.name().clone();
        let wanted = match proposal.change.profile() {
            None => WantedProfile::Deleted,
            Some(stored) => WantedProfile::Proposed {
                stored: Box::new(stored.clone()),
                age_files: proposal.age_files.clone(),
                is_new: matches!(proposal.change, ProfileChange::Create { .. }),
            },
        };
        Edit { name, wanted }
    }

    /// Adds an approval to an open proposal. One that does not count is refused.
    pub(crate) async fn approve_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        approval: Approval,
    ) -> Result<(), HttpProblem> {
        // The record is replaced as a whole, so two approvals at the same time would lose one.
        let _one_at_a_time = self.changing.lock().await;
        let mut proposal = self.open_proposal(id).await?;
        if proposal.approvals.len() >= APPROVALS_LIMIT {
            return Err(
                HttpProblem::malformed("the proposal has too many approvals").remedy("Reject it, and propose again.")
            );
        }
        // The rule about approvals of the applying person is checked on apply; here it is checked for the proposer.
        let proposer = Caller { name: proposal.by.clone(), ..caller.clone() };
        let planned = self
            .plan_edit(&proposer, &Self::proposed_edit(&proposal), std::slice::from_ref(&approval))
            .await?
            .ok_or_else(|| HttpProblem::malformed("the proposal would change nothing any more").remedy("Reject it."))?;
        if let Some(rejected) = planned.evaluation.rejected.first() {
            return Err(HttpProblem::new(rejected.code, format!("{} {}", rejected.signer, rejected.reason))
                .remedy("Sign the text that the page shows, and paste the signature."));
        }
        let Some(approved) = planned.evaluation.approved.first() else {
            return Err(HttpProblem::malformed("the change needs no approval").remedy("Apply it."));
        };
        let mut event = self.proposal_event(caller, "proposal.approve", &proposal);
        event.detail["signer"] = json!(approved.signer);
        event.detail["key"] = json!(approved.key);
        proposal.approvals.push(approval);
        self.update_proposal(proposal, event).await
    }

    /// Returns true if the environment does not let a caller apply a proposal, because it is the caller's own.
    pub(crate) fn waits_for_other(&self, caller: &Caller, proposal: &Proposal) -> bool {
        self.console_policy() == ConsolePolicy::Propose && proposal.by.to_lowercase() == caller.name.to_lowercase()
    }

    /// Applies a proposal.
    pub(crate) async fn apply_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        planned: u64,
        allowances: Allowances,
    ) -> Result<(), HttpProblem> {
        let mut proposal = self.open_proposal(id).await?;
        if self.waits_for_other(caller, &proposal) {
            return Err(HttpProblem::new(Code::ConsoleRestricted, "this is a proposal of yours")
                .remedy("In this environment another person applies it."));
        }
        let name = proposal.change.name();
        if self.find_conflict(name, proposal.base).await?.is_some() {
            let message = format!("`{name}` was changed since the proposal was made");
            return Err(
                HttpProblem::new(Code::StaleGeneration, message).remedy("Reject it, and propose the change again.")
            );
        }
        let terms = EditTerms {
            base: planned,
            allowances,
            approvals: proposal.approvals.clone(),
            reason: format!("proposal {id} of {}: {}", proposal.by, proposal.reason),
        };
        let generation = self.apply_edit(caller, &Self::proposed_edit(&proposal), terms).await?;
        proposal.decision = Some(Decision {
            at: self.clock.now(),
            by: caller.name.clone(),
            reason: String::new(),
            generation: Some(generation),
        });
        let event = self.proposal_event(caller, "proposal.apply", &proposal);
        self.update_proposal(proposal, event).await
    }

    /// Returns true if a caller may reject a proposal, or withdraw it.
    pub(crate) fn may_reject(caller: &Caller, proposal: &Proposal) -> bool {
        caller.may_at_all(Area::Changes, Activity::Edit) || proposal.by == caller.name
    }

    /// Rejects a proposal, or withdraws one's own.
    pub(crate) async fn reject_proposal(&self, caller: &Caller, id: &str, reason: String) -> Result<(), HttpProblem> {
        let mut proposal = self.proposal(id).await?;
        if !Self::may_reject(caller, &proposal) {
            let message = "a proposal is rejected by its proposer or by an administrator";
            return Err(HttpProblem::new(Code::RoleTooLow, message).remedy("Ask one of them."));
        }
        if reason.is_empty() && proposal.by != caller.name {
            return Err(
                HttpProblem::malformed("a rejection needs a reason").remedy("Write why the proposal is rejected.")
            );
        }
        if proposal.decision.is_some() {
            return Err(decided());
        }
        proposal.decision = Some(Decision { at: self.clock.now(), by: caller.name.clone(), reason, generation: None });
        let event = self.proposal_event(caller, "proposal.reject", &proposal);
        self.update_proposal(proposal, event).await
    }

    async fn open_proposal(&self, id: &str) -> Result<Proposal, HttpProblem> {
        let proposal = self.proposal(id).await?;
        if proposal.decision.is_none() { Ok(proposal) } else { Err(decided()) }
    }

    async fn update_proposal(&self, proposal: Proposal, event: AuditEvent) -> Result<(), HttpProblem> {
        match self.store.update_proposal(proposal, event).await? {
            ProposalStored::Stored => Ok(()),
            ProposalStored::NotOpen | ProposalStored::TooMany => Err(decided()),
        }
    }

    fn proposal_event(&self, caller: &Caller, action: &'static str, proposal: &Proposal) -> AuditEvent {
        AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action,
            outcome: AuditOutcome::Accepted,
            detail: json!({
                "id": proposal.id,
                "by": proposal.by,
                "profile": proposal.change.name(),
                "base": proposal.base,
                "reason": proposal.decision.as_ref().map_or(&proposal.reason, |decision| &decision.reason),
                "generation": proposal.decision.as_ref().and_then(|decision| decision.generation),
            }),
        }
    }
}

fn decided() -> HttpProblem {
    HttpProblem::new(Code::ProposalDecided, "the proposal was applied or rejected before")
        .remedy("The list of proposals names the person.")
}
