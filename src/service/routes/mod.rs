//! The addresses: one file a topic. A handler says who may call it, reads, asks the service, and answers.

mod audit;
mod changesets;
mod generations;
mod health;
mod leases;
mod messages;
mod outbox;
mod profiles;
mod resolve;
mod state;
mod tokens;
mod verify;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    routing::get,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Service, hosting, http::HttpProblem};
use crate::{
    api::{ProblemDetails, messages::Action},
    model::Code,
};
pub(super) use health::{alive, readiness};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Mailwright",
        description = "The e-mail service of an ERP: profiles as code, applied in one transaction. Errors are RFC 9457 problem details.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemDetails, Action)),
    modifiers(&Bearer),
    security(("bearer" = [])),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token that `mailwright token create` made."))
            .build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn described() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(state::service))
        .routes(routes!(state::state))
        .routes(routes!(changesets::apply))
        .routes(routes!(generations::list))
        .routes(routes!(generations::one))
        .routes(routes!(generations::roll_back))
        .routes(routes!(profiles::read, profiles::put, profiles::patch, profiles::delete))
        .routes(routes!(resolve::resolve))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::confirm))
        .routes(routes!(audit::list))
        .routes(routes!(audit::check))
        .routes(routes!(leases::list))
        .routes(routes!(leases::take, leases::release))
        .routes(routes!(verify::run, verify::last))
        .routes(routes!(verify::one))
        .routes(routes!(messages::submit, messages::search))
        .routes(routes!(messages::one))
        .routes(routes!(messages::content))
        .routes(routes!(messages::act))
        .routes(routes!(messages::resolve))
        .routes(routes!(outbox::status))
        .routes(routes!(outbox::confirm_restore))
        .routes(routes!(outbox::holds, outbox::hold))
        .routes(routes!(outbox::release))
        .routes(routes!(outbox::events))
}

/// The `OpenAPI` document of the service, as `/openapi.json` serves it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().split_for_parts().1
}

async fn nothing_here(uri: Uri) -> HttpProblem {
    if hosting::names_one(&uri) {
        return HttpProblem::not_hosted("one environment is served at this address, and it has no path of its own")
            .remedy("Leave `/environments/NAME` out of the address (`service.address`, MAILWRIGHT_SERVICE).");
    }
    HttpProblem::not_found("there is nothing at this address").remedy("`/openapi.json` lists the addresses.")
}

/// Every address with its handler.
pub(super) fn router(service: Arc<Service>) -> Router {
    let (router, mut document) = described().split_for_parts();
    if !service.base.is_empty() {
        document.servers = Some(vec![utoipa::openapi::Server::new(&service.base)]);
    }
    // Serialised once: building it takes 20 ms, and reading it takes no token.
    let document = serde_json::to_vec(&document).map(Bytes::from).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR);
    router
        .route(
            "/openapi.json",
            get(|| async move { document.map(|document| ([(CONTENT_TYPE, "application/json")], document)) }),
        )
        .fallback(nothing_here)
        .method_not_allowed_fallback(|| async {
            HttpProblem::new(Code::MethodNotAllowed, "this address does not know the method")
        })
        .with_state(service)
}
