//! Test messages: messages with a fixed text that a person sends by one profile, to see whether they arrive.
//!
//! [`Service::test_message_targets`] returns the companies and functions for which a profile sends and a caller may submit mail,
//! or the [`TestObstacle`]. [`Service::send_test_message`] sends a [`TestMessage`]. It needs the right `submit` in `mail` for the
//! company and the function, and refuses those for which another profile sends. The caller chooses the recipient and nothing else
//! of the message: the console writes the text. Everything else is as for any submission, and recipients are checked in the same
//! way. A caller sends at most [`PER_CALLER`] in a minute, all callers together [`PER_ENVIRONMENT`]. Each one has an entry in the
//! audit log.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use axum::http::Method;
use serde_json::json;
use uuid::Uuid;

use super::{
    Service, access,
    caller::Caller,
    http::HttpProblem,
    submissions::{Addressing, SubmissionBody},
};
use crate::{
    api::messages::Submission,
    model::{
        Address, AppliesTo, AuditOutcome, Code, CompanyId, Digest, Function, Profile, ProfileName, Provider,
        access::{Activity, Area, Decision, Extent, Question},
        resolution::Cell,
    },
    store::{AuditEvent, outbox::IdempotencyKey},
    sync::Mutex,
};

/// Maximum number of companies that are offered.
const COMPANIES: usize = 500;
/// Test messages of one caller within [`WINDOW`].
const PER_CALLER: usize = 5;
/// Test messages of all callers within [`WINDOW`].
const PER_ENVIRONMENT: usize = 30;
const WINDOW: Duration = Duration::from_secs(60);
/// Size of a test message in bytes, for the limits of memory.
const SIZE: usize = 4096;

/// The companies and functions for which a profile can send a test message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestTargets {
    pub(crate) companies: Vec<CompanyId>,
    /// Number of companies that are not listed.
    pub(crate) more_companies: usize,
    pub(crate) functions: Vec<Function>,
}

/// The reason for which a caller cannot send a test message by a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestObstacle {
    /// The profile sends as a signed-in user.
    Delegate,
    /// The profile is disabled.
    Disabled,
    /// The caller may not submit mail for any of its companies and functions.
    Right,
    /// Other profiles send for all of its companies and functions.
    OtherProfiles,
}

impl TestObstacle {
    /// Returns the id of its text.
    pub(crate) fn id(self) -> &'static str {
        match self {
            TestObstacle::Delegate => "delegate",
            TestObstacle::Disabled => "disabled",
            TestObstacle::Right => "right",
            TestObstacle::OtherProfiles => "other-profiles",
        }
    }
}

/// A test message. Subject and text are not the caller's.
#[derive(Clone, Debug)]
pub(crate) struct TestMessage {
    pub(crate) profile: ProfileName,
    pub(crate) company: CompanyId,
    pub(crate) function: Function,
    /// The address that was entered.
    pub(crate) recipient: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// The form that was sent: sent twice, it is one message.
    pub(crate) form: Uuid,
}

/// Test messages of the last minute: time and owner of each.
#[derive(Default)]
pub(super) struct RecentTestMessages(Mutex<VecDeque<(Instant, String)>>);

impl RecentTestMessages {
    /// Counts a message of an owner; returns false if there are too many, which are not counted.
    fn count(&self, owner: &str, now: Instant) -> bool {
        let mut recent = self.0.lock();
        while recent.front().is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            recent.pop_front();
        }
        let own = recent.iter().filter(|(_, other)| other == owner).count();
        if own >= PER_CALLER || recent.len() >= PER_ENVIRONMENT {
            return false;
        }
        recent.push_back((now, owner.to_owned()));
        true
    }
}

impl Service {
    /// Returns for which companies and functions a caller can send a test message by a live profile.
    pub(crate) fn test_message_targets(
        &self,
        caller: &Caller,
        name: &ProfileName,
        profile: &Profile,
    ) -> Result<TestTargets, TestObstacle> {
        if matches!(profile.provider, Provider::MicrosoftGraphDelegate(_)) {
            return Err(TestObstacle::Delegate);
        }
        if !profile.enabled {
            return Err(TestObstacle::Disabled);
        }
        let state = self.state();
        let all: Vec<&CompanyId> = match &profile.applies_to {
            AppliesTo::SystemWide => state.settings.companies.iter().collect(),
            AppliesTo::Companies(companies) => companies.intersection(&state.settings.companies).collect(),
        };
        let may = |company: &CompanyId, function: Function| {
            let decision = caller.may(Area::Mail, Activity::Submit, Some(company), Some(function));
            // The page that refuses leads to the confirmation of the identity.
            matches!(decision, Decision::Allowed { .. } | Decision::StepUp { possible: true, .. })
        };
        let permitted = |company: &CompanyId| profile.functions.iter().any(|function| may(company, *function));
        let permitted: Vec<&CompanyId> = all.into_iter().filter(|company| permitted(company)).collect();
        if permitted.is_empty() {
            return Err(TestObstacle::Right);
        }
        let sends = |company: &CompanyId, function: Function| {
            may(company, function) && self.sends_for(name, &Cell { company: company.clone(), function, client: None })
        };
        let more_companies = permitted.len().saturating_sub(COMPANIES);
        let is_sender = |company: &&CompanyId| profile.functions.iter().any(|function| sends(company, *function));
        let companies: Vec<CompanyId> = permitted.into_iter().take(COMPANIES).filter(is_sender).cloned().collect();
        let is_sent = |function: &Function| companies.iter().any(|company| sends(company, *function));
        let functions: Vec<Function> = profile.functions.iter().copied().filter(is_sent).collect();
        if functions.is_empty() {
            return Err(TestObstacle::OtherProfiles);
        }
        Ok(TestTargets { companies, more_companies, functions })
    }

    /// Sends a test message, and returns its id.
    pub(crate) async fn send_test_message(&self, caller: &Caller, test: TestMessage) -> Result<Uuid, HttpProblem> {
        let TestMessage { profile, company, function, recipient, subject, text, form } = test;
        let question = Question::any(Area::Mail, Activity::Submit).at(Extent::One(&company), Extent::One(function));
        access::check(self, caller, &question, &Method::POST, &format!("/console/profiles/{profile}/test")).await?;
        let recipient = Address::parse(&recipient)
            .map_err(|error| {
                HttpProblem::new(Code::MessageMalformed, format!("the recipient is not an e-mail address: {error}"))
                    .remedy(error.remedy)
            })?
            .to_string();
        let details = Digest::of_document(&("test message", &profile, &company, function, &recipient));
        let key = IdempotencyKey { key: format!("test-{form}-{details}"), digest: details };
        if let Some(earlier) = self.find_receipt(caller, Some(&key)).await? {
            return Ok(earlier.id);
        }
        if !self.recent_test_messages.count(&caller.owner, Instant::now()) {
            return Err(HttpProblem::new(
                Code::TooManyTestMessages,
                format!("more than {PER_CALLER} test messages of one person, or {PER_ENVIRONMENT} of all, in a minute"),
            )
            .remedy("Wait a minute. The outbox has the messages that were sent."));
        }
        let submission = Submission {
            company: company.clone(),
            function,
            client: None,
            sender: None,
            document: None,
            allow_duplicate: true,
            to: vec![recipient.clone()],
            cc: Vec::new(),
            bcc: Vec::new(),
            reply_to: Vec::new(),
            sender_name: None,
            subject,
            text: Some(text),
            html: None,
            calendar: None,
            attachments: Vec::new(),
            headers: BTreeMap::from([("Auto-Submitted".to_owned(), "auto-generated".to_owned())]),
            notify: None,
        };
        let addressing = Addressing {
            company: company.clone(),
            function,
            client: None,
            sender: super::delegates::WantedSender::default(),
            document: None,
            allow_duplicate: true,
            only_by: Some(profile.clone()),
        };
        let body = SubmissionBody::Parts(Box::new(submission));
        let receipt = self.submit(caller, addressing, body, SIZE, Some(key)).await?;
        if !receipt.is_replayed {
            let event = AuditEvent {
                at: self.clock.now(),
                actor: caller.name.clone(),
                action: "message.test",
                outcome: AuditOutcome::Accepted,
                detail: json!({
                    "message": receipt.id, "profile": profile, "company": company, "function": function, "to": recipient,
                }),
            };
            self.store.record(event).await?;
        }
        Ok(receipt.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_and_all_together_are_limited_for_a_minute() {
        let (recent, now) = (RecentTestMessages::default(), Instant::now());
        assert!((0..PER_CALLER).all(|_| recent.count("ann", now)));
        assert!(!recent.count("ann", now) && recent.count("bob", now));
        let others = (0..100).filter(|number| recent.count(&format!("other-{number}"), now)).count();
        assert_eq!(others, PER_ENVIRONMENT - PER_CALLER - 1);
        assert_eq!(recent.0.lock().len(), PER_ENVIRONMENT);
        assert!(recent.count("ann", now + WINDOW));
        assert_eq!(recent.0.lock().len(), 1);
    }
}
