//! Delegate profiles for the browser (platform `spa`): the sign-in that a page of the console needs to send as a person, and the
//! submission of a message that a person composed there.
//!
//! [`Service::web_delegates`] lists the profiles by which a caller may submit, [`Service::web_delegate_of`] finds the one of a
//! message, and [`Service::submit_composed`] accepts a message for the person whose ID token the request has. The caller decides
//! what may be submitted, the ID token alone who sends. Leases, contents and reports are in `delegates`; the page uses the same
//! API for them as any other client. Nothing here has a token for Microsoft Graph.

use axum::{
    body::Body,
    http::{HeaderMap, Method},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Service, access,
    caller::Caller,
    delegates::WantedSender,
    http::{
        HttpProblem,
        extract::{check_media_type, content_length, parse_json},
    },
    submissions::{Addressing, SubmissionBody, idempotency_key},
};
use crate::{
    api::{IDEMPOTENCY_KEY_HEADER, messages::Submission},
    entra::Endpoints,
    model::{
        AuditOutcome, Client, Code, CompanyId, Function, Profile, ProfileName, Provider,
        access::{Activity, Area, Decision, Extent, Question},
        provider::GraphDelegate,
        resolution::Cell,
    },
    store::AuditEvent,
};

/// Maximum number of companies that are offered.
const COMPANIES: usize = 500;
/// The address to which a composed message is posted, for the audit log.
const COMPOSE: &str = "/console/compose";

/// A delegate profile by which persons send from the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebDelegate {
    pub(crate) profile: ProfileName,
    pub(crate) tenant: String,
    /// The client id of the application.
    pub(crate) client: String,
    /// The redirect URI that is registered.
    pub(crate) redirect: String,
    /// The origin of the sign-in.
    pub(crate) sign_in: String,
    /// The origin of Microsoft Graph.
    pub(crate) graph: String,
    /// The address at which an administrator consents for all persons.
    pub(crate) consent: String,
}

impl WebDelegate {
    /// Returns the settings of an enabled profile; none if it is not for the browser.
    fn new(name: &ProfileName, profile: &Profile) -> Option<Self> {
        let delegate = spa_of(profile).filter(|_| profile.enabled)?;
        let endpoints = Endpoints::for_cloud(&delegate.cloud).ok()?;
        Some(Self {
            profile: name.clone(),
            tenant: delegate.tenant.clone(),
            client: delegate.client.to_ascii_lowercase(),
            redirect: delegate.redirect.clone(),
            sign_in: endpoints.sign_in.origin().ascii_serialization(),
            graph: endpoints.graph.origin().ascii_serialization(),
            consent: endpoints.admin_consent(&delegate.tenant, &delegate.client),
        })
    }
}

/// Returns the settings of a delegate profile for the browser.
fn spa_of(profile: &Profile) -> Option<&GraphDelegate> {
    match &profile.provider {
        Provider::MicrosoftGraphDelegate(delegate) if delegate.platform == Client::Spa => Some(delegate),
        _ => None,
    }
}

/// Returns true if the caller may submit mail of users for a company; after a confirmation of the identity at the latest.
fn may_submit(caller: &Caller, company: &CompanyId) -> bool {
    let decision = caller.may(Area::Mail, Activity::Submit, Some(company), Some(Function::user_interface()));
    matches!(decision, Decision::Allowed { .. } | Decision::StepUp { possible: true, .. })
}

impl Service {
    /// Returns the enabled profiles for the browser, by name, if the caller may submit mail of users for at least one company.
    pub(crate) fn web_delegates(&self, caller: &Caller) -> Vec<WebDelegate> {
        let state = self.state();
        if !state.settings.companies.iter().any(|company| may_submit(caller, company)) {
            return Vec::new();
        }
        state.live_stored().filter_map(|(name, stored)| WebDelegate::new(name, &stored.profile)).collect()
    }

    /// Returns the companies for which a profile sends mail of users in the browser and the caller may submit it.
    pub(crate) fn companies_to_compose_for(&self, caller: &Caller, profile: &ProfileName) -> Vec<CompanyId> {
        let state = self.state();
        let function = Function::user_interface();
        let is_sender = |company: &CompanyId| {
            self.sends_for(profile, &Cell { company: company.clone(), function, client: Some(Client::Spa) })
        };
        let companies = state.settings.companies.iter().filter(|company| may_submit(caller, company));
        companies.filter(|company| is_sender(company)).take(COMPANIES).cloned().collect()
    }

    /// Returns the profile of a message that a person sends from the browser. Nothing else of the message is returned: it is the
    /// ID token of its person that opens it.
    pub(crate) async fn web_delegate_of(&self, caller: &Caller, id: Uuid) -> Result<WebDelegate, HttpProblem> {
        let not_found = || self.message_not_found();
        let message = self.store.message(id).await?.ok_or_else(not_found)?;
        let application = message.sender.as_ref().filter(|sender| sender.client == Client::Spa);
        let application = application.map(|sender| sender.application.clone()).ok_or_else(not_found)?;
        let of_application = self.web_delegates(caller).into_iter().filter(|web| web.client == application);
        let mut of_application: Vec<WebDelegate> = of_application.collect();
        let own = of_application.iter().position(|web| web.profile == message.profile).unwrap_or_default();
        if of_application.is_empty() { Err(not_found()) } else { Ok(of_application.swap_remove(own)) }
    }

    /// Accepts a message that a person composed in the browser, and returns it as a JSON document. The person is that of the ID
    /// token in the header.
    pub(crate) async fn submit_composed(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<String, HttpProblem> {
        check_media_type(headers)?;
        let Some(verified) = self.sender_of_submission(headers).await? else {
            return Err(HttpProblem::new(Code::SenderMissing, "the request has no ID token of the person who sends")
                .remedy("Sign in to Microsoft on the page, and send the message again."));
        };
        let (bytes, _permit) = self.read_submission(caller, content_length(headers), body).await?;
        let (size, key) = (bytes.len(), headers.get(IDEMPOTENCY_KEY_HEADER).cloned());
        let of_person = format!("compose&{}", verified.person);
        let read = move || {
            let key = idempotency_key(key.as_ref(), &of_person, &bytes)?;
            Ok::<_, HttpProblem>((key, parse_json::<Submission>(&bytes)?))
        };
        let (key, mut submission) = self.limits.parsing.run(size, read).await?;
        let company = submission.company.clone();
        check_is_composed(&submission)?;
        let question =
            Question::any(Area::Mail, Activity::Submit).at(Extent::One(&company), Extent::One(submission.function));
        access::check(self, caller, &question, &Method::POST, COMPOSE).await?;
        if let Some(receipt) = self.find_receipt(caller, key.as_ref()).await? {
            return Ok(receipt.document);
        }
        let person = verified.person;
        let addressing = Addressing {
            company: company.clone(),
            function: submission.function,
            client: submission.client,
            sender: WantedSender { verified: Some(verified), named: submission.sender },
            document: submission.document.take(),
            allow_duplicate: submission.allow_duplicate,
            only_by: None,
        };
        let body = SubmissionBody::Parts(Box::new(submission));
        let receipt = self.submit(caller, addressing, body, size, key).await?;
        if !receipt.is_replayed {
            let event = AuditEvent {
                at: self.clock.now(),
                actor: caller.name.clone(),
                action: "message.compose",
                outcome: AuditOutcome::Accepted,
                detail: json!({ "message": receipt.id, "company": company, "sender": person, "client": Client::Spa }),
            };
            self.store.record(event).await?;
        }
        Ok(receipt.document)
    }
}

/// Refuses what the page does not compose: mail of another function than that of users, or for another client.
fn check_is_composed(submission: &Submission) -> Result<(), HttpProblem> {
    if submission.function == Function::user_interface() && submission.client == Some(Client::Spa) {
        return Ok(());
    }
    Err(HttpProblem::malformed("a composed message has the function `user-interface` and the client `spa`")
        .remedy("Use POST /v1/messages for other mail."))
}
