//! Sessions of the console: begin, continuation by the secret in the browser's cookie, and their end.
//!
//! [`Service::begin_session`] creates a session for a [`SessionHolder`] that has proved its identity, [`Service::sign_in`] for a
//! token; [`Service::resume`] returns the session with its [`Caller`]. A session of a token or an operator has no rights of its
//! own: each request reads them again, so that a token that was revoked, suspended or has expired ends its sessions at once. A
//! person of an identity provider keeps the rights that its sign-in gave, while the same settings are in effect.
//! [`Service::confirm_identity`] is the step-up. The store keeps a hash of the secret. Cookies and pages are the concern of the
//! console.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    Service,
    caller::{Caller, Credential, SessionHolder},
    http::HttpProblem,
};
use crate::{
    model::{
        AuditOutcome, Code, Digest,
        access::{self, Activity, Area, Decision, Principal, Question},
        session::{Session, SessionSubject},
        token::Role,
    },
    store::{AuditEvent, EndedSessions, StoredOperator, token_hash},
    sync::Mutex,
    text::{printable, shortened},
};

/// Time without a request after which a session ends.
const IDLE_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Time after the sign-in at which a session ends.
const TOTAL_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);
/// Interval at which the use of a session is written to the store.
const NOTED_EVERY: Duration = Duration::from_secs(60);
/// Maximum size of the secret of a session as a cookie has it, in bytes.
const SECRET_LIMIT: usize = 64;
/// Maximum size of the name of a browser, in characters.
const CLIENT_LIMIT: usize = 160;
/// Failed sign-ins from one address within [`FAILURE_WINDOW`] that are recorded one by one.
const FAILURES: u32 = 10;
/// Period over which failed sign-ins are counted.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of addresses whose failures are counted.
const ADDRESSES: usize = 10_000;

/// The source of a sign-in.
pub(crate) struct SignInSource {
    /// The address of the browser or of the proxy.
    pub(crate) address: Option<IpAddr>,
    /// The `User-Agent` of the browser.
    pub(crate) client: String,
    /// The session that the browser had before, which ends.
    pub(crate) replaces: Option<Session>,
}

/// Failed sign-ins by address.
#[derive(Default)]
pub(super) struct SignInFailures(Mutex<HashMap<Option<IpAddr>, (Instant, u32)>>);

impl SignInFailures {
    /// Counts a failure; returns true while the address is within its limit.
    fn count(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut failures = self.0.lock();
        if failures.len() >= ADDRESSES {
            failures.retain(|_, (since, _)| now.duration_since(*since) < FAILURE_WINDOW);
        }
        // With too many addresses, all others share one count.
        let known = failures.len() < ADDRESSES || failures.contains_key(&address);
        let entry = failures.entry(address.filter(|_| known)).or_insert((now, 0));
        if now.duration_since(entry.0) >= FAILURE_WINDOW {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 <= FAILURES
    }
}

impl Service {
    /// Creates a session for a bearer token of the service.
    pub(crate) async fn sign_in(
        &self,
        bearer: &SecretString,
        source: &SignInSource,
    ) -> Result<(Session, SecretString), HttpProblem> {
        match self.find_valid_token(bearer.expose_secret()).await {
            Ok(token) => self.begin_session(SessionHolder::from_token(token), source).await,
            Err(problem) if problem.code() == Code::Busy => Err(problem),
            Err(problem) => Err(self.refuse_sign_in(None, source, problem).await),
        }
    }

    /// Creates a session for a token or a person that has proved its identity, with a new secret. Refuses one that may not use
    /// the console, and records that. Ends the session that the browser had before.
    pub(crate) async fn begin_session(
        &self,
        holder: SessionHolder,
        source: &SignInSource,
    ) -> Result<(Session, SecretString), HttpProblem> {
        if !self.may_use_console(&holder.principal) {
            let problem = console_refused(&holder);
            return Err(self.refuse_sign_in(Some(&holder.name), source, problem).await);
        }
        let secret = new_secret()?;
        let now = self.clock.now();
        let latest = now.checked_add(TOTAL_LIMIT).map_err(HttpProblem::internal)?;
        let session = Session {
            id: new_id()?,
            admission: holder.admission(),
            subject: holder.subject,
            name: holder.name,
            role: holder.principal.role.unwrap_or(Role::Bound),
            created_at: now,
            used_at: now,
            ends_at: holder.ends_at.map_or(latest, |end| end.min(latest)),
            authenticated_at: holder.principal.authenticated_at,
            passkey: holder.passkey,
            client: client(source),
            address: address(source),
        };
        if let Some(before) = &source.replaces {
            self.end_session_as(&session.name, before).await?;
        }
        let event = self.session_event(
            &session.name,
            "session.create",
            json!({
                "id": session.id, "subject": session.subject, "passkey": session.passkey, "endsAt": session.ends_at,
                "address": session.address, "client": session.client,
            }),
        );
        self.store.create_session(session.clone(), token_hash(&secret), event).await?;
        tracing::info!(session = %session.id, address = %session.address, "signed in");
        Ok((session, secret))
    }

    /// Records that the person of a session has confirmed its identity now, and replaces the secret of the session: a secret that
    /// was read before the confirmation has no part in it. `how` names the proof in the audit log, and has no secret.
    pub(crate) async fn confirm_identity(
        &self,
        session: &Session,
        how: serde_json::Value,
    ) -> Result<(Session, SecretString), HttpProblem> {
        self.renew_session(session, None, how).await
    }

    /// Does what [`Service::confirm_identity`] does, for an operator with its passkey.
    pub(super) async fn renew_session(
        &self,
        session: &Session,
        passkey: Option<String>,
        how: serde_json::Value,
    ) -> Result<(Session, SecretString), HttpProblem> {
        let secret = new_secret()?;
        let detail = json!({ "id": session.id, "subject": session.subject, "how": how });
        let event = self.session_event(&session.name, "session.confirm", detail);
        let renewed = self.store.renew_session(&session.id, token_hash(&secret), event.at, passkey, event).await?;
        let renewed = renewed.ok_or_else(|| session_ended("the session does not exist any more"))?;
        self.sessions_changed();
        Ok((renewed, secret))
    }

    /// Records a refused sign-in, within the limit of its address, and returns its problem. `name` is that of a known subject.
    pub(crate) async fn refuse_sign_in(
        &self,
        name: Option<&str>,
        source: &SignInSource,
        problem: HttpProblem,
    ) -> HttpProblem {
        metrics::counter!("mailwright_authentication_failures_total").increment(1);
        let (address, code, reason) = (address(source), problem.code(), problem.message());
        if !self.sign_in_failures.count(source.address, Instant::now()) {
            tracing::debug!(address, %code, reason, "sign-in failed");
            return HttpProblem::new(Code::TooManySignIns, "too many sign-ins from this address failed")
                .remedy("Wait for a minute, and check the token, the passkey or the link.");
        }
        tracing::warn!(address, %code, reason, "sign-in failed");
        let detail = json!({ "why": reason, "code": code, "address": address, "client": client(source) });
        let actor = name.unwrap_or("(none)");
        let event =
            AuditEvent { outcome: AuditOutcome::Refused, ..self.session_event(actor, "session.create", detail) };
        match self.record_bounded(event).await {
            Ok(()) => problem,
            Err(error) => error.into(),
        }
    }

    /// Returns the session of a secret and its caller, and records that it was used.
    pub(crate) async fn resume(&self, secret: &str) -> Result<(Session, Caller), HttpProblem> {
        if secret.len() > SECRET_LIMIT {
            return Err(session_ended("the browser's cookie has no session"));
        }
        let hash = token_hash(&SecretString::from(secret.to_owned()));
        let (session, caller) = self.find_session(&hash).await?;
        let now = self.clock.now();
        if passed(session.used_at, now) >= NOTED_EVERY {
            self.store.use_session(&session.id, now).await?;
        }
        Ok((session, caller))
    }

    /// Returns true if a principal may use the console: it may see profiles, now or after it has confirmed its identity.
    fn may_use_console(&self, principal: &Principal) -> bool {
        let question = Question::any(Area::Profiles, Activity::See);
        let decision = access::decide(&self.access_policy(), principal, &question, self.clock.now());
        matches!(decision, Decision::Allowed { .. } | Decision::StepUp { possible: true, .. })
    }

    /// Returns a session that has not ended, and its caller.
    pub(super) async fn find_session(&self, hash: &Digest) -> Result<(Session, Caller), HttpProblem> {
        let session =
            self.store.session(hash).await?.ok_or_else(|| session_ended("the session does not exist any more"))?;
        let now = self.clock.now();
        if session.ends_at <= now {
            return Err(session_ended("the session has reached its end"));
        }
        if passed(session.used_at, now) >= IDLE_LIMIT {
            return Err(session_ended("the session was not used for 30 minutes"));
        }
        let holder = self.find_holder(&session).await?;
        if !self.may_use_console(&holder.principal) {
            return Err(session_ended("the session's token or person may not use the console any more"));
        }
        let caller = Caller::from_holder(holder, self.access_policy(), now, Credential::Session(hash.clone()));
        Ok((session, caller))
    }

    /// Returns the holder of a session with its rights of now, or the reason why it has none any more.
    async fn find_holder(&self, session: &Session) -> Result<SessionHolder, HttpProblem> {
        match &session.subject {
            SessionSubject::Token(id) => {
                match self.find_token(id).await?.map(|stored| self.check_token(stored.token)) {
                    Some(Ok(token)) => Ok(SessionHolder::from_token(token)),
                    Some(Err(_)) | None => Err(session_ended("the token of the session is not valid any more")),
                }
            }
            SessionSubject::Operator(id) => {
                let stored = self.store.operator(id).await?.filter(|stored| stored.operator.is_active());
                let Some(StoredOperator { operator, .. }) = stored else {
                    return Err(session_ended("the operator of the session was removed or suspended"));
                };
                let passkey = session.passkey.clone();
                if !operator.passkeys.iter().any(|one| Some(&one.id) == passkey.as_ref()) {
                    return Err(session_ended("the passkey of the session was removed"));
                }
                Ok(SessionHolder::from_operator(&operator, session.authenticated_at, passkey))
            }
            SessionSubject::Identity { issuer, .. } => {
                let admission = session.admission.clone().filter(|admission| {
                    let issuers = self.trusted_issuers();
                    issuers.is_some_and(|issuers| issuers.provider_of(issuer, &admission.settings).is_some())
                });
                let admission = admission.ok_or_else(|| {
                    session_ended("the settings of the sign-in with the identity provider have changed")
                })?;
                let (subject, name) = (session.subject.clone(), session.name.clone());
                Ok(SessionHolder::from_identity(subject, name, admission, session.authenticated_at))
            }
        }
    }

    /// Returns the sessions that have not ended: all of them for an administrator, otherwise those of the caller's own subject.
    pub(crate) async fn sessions(&self, caller: &Caller, own: &Session) -> Result<Vec<Session>, HttpProblem> {
        let now = self.clock.now();
        let mut sessions = self.store.sessions(now).await?;
        let sees_all = caller.may_at_all(Area::Tokens, Activity::Delete);
        sessions.retain(|session| {
            passed(session.used_at, now) < IDLE_LIMIT && (sees_all || session.subject == own.subject)
        });
        Ok(sessions)
    }

    /// Ends a session that the caller may see.
    pub(crate) async fn end_session(&self, caller: &Caller, own: &Session, id: &str) -> Result<(), HttpProblem> {
        let found = self.sessions(caller, own).await?.into_iter().find(|session| session.id == id);
        let found = found.ok_or_else(|| HttpProblem::not_found("the session does not exist, or has ended"))?;
        self.end_session_as(&caller.name, &found).await
    }

    /// Ends all sessions of the caller's subject.
    pub(crate) async fn sign_out_everywhere(&self, caller: &Caller, own: &Session) -> Result<(), HttpProblem> {
        let event = self.session_event(&caller.name, "session.end", json!({ "subject": own.subject }));
        self.store.end_sessions(EndedSessions::OfSubject(own.subject.clone()), event).await?;
        self.sessions_changed();
        Ok(())
    }

    async fn end_session_as(&self, actor: &str, session: &Session) -> Result<(), HttpProblem> {
        let event = self.session_event(actor, "session.end", json!({ "id": session.id, "subject": session.subject }));
        self.store.end_sessions(EndedSessions::One(session.id.clone()), event).await?;
        self.sessions_changed();
        Ok(())
    }

    fn session_event(&self, actor: &str, action: &'static str, detail: serde_json::Value) -> AuditEvent {
        let (at, actor) = (self.clock.now(), actor.to_owned());
        AuditEvent { at, actor, action, outcome: AuditOutcome::Accepted, detail }
    }

    /// Lets streams check whether their session still exists.
    pub(super) fn sessions_changed(&self) {
        self.token_changes.send_replace(());
    }
}

/// Creates the id of a session, an operator or a proposal, which is not secret.
pub(super) fn new_id() -> Result<String, HttpProblem> {
    let mut id = [0; 6];
    getrandom::fill(&mut id).map_err(HttpProblem::internal)?;
    Ok(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Creates a secret of 256 random bits: of a session, an enrolment link, or the binding of a request to a browser.
pub(super) fn new_secret() -> Result<SecretString, HttpProblem> {
    let mut secret = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).map_err(HttpProblem::internal)?;
    Ok(SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(secret.as_slice())))
}

/// Returns the problem of a token or a person that may not use the console.
fn console_refused(holder: &SessionHolder) -> HttpProblem {
    let role = holder.principal.role.map_or("", Role::id);
    let name = &holder.name;
    let (message, remedy) = match &holder.subject {
        SessionSubject::Token(_) => (
            format!("the token `{name}` has the role `{role}`; the console needs `viewer`, or `see` in `profiles`"),
            "Use a token of that role. An administrator creates one with `mailwright token create`.",
        ),
        SessionSubject::Operator(_) | SessionSubject::Identity { .. } => (
            format!("`{name}` has the role `{role}`; the console needs `viewer`, or `see` in `profiles`"),
            "Ask an administrator to bind a role with that right in access.yaml.",
        ),
    };
    HttpProblem::new(Code::RoleTooLow, message).remedy(remedy)
}

fn session_ended(reason: &str) -> HttpProblem {
    HttpProblem::new(Code::SessionEnded, reason).remedy("Sign in again.")
}

/// Returns the time from `since` to `now`; zero if the clock was set back.
fn passed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since).try_into().unwrap_or_default()
}

fn client(source: &SignInSource) -> String {
    shortened(&printable(&source.client), CLIENT_LIMIT).into_owned()
}

fn address(source: &SignInSource) -> String {
    source.address.map(|address| address.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_address_and_forgotten_after_a_minute() {
        let (failures, start) = (SignInFailures::default(), Instant::now());
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let within = (0..50).filter(|_| failures.count(address(1), start)).count();
        assert_eq!(within, 10);
        assert!(failures.count(address(2), start));
        assert!(failures.count(address(1), start + FAILURE_WINDOW));
    }

    #[test]
    fn many_addresses_cost_bounded_memory() {
        let (failures, start) = (SignInFailures::default(), Instant::now());
        for number in 0..u32::try_from(ADDRESSES + 100).unwrap() {
            failures.count(Some(IpAddr::from(number.to_be_bytes())), start);
        }
        assert_eq!(failures.0.lock().len(), ADDRESSES + 1);
    }
}
