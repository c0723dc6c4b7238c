//! Passkeys of operators: sign-in, enrolment, step-up, signatures, and the passkeys of the person itself.
//!
//! [`crate::passkey`] verifies what a device signed; here is which request an answer belongs to, whose passkey it is, and the
//! consequence. A request is answered once, within five minutes: a sign-in by the browser that asked (a secret in its cookie), an
//! enrolment while the link that it was made with is open, everything else in the same session. An answer to a request of another
//! browser or session, planted or stolen, is refused. Requests for sign-ins need no credential, so a flood of them displaces one
//! another and not those of people who are signed in.
//!
//! For signatures: [`Service::begin_signature`] returns the options for a form, [`Service::finish_signature`] what to keep.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Service,
    caller::{Caller, SessionHolder},
    http::HttpProblem,
    operators::is_link_secret,
    sessions::{SignInSource, new_secret},
};
use crate::{
    model::{
        AuditOutcome, Code, Digest,
        delivery::EventKind,
        operator::{LABEL_LIMIT, Operator, PasskeyInfo},
        session::{Session, SessionSubject},
        signature::{PasskeyEvidence, RecentPasskey},
    },
    passkey::{
        AssertionResponse, Challenge, Challenges, Passkey, PasskeyError, Person, RegistrationResponse, RelyingParty,
    },
    store::{AuditEvent, PasskeyAdded, PasskeyUsed, StoredOperator, StoredPasskey, outbox::NewEvent, token_hash},
};

/// Maximum size of the answer of a browser, in bytes.
const ANSWER_LIMIT: usize = 32 * 1024;
/// Time within which a person has confirmed its identity before it changes its passkeys.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Requests to devices that wait for their answers.
#[derive(Default)]
pub(super) struct PasskeyRequests {
    /// Sign-ins, with the hash of the secret of the browser that asked.
    sign_ins: Challenges<Digest>,
    /// All others.
    known: Challenges<PasskeyRequest>,
}

/// The purpose of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PasskeyRequest {
    /// The registration by the enrolment link with this hash.
    Enrol(Digest),
    /// A further passkey of the person of a session, by its id.
    Add(String),
    /// The step-up of a session.
    Confirm(String),
    /// A signature of a document in a session.
    Sign(String, Digest),
}

/// The answer to a registration, with its request.
struct Registering {
    label: String,
    answer: RegistrationResponse,
    challenge: Challenge,
    request: PasskeyRequest,
}

/// A signature by a passkey: who signed, with which key, and what proves it.
#[derive(Clone, Debug)]
pub(crate) struct PasskeySignature {
    /// The operator.
    pub(crate) operator: Operator,
    /// The time of the signature.
    pub(crate) at: Timestamp,
    /// The passkey that signed.
    pub(crate) passkey: PasskeyInfo,
    /// The answer of the device. Its challenge has the SHA-256 of the digest that was signed.
    pub(crate) evidence: PasskeyEvidence,
}

impl Service {
    /// Returns the site of passkeys: that of the console's configured address, otherwise `localhost` if the request is for it.
    pub(crate) fn passkey_site(&self, host: Option<&str>) -> Result<RelyingParty, HttpProblem> {
        if let Some(public) = &self.public_url {
            return public.site().cloned().ok_or_else(|| {
                HttpProblem::new(Code::PasskeysUnavailable, "browsers have no passkeys for the address of this console")
                    .remedy("Start the service with a host name: `mailwright serve --public-url https://HOST`.")
            });
        }
        host.and_then(RelyingParty::for_local_host).ok_or_else(|| {
            HttpProblem::new(Code::PasskeysUnavailable, "the service does not know the address of its console")
                .remedy("Start the service with `mailwright serve --public-url https://HOST`. On this machine, open `http://localhost:PORT/console` instead of `127.0.0.1`.")
        })
    }

    /// Makes the secret that binds requests for sign-ins to a browser.
    pub(crate) fn new_browser_secret() -> Result<SecretString, HttpProblem> {
        new_secret()
    }

    /// Returns the options for a sign-in with any passkey of the site, for the browser with this secret.
    pub(crate) fn begin_passkey_sign_in(
        &self,
        site: &RelyingParty,
        browser: &SecretString,
    ) -> Result<Value, HttpProblem> {
        let challenge = Challenge::random().map_err(HttpProblem::internal)?;
        let options = site.request_options(&challenge, &[]);
        self.passkey_requests.sign_ins.add(challenge, token_hash(browser), self.clock.now());
        Ok(options)
    }

    /// Creates a session for the answer to [`Service::begin_passkey_sign_in`]. `browser` is the secret of the browser that sends
    /// it.
    pub(crate) async fn sign_in_with_passkey(
        &self,
        site: &RelyingParty,
        answer: &str,
        browser: Option<&SecretString>,
        source: &SignInSource,
    ) -> Result<(Session, SecretString), HttpProblem> {
        match self.find_signed_in_operator(site, answer, browser).await {
            Ok((operator, passkey)) => {
                let holder = SessionHolder::from_operator(&operator, Some(self.clock.now()), Some(passkey));
                self.begin_session(holder, source).await
            }
            Err((_, problem)) if problem.code() == Code::Busy => Err(problem),
            Err((name, problem)) => Err(self.refuse_sign_in(name.as_deref(), source, problem).await),
        }
    }

    async fn find_signed_in_operator(
        &self,
        site: &RelyingParty,
        answer: &str,
        browser: Option<&SecretString>,
    ) -> Result<(Operator, String), (Option<String>, HttpProblem)> {
        let unnamed = |problem| (None, problem);
        let answer: AssertionResponse = parse(answer).map_err(|error| unnamed(refused(error)))?;
        let challenge = answer.challenge().ok_or_else(|| unnamed(refused(PasskeyError::Malformed)))?;
        let asked = self.passkey_requests.sign_ins.take(&challenge, self.clock.now());
        // An unknown request, and one of another browser: a page of an attacker cannot sign this browser in as the attacker.
        if asked.is_none() || asked != browser.map(token_hash) {
            return Err(unnamed(refused(PasskeyError::Challenge)));
        }
        let id = passkey_id(answer.id());
        let stored = self.store.operator_of_passkey(&id).await.map_err(|error| unnamed(error.into()))?;
        let Some(stored) = stored else {
            return Err(unnamed(refused(PasskeyError::OtherKey)));
        };
        let name = stored.operator.name.clone();
        let named = |problem| (Some(name.clone()), problem);
        if !stored.operator.is_active() {
            return Err(named(inactive(&stored.operator)));
        }
        let passkey = self.accept_answer(site, &answer, &challenge, &stored).await.map_err(named)?;
        Ok((stored.operator, passkey))
    }

    /// Verifies an answer by a passkey of an operator, and records the use. Returns the id of the passkey.
    async fn accept_answer(
        &self,
        site: &RelyingParty,
        answer: &AssertionResponse,
        challenge: &Challenge,
        stored: &StoredOperator,
    ) -> Result<String, HttpProblem> {
        let id = passkey_id(answer.id());
        let StoredPasskey { key, .. } =
            stored.keys.iter().find(|one| one.info.id == id).ok_or_else(|| refused(PasskeyError::OtherKey))?;
        let used = match site.verify(answer, challenge, key) {
            Ok(assertion) => self.store.use_passkey(&id, assertion.counter, self.clock.now()).await?,
            Err(PasskeyError::Counter) => PasskeyUsed::CountTooLow,
            Err(error) => return Err(refused(error)),
        };
        match used {
            PasskeyUsed::Used => return Ok(id),
            // It was removed since it was read.
            PasskeyUsed::Unknown => return Err(refused(PasskeyError::OtherKey)),
            PasskeyUsed::CountTooLow => {}
        }
        // The device, or a copy of its key, was used with a higher count before.
        let (at, operator) = (self.clock.now(), &stored.operator);
        let detail = json!({ "id": operator.id, "name": operator.name, "passkey": id, "why": PasskeyError::Counter.to_string() });
        let actor = operator.name.clone();
        let audit = AuditEvent { at, actor, action: "operator.passkey-copied", outcome: AuditOutcome::Refused, detail };
        let reason =
            format!("a passkey of the operator `{}` may have been copied: its count did not rise", operator.name);
        let kind = EventKind::PasskeyCopied;
        let event = NewEvent { kind, at, message: None, profile: None, reason };
        self.record_bounded_with_event(audit, event).await?;
        Err(refused(PasskeyError::Counter))
    }

    /// Returns the operator of an enrolment link, and the options with which its browser makes a passkey.
    pub(crate) async fn begin_enrolment(
        &self,
        site: &RelyingParty,
        secret: &SecretString,
        source: &SignInSource,
    ) -> Result<(Operator, Value), HttpProblem> {
        let (stored, hash) = self.find_enrolment(secret, source).await?;
        let options = self.creation_options(site, &stored, PasskeyRequest::Enrol(hash))?;
        Ok((stored.operator, options))
    }

    /// Registers the passkey of an enrolment, which ends the link, and creates a session. The answer says which request it is
    /// for, and only the page of [`Service::begin_enrolment`] had that.
    pub(crate) async fn finish_enrolment(
        &self,
        site: &RelyingParty,
        answer: &str,
        label: &str,
        source: &SignInSource,
    ) -> Result<(Session, SecretString), HttpProblem> {
        let registered = self.register_by_link(site, answer, label).await;
        let (operator, passkey, at) = match registered {
            Ok(registered) => registered,
            Err((_, problem)) if problem.code() == Code::Busy => return Err(problem),
            Err((name, problem)) => return Err(self.refuse_sign_in(name.as_deref(), source, problem).await),
        };
        self.begin_session(SessionHolder::from_operator(&operator, Some(at), Some(passkey)), source).await
    }

    async fn register_by_link(
        &self,
        site: &RelyingParty,
        answer: &str,
        label: &str,
    ) -> Result<(Operator, String, Timestamp), (Option<String>, HttpProblem)> {
        let unnamed = |problem| (None, problem);
        let answered = self.answered(answer, label).map_err(unnamed)?;
        let PasskeyRequest::Enrol(hash) = &answered.request else {
            return Err(unnamed(refused(PasskeyError::Challenge)));
        };
        let stored = self.store.operator_of_enrolment(hash).await.map_err(|error| unnamed(error.into()))?;
        let Some(StoredOperator { operator, .. }) = stored else {
            return Err(unnamed(enrolment_refused()));
        };
        let named = |problem| (Some(operator.name.clone()), problem);
        let enrolled_by = operator.enrolment.as_ref().map(|enrolment| enrolment.by.clone());
        let passkey = self.verify_registration(site, &answered, &operator, enrolled_by).map_err(named)?;
        let detail = json!({
            "id": operator.id, "name": operator.name, "passkey": passkey.info.id, "label": passkey.info.label,
            "linkBy": passkey.info.enrolled_by,
        });
        let (at, actor, id) = (self.clock.now(), operator.name.clone(), passkey.info.id.clone());
        let event = AuditEvent { at, actor, action: "operator.enrol", outcome: AuditOutcome::Accepted, detail };
        let stored = self.store.add_passkey(&operator.id, passkey, Some(hash.clone()), event).await;
        let operator = added(stored.map_err(|error| named(error.into()))?).map_err(named)?;
        Ok((operator, id, at))
    }

    async fn find_enrolment(
        &self,
        secret: &SecretString,
        source: &SignInSource,
    ) -> Result<(StoredOperator, Digest), HttpProblem> {
        let stored = if is_link_secret(secret.expose_secret()) {
            self.store.operator_of_enrolment(&token_hash(secret)).await?
        } else {
            None
        };
        match stored {
            Some(stored) if stored.operator.has_open_enrolment(self.clock.now()) => Ok((stored, token_hash(secret))),
            other => {
                let name = other.map(|stored| stored.operator.name);
                Err(self.refuse_sign_in(name.as_deref(), source, enrolment_refused()).await)
            }
        }
    }

    /// Returns the options with which the person of a session makes a further passkey.
    pub(crate) async fn begin_passkey(&self, site: &RelyingParty, session: &Session) -> Result<Value, HttpProblem> {
        let stored = self.operator_of_session(session).await?;
        self.creation_options(site, &stored, PasskeyRequest::Add(session.id.clone()))
    }

    /// Registers a further passkey of the person of a session. Records a refusal.
    pub(crate) async fn finish_passkey(
        &self,
        site: &RelyingParty,
        caller: &Caller,
        session: &Session,
        answer: &str,
        label: &str,
    ) -> Result<Operator, HttpProblem> {
        let registered = async {
            self.check_confirmed_recently(session)?;
            let operator = self.operator_of_session(session).await?.operator;
            let answered = self.answered(answer, label)?;
            if answered.request != PasskeyRequest::Add(session.id.clone()) {
                return Err(refused(PasskeyError::Challenge));
            }
            // A passkey that was registered by a link, and then adds another one, does not hide who issued the link.
            let now = self.clock.now();
            let own = operator.passkeys.iter().find(|own| Some(&own.id) == session.passkey.as_ref());
            let recent = own.filter(|own| RecentPasskey::is_recent(own.added_at, now));
            let enrolled_by = recent.and_then(|own| own.enrolled_by.clone());
            let passkey = self.verify_registration(site, &answered, &operator, enrolled_by)?;
            let detail = json!({ "id": operator.id, "name": operator.name, "passkey": passkey.info.id, "label": passkey.info.label });
            let event = self.operator_event(caller, "operator.add-passkey", detail);
            added(self.store.add_passkey(&operator.id, passkey, None, event).await?)
        };
        match registered.await {
            Ok(operator) => Ok(operator),
            Err(problem) if !problem.is_about_request() => Err(problem),
            Err(problem) => {
                let detail = json!({
                    "session": session.id, "subject": session.subject, "why": problem.message(), "code": problem.code(),
                });
                let event = self.operator_event(caller, "operator.add-passkey", detail);
                self.record_bounded(AuditEvent { outcome: AuditOutcome::Refused, ..event }).await?;
                Err(problem)
            }
        }
    }

    /// Removes a passkey of the person of a session; not the last one.
    pub(crate) async fn remove_own_passkey(
        &self,
        caller: &Caller,
        session: &Session,
        passkey: &str,
    ) -> Result<Operator, HttpProblem> {
        self.check_confirmed_recently(session)?;
        let operator = self.operator_of_session(session).await?.operator;
        self.remove_passkey(caller, &operator.id, passkey, true).await
    }

    /// Returns the operator of a session.
    pub(crate) async fn own_operator(&self, session: &Session) -> Result<Operator, HttpProblem> {
        Ok(self.operator_of_session(session).await?.operator)
    }

    /// Returns true if the person of a session has confirmed its identity within the last minutes.
    pub(crate) fn is_confirmed_recently(&self, session: &Session) -> bool {
        let age = |at| Duration::try_from(self.clock.now().duration_since(at)).ok();
        session.authenticated_at.and_then(age).is_some_and(|age| age <= CONFIRMED_WITHIN)
    }

    fn check_confirmed_recently(&self, session: &Session) -> Result<(), HttpProblem> {
        if self.is_confirmed_recently(session) {
            return Ok(());
        }
        Err(HttpProblem::new(
            Code::StepUpRequired,
            "passkeys are changed within 10 minutes of a confirmation of your identity",
        )
        .remedy("Confirm your identity again, and repeat the request."))
    }

    /// Returns the options for the step-up of a session, by one of the passkeys of its person.
    pub(crate) async fn begin_confirmation(
        &self,
        site: &RelyingParty,
        session: &Session,
    ) -> Result<Value, HttpProblem> {
        let challenge = Challenge::random().map_err(HttpProblem::internal)?;
        self.request_options(site, session, challenge, PasskeyRequest::Confirm(session.id.clone())).await
    }

    /// Records the step-up of a session, and returns it with its new secret.
    pub(crate) async fn finish_confirmation(
        &self,
        site: &RelyingParty,
        session: &Session,
        answer: &str,
    ) -> Result<(Session, SecretString), HttpProblem> {
        let request = PasskeyRequest::Confirm(session.id.clone());
        let (_, passkey, _) = self.accept_in_session(site, session, answer, &request).await?;
        self.renew_session(session, Some(passkey.clone()), json!({ "passkey": passkey })).await
    }

    /// Returns the options for a signature of a document by one of the passkeys of the person of a session. The digest is that of
    /// exactly what is shown.
    pub(crate) async fn begin_signature(
        &self,
        site: &RelyingParty,
        session: &Session,
        document: &Digest,
    ) -> Result<Value, HttpProblem> {
        let challenge = Challenge::for_document(document).map_err(HttpProblem::internal)?;
        self.request_options(site, session, challenge, PasskeyRequest::Sign(session.id.clone(), document.clone())).await
    }

    /// Verifies a signature of a document: the answer to [`Service::begin_signature`] in the same session, for the same digest.
    /// The caller stores the result with what it allows, and records a refusal.
    pub(crate) async fn finish_signature(
        &self,
        site: &RelyingParty,
        session: &Session,
        document: &Digest,
        answer: &str,
    ) -> Result<PasskeySignature, HttpProblem> {
        let request = PasskeyRequest::Sign(session.id.clone(), document.clone());
        let (stored, passkey, answer) = self.accept_in_session(site, session, answer, &request).await?;
        let own = stored.keys.iter().find(|one| one.info.id == passkey);
        let key = own.ok_or_else(|| refused(PasskeyError::OtherKey))?;
        let evidence = answer.evidence(&key.key);
        let passkey = key.info.clone();
        Ok(PasskeySignature { operator: stored.operator, at: self.clock.now(), passkey, evidence })
    }

    /// Verifies an answer of the person of a session to a request that was made in that session. Records a refusal.
    async fn accept_in_session(
        &self,
        site: &RelyingParty,
        session: &Session,
        answer: &str,
        request: &PasskeyRequest,
    ) -> Result<(StoredOperator, String, AssertionResponse), HttpProblem> {
        let stored = self.operator_of_session(session).await?;
        let accepted = async {
            let answer: AssertionResponse = parse(answer).map_err(refused)?;
            let challenge = answer.challenge().ok_or_else(|| refused(PasskeyError::Malformed))?;
            let asked = self.passkey_requests.known.take(&challenge, self.clock.now());
            if asked.as_ref() != Some(request) {
                return Err(refused(PasskeyError::Challenge));
            }
            let passkey = self.accept_answer(site, &answer, &challenge, &stored).await?;
            Ok((passkey, answer))
        };
        match accepted.await {
            Ok((passkey, answer)) => Ok((stored, passkey, answer)),
            Err(problem) => {
                metrics::counter!("mailwright_authentication_failures_total").increment(1);
                // A refused signature is recorded with what it was for.
                if matches!(request, PasskeyRequest::Sign(..)) {
                    return Err(problem);
                }
                let detail = json!({
                    "id": session.id, "subject": session.subject, "why": problem.message(), "code": problem.code(),
                });
                let (at, actor) = (self.clock.now(), session.name.clone());
                let action = "session.confirm";
                let event = AuditEvent { at, actor, action, outcome: AuditOutcome::Refused, detail };
                self.record_bounded(event).await?;
                Err(problem)
            }
        }
    }

    async fn request_options(
        &self,
        site: &RelyingParty,
        session: &Session,
        challenge: Challenge,
        request: PasskeyRequest,
    ) -> Result<Value, HttpProblem> {
        let keys = keys(&self.operator_of_session(session).await?);
        let options = site.request_options(&challenge, &keys);
        self.passkey_requests.known.add(challenge, request, self.clock.now());
        Ok(options)
    }

    fn creation_options(
        &self,
        site: &RelyingParty,
        stored: &StoredOperator,
        request: PasskeyRequest,
    ) -> Result<Value, HttpProblem> {
        let challenge = Challenge::random().map_err(HttpProblem::internal)?;
        let operator = &stored.operator;
        // The list of a device has the passkeys of all environments at this address.
        let name = format!("{} ({})", operator.name, self.store.environment());
        let person = Person { handle: handle(operator), name, display_name: operator.name.clone() };
        let options = site.creation_options(&person, &challenge, &keys(stored));
        self.passkey_requests.known.add(challenge, request, self.clock.now());
        Ok(options)
    }

    /// Takes the request that the answer to a registration belongs to.
    fn answered(&self, answer: &str, label: &str) -> Result<Registering, HttpProblem> {
        let label = label.trim();
        if label.is_empty() || label.chars().count() > LABEL_LIMIT || label.chars().any(char::is_control) {
            return Err(HttpProblem::malformed(
                "the name of a passkey has 1 to 60 characters, and no control characters",
            )
            .remedy("Give it the name of the device."));
        }
        let answer: RegistrationResponse = parse(answer).map_err(refused)?;
        let challenge = answer.challenge().ok_or_else(|| refused(PasskeyError::Malformed))?;
        let request = self.passkey_requests.known.take(&challenge, self.clock.now());
        let request = request.ok_or_else(|| refused(PasskeyError::Challenge))?;
        Ok(Registering { label: label.to_owned(), answer, challenge, request })
    }

    /// Verifies the answer to a registration.
    fn verify_registration(
        &self,
        site: &RelyingParty,
        answered: &Registering,
        operator: &Operator,
        enrolled_by: Option<String>,
    ) -> Result<StoredPasskey, HttpProblem> {
        let registered = site.register(&answered.answer, &answered.challenge, &handle(operator));
        let key = registered.map_err(refused)?.passkey;
        let info = PasskeyInfo {
            id: passkey_id(&key.id),
            label: answered.label.clone(),
            added_at: self.clock.now(),
            used_at: None,
            is_synced: key.is_synced,
            enrolled_by,
        };
        Ok(StoredPasskey { info, key })
    }

    /// Returns the operator of a session, with its keys.
    async fn operator_of_session(&self, session: &Session) -> Result<StoredOperator, HttpProblem> {
        let SessionSubject::Operator(id) = &session.subject else {
            return Err(HttpProblem::not_found("only operators have passkeys")
                .remedy("Sign in with a passkey. An administrator creates operators with `mailwright operator add`."));
        };
        let stored = self.store.operator(id).await?.filter(|stored| stored.operator.is_active());
        stored.ok_or_else(|| refused(PasskeyError::OtherKey))
    }
}

fn keys(stored: &StoredOperator) -> Vec<Passkey> {
    stored.keys.iter().map(|one| one.key.clone()).collect()
}

/// Returns the handle of an operator: a device returns it at a sign-in. The id is random, and says nothing about the person.
fn handle(operator: &Operator) -> Vec<u8> {
    operator.id.as_bytes().to_vec()
}

/// Returns the id under which a key is stored: its own one can have 1,364 characters.
fn passkey_id(credential: &str) -> String {
    Digest::of_bytes(credential.as_bytes()).as_str().trim_start_matches("sha256:").chars().take(24).collect()
}

fn parse<'a, T: Deserialize<'a>>(answer: &'a str) -> Result<T, PasskeyError> {
    if answer.len() > ANSWER_LIMIT {
        return Err(PasskeyError::Malformed);
    }
    serde_json::from_str(answer).map_err(|_| PasskeyError::Malformed)
}

fn refused(error: PasskeyError) -> HttpProblem {
    let remedy = match error {
        PasskeyError::Challenge => "Load the page again, and repeat it.",
        PasskeyError::OtherKey => "Choose another passkey, or ask an administrator for an enrolment link.",
        PasskeyError::OtherSite => "Open the console at the address of `mailwright serve --public-url`.",
        PasskeyError::Counter => "Ask an administrator to remove this passkey, and for an enrolment link.",
        _ => "Try again, or use another device.",
    };
    HttpProblem::new(Code::PasskeyRefused, format!("the passkey is not accepted: {error}")).remedy(remedy)
}

fn inactive(operator: &Operator) -> HttpProblem {
    let why = if operator.removed_at.is_some() {
        "the operator was removed"
    } else {
        "the operator is suspended: the store was restored from a backup, and the operator may have been removed since"
    };
    HttpProblem::new(Code::PasskeyRefused, format!("the passkey is not accepted: {why}"))
        .remedy("Ask an administrator. `mailwright operator confirm` ends a suspension.")
}

fn enrolment_refused() -> HttpProblem {
    HttpProblem::new(Code::EnrolmentRefused, "the enrolment link is unknown, was used, was replaced, or has ended")
        .remedy("Ask an administrator for another link: `mailwright operator link`.")
}

fn added(added: PasskeyAdded) -> Result<Operator, HttpProblem> {
    match added {
        PasskeyAdded::Added(operator) => Ok(*operator),
        PasskeyAdded::NotActive | PasskeyAdded::NoEnrolment => Err(enrolment_refused()),
        PasskeyAdded::Known => {
            Err(HttpProblem::new(Code::PasskeyRefused, "the passkey is not accepted: it is registered already")
                .remedy("Use another device."))
        }
        PasskeyAdded::TooMany => Err(HttpProblem::malformed("an operator has at most 10 passkeys")
            .remedy("Remove a passkey that is not used any more.")),
    }
}
