//! The endpoints of the HTTP API, one file per resource, and the `OpenAPI` document of all of them.
//!
//! A handler names the right that it requires as its first argument, reads the request, calls [`Service`](super::Service), and
//! answers. The health checks and `/openapi.json` need no token. An unknown path is 404, an unknown method 405. It contains no rule
//! about changes, mail or secrets.

mod address_book;
mod audit;
mod changesets;
mod delegates;
mod events;
mod generations;
mod health;
mod holds;
mod leases;
mod messages;
mod operators;
mod outbox;
mod profiles;
mod proposals;
mod resolve;
mod state;
mod tokens;
mod verify;

use std::sync::{Arc, LazyLock, OnceLock};

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    middleware,
    routing::get,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Service, cross_origin, environment_path, http::HttpProblem};
use crate::{
    api::{ProblemDetails, messages::Action},
    model::Code,
};
pub(super) use health::healthz;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Mailwright",
        description = "The e-mail service of an ERP: profiles as code, applied in one transaction. Errors are RFC 9457 problem details; a request that is answered with one has changed nothing, unless the description of its endpoint says otherwise.",
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
            .description(Some(
                "A token that `mailwright token create` created, or an identity token of a trusted issuer.",
            ))
            .build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The endpoints, without the state of an environment: a process may serve many.
static ROUTES: LazyLock<Router<Arc<Service>>> = LazyLock::new(|| documented_routes().split_for_parts().0);

fn documented_routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::get_metrics))
        .routes(routes!(state::get_service))
        .routes(routes!(state::get_state))
        .routes(routes!(changesets::apply_changeset))
        .routes(routes!(proposals::list_proposals, proposals::propose))
        .routes(routes!(proposals::get_proposal))
        .routes(routes!(generations::list_generations))
        .routes(routes!(generations::get_generation))
        .routes(routes!(generations::roll_back))
        .routes(routes!(
            profiles::get_profile,
            profiles::put_profile,
            profiles::patch_profile,
            profiles::delete_profile
        ))
        .routes(routes!(resolve::resolve_profile))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(tokens::confirm_token))
        .routes(routes!(operators::list_operators, operators::create_operator))
        .routes(routes!(operators::remove_operator))
        .routes(routes!(operators::make_enrolment_link))
        .routes(routes!(operators::confirm_operator))
        .routes(routes!(operators::remove_operator_passkey))
        .routes(routes!(audit::list_audit_entries))
        .routes(routes!(audit::check_store))
        .routes(routes!(leases::list_leases))
        .routes(routes!(leases::acquire_lease, leases::release_lease))
        .routes(routes!(verify::run_verification, verify::list_verified))
        .routes(routes!(verify::get_verified))
        .routes(routes!(messages::submit_message, messages::search_messages))
        .routes(routes!(messages::get_message))
        .routes(routes!(messages::get_message_content))
        .routes(routes!(messages::apply_message_action))
        .routes(routes!(messages::resolve_message))
        .routes(routes!(delegates::list_delegate_messages))
        .routes(routes!(delegates::get_delegate_message))
        .routes(routes!(delegates::begin_delegate_message))
        .routes(routes!(delegates::get_delegate_content))
        .routes(routes!(delegates::report_delegate_message))
        .routes(routes!(delegates::cancel_delegate_message))
        .routes(routes!(address_book::search_address_book))
        .routes(routes!(outbox::get_outbox_status))
        .routes(routes!(outbox::confirm_restore))
        .routes(routes!(holds::list_holds, holds::create_hold))
        .routes(routes!(holds::delete_hold))
        .routes(routes!(events::stream_events))
}

/// Returns the `OpenAPI` document of the service, which `/openapi.json` serves.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented_routes().split_for_parts().1
}

async fn unknown_endpoint(uri: Uri) -> HttpProblem {
    if environment_path::split(&uri).is_some() {
        return HttpProblem::not_hosted("one environment is served here, at the root")
            .remedy("Remove `/environments/NAME` from the address (`service.address`, MAILWRIGHT_SERVICE).");
    }
    HttpProblem::not_found("this endpoint does not exist").remedy("`/openapi.json` lists the endpoints.")
}

/// Returns the `OpenAPI` document of an environment that is served below `base`.
fn serialize_document(base: &str) -> Result<Bytes, StatusCode> {
    let mut document = openapi();
    if !base.is_empty() {
        document.servers = Some(vec![utoipa::openapi::Server::new(base)]);
    }
    serde_json::to_vec(&document).map(Bytes::from).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns the routes of an environment.
pub(super) fn router(service: Arc<Service>) -> Router {
    // Serialised at the first request, and then kept: it takes 20 ms, and anyone may request it.
    let document: Arc<OnceLock<Result<Bytes, StatusCode>>> = Arc::default();
    let base = service.base.clone();
    ROUTES
        .clone()
        .route(
            "/openapi.json",
            get(|| async move {
                let document = document.get_or_init(|| serialize_document(&base)).clone();
                document.map(|document| ([(CONTENT_TYPE, "application/json")], document))
            }),
        )
        .fallback(unknown_endpoint)
        .method_not_allowed_fallback(|| async {
            HttpProblem::new(Code::MethodNotAllowed, "this endpoint does not support the method")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&service), cross_origin::allow_origins))
        .with_state(service)
}
