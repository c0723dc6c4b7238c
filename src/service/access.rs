//! Authorization: the right that a handler requires of its caller.
//!
//! [`Authorized`] and its relatives are extractors: a handler lists one as its first argument, so that every endpoint declares an
//! area and an activity. They authenticate the request before its body is read, so that a body of an unknown sender is never read,
//! and refuse a request that names another environment. The header that names the environment is optional. Without a valid
//! credential the answer is 401, without the right 403. A request that is refused for its rights is recorded, unless it is GET or
//! HEAD, in the audit log within the caller's budget; if that fails, the answer is 503. Rights to fields, companies and functions
//! of a change are checked in `changes`, on the difference.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{Method, request::Parts},
};

use super::{Service, authentication::authenticate, caller::Caller, http::HttpProblem};
use crate::{
    api::{ENVIRONMENT_HEADER, THIS_SERVICE, wrong_environment},
    model::{
        AccessPolicy, AuditOutcome, Code, EnvironmentName,
        access::{self, Activity, Area, Decision, Principal, Question},
        token::Role,
    },
    store::AuditEvent,
};

/// A caller who has the right `R`.
pub(super) struct Authorized<R>(pub(super) Caller, pub(super) PhantomData<R>);

/// A right as a type, for [`Authorized`].
pub(super) trait Right: Send + Sync {
    const AREA: Area;
    const ACTIVITY: Activity;
    /// True if the answer is about all companies and functions.
    const WHOLE: bool;
}

macro_rules! rights {
    ($($name:ident: $activity:ident in $area:ident, $extent:ident;)*) => { $(
        pub(super) struct $name;
        impl Right for $name {
            const AREA: Area = Area::$area;
            const ACTIVITY: Activity = Activity::$activity;
            const WHOLE: bool = rights!($extent);
        }
    )* };
    (whole) => { true };
    (part) => { false };
}

rights! {
    SeeService: See in Service, whole;
    SeeProfiles: See in Profiles, whole;
    SeeSomeProfiles: See in Profiles, part;
    VerifyProfiles: Verify in Profiles, part;
    SeeHistory: See in History, whole;
    RollBack: Rollback in Changes, whole;
    ProposeChanges: Propose in Changes, part;
    EditProfiles: Edit in Changes, whole;
    SeeOutbox: See in Outbox, whole;
    HoldMail: Hold in Outbox, part;
    ResolveMail: Resolve in Outbox, part;
    ExportMail: Export in Outbox, part;
    ConfirmRestore: Confirm in Outbox, whole;
    SubmitMail: Submit in Mail, part;
    LookUpRecipients: LookUp in Mail, part;
    SeeAudit: See in Audit, whole;
    VerifyAudit: Verify in Audit, whole;
    SeeTokens: See in Tokens, whole;
    CreateTokens: Create in Tokens, whole;
    ConfirmTokens: Confirm in Tokens, whole;
    DeleteTokens: Delete in Tokens, whole;
    SeeOperators: See in Operators, whole;
    CreateOperators: Create in Operators, whole;
    ConfirmOperators: Confirm in Operators, whole;
    DeleteOperators: Delete in Operators, whole;
    SeeRollouts: See in Rollouts, whole;
    RunRollouts: Run in Rollouts, whole;
}

/// Authenticates the caller, and refuses a request for another environment.
async fn authenticate_for_environment(parts: &mut Parts, service: &Arc<Service>) -> Result<Caller, HttpProblem> {
    let caller = authenticate(parts, service).await?;
    check_environment(parts, service)?;
    Ok(caller)
}

/// Refuses a request that names another environment.
pub(super) fn check_environment(parts: &Parts, service: &Service) -> Result<(), HttpProblem> {
    let found = service.store.environment();
    for value in parts.headers.get_all(ENVIRONMENT_HEADER) {
        let expected = value.to_str().ok().and_then(|name| name.parse::<EnvironmentName>().ok());
        let Some(expected) = expected else {
            return Err(HttpProblem::malformed(format!(
                "the header `{ENVIRONMENT_HEADER}` is not a name of an environment"
            )));
        };
        if expected != *found {
            let problem = wrong_environment(THIS_SERVICE, found, &expected);
            return Err(HttpProblem::new(problem.code, problem.message).remedy(problem.remedy));
        }
    }
    Ok(())
}

/// Authenticates a caller who has at least one of these rights. The refusal names the first.
async fn authorize_any(
    parts: &mut Parts,
    service: &Arc<Service>,
    questions: &[Question<'static>],
) -> Result<Caller, HttpProblem> {
    let caller = authenticate_for_environment(parts, service).await?;
    if questions.iter().any(|question| caller.decide(question).is_allowed()) {
        return Ok(caller);
    }
    match questions.first() {
        Some(question) => Err(refuse(service, &caller, question, &parts.method, parts.uri.path()).await),
        None => Err(HttpProblem::internal("an endpoint declares no right")),
    }
}

impl<R: Right> FromRequestParts<Arc<Service>> for Authorized<R> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let question =
            if R::WHOLE { Question::everywhere(R::AREA, R::ACTIVITY) } else { Question::any(R::AREA, R::ACTIVITY) };
        Ok(Authorized(authorize_any(parts, service, &[question]).await?, PhantomData))
    }
}

/// A caller who may read about mail: that of all, of some companies, or its own.
pub(super) struct MailReader(pub(super) Caller);

impl FromRequestParts<Arc<Service>> for MailReader {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let questions = [Question::any(Area::Outbox, Activity::See), Question::any(Area::OwnMail, Activity::See)];
        authorize_any(parts, service, &questions).await.map(Self)
    }
}

/// A caller who may send a changeset: to apply it, or for a dry run. The handler checks which.
pub(super) struct ChangesetSender(pub(super) Caller);

impl FromRequestParts<Arc<Service>> for ChangesetSender {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let questions = [Question::any(Area::Changes, Activity::Plan), Question::any(Area::Changes, Activity::Apply)];
        authorize_any(parts, service, &questions).await.map(Self)
    }
}

/// A caller who may read the whole state: profiles, settings and access policy.
pub(super) struct StateReader(pub(super) Caller);

impl FromRequestParts<Arc<Service>> for StateReader {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let Authorized(caller, _) = Authorized::<SeeProfiles>::from_request_parts(parts, service).await?;
        for area in [Area::Settings, Area::Access] {
            let question = Question::everywhere(area, Activity::See);
            check(service, &caller, &question, &parts.method, parts.uri.path()).await?;
        }
        Ok(Self(caller))
    }
}

impl Service {
    /// Checks a right of a caller, for a request that is not authenticated by an extractor.
    pub(crate) async fn check_right(
        &self,
        caller: &Caller,
        question: &Question<'_>,
        method: &Method,
        path: &str,
    ) -> Result<(), HttpProblem> {
        check(self, caller, question, method, path).await
    }
}

/// Checks a right that depends on the request.
pub(super) async fn check(
    service: &Service,
    caller: &Caller,
    question: &Question<'_>,
    method: &Method,
    path: &str,
) -> Result<(), HttpProblem> {
    if caller.decide(question).is_allowed() {
        return Ok(());
    }
    Err(refuse(service, caller, question, method, path).await)
}

/// Refuses a request. Requests that would change something are recorded.
pub(super) async fn refuse(
    service: &Service,
    caller: &Caller,
    question: &Question<'_>,
    method: &Method,
    path: &str,
) -> HttpProblem {
    if *method != Method::GET && *method != Method::HEAD {
        let event = AuditEvent {
            at: service.clock.now(),
            actor: caller.name.clone(),
            action: "access",
            outcome: AuditOutcome::Refused,
            detail: serde_json::json!({
                "method": method.as_str(), "path": path, "role": caller.principal.role,
                "needs": format!("{}:{}", question.area, question.activity),
            }),
        };
        if let Err(error) = service.record_bounded(event).await {
            return error.into();
        }
    }
    describe_refusal(caller, question, service.store.environment())
}

/// Describes a refusal, and who could do it.
fn describe_refusal(caller: &Caller, question: &Question<'_>, environment: &EnvironmentName) -> HttpProblem {
    let decision = caller.decide(question);
    let role = caller.principal.role.map(|role| format!(" (role `{}`)", role.id())).unwrap_or_default();
    let request = access::describe_question(question);
    let message = format!("`{}`{role} may not {request}: {}", caller.name, decision.describe());
    if let Decision::StepUp { .. } = decision {
        return HttpProblem::new(Code::StepUpRequired, message).remedy(step_up_remedy(&decision));
    }
    let has_right = |role: &&Role| {
        let principal = Principal { role: Some(**role), ..Principal::default() };
        access::decide(&AccessPolicy::default(), &principal, question, caller.at).is_allowed()
    };
    let roles: Vec<String> = Role::ALL.iter().filter(has_right).map(|role| format!("`{}`", role.id())).collect();
    let advice = if caller.can_confirm_identity() {
        "Ask an administrator to bind a role in access.yaml".to_owned()
    } else {
        format!(
            "Use a token with the role {}, or ask an administrator to bind a role in access.yaml",
            roles.join(" or ")
        )
    };
    HttpProblem::new(Code::RoleTooLow, message).remedy(format!(
        "{advice}: mailwright access explain {environment} '{}' {}:{}",
        caller.subject(),
        question.area,
        question.activity
    ))
}

/// Returns the remedy for a missing step-up.
pub(super) fn step_up_remedy(decision: &Decision) -> &'static str {
    match decision {
        Decision::StepUp { possible: true, .. } => "Confirm your identity again, and repeat the request.",
        _ => "Sign in to the console as a person who has this right, or bind a role without `stepUp` to this token.",
    }
}
