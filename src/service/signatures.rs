//! Signatures of operators on proposals: the text that a person signs, the verified answer of the passkey, and refusals.
//!
//! [`Service::draft_signature`] returns the record that the page shows and the passkey signs; [`Service::sign_proposal`] adds it with
//! the evidence. Both evaluate it as an apply would, so that a signature that would not count is refused at once. A refusal is in
//! the audit log and an event, in one transaction, within the budget of its caller. Which signatures count is decided in
//! [`crate::approvals`]; sessions and requests of passkeys are not the concern of this module.

use std::{sync::Arc, time::Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Service, caller::Caller, http::HttpProblem, signature_requests::Occasion};
use crate::{
    approvals::{APPROVALS_LIMIT, SigningOperator, is_reason},
    model::{
        AuditOutcome, Code, Digest, Meaning, Signature,
        approvals::SignedAction,
        delivery::EventKind,
        proposal::Proposal,
        signature::{PasskeyEvidence, SignatureMethod, is_offset},
    },
    passkey::RelyingParty,
    store::{AuditEvent, outbox::NewEvent},
};

/// Time for which a signature counts for a change that was not applied.
const VALID: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Maximum length of a printed name, in characters.
const NAME_LIMIT: usize = 200;

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
    /// Returns the text that the person signs.
    pub(crate) fn text(&self) -> String {
        self.record.text()
    }

    /// Returns the digest of the text, which the passkey signs.
    pub(crate) fn digest(&self) -> Digest {
        self.record.text_digest()
    }

    /// Returns the id of the operator who signs.
    pub(crate) fn operator(&self) -> &str {
        &self.record.operator
    }

    /// Returns the signature with the answer of the passkey.
    fn complete(self, at: Timestamp, evidence: PasskeyEvidence) -> Signature {
        Signature { at, evidence, ..self.record }
    }
}

impl Service {
    /// Returns the operators who may sign now.
    #[expect(clippy::unused_async, reason = "operators are read from the store once there are any")]
    pub(super) async fn signing_operators(&self) -> Result<Vec<SigningOperator>, HttpProblem> {
        Ok(Vec::new())
    }

    /// Returns the site that passkeys belong to.
    pub(super) fn passkey_site(&self) -> Option<RelyingParty> {
        RelyingParty::from_origin(self.public_url.as_ref()?.origin())
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

    /// Returns the signature that an operator is about to make, for the page that shows it. It is not stored.
    pub(crate) async fn draft_signature(
        self: &Arc<Self>,
        caller: &Caller,
        operator: (&str, &str),
        id: &str,
        wanted: WantedSignature,
    ) -> Result<SignatureDraft, HttpProblem> {
        let drafted = self.find_draft(caller, operator, id, wanted).await;
        match drafted {
            Ok(draft) => Ok(draft),
            Err(problem) => Err(self.refuse_signature(caller, id, problem).await),
        }
    }

    async fn find_draft(
        self: &Arc<Self>,
        caller: &Caller,
        (operator, printed_name): (&str, &str),
        id: &str,
        wanted: WantedSignature,
    ) -> Result<SignatureDraft, HttpProblem> {
        let proposal = self.open_proposal(id).await?;
        if !is_reason(&wanted.reason) {
            return Err(HttpProblem::malformed("the reason must be one line of at most 400 characters")
                .remedy("Write it shorter, on one line."));
        }
        if !is_offset(wanted.offset_minutes) || printed_name.chars().any(char::is_control) {
            return Err(
                HttpProblem::malformed("the request for a signature is malformed").remedy("Load the page again.")
            );
        }
        let state = self.state();
        let approvals = &state.settings.policy.approvals;
        let operators = self.signing_operators().await?;
        let name = operators.iter().find(|known| known.id == operator).map(|known| known.name.as_str());
        let of_operator = |own: &String| name.is_some_and(|name| name.to_lowercase() == own.to_lowercase());
        let Some(signer) = approvals.signers.iter().find(|signer| signer.operator.as_ref().is_some_and(of_operator))
        else {
            return Err(HttpProblem::new(Code::ApprovalByUnknownSigner, "you are not a signer of this environment")
                .remedy("The signers are in `policy.approvals.signers` of environment.yaml."));
        };
        let planned = self
            .plan_proposal(caller, &proposal)
            .await?
            .ok_or_else(|| HttpProblem::malformed("the proposal would change nothing any more").remedy("Reject it."))?;
        let Some((digest, needs)) = planned.approvals else {
            return Err(HttpProblem::malformed("the change needs no signature").remedy("Apply it."));
        };
        let is_wanted = |need: &crate::model::ApprovalNeed| {
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
        let end = now.checked_add(VALID).map_err(HttpProblem::internal)?;
        let expires = self.proposal_end(&proposal).map_or(end, |limit| limit.min(end));
        let record = Signature {
            id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            signer: signer.name.clone(),
            operator: operator.to_owned(),
            printed_name: printed_name.chars().take(NAME_LIMIT).collect(),
            meaning: wanted.meaning,
            environment: self.environment().clone(),
            action: SignedAction::Apply.to_string(),
            base: planned.base,
            digest,
            reason: wanted.reason,
            requested_at: now,
            at: now,
            offset_minutes: wanted.offset_minutes,
            expires: Timestamp::from_second(expires.as_second()).map_err(HttpProblem::internal)?,
            method: SignatureMethod::Passkey,
            evidence: PasskeyEvidence::default(),
        };
        Ok(SignatureDraft { proposal: proposal.id, record })
    }

    /// Adds a signature to its proposal. The caller has verified the answer of the passkey, with its counter.
    pub(crate) async fn sign_proposal(
        self: &Arc<Self>,
        caller: &Caller,
        draft: SignatureDraft,
        evidence: PasskeyEvidence,
    ) -> Result<(), HttpProblem> {
        let id = draft.proposal.clone();
        // The record is replaced as a whole, so two signatures at the same time would lose one.
        let one_at_a_time = self.changing.lock().await;
        let added = self.add_signature(caller, draft, evidence).await;
        drop(one_at_a_time);
        match added {
            Ok(()) => Ok(()),
            Err(problem) => Err(self.refuse_signature(caller, &id, problem).await),
        }
    }

    async fn add_signature(
        self: &Arc<Self>,
        caller: &Caller,
        draft: SignatureDraft,
        evidence: PasskeyEvidence,
    ) -> Result<(), HttpProblem> {
        let mut proposal = self.open_proposal(&draft.proposal).await?;
        check_room(&proposal)?;
        let signature = draft.complete(self.clock.now(), evidence);
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
    ) -> Result<crate::model::approvals::Approved, HttpProblem> {
        if self.proposal_end(proposal).is_some_and(|end| end <= self.clock.now()) {
            return Err(expired(proposal));
        }
        // The rule about signatures of the applying person is checked on apply; here it is checked for the proposer.
        let proposer = Caller { name: proposal.by.clone(), ..caller.clone() };
        let planned = self
            .plan_proposal(&proposer, proposal)
            .await?
            .ok_or_else(|| HttpProblem::malformed("the proposal would change nothing any more").remedy("Reject it."))?;
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
        let Some(event) = self.audit_budget.spend(event, Instant::now()) else { return problem };
        match self.store.record_with_event(event, news).await {
            Ok(event) => {
                self.delivery.publish(vec![event]);
                problem
            }
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

/// Returns the problem of a proposal whose time is over.
pub(super) fn expired(proposal: &Proposal) -> HttpProblem {
    HttpProblem::new(Code::ApprovalExpired, format!("the proposal of {} has expired", proposal.at))
        .remedy("Reject it, and propose the change again. `policy.approvals.expiresIn` is the time for which a proposal is open.")
}
