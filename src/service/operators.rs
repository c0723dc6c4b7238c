//! Operators: the persons who sign in to the console. Created, given enrolment links, confirmed and removed, for the API and the
//! console.
//!
//! A caller creates no operator with rights that it does not have itself, and makes no enrolment link for one: the person who
//! opens the link can sign in as that operator. It makes none for itself either; a person who is signed in adds a passkey in the
//! console, after it has confirmed its identity. A link for an operator who has passkeys is a reset, which raises an event. What
//! a person does with its own passkeys is in `passkeys`.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;

use super::{
    Service,
    caller::Caller,
    http::HttpProblem,
    new_subject::{NewSubject, refuse_excess},
    sessions::{new_id, new_secret},
};
use crate::{
    api::operators::NewOperator,
    model::{
        AuditOutcome, Code,
        access::{Principal, Subject},
        approvals::Signer,
        delivery::EventKind,
        operator::{ENROLMENT_LIMIT, Enrolment, Operator},
        token::{Role, Scope},
    },
    store::{AuditEvent, PasskeyRemoved, outbox::NewEvent, token_hash},
};

/// The time for which an enrolment link is valid if the request has no other.
const ENROLMENT_TIME: Duration = Duration::from_secs(86_400);
/// The beginning of the secret of an enrolment link, by which people and scanners recognise it.
const LINK_PREFIX: &str = "mwe_";

/// Creates the principal of an operator, with the time at which it last confirmed its identity.
pub(super) fn operator_principal(operator: &Operator, authenticated_at: Option<Timestamp>) -> Principal {
    Principal {
        subjects: vec![Subject::of_operator(&operator.name)],
        role: Some(operator.role),
        scope: operator.scope.clone(),
        authenticated_at,
    }
}

/// Creates the secret of an enrolment link.
fn new_link_secret() -> Result<SecretString, HttpProblem> {
    use secrecy::ExposeSecret as _;
    Ok(SecretString::from(format!("{LINK_PREFIX}{}", new_secret()?.expose_secret())))
}

/// Returns true if a text has the form of the secret of an enrolment link.
pub(super) fn is_link_secret(text: &str) -> bool {
    let rest = text.strip_prefix(LINK_PREFIX);
    rest.is_some_and(|rest| rest.len() == 43 && BASE64_URL_SAFE_NO_PAD.decode(rest).is_ok())
}

impl Service {
    /// Returns all operators, oldest first.
    pub(crate) async fn operators(&self) -> Result<Vec<Operator>, HttpProblem> {
        Ok(self.store.operators().await?)
    }

    /// Returns the address at which browsers open an enrolment link; none if the address of the console is not configured.
    pub(crate) fn enrolment_address(&self, secret: &SecretString) -> Option<String> {
        use secrecy::ExposeSecret as _;
        self.console_address().map(|console| format!("{console}/enroll#{}", secret.expose_secret()))
    }

    /// Creates an operator, and returns it with the secret of its enrolment link.
    pub(crate) async fn create_operator(
        &self,
        caller: &Caller,
        wanted: NewOperator,
    ) -> Result<(Operator, SecretString), HttpProblem> {
        let now = self.clock.now();
        let operator = Operator {
            id: new_id()?,
            name: wanted.name,
            role: wanted.role,
            scope: wanted.scope,
            created_at: now,
            removed_at: None,
            suspended_at: None,
            enrolment: Some(new_enrolment(caller, wanted.link_ends_at, now)?),
            passkeys: Vec::new(),
        };
        let subject = NewSubject {
            noun: "an operator",
            name: &operator.name,
            role: operator.role,
            scope: &operator.scope,
            principal: operator_principal(&self.with_rights_of_signer(&operator), None),
        };
        self.check_new_subject(caller, &subject)?;
        let secret = new_link_secret()?;
        let detail = json!({
            "name": operator.name, "role": operator.role, "scope": operator.scope,
            "linkEndsAt": operator.enrolment.as_ref().map(|enrolment| enrolment.ends_at),
        });
        let event = self.operator_event(caller, "operator.create", detail);
        self.store.create_operator(operator.clone(), token_hash(&secret), event).await?;
        Ok((operator, secret))
    }

    /// Makes an enrolment link for an operator, which replaces an open one, and returns its secret.
    pub(crate) async fn make_enrolment_link(
        &self,
        caller: &Caller,
        id: &str,
        ends_at: Option<Timestamp>,
    ) -> Result<(Operator, SecretString), HttpProblem> {
        let stored = self.store.operator(id).await?.ok_or_else(|| self.operator_not_found())?;
        let operator = stored.operator;
        refuse_inactive(&operator)?;
        if caller.is_operator(&operator.name) {
            return Err(HttpProblem::new(Code::OwnEnrolment, "cannot make an enrolment link for oneself")
                .remedy("Add a passkey at `/console/account`, or ask another administrator for a link."));
        }
        refuse_excess(
            caller,
            &operator_principal(&self.with_rights_of_signer(&operator), None),
            "would make an enrolment link for an operator with rights that it does not have",
        )?;
        let now = self.clock.now();
        let enrolment = new_enrolment(caller, ends_at, now)?;
        let detail = json!({
            "id": operator.id, "name": operator.name, "linkEndsAt": enrolment.ends_at, "passkeys": operator.passkeys.len(),
        });
        let notice = (!operator.passkeys.is_empty()).then(|| NewEvent {
            kind: EventKind::OperatorReset,
            at: now,
            message: None,
            profile: None,
            reason: format!("`{}` made an enrolment link for the operator `{}`", caller.name, operator.name),
        });
        let secret = new_link_secret()?;
        let event = self.operator_event(caller, "operator.link", detail);
        let opened = self.store.open_enrolment(id, enrolment, token_hash(&secret), event, notice).await?;
        let (operator, events) = opened.ok_or_else(|| self.operator_not_found())?;
        // It may have been removed since it was read.
        refuse_inactive(&operator)?;
        self.delivery.publish(events);
        Ok((operator, secret))
    }

    /// Returns the operator with the role that its rights amount to: a signer can approve every right of others.
    fn with_rights_of_signer(&self, operator: &Operator) -> Operator {
        let state = self.state();
        let is_own = |signer: &Signer| signer.is_operator(&operator.name);
        if !state.settings.policy.approvals.signers.iter().any(is_own) {
            return operator.clone();
        }
        Operator { role: Role::Admin, scope: Scope::default(), ..operator.clone() }
    }

    /// Confirms an operator that is suspended after a restore.
    pub(crate) async fn confirm_operator(&self, caller: &Caller, id: &str) -> Result<Operator, HttpProblem> {
        let name = self.operator_name(id).await?;
        let event = self.operator_event(caller, "operator.confirm", json!({ "id": id, "name": name }));
        let confirmed = self.store.confirm_operator(id, event).await?;
        confirmed.ok_or_else(|| self.operator_not_found())
    }

    /// Removes an operator for ever. Its sessions end.
    pub(crate) async fn remove_operator(&self, caller: &Caller, id: &str) -> Result<Operator, HttpProblem> {
        let name = self.operator_name(id).await?;
        let event = self.operator_event(caller, "operator.remove", json!({ "id": id, "name": name }));
        let removed = self.store.remove_operator(id, event.at, event).await;
        // This follows a failure as well: the outcome in the store is unknown.
        self.sessions_changed();
        removed?.ok_or_else(|| self.operator_not_found())
    }

    /// Removes a passkey of an operator. Sessions that it signed in end.
    pub(crate) async fn remove_operator_passkey(
        &self,
        caller: &Caller,
        id: &str,
        passkey: &str,
    ) -> Result<Operator, HttpProblem> {
        self.remove_passkey(caller, id, passkey, false).await
    }

    /// Removes a passkey; with `keep_last` not the last one.
    pub(super) async fn remove_passkey(
        &self,
        caller: &Caller,
        id: &str,
        passkey: &str,
        keep_last: bool,
    ) -> Result<Operator, HttpProblem> {
        let name = self.operator_name(id).await?;
        let detail = json!({ "id": id, "name": name, "passkey": passkey });
        let event = self.operator_event(caller, "operator.remove-passkey", detail);
        let removed = self.store.remove_passkey(id, passkey, keep_last, event).await;
        self.sessions_changed();
        match removed? {
            PasskeyRemoved::Removed(operator) => Ok(*operator),
            PasskeyRemoved::Unknown => Err(HttpProblem::not_found("the operator or the passkey does not exist")
                .remedy(self.operator_list_remedy())),
            PasskeyRemoved::Last => Err(HttpProblem::new(
                Code::LastPasskey,
                "cannot remove the last passkey: you could not sign in any more",
            )
            .remedy("Add another passkey first. An administrator can remove the last one, or the operator.")),
        }
    }

    /// Returns the name of an operator.
    async fn operator_name(&self, id: &str) -> Result<String, HttpProblem> {
        let stored = self.store.operator(id).await?.ok_or_else(|| self.operator_not_found())?;
        Ok(stored.operator.name)
    }

    pub(super) fn operator_event(
        &self,
        caller: &Caller,
        action: &'static str,
        detail: serde_json::Value,
    ) -> AuditEvent {
        let (at, actor) = (self.clock.now(), caller.name.clone());
        AuditEvent { at, actor, action, outcome: AuditOutcome::Accepted, detail }
    }

    fn operator_not_found(&self) -> HttpProblem {
        HttpProblem::not_found("the operator does not exist").remedy(self.operator_list_remedy())
    }

    fn operator_list_remedy(&self) -> String {
        format!("`mailwright operator list {}` lists the operators.", self.store.environment())
    }
}

/// Creates an enrolment by a caller.
fn new_enrolment(caller: &Caller, ends_at: Option<Timestamp>, now: Timestamp) -> Result<Enrolment, HttpProblem> {
    let latest = now.checked_add(Duration::from_secs(ENROLMENT_LIMIT)).map_err(HttpProblem::internal)?;
    let default = now.checked_add(ENROLMENT_TIME).map_err(HttpProblem::internal)?;
    let ends_at = ends_at.unwrap_or(default);
    // The clock of a client may be some seconds ahead.
    if ends_at <= now || ends_at > latest.checked_add(Duration::from_secs(60)).map_err(HttpProblem::internal)? {
        return Err(HttpProblem::malformed("`linkEndsAt` must be in the future, and within 7 days"));
    }
    Ok(Enrolment { by: caller.name.clone(), created_at: now, ends_at: ends_at.min(latest) })
}

/// Refuses an operator that is removed or suspended.
fn refuse_inactive(operator: &Operator) -> Result<(), HttpProblem> {
    if operator.removed_at.is_some() {
        return Err(HttpProblem::new(Code::OperatorInactive, format!("the operator `{}` was removed", operator.name))
            .remedy("Create another operator. The name of a removed one is not given again."));
    }
    if operator.suspended_at.is_some() {
        let message = format!("the operator `{}` is suspended after a restore from a backup", operator.name);
        return Err(HttpProblem::new(Code::OperatorInactive, message)
            .remedy("Confirm or remove the operator first: `mailwright operator confirm`."));
    }
    Ok(())
}
