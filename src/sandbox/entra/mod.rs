//! The stand-in for Entra: discovery, authorize, device code, tokens by four grants; errors in Entra's form.
//!
//! | part | contents |
//! | --- | --- |
//! | here | discovery |
//! | `authorize` | sign-in and consent of users, consent of administrators, device codes |
//! | `credential` | credentials of an application: secret, certificate, federated token |
//! | `grants` | tokens by client credentials, authorization code, refresh token and device code; introspection |
//! | `error` | errors in the form of Entra |
//!
//! The HTTP status and the error name of each code follow replies that were captured from the real service, and
//! Microsoft's list of error codes.

mod authorize;
mod credential;
mod error;
mod grants;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

pub(super) use self::{
    authorize::{DeviceSignIn, UserConsent, admin_consent, authorize, device_code},
    grants::{EXCHANGE, introspect, token},
};
use super::Sandbox;
pub(super) use crate::sandbox::entra::error::OAuthError;
use crate::sandbox::entra::error::oauth_error;

type Fields = HashMap<String, String>;

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`: the public configuration of a tenant.
pub(super) async fn discovery(State(sandbox): State<Arc<Sandbox>>, Path(name): Path<String>) -> Response {
    let base = sandbox.address();
    let scenario = sandbox.scenario();
    let shared = ["common", "organizations", "consumers"].contains(&name.as_str());
    let (id, graph_host) = match scenario.tenant(&name) {
        Some(tenant) => (tenant.id.to_string(), tenant.graph_host.clone()),
        None if shared => ("{tenantid}".to_owned(), None),
        None => {
            return oauth_error(400, "invalid_tenant", 90_002, format!("Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."))
                .into_response(&sandbox);
        }
    };
    let host = base.trim_start_matches("https://");
    let graph = graph_host.unwrap_or_else(|| host.to_owned());
    Json(json!({
        "token_endpoint": format!("{base}/{name}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth"],
        "jwks_uri": format!("{base}/{name}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{base}/{id}/v2.0"),
        "request_uri_parameter_supported": false,
        "authorization_endpoint": format!("{base}/{name}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{name}/oauth2/v2.0/devicecode"),
        "tenant_region_scope": "EU",
        "cloud_instance_name": host,
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": graph,
        "rbac_url": "https://pas.windows.net",
    }))
    .into_response()
}

/// `GET /{tenant}/discovery/v2.0/keys`: the keys that verify tokens.
pub(super) async fn keys(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    Json(sandbox.tokens.published())
}

/// `GET /common/discovery/instance`: Microsoft's libraries ask for the hosts of a cloud.
pub(super) async fn instance(State(sandbox): State<Arc<Sandbox>>, Query(query): Query<Fields>) -> Json<Value> {
    let base = sandbox.address();
    let host = base.trim_start_matches("https://");
    let tenant = query
        .get("authorization_endpoint")
        .and_then(|endpoint| endpoint.trim_start_matches("https://").split('/').nth(1))
        .unwrap_or("common");
    Json(json!({
        "tenant_discovery_endpoint": format!("{base}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    }))
}
