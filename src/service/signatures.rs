//! Signatures of operators on proposals: the text that a person signs, the verified answer of the passkey, and refusals.
//!
//! [`Service::draft_signature`] returns the record that the page shows and the passkey signs; [`Service::sign_proposal`] adds it with
//! the evidence. Both evaluate it as an apply would, so that a signature that would not count is refused at once. A refusal is in
//! the audit log and an event, in one transaction, within the budget of its caller. Which signatures count is decided in
//! [`crate::approvals`]; sessions and requests of passkeys are not the concern of this module.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    Service, caller::Caller, changes::planned::PlannedChange, http::HttpProblem, signature_requests::Occasion,
};
use crate::{
    approvals::{APPROVALS_LIMIT, SigningOperator, is_reason},
    model::{
        ApprovalNeed, Approvals, AuditOutcome, Code, Digest, Meaning, Signature,
        approvals::{Approved, SignedAction, Signer},
        delivery::EventKind,
        proposal::Proposal,
        session::Session,
        signature::{PasskeyEvidence, SignatureMethod, is_offset},
    },
    passkey::RelyingParty,
    store::{AuditEvent, outbox::NewEvent},
};

/// Time for which a signature that is made in the console counts for a change that was not applied.
const VALID: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A request for a signature, as the person filled it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedSignature {
    pub(crate) meaning: Meaning,
    pub(crate) reason: String,
    /// The offset of the browser from UTC, in minutes.
    pub(crate) offset_minutes: i16,
}

/// A signature that waits for the answer of a passkey. The page shows its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignatureDraft {
    /// The id of the proposal.
    pub(crate) proposal: String,
    record: Signature,
}

impl SignatureDraft {
    /// Returns the record as the form of the page carries it. It is not secret, and the signed digest covers it.
    pub(crate) fn to_field(&self) -> String {
        serde_json::to_string(&self.record).unwrap_or_default()
    }

    /// Parses the field of a form. A field that was changed has another digest, for which no request waits.
    pub(crate) fn from_field(proposal: String, field: &str) -> Option<Self> {
        let record = serde_json::from_str(field).ok()?;
        Some(Self { proposal, record })
    }

    /// Returns the record, for the page that shows it.
    pub(crate) fn record(&self) -> &Signature {
        &self.record
    }

    /// Returns the text that the person signs.
    pub(crate) fn text(&self) -> String {
        self.record.text()
    }

    /// Returns the digest of the text, which the passkey signs.
    pub(crate) fn digest(&self) -> Digest {
        self.record.text_digest()
    }

    /// Returns the signature with the answer of the passkey.
    fn complete(self, at: Timestamp, evidence: PasskeyEvidence) -> Signature {
        Signature { at, evidence, method: SignatureMethod::Passkey, ..self.record }
    }
}

impl Service {
    /// Returns those of the operators who signed that may sign now, with their passkeys.
    pub(super) async fn signing_operators(
        &self,
        signatures: &[Signature],
    ) -> Result<Vec<SigningOperator>, HttpProblem> {
        let ids: BTreeSet<&str> = signatures.iter().map(|signature| signature.operator.as_str()).collect();
        let mut operators = Vec::new();
        for id in ids {
            let Some(stored) = self.store.operator(id).await?.filter(|stored| stored.operator.is_active()) else {
                continue;
            };
            operators.push(SigningOperator {
                id: stored.operator.id,
                name: stored.operator.name,
                passkeys: stored.keys.into_iter().map(|passkey| passkey.key).collect(),
            });
        }
        Ok(operators)
    }

    /// Returns the site that the passkeys of signatures belong to: that of the public address, or else `localhost` on this machine.
    pub(super) fn signing_site(&self, signatures: &[Signature]) -> Option<RelyingParty> {
        match &self.public_url {
            Some(public) => public.site().cloned(),
            None => signatures.iter().find_map(|signature| RelyingParty::of_local_evidence(&signature.evidence)),
        }
    }

    /// Returns the meanings with which a caller is asked to sign a proposal, each with true if a reason is required.
    pub(crate) fn own_meanings(
        &self,
        caller: &Caller,
        proposal: &Proposal,
        planned: &PlannedChange,
    ) -> BTreeMap<Meaning, bool> {
        let state = self.state();
        let approvals = &state.settings.policy.approvals;
        let is_own = |signer: &&Signer| signer.operator.as_ref().is_some_and(|own| caller.is_operator(own));
        let Some(own) = approvals.signers.iter().find(is_own) else { return BTreeMap::new() };
        let now = self.clock.now();
        let mut meanings = BTreeMap::new();
        let can_sign = |one: &&(ApprovalNeed, Vec<String>)| is_asked(approvals, own, one, proposal, now);
        for (need, _) in planned.evaluation.missing.iter().filter(can_sign) {
            *meanings.entry(need.meaning).or_default() |= need.reason_required;
        }
        meanings
    }

    /// Returns the address of the service as browsers reach it, with the path of the environment.
    pub(super) fn public_address(&self) -> Option<String> {
        Some(format!("{}{}", self.public_url.as_ref()?.origin(), self.base))
    }

    /// Returns the time at which a proposal can no longer be signed and applied, if the environment has such a limit.
    pub(crate) fn proposal_end(&self, proposal: &Proposal) -> Option<Timestamp> {
        let expiry = self.state().settings.policy.approvals.expires_in?;
        proposal.at.checked_add(expiry.duration()).ok()
    }

    /// Returns the end, in whole seconds, of a signature that is made now for a proposal.
    pub(crate) fn signature_end(&self, proposal: &Proposal) -> Result<Timestamp, HttpProblem> {
        let end = self.clock.now().checked_add(VALID).map_err(HttpProblem::internal)?;
        let end = self.proposal_end(proposal).map_or(end, |limit| limit.min(end));
        Timestamp::from_second(end.as_second()).map_err(HttpProblem::internal)
    }

    /// Returns the signature that an operator is about to make, for the page that shows it. It is not stored.
    pub(crate) async fn draft_signature(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Session,
        id: &str,
        wanted: WantedSignature,
    ) -> Result<SignatureDraft, HttpProblem> {
        let drafted = self.find_draft(caller, session, id, wanted).await;
        match drafted {
            Ok(draft) => Ok(draft),
            Err(problem) => Err(self.refuse_signature(caller, id, problem).await),
        }
    }

    async fn find_draft(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Session,
        id: &str,
        wanted: WantedSignature,
    ) -> Result<SignatureDraft, HttpProblem> {
        let proposal = self.open_proposal(id).await?;
        if !is_reason(&wanted.reason) {
            return Err(HttpProblem::malformed("the reason must be one line of at most 400 characters")
                .remedy("Write it shorter, on one line."));
        }
        let operator = self.own_operator(session).await?;
        if !is_offset(wanted.offset_minutes) || operator.name.chars().any(char::is_control) {
            return Err(
                HttpProblem::malformed("the request for a signature is malformed").remedy("Load the page again.")
            );
        }
        let state = self.state();
        let approvals = &state.settings.policy.approvals;
        let Some(signer) = approvals.signers.iter().find(|signer| signer.is_operator(&operator.name)) else {
            return Err(HttpProblem::new(Code::ApprovalByUnknownSigner, "you are not a signer of this environment")
                .remedy("The signers are in `policy.approvals.signers` of environment.yaml."));
        };
        let planned = self.plan_proposal(caller, &proposal).await?.ok_or_else(changes_nothing)?;
        let Some((digest, needs)) = planned.approvals else {
            return Err(HttpProblem::malformed("the change needs no signature").remedy("Apply it."));
        };
        let is_wanted = |need: &ApprovalNeed| {
            need.meaning == wanted.meaning && need.signers.iter().any(|known| known.name == signer.name)
        };
        let Some(need) = needs.iter().filter(|need| is_wanted(need)).max_by_key(|need| need.reason_required) else {
            let message =
                format!("no rule asks `{}` for a signature with the meaning `{}`", signer.name, wanted.meaning);
            return Err(HttpProblem::new(Code::ApprovalByUnknownSigner, message)
                .remedy("The page lists the signatures that the change needs."));
        };
        if need.reason_required && wanted.reason.is_empty() {
            return Err(HttpProblem::new(
                Code::ApprovalWithoutReason,
                "the environment requires a reason for this signature",
            )
            .remedy("Write why you sign."));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(HttpProblem::internal)?;
        let now = self.clock.now();
        // Whole seconds: the text and the record state the same time.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let record = Signature {
            id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            signer: signer.name.clone(),
            operator: operator.id,
            printed_name: operator.name,
            meaning: wanted.meaning,
            environment: self.environment().clone(),
            action: SignedAction::Apply.to_string(),
            base: planned.base,
            digest,
            reason: wanted.reason,
            requested_at: now,
            at: now,
            offset_minutes: wanted.offset_minutes,
            expires: self.signature_end(&proposal)?,
            method: SignatureMethod::Passkey,
            evidence: PasskeyEvidence::default(),
        };
        Ok(SignatureDraft { proposal: proposal.id, record })
    }

    /// Verifies the answer of a passkey to a request for a signature, and adds the signature to its proposal.
    pub(crate) async fn sign_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Session,
        site: &RelyingParty,
        draft: SignatureDraft,
        answer: &str,
    ) -> Result<(), HttpProblem> {
        let id = draft.proposal.clone();
        let signed = match self.finish_signature(site, session, &draft.digest(), answer).await {
            Ok(signed) if signed.operator.id == draft.record.operator => signed,
            Ok(_) => {
                let problem = HttpProblem::new(Code::ApprovalForged, "the signature is that of another operator")
                    .remedy("Load the page again, and sign what it shows.");
                return Err(self.refuse_signature(caller, &id, problem).await);
            }
            Err(problem) => return Err(self.refuse_signature(caller, &id, problem).await),
        };
        // The record is replaced as a whole, so two signatures at the same time would lose one.
        let one_at_a_time = self.changing.lock().await;
        let added = self.add_signature(caller, draft.complete(signed.at, signed.evidence), &id).await;
        drop(one_at_a_time);
        match added {
            Ok(()) => Ok(()),
            Err(problem) => Err(self.refuse_signature(caller, &id, problem).await),
        }
    }

    async fn add_signature(
        self: &Arc<Self>,
        caller: &Caller,
        signature: Signature,
        id: &str,
    ) -> Result<(), HttpProblem> {
        let mut proposal = self.open_proposal(id).await?;
        check_room(&proposal)?;
        let added = Proposal { approvals: Vec::new(), signatures: vec![signature.clone()], ..proposal.clone() };
        self.check_addition(caller, &added).await?;
        let mut event = self.proposal_event(caller, "proposal.sign", &proposal);
        event.detail["signed"] = json!(Digest::of_document(&signature));
        event.detail["signature"] = json!(signature);
        let news = self.proposal_news(
            EventKind::Signed,
            &proposal,
            format!("{} {} proposal {}", signature.signer, signature.meaning, proposal.id),
        );
        proposal.signatures.push(signature);
        self.update_proposal(proposal.clone(), event, vec![news]).await?;
        self.request_signatures(proposal, Occasion::News);
        Ok(())
    }

    /// Refuses a proposal of which the one signature that it has would not count. Returns the approval.
    pub(super) async fn check_addition(
        self: &Arc<Self>,
        caller: &Caller,
        proposal: &Proposal,
    ) -> Result<Approved, HttpProblem> {
        if self.proposal_end(proposal).is_some_and(|end| end <= self.clock.now()) {
            return Err(proposal_expired());
        }
        let planned = self.plan_for_proposer(caller, proposal).await?.ok_or_else(changes_nothing)?;
        if let Some(rejected) = planned.evaluation.rejected.first() {
            return Err(HttpProblem::new(rejected.code, format!("{} {}", rejected.signer, rejected.reason))
                .remedy("Load the page again, and sign what it shows."));
        }
        let approved = planned.evaluation.approved.into_iter().next();
        approved.ok_or_else(|| HttpProblem::malformed("the change needs no approval").remedy("Apply it."))
    }

    /// Records a refused signature in the audit log and as an event, and returns its problem.
    pub(crate) async fn refuse_signature(&self, caller: &Caller, id: &str, problem: HttpProblem) -> HttpProblem {
        // There is nothing to sign in a proposal that does not exist, and a store that fails cannot record.
        if matches!(problem.code(), Code::NotFound | Code::Busy | Code::Internal) {
            return problem;
        }
        metrics::counter!("mailwright_signatures_refused_total", "code" => problem.code().id()).increment(1);
        tracing::warn!(proposal = id, actor = %caller.name, code = %problem.code(), reason = problem.message(), "signature refused");
        let at = self.clock.now();
        let proposal = self.store.proposal(id).await.ok().flatten();
        let event = AuditEvent {
            at,
            actor: caller.name.clone(),
            action: "proposal.sign",
            outcome: AuditOutcome::Refused,
            detail: json!({
                "id": id,
                "profile": proposal.as_ref().and_then(Proposal::profile),
                "code": problem.code(),
                "why": problem.message(),
            }),
        };
        let reason = format!("{} could not sign proposal {id}: {}", caller.name, problem.message());
        let news = NewEvent {
            kind: EventKind::SignatureRefused,
            at,
            message: None,
            profile: proposal.as_ref().and_then(Proposal::profile).cloned(),
            reason,
        };
        match self.record_bounded_with_event(event, news).await {
            Ok(()) => problem,
            Err(error) => error.into(),
        }
    }

    /// Creates an event about a proposal.
    pub(super) fn proposal_news(&self, kind: EventKind, proposal: &Proposal, reason: String) -> NewEvent {
        let profile = proposal.profile().cloned();
        NewEvent { kind, at: self.clock.now(), message: None, profile, reason }
    }
}

/// Refuses a further signature of a proposal that has too many.
pub(super) fn check_room(proposal: &Proposal) -> Result<(), HttpProblem> {
    if proposal.approvals.len() + proposal.signatures.len() < APPROVALS_LIMIT {
        return Ok(());
    }
    Err(HttpProblem::malformed("the proposal has too many approvals").remedy("Reject it, and propose again."))
}

/// Returns true if a signer can still sign a proposal for a need that is not met, and for which the signers in `have` have signed.
pub(super) fn is_asked(
    approvals: &Approvals,
    signer: &Signer,
    (need, have): &(ApprovalNeed, Vec<String>),
    proposal: &Proposal,
    now: Timestamp,
) -> bool {
    need.signers.iter().any(|known| known.name == signer.name)
        && !have.contains(&signer.name)
        && !approvals.is_self_approval(signer, need.meaning, &proposal.by)
        && signer.expired_on(now).is_none()
}

/// Returns the problem of a proposal that does not differ from what is live.
fn changes_nothing() -> HttpProblem {
    HttpProblem::malformed("the proposal would change nothing any more").remedy("Reject it.")
}

/// Returns the problem of a proposal whose time is over.
pub(super) fn proposal_expired() -> HttpProblem {
    HttpProblem::new(Code::ApprovalExpired, "the proposal has expired")
        .remedy("Reject it, and propose the change again. `policy.approvals.expiresIn` is the time for which a proposal is open.")
}
