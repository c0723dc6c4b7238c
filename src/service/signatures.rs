//! Signatures of persons on proposals: the text that a person signs, the verified answer of the passkey or of the identity
//! provider, and refusals.
//!
//! [`Service::draft_signature`] returns the [`SignatureDraft`] that the page shows and the person signs;
//! [`Service::sign_proposal`] adds it with the answer of a passkey, [`Service::sign_with_provider`] with the ID token of an
//! identity provider. Each of the last two evaluates the signature as an apply by the proposer would, so that one that would not
//! count is refused at once. A refusal is in the audit log and an event, in one transaction, within the budget of its caller.
//! Which signatures count is decided in [`crate::approvals`]; sessions, requests of passkeys and sign-ins with providers are not
//! the concern of this module.

mod draft;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{
    Service,
    caller::Caller,
    changes::planned::PlannedChange,
    http::HttpProblem,
    oidc::{Redeemed, not_signing_in},
    signature_requests::Occasion,
};
use crate::{
    approvals::{APPROVALS_LIMIT, IdentityStatement, SigningOperator, SigningPasskey, SigningPerson, is_reason},
    model::{
        ApprovalNeed, Approvals, AuditOutcome, Code, Digest, Meaning, Signature,
        access::{Activity, Area, Question},
        approvals::{Approved, SignedAction, Signer},
        delivery::EventKind,
        proposal::Proposal,
        session::{Session, SessionSubject},
        signature::{IdentityEvidence, RecentPasskey, SignatureEvidence, SignatureMethod, SignerIdentity, is_offset},
    },
    passkey::RelyingParty,
    store::{AuditEvent, outbox::NewEvent},
};
pub(crate) use draft::SignatureDraft;
pub(super) use draft::SignatureDrafts;

/// Time for which a signature that is made in the console counts for a change that was not applied.
const VALID: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Maximum size of an ID token that is kept as evidence, in bytes.
const EVIDENCE_LIMIT: usize = 12 * 1024;

/// A request for a signature, as the person filled it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedSignature {
    pub(crate) meaning: Meaning,
    pub(crate) reason: String,
    /// The offset of the browser from UTC, in minutes.
    pub(crate) offset_minutes: i16,
}

impl Service {
    /// Returns those of the operators who signed that may sign now, with their passkeys.
    pub(super) async fn signing_operators(
        &self,
        signatures: &[Signature],
    ) -> Result<Vec<SigningOperator>, HttpProblem> {
        let of_operators = signatures.iter().filter(|signature| signature.identity.is_none());
        let ids: BTreeSet<&str> = of_operators.map(|signature| signature.operator.as_str()).collect();
        let mut operators = Vec::new();
        for id in ids {
            let Some(stored) = self.store.operator(id).await?.filter(|stored| stored.operator.is_active()) else {
                continue;
            };
            operators.push(SigningOperator {
                id: stored.operator.id,
                name: stored.operator.name,
                passkeys: stored
                    .keys
                    .into_iter()
                    .map(|passkey| SigningPasskey { key: passkey.key, added_at: passkey.info.added_at })
                    .collect(),
            });
        }
        Ok(operators)
    }

    /// Returns what identity providers have stated about the persons who signed with them. The ID token of each signature is
    /// verified again. Of the groups and roles in it, those count that a later sign-in of the same person, as far as there is one
    /// that lasts, still had.
    pub(super) async fn signing_persons(&self, signatures: &[Signature]) -> Result<Vec<SigningPerson>, HttpProblem> {
        let of_persons = signatures.iter().filter_map(|signature| match (&signature.identity, &signature.evidence) {
            (Some(identity), SignatureEvidence::Identity(evidence)) => Some((signature, identity, evidence)),
            _ => None,
        });
        let of_persons: Vec<_> = of_persons.collect();
        if of_persons.is_empty() {
            return Ok(Vec::new());
        }
        let sessions = self.store.sessions(self.clock.now()).await?;
        let mut persons = Vec::new();
        for (signature, identity, evidence) in of_persons {
            let read = self.read_statement(signature, identity, evidence, &sessions).await;
            let statement = match read {
                Ok(statement) => Ok(statement),
                Err(problem) if matches!(problem.code(), Code::Internal | Code::Busy) => return Err(problem),
                Err(problem) => Err((
                    problem.code(),
                    format!("signed with an identity provider, and that cannot be verified now: {}", problem.message()),
                )),
            };
            persons.push(SigningPerson { signature: signature.id.clone(), statement });
        }
        Ok(persons)
    }

    async fn read_statement(
        &self,
        signature: &Signature,
        identity: &SignerIdentity,
        evidence: &IdentityEvidence,
        sessions: &[Session],
    ) -> Result<IdentityStatement, HttpProblem> {
        let issuers = self.trusted_issuers().ok_or_else(not_signing_in)?;
        let now = self.clock.now();
        let mut statement = issuers.read_statement(identity, evidence, self.environment(), now).await?;
        let is_later =
            |session: &&Session| session.subject.to_string() == identity.subject() && session.created_at > signature.at;
        let latest = sessions.iter().filter(is_later).max_by_key(|session| session.created_at);
        if let Some(admission) = latest.and_then(|session| session.admission.as_ref()) {
            statement.subjects.retain(|own| admission.subjects.contains(own));
        }
        Ok(statement)
    }

    /// Returns the site that the passkeys of signatures belong to: that of the public address, or else `localhost` on this
    /// machine.
    pub(super) fn signing_site(&self, signatures: &[Signature]) -> Option<RelyingParty> {
        match &self.public_url {
            Some(public) => public.site().cloned(),
            None => signatures.iter().find_map(|signature| match &signature.evidence {
                SignatureEvidence::Passkey(evidence) => RelyingParty::of_local_evidence(evidence),
                SignatureEvidence::Identity(_) => None,
            }),
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
        let own: Vec<&Signer> = approvals.signers.iter().filter(|signer| caller.is_signer(signer)).collect();
        let now = self.clock.now();
        let mut meanings = BTreeMap::new();
        let has_signed = |need: &ApprovalNeed| {
            planned.evaluation.approved.iter().any(|approved| {
                approved.meaning == need.meaning
                    && approved.is_by(&approvals.signers, caller.actor())
                    && need.signers.iter().any(|signer| approved.standing.signers.contains(&signer.name))
            })
        };
        let can_sign = |one: &&(ApprovalNeed, Vec<String>)| {
            let is_refused = approvals.refuses_own(one.0.meaning) && caller.is_proposer(proposal);
            !is_refused
                && !has_signed(&one.0)
                && own.iter().any(|signer| is_asked(approvals, signer, one, proposal, now))
        };
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

    /// Returns true if a proposal can no longer be signed and applied, because its time is over.
    pub(crate) fn is_proposal_expired(&self, proposal: &Proposal) -> bool {
        self.proposal_end(proposal).is_some_and(|end| end <= self.clock.now())
    }

    /// Returns the end, in whole seconds, of a signature that is made now for a proposal.
    pub(crate) fn signature_end(&self, proposal: &Proposal) -> Result<Timestamp, HttpProblem> {
        let end = self.clock.now().checked_add(VALID).map_err(HttpProblem::internal)?;
        let end = self.proposal_end(proposal).map_or(end, |limit| limit.min(end));
        Timestamp::from_second(end.as_second()).map_err(HttpProblem::internal)
    }

    /// Returns the signature that a person is about to make, for the page that shows it. It is not stored; that of a person of an
    /// identity provider is kept until the provider has answered.
    pub(crate) async fn draft_signature(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Session,
        id: &str,
        wanted: WantedSignature,
    ) -> Result<SignatureDraft, HttpProblem> {
        let drafted = self.compose_draft(caller, session, id, wanted).await;
        match drafted {
            Ok(draft) => {
                if draft.is_for_provider() {
                    self.signature_drafts.add(session, draft.clone(), self.clock.now());
                }
                Ok(draft)
            }
            Err(problem) => Err(self.refuse_signature(caller, id, problem).await),
        }
    }

    async fn compose_draft(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Session,
        id: &str,
        wanted: WantedSignature,
    ) -> Result<SignatureDraft, HttpProblem> {
        let proposal = self.open_visible_proposal(caller, id).await?;
        if !is_reason(&wanted.reason) {
            return Err(HttpProblem::malformed("the reason must be one line of at most 400 characters")
                .remedy("Write it shorter, on one line."));
        }
        let (operator, identity, name) = if let SessionSubject::Identity { issuer, id } = &session.subject {
            let identity = SignerIdentity { issuer: issuer.clone(), id: id.clone() };
            (String::new(), Some(identity), session.name.clone())
        } else {
            let operator = self.own_operator(session).await?;
            (operator.id, None, operator.name)
        };
        if !is_offset(wanted.offset_minutes) || name.chars().any(char::is_control) {
            return Err(
                HttpProblem::malformed("the request for a signature is malformed").remedy("Load the page again.")
            );
        }
        let state = self.state();
        let approvals = &state.settings.policy.approvals;
        let own: Vec<&Signer> = approvals.signers.iter().filter(|signer| caller.is_signer(signer)).collect();
        let Some(first) = own.first() else {
            return Err(HttpProblem::new(Code::ApprovalByUnknownSigner, "you are not a signer of this environment")
                .remedy("The signers are in `policy.approvals.signers` of environment.yaml."));
        };
        let planned = self.plan_proposal(caller, &proposal).await?.ok_or_else(changes_nothing)?;
        let Some((digest, needs)) = planned.approvals else {
            return Err(HttpProblem::malformed("the change needs no signature").remedy("Apply it."));
        };
        let names = |need: &ApprovalNeed, signer: &Signer| need.signers.iter().any(|known| known.name == signer.name);
        let asking: Vec<&ApprovalNeed> = needs
            .iter()
            .filter(|need| need.meaning == wanted.meaning && own.iter().any(|signer| names(need, signer)))
            .collect();
        // A person is named by itself rather than by a role or a group.
        let mut asked: Vec<&Signer> =
            own.iter().copied().filter(|signer| asking.iter().any(|need| names(need, signer))).collect();
        asked.sort_by_key(|signer| signer.is_many());
        let (Some(signer), Some(need)) = (asked.first(), asking.iter().max_by_key(|need| need.reason_required)) else {
            let message =
                format!("no rule asks `{}` for a signature with the meaning `{}`", first.name, wanted.meaning);
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
            operator,
            identity,
            printed_name: name,
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
            recent_passkey: None,
            evidence: SignatureEvidence::default(),
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
        if draft.is_for_provider() {
            return Err(HttpProblem::malformed("the form is damaged").remedy("Load the page again."));
        }
        let signed = match self.finish_signature(site, session, &draft.digest(), answer).await {
            Ok(signed) if signed.operator.id == draft.record.operator => signed,
            Ok(_) => {
                let problem = HttpProblem::new(Code::ApprovalForged, "the signature is that of another operator")
                    .remedy("Load the page again, and sign what it shows.");
                return Err(self.refuse_signature(caller, &id, problem).await);
            }
            Err(problem) => return Err(self.refuse_signature(caller, &id, problem).await),
        };
        let proposed_at = self.store.proposal(&id).await?.map_or(signed.at, |proposal| proposal.at);
        let passkey = &signed.passkey;
        let recent = RecentPasskey::find(passkey.added_at, passkey.enrolled_by.as_deref(), proposed_at, signed.at);
        let evidence = SignatureEvidence::Passkey(signed.evidence);
        self.add_completed(caller, draft.complete(signed.at, evidence, recent), &id).await
    }

    /// Adds the signature of a person of a session to its proposal. `answer` is that of the identity provider, which was asked to
    /// confirm the person for the text with this digest.
    pub(super) async fn sign_with_provider(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Session,
        digest: &str,
        answer: Result<Redeemed, HttpProblem>,
    ) -> Result<(), HttpProblem> {
        let Some(draft) = self.signature_drafts.take(session, digest, self.clock.now()) else {
            return Err(HttpProblem::not_found("there is nothing to sign: the page is too old, or was signed")
                .remedy("Open the proposal again, and continue to sign."));
        };
        let id = draft.proposal.clone();
        let accepted = async {
            // The address that the provider sends the browser to is open, and the right may be gone since the page was shown.
            let right = Question::everywhere(Area::Changes, Activity::Propose);
            self.check_right(caller, &right, &Method::GET, &format!("/console/proposals/{id}/sign")).await?;
            let Redeemed { person, token, key } = answer?;
            if person.subject != session.subject {
                let message = "the identity provider confirmed another account than yours";
                return Err(HttpProblem::new(Code::ApprovalForged, message)
                    .remedy("Sign again, with the account that you signed in with."));
            }
            if token.expose_secret().len() > EVIDENCE_LIMIT {
                let message = "the ID token is too large to be kept as evidence: it names too many groups";
                return Err(HttpProblem::new(Code::ApprovalMalformed, message).remedy(
                    "Let the identity provider state roles, or only the groups that are assigned to the application.",
                ));
            }
            Ok(IdentityEvidence { id_token: token.expose_secret().to_owned(), key })
        };
        match accepted.await {
            Ok(evidence) => {
                let signature = draft.complete(self.clock.now(), SignatureEvidence::Identity(evidence), None);
                self.add_completed(caller, signature, &id).await
            }
            Err(problem) => Err(self.refuse_signature(caller, &id, problem).await),
        }
    }

    async fn add_completed(
        self: &Arc<Self>,
        caller: &Caller,
        signature: Signature,
        id: &str,
    ) -> Result<(), HttpProblem> {
        // The record is replaced as a whole, so two signatures at the same time would lose one.
        let one_at_a_time = self.changing.lock().await;
        let added = self.add_signature(caller, signature, id).await;
        drop(one_at_a_time);
        match added {
            Ok(()) => Ok(()),
            Err(problem) => Err(self.refuse_signature(caller, id, problem).await),
        }
    }

    async fn add_signature(
        self: &Arc<Self>,
        caller: &Caller,
        signature: Signature,
        id: &str,
    ) -> Result<(), HttpProblem> {
        let mut proposal = self.open_visible_proposal(caller, id).await?;
        check_room(&proposal)?;
        let added = Proposal { approvals: Vec::new(), signatures: vec![signature.clone()], ..proposal.clone() };
        self.check_addition(caller, &proposal, &added).await?;
        let mut event = self.proposal_event(caller, "proposal.sign", &proposal);
        event.detail["signed"] = json!(Digest::of_document(&signature));
        event.detail["signature"] = json!(signature);
        let recent = signature.describe_recent_passkey();
        event.detail["recentPasskey"] = json!(recent);
        let recent = recent.map_or_else(String::new, |recent| format!(" ({recent})"));
        let news = self.proposal_news(
            EventKind::Signed,
            &proposal,
            format!("{} {} proposal {}{recent}", signature.signer, signature.meaning, proposal.id),
        );
        proposal.signatures.push(signature);
        self.update_proposal(proposal.clone(), event, vec![news]).await?;
        self.request_signatures(proposal, Occasion::News);
        Ok(())
    }

    /// Refuses a signature that would not count, or that its person has given before. `added` is the proposal with that signature
    /// alone. Returns the approval.
    pub(super) async fn check_addition(
        self: &Arc<Self>,
        caller: &Caller,
        proposal: &Proposal,
        added: &Proposal,
    ) -> Result<Approved, HttpProblem> {
        let planned = Box::pin(self.plan_for_proposer(caller, added)).await?.ok_or_else(changes_nothing)?;
        if let Some(rejected) = planned.evaluation.rejected.first() {
            return Err(HttpProblem::new(rejected.code, format!("{} {}", rejected.signer, rejected.reason))
                .remedy("Load the page again, and sign what it shows."));
        }
        let approved = planned.evaluation.approved.into_iter().next();
        let approved =
            approved.ok_or_else(|| HttpProblem::malformed("the change needs no approval").remedy("Apply it."))?;
        // Otherwise one signer could fill the room that the proposal has for signatures of others.
        let before = Box::pin(self.plan_for_proposer(caller, proposal)).await?.ok_or_else(changes_nothing)?.evaluation;
        let is_before =
            |known: &Approved| known.standing.person == approved.standing.person && known.meaning == approved.meaning;
        if before.approved.iter().any(is_before) {
            return Err(HttpProblem::new(
                Code::SignedAlready,
                format!("{} {} this proposal before", approved.person(), approved.meaning),
            )
            .remedy("Sign with another meaning if the change needs it, or ask another signer."));
        }
        Ok(approved)
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

/// Returns true if a signer can still sign a proposal for a need that is not met, and for which the signers in `have` have
/// signed.
pub(super) fn is_asked(
    approvals: &Approvals,
    signer: &Signer,
    (need, have): &(ApprovalNeed, Vec<String>),
    proposal: &Proposal,
    now: Timestamp,
) -> bool {
    need.signers.iter().any(|known| known.name == signer.name)
        && !have.contains(&signer.name)
        && !approvals.is_self_approval(signer, need.meaning, proposal.author())
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
