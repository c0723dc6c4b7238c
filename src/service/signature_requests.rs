//! Requests for signature: mail to the signers who can still sign a proposal, when it is made, when another person has signed it,
//! and once more after a day.
//!
//! The mail goes through the service's own outbox, by the profile that sends the function `electronic-signatures` for a company
//! that the change concerns. It names the environment, the profile, the proposer, the missing signatures and the page; it has no
//! details of the change, which the page shows to those who may see them. A signer without an address, and an environment without
//! such a profile, get no mail: the audit log says so, and nothing fails. A signer whose operator was removed or is suspended
//! gets none either.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::json;

use super::{
    Service,
    caller::{Caller, Credential},
    changes::planned::PlannedChange,
    http::HttpProblem,
    signatures::is_asked,
    submissions::{Addressing, SubmissionBody},
};
use crate::{
    api::messages::Submission,
    model::{
        AppliesTo, AuditOutcome, CompanyId, Function, ProfileChange,
        access::Principal,
        approvals::Signer,
        operator::Operator,
        proposal::Proposal,
        resolution::Cell,
        token::{Role, Scope},
    },
    store::AuditEvent,
    telemetry,
};

/// The text of a request; `{name}` is replaced by a value.
const TEXT: &str = include_str!("signature_request.txt");
/// The text of a reminder.
const REMINDER: &str = include_str!("signature_reminder.txt");
/// Time after which the signers of an open proposal are reminded, once.
const REMIND_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Interval at which due reminders are searched for.
const REMINDERS_EVERY: Duration = Duration::from_secs(60);

/// The occasion of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The proposal was made, or signed by another person.
    News,
    /// A day has passed.
    Reminder,
}

/// Returns the name of an operator who was removed or is suspended, in lower case.
fn removed_name(operator: Operator) -> Option<String> {
    (!operator.is_active()).then(|| operator.name.to_lowercase())
}

impl Service {
    /// Asks the signers who can still sign a proposal, in the background.
    pub(super) fn request_signatures(self: &Arc<Self>, proposal: Proposal, occasion: Occasion) {
        let service = Arc::clone(self);
        telemetry::spawn(async move {
            if let Err(problem) = service.send_requests(&proposal, occasion).await {
                tracing::warn!(proposal = proposal.id, reason = problem.message(), "cannot request signatures");
            }
        });
    }

    /// Rejects proposals whose time is over, and reminds the signers of those that wait for a day, once.
    pub(super) async fn follow_proposals(self: &Arc<Self>) {
        let now = self.clock.now();
        let state = self.state();
        let approvals = &state.settings.policy.approvals;
        let has_rules = !approvals.rules.is_empty();
        if !(has_rules || approvals.expires_in.is_some()) || !self.is_reminder_due(now) {
            return;
        }
        let Ok(proposals) = self.store.proposals().await else { return };
        let is_waiting =
            |proposal: &Proposal| has_rules && proposal.reminded_at.is_none() && proposal.at + REMIND_AFTER <= now;
        for found in proposals.into_iter().filter(|proposal| proposal.decision.is_none()) {
            let is_expired = self.is_proposal_expired(&found);
            if !is_expired && !is_waiting(&found) {
                continue;
            }
            // A change that is under way can take long, and other environments are waiting for their turn: the next search finds
            // the proposal again.
            let Ok(_one_at_a_time) = self.changing.try_lock() else { return };
            // The list does not have the changes of plans.
            let Ok(Some(mut proposal)) = self.store.proposal(&found.id).await else { continue };
            if is_expired {
                if let Err(problem) = self.close_expired(proposal).await {
                    tracing::warn!(proposal = found.id, reason = problem.message(), "cannot close an expired proposal");
                }
                continue;
            }
            proposal.reminded_at = Some(now);
            let event = self.proposal_event(&self.own_caller(), "proposal.remind", &proposal);
            // Before the mail: a reminder that is lost is better than one every minute.
            if self.update_proposal(proposal.clone(), event, Vec::new()).await.is_ok() {
                self.request_signatures(proposal, Occasion::Reminder);
            }
        }
    }

    /// Returns true if due reminders were not searched for within the interval.
    fn is_reminder_due(&self, now: Timestamp) -> bool {
        let mut last = self.reminders_at.lock();
        let is_due = now < *last || now.duration_since(*last).unsigned_abs() >= REMINDERS_EVERY;
        if is_due {
            *last = now;
        }
        is_due
    }

    async fn send_requests(self: &Arc<Self>, proposal: &Proposal, occasion: Occasion) -> Result<(), HttpProblem> {
        let caller = self.own_caller();
        let planned = self.plan_for_proposer(&caller, proposal).await?;
        let Some(planned) = planned.filter(|planned| !planned.evaluation.missing.is_empty()) else { return Ok(()) };
        let removed: BTreeSet<String> = self.store.operators().await?.into_iter().filter_map(removed_name).collect();
        let (addresses, without) = self.find_signers(proposal, &planned, &removed);
        let mut failures: BTreeSet<String> = BTreeSet::new();
        let mut sent: BTreeMap<String, String> = BTreeMap::new();
        match self.find_request_company(&planned) {
            None => {
                failures.insert("no profile sends `electronic-signatures` for a company of the change".to_owned());
            }
            Some(company) => {
                for (signer, address) in addresses {
                    let submission = self.compose_request(proposal, &planned, occasion, &signer, address, &company);
                    match self.submit_request(&caller, submission).await {
                        Ok(id) => drop(sent.insert(signer, id)),
                        Err(problem) => drop(failures.insert(format!("{signer}: {}", problem.message()))),
                    }
                }
            }
        }
        let outcome = if failures.is_empty() { AuditOutcome::Accepted } else { AuditOutcome::Refused };
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name,
            action: "proposal.request",
            outcome,
            detail: json!({
                "id": proposal.id,
                "profile": proposal.profile(),
                "messages": sent,
                "withoutAddress": without,
                "why": (!failures.is_empty()).then(|| failures.into_iter().collect::<Vec<_>>().join("; ")),
            }),
        };
        self.store.record(event).await?;
        Ok(())
    }

    /// Returns the signers who can still sign, with their addresses, and the names of those without one. `removed` has the names
    /// of operators who were removed or are suspended, in lower case: they sign nothing, and the mail says what is planned.
    fn find_signers(
        &self,
        proposal: &Proposal,
        planned: &PlannedChange,
        removed: &BTreeSet<String>,
    ) -> (BTreeMap<String, String>, BTreeSet<String>) {
        let state = self.state();
        let approvals = &state.settings.policy.approvals;
        let (mut addresses, mut without) = (BTreeMap::new(), BTreeSet::new());
        let (missing, now) = (&planned.evaluation.missing, self.clock.now());
        let is_removed = |signer: &Signer| {
            let operator = signer.operator.as_ref().map(|operator| operator.to_lowercase());
            signer.key.is_none() && operator.is_some_and(|operator| removed.contains(&operator))
        };
        let can_sign = |signer: &&Signer| {
            !is_removed(signer) && missing.iter().any(|one| is_asked(approvals, signer, one, proposal, now))
        };
        for signer in approvals.signers.iter().filter(can_sign) {
            match &signer.email {
                Some(email) => drop(addresses.insert(signer.name.clone(), email.clone())),
                None => drop(without.insert(signer.name.clone())),
            }
        }
        (addresses, without)
    }

    /// Returns the first company of the change, or else of the environment, whose mail of this function the service sends.
    fn find_request_company(&self, planned: &PlannedChange) -> Option<CompanyId> {
        let state = self.state();
        let profiles = planned.changes.iter().filter_map(ProfileChange::profile);
        let own = profiles.filter_map(|stored| match &stored.profile.applies_to {
            AppliesTo::SystemWide => None,
            AppliesTo::Companies(companies) => Some(companies.iter().cloned()),
        });
        let mut companies = own.flatten().chain(state.settings.companies.iter().cloned());
        let function = Function::electronic_signatures();
        companies.find(|company| {
            let cell = Cell { company: company.clone(), function, client: None };
            self.can_send(&cell)
        })
    }

    fn compose_request(
        &self,
        proposal: &Proposal,
        planned: &PlannedChange,
        occasion: Occasion,
        signer: &str,
        address: String,
        company: &CompanyId,
    ) -> Submission {
        let needs =
            planned.evaluation.missing.iter().filter(|(need, _)| need.signers.iter().any(|one| one.name == signer));
        let needs = needs.map(|(need, _)| need.describe()).collect::<Vec<_>>().join("; ");
        let page = self.proposal_address(&proposal.id).unwrap_or_else(|| format!("proposal {}", proposal.id));
        let end = self.proposal_end(proposal).map_or_else(|| "-".to_owned(), |end| end.to_string());
        let template = if occasion == Occasion::Reminder { REMINDER } else { TEXT };
        let profile = proposal.profile().map_or_else(|| "a plan of files".to_owned(), ToString::to_string);
        let values = [
            ("{environment}", self.environment().as_str()),
            ("{profile}", profile.as_str()),
            ("{by}", proposal.by.as_str()),
            ("{needs}", needs.as_str()),
            ("{page}", page.as_str()),
            ("{expires}", end.as_str()),
        ];
        // In one pass: a value that contains `{page}` stays what it is.
        let mut filled = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            if let Some((name, value)) = values.iter().find(|(name, _)| from.starts_with(name)) {
                filled.push_str(&crate::text::printable(value));
                rest = &from[name.len()..];
            } else {
                filled.push('{');
                rest = &from[1..];
            }
        }
        filled.push_str(rest);
        let (subject, text) = filled.split_once('\n').unwrap_or((&filled, ""));
        Submission {
            company: company.clone(),
            function: Function::electronic_signatures(),
            client: None,
            sender: None,
            document: None,
            allow_duplicate: true,
            to: vec![address],
            cc: Vec::new(),
            bcc: Vec::new(),
            reply_to: Vec::new(),
            sender_name: None,
            subject: subject.to_owned(),
            text: Some(text.trim_start().to_owned()),
            html: None,
            calendar: None,
            attachments: Vec::new(),
            headers: BTreeMap::new(),
            notify: None,
        }
    }

    async fn submit_request(&self, caller: &Caller, submission: Submission) -> Result<String, HttpProblem> {
        let addressing = Addressing {
            company: submission.company.clone(),
            function: submission.function,
            client: None,
            sender: super::delegates::WantedSender::default(),
            document: None,
            allow_duplicate: true,
            only_by: None,
        };
        let size = submission.text.as_ref().map_or(0, String::len);
        let receipt = self.submit(caller, addressing, SubmissionBody::Parts(Box::new(submission)), size, None).await?;
        Ok(receipt.id.to_string())
    }

    /// Returns the address of the page of a proposal, if the service knows its public address.
    fn proposal_address(&self, id: &str) -> Option<String> {
        self.public_address().map(|base| format!("{base}/console/proposals/{id}"))
    }

    /// Returns the service itself as a caller: it submits mail, and has no other right.
    pub(super) fn own_caller(&self) -> Caller {
        Caller {
            name: "(service)".to_owned(),
            owner: "service:signatures".to_owned(),
            principal: Principal {
                subjects: Vec::new(),
                role: Some(Role::Sender),
                scope: Scope::default(),
                authenticated_at: None,
            },
            policy: Arc::default(),
            at: self.clock.now(),
            credential: Credential::Token(String::new()),
        }
    }
}
