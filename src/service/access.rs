//! Authorization: the role that a handler requires of its caller.
//!
//! [`Authorized`] and [`MailReader`] are extractors: a handler lists one as its first argument. They authenticate the request
//! before its body is read, so that a body of an unknown sender is never read, and refuse a request that names another environment.
//! The header that names the environment is optional. Without a valid credential the answer is 401, with a role that is too low
//! 403. A request that is refused for its role is recorded, unless it is GET or HEAD, in the audit log within the caller's budget;
//! if that fails, the answer is 503.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{Method, request::Parts},
};

use super::{Service, authentication::authenticate, caller::Caller, http::HttpProblem};
use crate::{
    api::{ENVIRONMENT_HEADER, THIS_SERVICE, wrong_environment},
    model::{AuditOutcome, Code, EnvironmentName, token::Role},
    store::AuditEvent,
};

/// A caller whose role includes `R`.
pub(super) struct Authorized<R>(pub(super) Caller, pub(super) PhantomData<R>);

/// A role as a type, for [`Authorized`].
pub(super) trait RequiredRole: Send + Sync {
    const ROLE: Role;
}

macro_rules! roles {
    ($($name:ident),*) => { $(
        pub(super) struct $name;
        impl RequiredRole for $name {
            const ROLE: Role = Role::$name;
        }
    )* };
}
roles!(Sender, Viewer, Planner, Deployer, Admin);

/// Authenticates the caller, and refuses a request for another environment.
async fn authenticate_for_environment(parts: &mut Parts, service: &Arc<Service>) -> Result<Caller, HttpProblem> {
    let caller = authenticate(parts, service).await?;
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
    Ok(caller)
}

impl<R: RequiredRole> FromRequestParts<Arc<Service>> for Authorized<R> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let caller = authenticate_for_environment(parts, service).await?;
        if caller.role.includes(R::ROLE) {
            return Ok(Authorized(caller, PhantomData));
        }
        Err(refuse_role(service, &caller, R::ROLE, &parts.method, parts.uri.path()).await)
    }
}

/// A caller who may read about mail: viewers and higher roles read everything, senders only their own mail.
pub(super) struct MailReader(pub(super) Caller);

impl FromRequestParts<Arc<Service>> for MailReader {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, HttpProblem> {
        let caller = authenticate_for_environment(parts, service).await?;
        if caller.role == Role::Sender || caller.role.includes(Role::Viewer) {
            return Ok(Self(caller));
        }
        Err(refuse_role(service, &caller, Role::Viewer, &parts.method, parts.uri.path()).await)
    }
}

impl Service {
    /// Checks that the role of a caller includes another one, for a request that is not authenticated by an extractor.
    pub(crate) async fn check_role(
        &self,
        caller: &Caller,
        required: Role,
        method: &Method,
        path: &str,
    ) -> Result<(), HttpProblem> {
        if caller.role.includes(required) {
            return Ok(());
        }
        Err(refuse_role(self, caller, required, method, path).await)
    }
}

/// Refuses a caller whose role does not include `required`. Requests that would change something are recorded.
pub(super) async fn refuse_role(
    service: &Service,
    caller: &Caller,
    required: Role,
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
                "method": method.as_str(), "path": path, "role": caller.role, "needs": required,
            }),
        };
        if let Err(error) = service.record_bounded(event).await {
            return error.into();
        }
    }
    HttpProblem::new(
        Code::RoleTooLow,
        format!(
            "the token `{}` has the role `{}`; this request needs `{}`",
            caller.name,
            caller.role.id(),
            required.id()
        ),
    )
    .remedy("Use a token of that role. An administrator creates one with `mailwright token create`.")
}
