//! The stand-in for Entra: discovery, authorize, device code, tokens by four grants; errors in Entra's form.
//!
//! | part | contents |
//! | --- | --- |
//! | here | discovery, the end of a session |
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
    response::{Html, IntoResponse, Redirect, Response},
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
    let shared = SHARED.contains(&name.as_str());
    let (id, graph_host) = match scenario.tenant(&name) {
        Some(tenant) => (tenant.id.to_string(), tenant.graph_host.clone()),
        None if shared => ("{tenantid}".to_owned(), None),
        None if !is_tenant_name(&name) => return malformed_tenant("invalid_tenant", &name).into_response(&sandbox),
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
        "userinfo_endpoint": format!("https://{graph}/oidc/userinfo"),
        "authorization_endpoint": format!("{base}/{name}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{name}/oauth2/v2.0/devicecode"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "end_session_endpoint": format!("{base}/{name}/oauth2/v2.0/logout"),
        // `panva/wellknown`, issuers/entra-common: the document of the real service.
        "claims_supported": [
            "sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud",
            "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email",
        ],
        "kerberos_endpoint": format!("{base}/{name}/kerberos"),
        "tenant_region_scope": if shared { Value::Null } else { json!("EU") },
        "cloud_instance_name": host,
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": graph,
        "rbac_url": "https://pas.windows.net",
    }))
    .into_response()
}

/// The names that stand for the tenants of several audiences.
const SHARED: [&str; 3] = ["common", "organizations", "consumers"];

/// Returns true if a text can be the name of a tenant: an id or the name of a domain.
fn is_tenant_name(name: &str) -> bool {
    if SHARED.contains(&name) {
        return true;
    }
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name.parse::<uuid::Uuid>().is_ok() || name.contains('.') && name.split('.').all(is_label)
}

/// Returns the error for a tenant that is neither an id nor a domain.
fn malformed_tenant(error: &'static str, name: &str) -> OAuthError {
    oauth_error(
        400,
        error,
        900_023,
        format!("Specified tenant identifier '{name}' is neither a valid DNS name, nor a valid external domain."),
    )
}

/// `GET /{tenant}/oauth2/v2.0/logout`: the sandbox has no session that could end. Goes back to a registered redirect URI.
///
/// Source: "`OpenID` Connect on the Microsoft identity platform", "Send a sign-out request".
pub(super) async fn log_out(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    Query(query): Query<Fields>,
) -> Response {
    let scenario = sandbox.scenario();
    let back = query.get("post_logout_redirect_uri").filter(|back| {
        let applications = scenario.tenant(&name).into_iter().flat_map(|tenant| &tenant.applications);
        applications.map(|application| &application.redirects).any(|redirects| {
            [&redirects.web, &redirects.spa, &redirects.public_client].into_iter().flatten().any(|uri| uri == *back)
        })
    });
    let url = back.and_then(|back| reqwest::Url::parse(back).ok());
    let Some(mut url) = url else {
        return Html("<!DOCTYPE html><title>Sign out</title><p>You signed out of your account.</p>").into_response();
    };
    if let Some(state) = query.get("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    Redirect::to(url.as_str()).into_response()
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
