//! Every answer that is not a success: RFC 9457 problem details.
//!
//! A problem has one message for the client. What only the operator should know goes to the log, where the
//! request's id finds it.

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
    model::{Code, rules::Violation},
    store::StoreError,
};

/// How many broken rules an answer lists.
const VIOLATIONS: usize = 100;

/// An answer that is not a success.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: Code,
    pub(super) detail: String,
    pub(super) remedy: String,
    pub(super) generation: Option<u64>,
    pub(super) violations: Vec<Violation>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), remedy: String::new(), generation: None, violations: Vec::new() }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::MalformedRequest, detail)
            .remedy("`/openapi.json` describes what each address takes.")
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
    }

    /// The environment that the address names, or does not name, is not served there.
    pub(super) fn not_hosted(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotHosted, detail)
    }

    pub(super) fn stale(generation: u64, base: u64) -> Self {
        let mut problem = Self::new(
            StatusCode::CONFLICT,
            Code::StaleGeneration,
            format!("the change was computed from generation {base}, and the service is at {generation}; nothing was changed"),
        )
        .remedy(if base > generation {
            // A service never goes back by itself.
            "The service was at that generation before, so its store was restored from a backup: start it with `--restored` unless it has noticed that itself, and plan again."
        } else {
            "Plan again: somebody else's change came first."
        });
        problem.generation = Some(generation);
        problem
    }

    pub(super) fn rules(mut violations: Vec<Violation>) -> Self {
        let count = violations.len();
        violations.truncate(VIOLATIONS);
        let noun = if count == 1 { "rule" } else { "rules" };
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            Code::RulesBroken,
            format!("the change would break {count} {noun}; nothing was changed"),
        )
        .remedy("`mailwright validate` finds these in the files.");
        problem.violations = violations;
        problem
    }

    /// Something cannot take work now.
    pub(super) fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy, detail)
            .remedy("Ask each at `/environments/NAME/readyz`; the service's log says why.")
    }

    /// The service failed. The reason goes to the log, not to the client.
    pub(super) fn internal(reason: impl std::fmt::Display) -> Self {
        tracing::error!(reason = %reason, "a request failed inside the service");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "the service failed; its log says why")
            .remedy("Look the request's id up in the service's log.")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::TokenNameTaken(_) = &error {
            return Self::new(StatusCode::CONFLICT, Code::TokenNameTaken, error.to_string()).remedy(
                "Give another name, or the id of the token that it replaces: `mailwright token create ENV ... --replaces ID`.",
            );
        }
        tracing::error!(reason = %error, "the store failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Busy,
            "the store cannot be used at the moment; nothing was changed",
        )
        .remedy("Try again; if it stays so, the service's log says why.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDetails {
            kind: format!("https://mailwright.dev/problems/{}", self.code),
            code: self.code,
            title: self.code.title().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            remedy: self.remedy,
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
        // The envelope puts the request's id in, and needs the document for that.
        response.extensions_mut().insert(std::sync::Arc::new(document));
        response
    }
}

/// The problems that every address can answer with, for the `OpenAPI` document.
pub(super) struct AnyProblem;

impl IntoResponses for AnyProblem {
    fn responses() -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        // Makes sure that the schema is what the reference below names.
        drop(ProblemDetails::schema());
        let described = [
            (400, "The request cannot be understood."),
            (401, "The token is missing, or is not accepted."),
            (403, "The token's role does not allow this."),
            (404, "There is no such thing."),
            (405, "The address does not know the method."),
            (408, "The request did not arrive in time."),
            (409, "The service's state has moved on, or the change belongs elsewhere."),
            (412, "The precondition does not hold."),
            (413, "The body is too large."),
            (415, "The body is not JSON."),
            (
                422,
                "The change is well formed and refused: it breaks a rule, runs into a guard, or has a secret that cannot be taken.",
            ),
            (428, "The request does not say which state it changes."),
            (500, "The service failed."),
            (503, "The service has too much to do, or cannot write."),
        ];
        described
            .into_iter()
            .map(|(status, words)| {
                let content = ContentBuilder::new()
                    .schema(Some(RefOr::Ref(Ref::from_schema_name(ProblemDetails::name()))))
                    .build();
                let response =
                    ResponseBuilder::new().description(words).content("application/problem+json", content).build();
                (status.to_string(), RefOr::T(response))
            })
            .collect()
    }
}
