//! Problem responses (RFC 9457): the answers to requests that failed.
//!
//! [`HttpProblem`] adds to a [`Problem`] what an HTTP answer needs. The status comes from the catalogue of codes; the three
//! exceptions are constructors here. A failure of the store is answered with 503, another failure of the service with 500; both
//! leave their cause in the log only.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    IntoResponses, PartialSchema as _, ToSchema as _,
    openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder},
};

use crate::{
    api::ProblemDetails,
    model::{Code, CompanyId, EnvironmentName, Problem, Settings, rules::Violation},
    store::StoreError,
    text::enumerate,
};

/// Maximum number of violations in an answer.
const VIOLATIONS: usize = 100;

/// A [`Problem`] with its HTTP status and further members of the problem details.
#[derive(Clone, Debug)]
pub(crate) struct HttpProblem {
    problem: Problem,
    status: StatusCode,
    generation: Option<u64>,
    violations: Vec<Violation>,
    /// The seconds after which the request can be repeated.
    retry_after: Option<u64>,
}

impl HttpProblem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Problem::new(code, message).into()
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.problem = self.problem.remedy(remedy);
        self
    }

    /// Adds the generation that the service is at.
    pub(in crate::service) fn at_generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Adds the time after which the request can be repeated, at least a second (`Retry-After`).
    pub(in crate::service) fn retry_after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after = Some(wait.as_secs().max(1));
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.problem.code
    }

    /// Returns true if the request or the state that it is about is the reason, not the service.
    pub(in crate::service) fn is_about_request(&self) -> bool {
        self.status.is_client_error()
    }

    pub(crate) fn message(&self) -> &str {
        &self.problem.message
    }

    pub(crate) fn remedy_text(&self) -> &str {
        &self.problem.remedy
    }

    /// Returns the broken rules.
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Code::MalformedRequest, message).remedy("`/openapi.json` describes the requests of each address.")
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// Creates the problem for a company that the environment does not have.
    pub(in crate::service) fn unknown_company(
        company: &CompanyId,
        settings: &Settings,
        environment: &EnvironmentName,
    ) -> Self {
        let known = enumerate(settings.companies.iter().map(ToString::to_string), 10);
        let known = if known.is_empty() { "none".to_owned() } else { known };
        Self::new(Code::UnknownCompany, format!("the environment `{environment}` has no company `{company}`"))
            .remedy(format!("Correct the company, or add it to environment.yaml and apply. There are: {known}."))
    }

    /// Creates the problem for an address that names no environment, or one that is not served there.
    pub(in crate::service) fn not_hosted(message: impl Into<String>) -> Self {
        Self::new(Code::NotHosted, message)
    }

    /// Creates the problem for a request that did not arrive or end in time: busy, but with the status 408.
    pub(in crate::service) fn timed_out(message: impl Into<String>) -> Self {
        Self { status: StatusCode::REQUEST_TIMEOUT, ..Self::new(Code::Busy, message) }
    }

    /// Creates the problem for a body of another media type: malformed, but with the status 415.
    pub(in crate::service) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Self::new(Code::MalformedRequest, message) }
    }

    /// Creates the problem for a precondition (`If-Match`) that does not hold: stale, but with the status 412.
    pub(in crate::service) fn precondition_failed(message: impl Into<String>) -> Self {
        Self { status: StatusCode::PRECONDITION_FAILED, ..Self::new(Code::StaleGeneration, message) }
    }

    pub(crate) fn stale(generation: u64, base: u64) -> Self {
        Self::new(
            Code::StaleGeneration,
            format!("the change was computed from generation {base}, and the service is at {generation}"),
        )
        .remedy(if base > generation {
            // The generation of a service never decreases by itself.
            "The service was at that generation before, so its store was restored from a backup: start it with `--restored` unless it has noticed that itself, and plan again."
        } else {
            "Plan again: another change was applied first."
        })
        .at_generation(generation)
    }

    pub(in crate::service) fn rules(mut violations: Vec<Violation>) -> Self {
        let count = violations.len();
        violations.truncate(VIOLATIONS);
        let noun = if count == 1 { "rule" } else { "rules" };
        let problem = Self::new(Code::RulesBroken, format!("the change would break {count} {noun}"));
        Self { violations, ..problem.remedy("`mailwright validate` finds these in the files.") }
    }

    /// Creates the problem for a service that cannot accept work now.
    pub(in crate::service) fn not_ready(message: impl Into<String>) -> Self {
        Self::new(Code::Busy, message).remedy("Ask each at `/environments/NAME/readyz`; the service's log says why.")
    }

    /// Creates the problem for a failure of the service. The reason goes to the log, not to the client.
    pub(crate) fn internal(reason: impl std::fmt::Display) -> Self {
        tracing::error!(reason = %reason, "a request failed inside the service");
        Self::new(Code::Internal, "the service failed; its log says why")
            .remedy("Look the request's id up in the service's log.")
    }
}

impl From<Problem> for HttpProblem {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { problem, status, generation: None, violations: Vec::new(), retry_after: None }
    }
}

impl From<StoreError> for HttpProblem {
    fn from(error: StoreError) -> Self {
        if let StoreError::TokenNameTaken(_) = &error {
            return Self::new(Code::TokenNameTaken, error.to_string()).remedy(
                "Give another name, or the id of the token that it replaces: `mailwright token create ENV ... --replaces ID`.",
            );
        }
        if let StoreError::OperatorNameTaken(_) = &error {
            return Self::new(Code::OperatorNameTaken, error.to_string()).remedy("Choose another name.");
        }
        tracing::error!(reason = %error, "the store failed");
        Self::new(Code::Busy, "the store is not available")
            .remedy("Try again. If the problem lasts, the service's log says why.")
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        let Problem { code, message, remedy, .. } = self.problem;
        let document = ProblemDetails {
            kind: format!("https://mailwright.dev/problems/{code}"),
            code,
            title: code.title().to_owned(),
            status: self.status.as_u16(),
            detail: message,
            remedy,
            generation: self.generation,
            violations: self.violations,
            request_id: None,
        };
        let mut response = (self.status, axum::Json(&document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // The middleware adds the request id to the document.
        response.extensions_mut().insert(std::sync::Arc::new(document));
        response
    }
}

/// The problem responses of every endpoint, for the `OpenAPI` document.
pub(in crate::service) struct AnyProblem;

impl IntoResponses for AnyProblem {
    fn responses() -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        // Fails to compile if the type of the reference below has no schema.
        drop(ProblemDetails::schema());
        let described = [
            (400, "The request is malformed."),
            (401, "The token is missing, or is not accepted."),
            (403, "The token's role does not allow this."),
            (404, "Not found."),
            (405, "The endpoint does not support the method."),
            (408, "The request did not arrive in time."),
            (409, "The change conflicts with the state of the service, or is for another environment."),
            (412, "The precondition does not hold."),
            (413, "The body is too large."),
            (415, "The body is not JSON."),
            (422, "The request is well formed, but a rule or a guard refuses it, or a secret cannot be accepted."),
            (428, "The request has no precondition (`If-Match` or `If-None-Match`)."),
            (429, "The caller has too many requests of this kind in progress."),
            (500, "The service failed."),
            (503, "The service is busy, or cannot write to its store."),
        ];
        described
            .into_iter()
            .map(|(status, description)| {
                let content = ContentBuilder::new()
                    .schema(Some(RefOr::Ref(Ref::from_schema_name(ProblemDetails::name()))))
                    .build();
                let response = ResponseBuilder::new()
                    .description(description)
                    .content("application/problem+json", content)
                    .build();
                (status.to_string(), RefOr::T(response))
            })
            .collect()
    }
}
