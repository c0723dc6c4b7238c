//! Proposals: changes that are stored for another person, who applies or rejects them.
//!
//! A proposal is an edit of one profile in the console, or the plan of files (`mailwright plan --propose`). An edit is planned
//! against the current generation whenever it is shown, and cannot be applied once its profile was changed in another way: it
//! would undo that change. A plan of files is applied only at the generation that it was made from, as an ordinary apply of its
//! commit. Approvals (SSH signatures over the digest of the change) and signatures of persons of the console are added to a
//! proposal. In an environment whose console only proposes, another person applies it, or approves it with a passkey or at an
//! identity provider: without that the proposer cannot apply it. A proposal is decided under the lock for changes, so it is
//! either applied or rejected. Everything is in the audit log.

use std::sync::Arc;

use axum::http::Method;
use serde_json::json;

use super::{
    Service,
    caller::{Caller, is_same_subject},
    changes::{
        ChangeSignatures,
        edit::{Edit, EditTerms, WantedProfile},
        planned::PlannedChange,
    },
    http::HttpProblem,
    sessions::new_id,
    signature_requests::Occasion,
    signatures::{check_room, proposal_expired},
};
use crate::{
    api::proposals::{NewProposal, ProposalEntry},
    approvals::is_reason,
    model::{
        Allowances, Approval, ApprovalNeed, AuditOutcome, ChangeSummary, Changeset, Code, Digest, Meaning,
        ProfileChange,
        access::{Activity, Area, Question},
        approvals::Approved,
        delivery::EventKind,
        proposal::{Decision, Proposal, ProposedChange},
        settings::ConsolePolicy,
        signature::SignatureMethod,
    },
    store::{AuditEvent, ProposalStored, outbox::NewEvent},
};

/// Maximum number of profiles that an audit entry names.
const PROFILES_RECORDED: usize = 100;

impl Service {
    /// Stores the change of a plan as a proposal, and returns its id. The plan is that of an edit.
    pub(crate) async fn propose(
        self: &Arc<Self>,
        caller: &Caller,
        planned: PlannedChange,
        reason: String,
    ) -> Result<String, HttpProblem> {
        let (base, age_files) = (planned.base, planned.age_files);
        let change = planned.changes.into_iter().next();
        let change = change.ok_or_else(|| HttpProblem::internal("the plan of an edit has no change"))?;
        let contents = ProposedChange::Edit { base, change, age_files };
        self.store_proposal(caller, contents, reason, planned.approvals.as_ref()).await.map(|new| new.id)
    }

    /// Stores a plan of files as a proposal. One that could not be applied now is refused.
    pub(super) async fn propose_files(
        self: &Arc<Self>,
        caller: &Caller,
        NewProposal { reason, changeset }: NewProposal,
    ) -> Result<ProposalEntry, HttpProblem> {
        self.check_console_policy(ConsolePolicy::Propose)?;
        if !is_reason(&reason) {
            return Err(HttpProblem::malformed("the reason is too long, or has control characters")
                .remedy("Write it on one line, without blanks around it."));
        }
        if changeset.changes.is_empty() && changeset.settings.is_none() {
            return Err(HttpProblem::malformed("the changeset changes nothing").remedy("Change the files first."));
        }
        let planned = self.plan_changeset(caller, &changeset, ChangeSignatures::default()).await?;
        // The person who applies it lifts the guards, and signers approve the proposal.
        let changeset = Changeset { allowances: Allowances::default(), approvals: Vec::new(), ..changeset };
        let contents = ProposedChange::Files { changeset: Box::new(changeset) };
        let proposal = self.store_proposal(caller, contents, reason, planned.approvals.as_ref()).await?;
        Ok(ProposalEntry::new(&proposal, false))
    }

    async fn store_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        contents: ProposedChange,
        reason: String,
        needs: Option<&(Digest, Vec<ApprovalNeed>)>,
    ) -> Result<Proposal, HttpProblem> {
        let settings = matches!(&contents, ProposedChange::Files { changeset } if changeset.settings.is_some());
        let proposal = Proposal {
            id: new_id()?,
            at: self.clock.now(),
            by: caller.name.clone(),
            by_subject: caller.owner.clone(),
            reason,
            summary: ChangeSummary { settings, ..ChangeSummary::of(contents.changes()) },
            contents,
            approvals: Vec::new(),
            signatures: Vec::new(),
            reminded_at: None,
            decision: None,
        };
        let event = self.proposal_event(caller, "proposal.create", &proposal);
        let request = |(_, needs): &(Digest, Vec<ApprovalNeed>)| {
            let needs: Vec<String> = needs.iter().map(ApprovalNeed::describe).collect();
            let reason = format!("proposal {} of {} needs {}", proposal.id, proposal.by, needs.join(", and "));
            self.proposal_news(EventKind::SignatureRequested, &proposal, reason)
        };
        let news: Vec<NewEvent> = needs.map(request).into_iter().collect();
        let is_requested = !news.is_empty();
        match self.store.create_proposal(proposal.clone(), event, news).await? {
            ProposalStored::Stored(events) => {
                self.delivery.publish(events);
                if is_requested {
                    self.request_signatures(proposal.clone(), Occasion::News);
                }
                Ok(proposal)
            }
            ProposalStored::TooMany | ProposalStored::NotOpen => {
                Err(HttpProblem::new(Code::Busy, "too many proposals are open, or they are too large")
                    .remedy("Apply or reject some of them first."))
            }
        }
    }

    /// Returns the proposals: open ones first, the newest first. Without the changes of plans.
    pub(crate) async fn proposals(&self) -> Result<Vec<Proposal>, HttpProblem> {
        Ok(self.store.proposals().await?)
    }

    /// Returns the proposals that a caller may see, in the same order.
    pub(crate) async fn visible_proposals(&self, caller: &Caller) -> Result<Vec<Proposal>, HttpProblem> {
        let state = self.state();
        let mut proposals = self.proposals().await?;
        proposals.retain(|proposal| caller.sees_proposal(proposal, &state));
        Ok(proposals)
    }

    /// Returns a proposal. One that the caller may not see is refused.
    pub(crate) async fn proposal(self: &Arc<Self>, caller: &Caller, id: &str) -> Result<Proposal, HttpProblem> {
        // A plan can be large, so a caller reads one at a time.
        let (store, wanted) = (Arc::clone(&self.store), id.to_owned());
        let read = self.search(caller, async move { store.proposal(&wanted).await });
        let proposal = read.await?.ok_or_else(not_found)?;
        self.check_visible_proposal(caller, &proposal).await?;
        Ok(proposal)
    }

    /// Returns the edit that a proposal makes; none if it is a plan of files.
    pub(crate) fn proposed_edit(proposal: &Proposal) -> Option<Edit> {
        let ProposedChange::Edit { change, age_files, .. } = &proposal.contents else { return None };
        let wanted = match change.profile() {
            None => WantedProfile::Deleted,
            Some(stored) => WantedProfile::Proposed {
                stored: Box::new(stored.clone()),
                age_files: age_files.clone(),
                is_new: matches!(change, ProfileChange::Create { .. }),
            },
        };
        Some(Edit { name: change.name().clone(), wanted })
    }

    /// Plans a proposal with its signatures; none if it changes nothing any more.
    pub(crate) async fn plan_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        proposal: &Proposal,
    ) -> Result<Option<PlannedChange>, HttpProblem> {
        if let Some(edit) = Self::proposed_edit(proposal) {
            return self.plan_edit(caller, &edit, proposal.into()).await;
        }
        let ProposedChange::Files { changeset } = &proposal.contents else { return Ok(None) };
        let planned = self.plan_changeset(caller, changeset, proposal.into()).await;
        planned.map(Some).map_err(|problem| self.explain_stale(problem))
    }

    /// Returns true if the caller has signed a proposal and cannot apply it for that: without its own signature, which does not
    /// count in its own apply, approvals would be missing. `planned` is the plan for the proposer.
    pub(crate) async fn needs_own_signature(
        self: &Arc<Self>,
        caller: &Caller,
        proposal: &Proposal,
        planned: &PlannedChange,
    ) -> Result<bool, HttpProblem> {
        let state = self.state();
        let signers = &state.settings.policy.approvals.signers;
        let is_own = |approved: &Approved| approved.is_by(signers, caller.actor());
        if !Self::may_apply(caller, proposal) || !planned.evaluation.approved.iter().any(is_own) {
            return Ok(false);
        }
        let planned = self.plan_proposal(caller, proposal).await?;
        Ok(planned.is_some_and(|planned| !planned.evaluation.missing.is_empty()))
    }

    /// Plans a proposal as if its proposer applied it, with the rights of the caller. Otherwise a signature of the caller would
    /// be that of the person who applies, and not count. That is for pages, for requests for signature, and for a signature that
    /// is added.
    pub(crate) async fn plan_for_proposer(
        self: &Arc<Self>,
        caller: &Caller,
        proposal: &Proposal,
    ) -> Result<Option<PlannedChange>, HttpProblem> {
        let proposer = Caller { name: proposal.by.clone(), owner: proposal.by_subject.clone(), ..caller.clone() };
        self.plan_proposal(&proposer, proposal).await
    }

    /// Names the command that plans the files again, in the problem of a plan that was made from an earlier generation.
    fn explain_stale(&self, problem: HttpProblem) -> HttpProblem {
        if problem.code() != Code::StaleGeneration {
            return problem;
        }
        let environment = self.store.environment();
        problem.remedy(format!("Reject it, and propose the files again: mailwright plan {environment} --propose"))
    }

    /// Adds an approval by an SSH key to an open proposal. One that does not count is refused.
    pub(crate) async fn approve_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        approval: Approval,
    ) -> Result<(), HttpProblem> {
        // The record is replaced as a whole, so two approvals at the same time would lose one.
        let one_at_a_time = self.changing.lock().await;
        let added = self.add_approval(caller, id, approval).await;
        drop(one_at_a_time);
        match added {
            Ok(()) => Ok(()),
            Err(problem) => Err(self.refuse_signature(caller, id, problem).await),
        }
    }

    async fn add_approval(self: &Arc<Self>, caller: &Caller, id: &str, approval: Approval) -> Result<(), HttpProblem> {
        let mut proposal = self.open_visible_proposal(caller, id).await?;
        check_room(&proposal)?;
        let added = Proposal { approvals: vec![approval.clone()], signatures: Vec::new(), ..proposal.clone() };
        let approved = self.check_addition(caller, &proposal, &added).await?;
        let mut event = self.proposal_event(caller, "proposal.approve", &proposal);
        event.detail["signer"] = json!(approved.signer);
        event.detail["key"] = json!(approved.key);
        event.detail["meaning"] = json!(approved.meaning);
        event.detail["signed"] = json!(Digest::of_document(&approval));
        let reason = format!("{} {} proposal {}", approved.signer, approved.meaning, proposal.id);
        let news = self.proposal_news(EventKind::Signed, &proposal, reason);
        proposal.approvals.push(approval);
        self.update_proposal(proposal.clone(), event, vec![news]).await?;
        self.request_signatures(proposal, Occasion::News);
        Ok(())
    }

    /// Returns true if the environment does not let a caller apply a proposal, because it is the caller's own and no other person
    /// has approved it. `planned` is its plan with the signatures.
    pub(crate) fn waits_for_other(
        &self,
        caller: &Caller,
        proposal: &Proposal,
        planned: Option<&PlannedChange>,
    ) -> bool {
        self.is_own_where_others_apply(caller, proposal)
            && !planned.is_some_and(|planned| self.is_approved_by_other(proposal, planned))
    }

    fn is_own_where_others_apply(&self, caller: &Caller, proposal: &Proposal) -> bool {
        // A token and an operator of one name are taken for one person.
        let is_own = caller.is_proposer(proposal) || is_same_subject(&proposal.by, &caller.name);
        self.console_policy() == ConsolePolicy::Propose && is_own
    }

    /// Returns true if all signatures are there, and one of them is the approval of another person by a passkey or an identity
    /// provider. An SSH key does not show that its owner is another person than the proposer.
    fn is_approved_by_other(&self, proposal: &Proposal, planned: &PlannedChange) -> bool {
        let state = self.state();
        let signers = &state.settings.policy.approvals.signers;
        let is_other = |approved: &Approved| {
            approved.meaning == Meaning::Approved
                && approved.method != SignatureMethod::Ssh
                && !is_same_subject(&proposal.by, &approved.printed_name)
                && !approved.is_by(signers, proposal.author())
        };
        planned.evaluation.missing.is_empty() && planned.evaluation.approved.iter().any(is_other)
    }

    /// Returns true if a caller may apply a proposal, as far as its kind decides that: an edit is a change by hand, a plan of
    /// files an apply.
    pub(crate) fn may_apply(caller: &Caller, proposal: &Proposal) -> bool {
        caller.may_at_all(Area::Changes, activity(proposal))
    }

    /// Applies a proposal. `reason` is needed to accept findings of the verifier.
    pub(crate) async fn apply_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        planned: u64,
        allowances: Allowances,
        reason: String,
    ) -> Result<(), HttpProblem> {
        let one_at_a_time = self.changing.lock().await;
        let mut proposal = self.open_visible_proposal(caller, id).await?;
        let needed = Question::any(Area::Changes, activity(&proposal));
        self.check_right(caller, &needed, &Method::POST, &format!("/console/proposals/{id}/apply")).await?;
        // Signatures are verified again with the change itself.
        if self.is_own_where_others_apply(caller, &proposal)
            && self.waits_for_other(caller, &proposal, self.plan_proposal(caller, &proposal).await?.as_ref())
        {
            return Err(HttpProblem::new(Code::ConsoleRestricted, "this is a proposal of yours")
                .remedy("In this environment another person applies it, or approves it in the console where approvals are required."));
        }
        let terms = EditTerms {
            base: planned,
            allowances,
            signatures: ChangeSignatures::from(&proposal).ending(self.proposal_end(&proposal)),
            reason: reason.clone(),
            recorded: Some(format!("proposal {id} of {}: {}", proposal.by, proposal.reason)),
        };
        let applied = match &proposal.contents {
            ProposedChange::Edit { base, change, .. } => {
                let name = change.name();
                if self.find_conflict(name, *base).await?.is_some() {
                    let message = format!("`{name}` was changed since the proposal was made");
                    return Err(HttpProblem::new(Code::StaleGeneration, message)
                        .remedy("Reject it, and propose the change again."));
                }
                let edit = Self::proposed_edit(&proposal);
                let edit = edit.ok_or_else(|| HttpProblem::internal("a proposal has no edit"))?;
                self.apply_edit_locked(caller, &edit, terms, &one_at_a_time).await
            }
            ProposedChange::Files { changeset } => {
                let changeset = (**changeset).clone();
                let applied = self.apply_proposed_changeset(caller, changeset, terms, &one_at_a_time).await;
                applied.map_err(|problem| self.explain_stale(problem))
            }
        };
        let generation = applied?;
        proposal.decide(Decision {
            at: self.clock.now(),
            by: caller.name.clone(),
            reason,
            generation: Some(generation),
        });
        let event = self.proposal_event(caller, "proposal.apply", &proposal);
        self.update_proposal(proposal, event, Vec::new()).await
    }

    /// Returns true if a caller may reject a proposal, or withdraw it.
    pub(crate) fn may_reject(caller: &Caller, proposal: &Proposal) -> bool {
        Self::may_apply(caller, proposal) || caller.is_proposer(proposal)
    }

    /// Rejects a proposal, or withdraws one's own.
    pub(crate) async fn reject_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        reason: String,
    ) -> Result<(), HttpProblem> {
        // A proposal that is being applied is not rejected as well.
        let _one_at_a_time = self.changing.lock().await;
        let mut proposal = self.store.proposal(id).await?.ok_or_else(not_found)?;
        self.check_visible_proposal(caller, &proposal).await?;
        if !Self::may_reject(caller, &proposal) {
            let message = "a proposal is rejected by its proposer or by an administrator";
            return Err(HttpProblem::new(Code::RoleTooLow, message).remedy("Ask one of them."));
        }
        if reason.is_empty() && !caller.is_proposer(&proposal) {
            return Err(
                HttpProblem::malformed("a rejection needs a reason").remedy("Write why the proposal is rejected.")
            );
        }
        if proposal.decision.is_some() {
            return Err(decided());
        }
        proposal.decide(Decision { at: self.clock.now(), by: caller.name.clone(), reason, generation: None });
        let event = self.proposal_event(caller, "proposal.reject", &proposal);
        self.update_proposal(proposal, event, Vec::new()).await
    }

    /// Returns a proposal that is not decided. One that the caller may not see is refused.
    pub(super) async fn open_visible_proposal(&self, caller: &Caller, id: &str) -> Result<Proposal, HttpProblem> {
        let proposal = self.open_proposal(id).await?;
        self.check_visible_proposal(caller, &proposal).await?;
        Ok(proposal)
    }

    /// Returns a proposal that can be signed and applied.
    pub(super) async fn open_proposal(&self, id: &str) -> Result<Proposal, HttpProblem> {
        let proposal = self.store.proposal(id).await?.ok_or_else(not_found)?;
        if proposal.decision.is_some() {
            return Err(decided());
        }
        if self.is_proposal_expired(&proposal) { Err(proposal_expired()) } else { Ok(proposal) }
    }

    /// Rejects a proposal whose time is over, so that it does not take the place of another one.
    pub(super) async fn close_expired(&self, mut proposal: Proposal) -> Result<(), HttpProblem> {
        let caller = self.own_caller();
        let reason = "the time in which it could be signed and applied is over".to_owned();
        proposal.decide(Decision { at: self.clock.now(), by: caller.name.clone(), reason, generation: None });
        let event = self.proposal_event(&caller, "proposal.expire", &proposal);
        self.update_proposal(proposal, event, Vec::new()).await
    }

    pub(super) async fn update_proposal(
        &self,
        proposal: Proposal,
        event: AuditEvent,
        news: Vec<NewEvent>,
    ) -> Result<(), HttpProblem> {
        match self.store.update_proposal(proposal, event, news).await? {
            ProposalStored::Stored(events) => {
                self.delivery.publish(events);
                Ok(())
            }
            ProposalStored::NotOpen | ProposalStored::TooMany => Err(decided()),
        }
    }

    pub(super) fn proposal_event(&self, caller: &Caller, action: &'static str, proposal: &Proposal) -> AuditEvent {
        let mut detail = json!({
            "id": proposal.id,
            "by": proposal.by,
            "base": proposal.contents.base(),
            "reason": proposal.decision.as_ref().map_or(&proposal.reason, |decision| &decision.reason),
            "generation": proposal.decision.as_ref().and_then(|decision| decision.generation),
        });
        match &proposal.contents {
            ProposedChange::Edit { change, .. } => detail["profile"] = json!(change.name()),
            ProposedChange::Files { changeset } => {
                let names = changeset.changes.iter().map(ProfileChange::name).take(PROFILES_RECORDED);
                detail["profiles"] = json!(names.collect::<Vec<_>>());
                detail["changeset"] = json!(changeset.id);
                detail["commit"] = json!(changeset.provenance.commit);
                detail["summary"] = json!(proposal.summary);
            }
        }
        AuditEvent { at: self.clock.now(), actor: caller.name.clone(), action, outcome: AuditOutcome::Accepted, detail }
    }
}

/// Returns the activity that applies a proposal.
fn activity(proposal: &Proposal) -> Activity {
    match proposal.contents {
        ProposedChange::Edit { .. } => Activity::Edit,
        ProposedChange::Files { .. } => Activity::Apply,
    }
}

fn not_found() -> HttpProblem {
    HttpProblem::not_found("the proposal does not exist").remedy("Choose one from the list of proposals.")
}

fn decided() -> HttpProblem {
    HttpProblem::new(Code::ProposalDecided, "the proposal was applied or rejected before")
        .remedy("The list of proposals names the person.")
}
