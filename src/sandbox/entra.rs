//! The stand-in for Entra: discovery, authorize, device code, tokens by every grant; errors in Entra's own shape.
//!
//! Which code goes with which HTTP status and error word follows answers that were captured from the real service, and
//! Microsoft's list of error codes.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Form, Json,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Sandbox,
    scenario::{Application, Tenant},
};

type Fields = HashMap<String, String>;

/// A no, in Entra's own shape.
#[derive(Debug)]
pub(super) struct No {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
}

fn no(status: u16, error: &'static str, code: u32, text: impl Into<String>) -> No {
    No { status, error, code, text: text.into() }
}

impl No {
    /// The no for a code alone, as a fault orders it.
    pub(super) fn of(code: u32) -> Self {
        let (status, error, text) = match code {
            7_000_215 => (
                401,
                "invalid_client",
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app.",
            ),
            7_000_222 => (
                401,
                "invalid_client",
                "The provided client secret keys are expired. Visit the Azure portal to create new keys for your app.",
            ),
            700_016 => (
                400,
                "unauthorized_client",
                "Application was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.",
            ),
            90_002 => (
                400,
                "invalid_request",
                "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
            ),
            53_003 => (
                400,
                "invalid_grant",
                "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
            ),
            500_011 => (400, "invalid_resource", "The resource principal was not found in the tenant."),
            _ => (400, "invalid_request", "The request is refused."),
        };
        no(status, error, code, text)
    }

    pub(super) fn answer(self, sandbox: &Sandbox) -> Response {
        let (trace, correlation) = (Uuid::now_v7(), Uuid::now_v7());
        let now = sandbox.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let mut body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}", self.code, self.text
            ),
            "error_codes": [self.code],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
        });
        // The address of the page about the error stands there only for codes that have a page.
        if !matches!(self.code, 700_038 | 70_003) {
            body["error_uri"] = json!(format!("{}/error?code={}", sandbox.address(), self.code));
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(body)).into_response()
    }
}

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`
pub(super) async fn discovery(State(sandbox): State<Arc<Sandbox>>, Path(name): Path<String>) -> Response {
    let base = sandbox.address();
    let scenario = sandbox.scenario();
    let shared = ["common", "organizations", "consumers"].contains(&name.as_str());
    let (id, graph_host) = match scenario.tenant(&name) {
        Some(tenant) => (tenant.id.to_string(), tenant.graph_host.clone()),
        None if shared => ("{tenantid}".to_owned(), None),
        None => {
            return no(400, "invalid_tenant", 90_002, format!("Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."))
                .answer(&sandbox);
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

/// `GET /{tenant}/discovery/v2.0/keys`
pub(super) async fn keys(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    Json(sandbox.tokens.published())
}

/// `GET /common/discovery/instance`: Microsoft's libraries ask which hosts are one cloud.
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

/// What was agreed on with a user, until it is redeemed.
#[derive(Clone, Debug)]
pub(super) struct Agreement {
    tenant: Uuid,
    client: Uuid,
    user: String,
    scopes: Vec<String>,
    redirect: String,
    challenge: Option<String>,
    nonce: Option<String>,
}

/// `GET /{tenant}/oauth2/v2.0/authorize`: signs in whom `login_hint` names, or the first user, without a page.
pub(super) async fn authorize(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    Query(query): Query<Fields>,
) -> Response {
    let field = |key: &str| query.get(key).map_or("", String::as_str);
    // What Entra says here it says on a page, not to the application.
    let page = |code: u32, text: &str| {
        Html(format!("<!DOCTYPE html><title>Sign in to your account</title><p>AADSTS{code}: {text}</p>"))
            .into_response()
    };
    let scenario = sandbox.scenario();
    let Some(tenant) = scenario.tenant(&name) else { return page(90_002, "Tenant not found.") };
    let Some(application) = tenant.application(field("client_id")) else {
        return page(700_016, "Application was not found in the directory.");
    };
    let redirect = field("redirect_uri");
    let all = [&application.redirects.web, &application.redirects.spa, &application.redirects.public_client];
    if all.iter().all(|uris| uris.is_empty()) {
        return page(900_971, "No reply address provided.");
    }
    if !all.iter().any(|uris| uris.iter().any(|uri| same_redirect(uri, redirect))) {
        return page(
            50_011,
            "The redirect URI specified in the request does not match the redirect URIs configured for the application.",
        );
    }
    let back = |pairs: &[(&str, &str)]| {
        let Ok(mut url) = reqwest::Url::parse(redirect) else { return page(50_011, "The redirect URI is no address.") };
        url.query_pairs_mut().extend_pairs(pairs);
        if let Some(state) = query.get("state") {
            url.query_pairs_mut().append_pair("state", state);
        }
        if query.get("response_mode").map(String::as_str) == Some("fragment") {
            let fragment = url.query().unwrap_or_default().to_owned();
            url.set_query(None);
            url.set_fragment(Some(&fragment));
        }
        Redirect::to(url.as_str()).into_response()
    };
    let user = match query.get("login_hint") {
        Some(hint) => tenant.user(hint),
        None => tenant.users.first(),
    };
    let Some(user) = user.filter(|user| user.enabled) else {
        return page(50_034, "The user account does not exist in the directory.");
    };
    if application.assignment_required
        && !application.assigned.iter().any(|assigned| assigned.eq_ignore_ascii_case(&user.name))
    {
        return page(50_105, "The signed in user is not assigned to a role for the application.");
    }
    let Ok(scopes) = consented(&sandbox, &application, &user.name, field("scope")) else {
        return back(&[
            ("error", "consent_required"),
            ("error_description", "AADSTS65001: The user or administrator has not consented to use the application."),
        ]);
    };
    if field("code_challenge").is_empty() && application.redirects.spa.iter().any(|uri| same_redirect(uri, redirect)) {
        return back(&[
            ("error", "invalid_request"),
            (
                "error_description",
                "AADSTS9002325: Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
            ),
        ]);
    }
    let code = format!("0.{}", Uuid::now_v7().simple());
    sandbox.agreements.lock().await.insert(
        code.clone(),
        Agreement {
            tenant: tenant.id,
            client: application.client,
            user: user.name.clone(),
            scopes,
            redirect: redirect.to_owned(),
            challenge: query.get("code_challenge").cloned(),
            nonce: query.get("nonce").cloned(),
        },
    );
    back(&[("code", &code), ("session_state", "sandbox")])
}

/// The port of localhost is not compared; everything else is, to the letter.
fn same_redirect(registered: &str, asked: &str) -> bool {
    let local = |text: &str| {
        let url = reqwest::Url::parse(text).ok()?;
        matches!(url.host_str(), Some("localhost" | "127.0.0.1"))
            .then(|| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.path().to_owned()))
    };
    registered == asked || local(registered).is_some() && local(registered) == local(asked)
}

/// The scopes of Graph that are asked for, if they are consented to.
fn consented(sandbox: &Sandbox, application: &Application, user: &str, asked: &str) -> Result<Vec<String>, No> {
    let resource = format!("{}/", sandbox.address());
    let by_user = application
        .consented_by
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(user))
        .flat_map(|(_, scopes)| scopes);
    let has: Vec<&String> = application.consented.iter().chain(by_user).collect();
    let mut granted = Vec::new();
    for scope in asked.split_whitespace() {
        let scope = scope
            .strip_prefix(&resource)
            .or_else(|| scope.strip_prefix("https://graph.microsoft.com/"))
            .unwrap_or(scope);
        if scope == ".default" {
            granted.extend(has.iter().map(|scope| (*scope).clone()));
        } else if ["openid", "profile", "email", "offline_access"].contains(&scope)
            || has.iter().any(|consented| consented.eq_ignore_ascii_case(scope))
        {
            granted.push(scope.to_owned());
        } else {
            return Err(no(
                400,
                "invalid_grant",
                65_001,
                format!(
                    "The user or administrator has not consented to use the application with ID '{}' named '{}'. Send an interactive authorization request for this user and resource.",
                    application.client, application.name
                ),
            ));
        }
    }
    Ok(granted)
}

/// `GET /{tenant}/adminconsent` and `GET /{tenant}/v2.0/adminconsent`: an administrator consents to what the registration
/// requests, without a page.
pub(super) async fn admin_consent(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    uri: axum::http::Uri,
    Query(query): Query<Fields>,
) -> Response {
    let page = |text: String| {
        Html(format!("<!DOCTYPE html><title>Permissions requested</title><p>{text}</p>")).into_response()
    };
    let field = |key: &str| query.get(key).map_or("", String::as_str);
    if uri.path().ends_with("/v2.0/adminconsent") && field("scope").is_empty() {
        return page("AADSTS900144: The request body must contain the following parameter: 'scope'.".to_owned());
    }
    let mut consented = None;
    sandbox.change(|scenario| {
        let tenant = scenario.tenants.iter_mut().find(|tenant| tenant.is_called(&name));
        let applications = tenant.into_iter().flat_map(|tenant| tenant.applications.iter_mut());
        let wanted = field("client_id").parse::<Uuid>().ok();
        for application in applications.filter(|application| Some(application.client) == wanted) {
            application.granted.clone_from(&application.requests.application);
            application.consented.clone_from(&application.requests.delegated);
            application.consented.extend(["openid", "profile", "offline_access"].map(str::to_owned));
            application.not_installed = false;
            consented = Some(application.name.clone());
        }
    });
    let Some(application) = consented else {
        return page("AADSTS700016: Application was not found in the directory.".to_owned());
    };
    if let Ok(mut back) = reqwest::Url::parse(field("redirect_uri")) {
        back.query_pairs_mut()
            .append_pair("admin_consent", "True")
            .append_pair("tenant", &name)
            .append_pair("state", field("state"));
        return Redirect::to(back.as_str()).into_response();
    }
    page(format!("{application} has the permissions that it requests."))
}

/// `POST /{tenant}/oauth2/v2.0/devicecode`
pub(super) async fn device_code(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    Form(form): Form<Fields>,
) -> Response {
    let field = |key: &str| form.get(key).map_or("", String::as_str);
    let scenario = sandbox.scenario();
    let Some(tenant) = scenario.tenant(&name) else { return No::of(90_002).answer(&sandbox) };
    let Some(application) = tenant.application(field("client_id")) else { return No::of(700_016).answer(&sandbox) };
    let (device, user_code) =
        (format!("DAQ{}", Uuid::now_v7().simple()), Uuid::now_v7().simple().to_string()[20..28].to_uppercase());
    sandbox.devices.lock().await.insert(
        device.clone(),
        Device {
            user_code: user_code.clone(),
            client: application.client,
            tenant: tenant.id,
            scope: field("scope").to_owned(),
            approved: None,
            polls: 0,
        },
    );
    let verification = format!("{}/sandbox/device", sandbox.address());
    Json(json!({
        "user_code": user_code,
        "device_code": device,
        "verification_uri": verification,
        "expires_in": 900,
        "interval": 1,
        "message": format!("To sign in, use a web browser to open the page {verification} and enter the code {user_code} to authenticate."),
    }))
    .into_response()
}

/// A sign-in by device code that has begun.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) user_code: String,
    client: Uuid,
    tenant: Uuid,
    scope: String,
    pub(super) approved: Option<String>,
    polls: u32,
}

/// `POST /{tenant}/oauth2/v2.0/token`
pub(super) async fn token(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    match issue(&sandbox, &name, &headers, &form).await {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store, no-cache")], Json(token)).into_response(),
        Err(no) => no.answer(&sandbox),
    }
}

async fn issue(sandbox: &Sandbox, name: &str, headers: &HeaderMap, form: &Fields) -> Result<Value, No> {
    let scenario = sandbox.scenario();
    let field = |key: &str| form.get(key).map_or("", String::as_str);
    let grant = field("grant_type");
    if grant.is_empty() {
        return Err(no(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'grant_type'.",
        ));
    }
    let tenant = scenario
        .tenant(name)
        .ok_or_else(|| no(400, "invalid_request", 90_002, format!("Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.")))?;
    let (client, basic_secret) = basic(headers).unwrap_or_else(|| (field("client_id").to_owned(), None));
    if client.is_empty() {
        return Err(no(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'client_id'.",
        ));
    }
    if client.parse::<Uuid>().map_or(true, |id| id.is_nil()) {
        return Err(no(
            400,
            "unauthorized_client",
            700_038,
            format!("{client} is not a valid application identifier."),
        ));
    }
    let application = tenant.application(&client).filter(|application| !application.not_installed).ok_or_else(|| {
        no(400, "unauthorized_client", 700_016, format!("Application with identifier '{client}' was not found in the directory '{name}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."))
    })?;
    if application.disabled {
        return Err(no(
            401,
            "invalid_client",
            7_000_112,
            format!("Application '{client}'({}) is disabled.", application.name),
        ));
    }
    let secret = basic_secret.or_else(|| form.get("client_secret").cloned());
    let proved = prove(sandbox, tenant, &application, secret.as_deref(), form)?;
    match grant {
        "client_credentials" => client_credentials(sandbox, tenant, &application, proved, field("scope")),
        "authorization_code" => authorization_code(sandbox, tenant, &application, proved, headers, form).await,
        "refresh_token" => refresh(sandbox, tenant, &application, proved, form).await,
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => {
            device(sandbox, tenant, &application, form).await
        }
        other => Err(no(
            400,
            "unsupported_grant_type",
            70_003,
            format!("The app requested an unsupported grant type '{other}'."),
        )),
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, Option<String>)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(base64::prelude::BASE64_STANDARD.decode(text).ok()?).ok()?;
    let (client, secret) = text.split_once(':')?;
    Some((client.to_owned(), Some(secret.to_owned())))
}

/// How the application proved itself, as `appidacr` tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proved {
    Nothing,
    Secret,
    Assertion,
}

fn prove(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    secret: Option<&str>,
    form: &Fields,
) -> Result<Proved, No> {
    if let Some(secret) = secret {
        let now = sandbox.now();
        let known = application.secrets.iter().find(|known| known.value == secret);
        return match known {
            Some(known) if known.expires.is_none_or(|expires| expires > now) => Ok(Proved::Secret),
            Some(_) => Err(no(
                401,
                "invalid_client",
                7_000_222,
                format!(
                    "The provided client secret keys for app '{}' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.",
                    application.client
                ),
            )),
            None => Err(no(
                401,
                "invalid_client",
                7_000_215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{}'.",
                    application.client
                ),
            )),
        };
    }
    let Some(assertion) = form.get("client_assertion") else { return Ok(Proved::Nothing) };
    if form.get("client_assertion_type").map(String::as_str)
        != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    {
        return Err(no(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'client_assertion_type'.",
        ));
    }
    let header = jsonwebtoken::decode_header(assertion)
        .map_err(|_| no(401, "invalid_client", 50_027, "JWT token is invalid or malformed."))?;
    let certificate = application
        .certificates
        .iter()
        .filter_map(|known| CertificateDer::from_pem_slice(known.pem.as_bytes()).ok())
        .find(|der| {
            let sha256 = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(der.as_ref()));
            let sha1 = BASE64_URL_SAFE_NO_PAD
                .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der.as_ref()));
            header.x5t_s256.as_deref().map(|text| text.trim_end_matches('=')) == Some(&sha256)
                || header.x5t.as_deref().map(|text| text.trim_end_matches('=')) == Some(&sha1)
        });
    match certificate {
        Some(der) => by_certificate(sandbox, tenant, application, assertion, header.alg, der.as_ref()),
        None if header.x5t_s256.is_some() || header.x5t.is_some() => Err(no(
            401,
            "invalid_client",
            700_027,
            format!(
                "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Please visit the Azure Portal to see application with ID '{}'.]",
                application.client
            ),
        )),
        None => by_federation(application, assertion),
    }
}

fn by_certificate(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    assertion: &str,
    algorithm: Algorithm,
    der: &[u8],
) -> Result<Proved, No> {
    let wrong = |text: &str| {
        no(401, "invalid_client", 700_027, format!("Client assertion failed signature validation. {text}"))
    };
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| wrong("The certificate cannot be read."))?;
    let key = DecodingKey::from_rsa_der(&certificate.public_key().subject_public_key.data);
    if !matches!(algorithm, Algorithm::PS256 | Algorithm::RS256) {
        return Err(no(
            401,
            "invalid_client",
            5_002_723,
            "Invalid JWT token. Unsupported key for the signing algorithm.",
        ));
    }
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let data =
        jsonwebtoken::decode::<Value>(assertion, &key, &validation).map_err(|_| wrong("The signature is invalid."))?;
    let claims = data.claims;
    let client = application.client.to_string();
    if claims["iss"] != json!(client) || claims["sub"] != json!(client) {
        return Err(no(
            401,
            "invalid_client",
            700_021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        ));
    }
    let audience = claims["aud"].as_str().unwrap_or_default();
    let good = [tenant.id.to_string()].into_iter().chain(tenant.domains.iter().cloned()).any(|name| {
        audience == format!("{}/{name}/oauth2/v2.0/token", sandbox.address())
            || audience == format!("{}/{name}/v2.0", sandbox.address())
    });
    if !good {
        return Err(no(401, "invalid_client", 700_023, "Client assertion audience claim does not match Realm issuer."));
    }
    let now = sandbox.now().as_second();
    // Some libraries write times with a fraction.
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds fits")]
    let time = |key: &str| claims[key].as_f64().map(|seconds| seconds as i64);
    if time("nbf").is_some_and(|nbf| nbf > now + 300) || time("exp").is_none_or(|exp| exp < now - 300) {
        return Err(no(
            401,
            "invalid_client",
            700_024,
            format!(
                "Client assertion is not within its valid time range. Current time: {}, expiry time of assertion {}.",
                sandbox.now(),
                time("exp").unwrap_or_default()
            ),
        ));
    }
    Ok(Proved::Assertion)
}

fn by_federation(application: &Application, assertion: &str) -> Result<Proved, No> {
    // The real service fetches the issuer's keys. The sandbox has no network, and takes the claims as they are.
    let payload = assertion.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let (issuer, subject) = (claims["iss"].as_str().unwrap_or_default(), claims["sub"].as_str().unwrap_or_default());
    let audience = match &claims["aud"] {
        Value::Array(items) if items.len() == 1 => items[0].as_str().unwrap_or_default().to_owned(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    if application.federated.is_empty() {
        return Err(no(
            401,
            "invalid_client",
            70_021,
            format!(
                "No matching federated identity record found for presented assertion. Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion Audience: '{audience}'."
            ),
        ));
    }
    if audience != "api://AzureADTokenExchange" {
        return Err(no(
            401,
            "invalid_client",
            700_212,
            format!("No matching federated identity record found for presented assertion audience '{audience}'."),
        ));
    }
    if !application.federated.iter().any(|known| known.issuer == issuer) {
        return Err(no(
            401,
            "invalid_client",
            700_211,
            format!("No matching federated identity record found for presented assertion issuer '{issuer}'."),
        ));
    }
    if !application.federated.iter().any(|known| known.issuer == issuer && known.subject == subject) {
        return Err(no(
            401,
            "invalid_client",
            700_213,
            format!(
                "No matching federated identity record found for presented assertion subject '{subject}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
            ),
        ));
    }
    Ok(Proved::Assertion)
}

fn client_credentials(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    proved: Proved,
    scope: &str,
) -> Result<Value, No> {
    if proved == Proved::Nothing {
        return Err(no(
            401,
            "invalid_client",
            7_000_216,
            "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
        ));
    }
    if scope.is_empty() {
        return Err(no(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'scope'.",
        ));
    }
    let Some(resource) = scope.strip_suffix("/.default").filter(|_| !scope.contains(' ')) else {
        return Err(no(
            400,
            "invalid_scope",
            1_002_012,
            format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
            ),
        ));
    };
    let resource = resource.trim_end_matches('/');
    let exchange = resource == EXCHANGE;
    if resource != sandbox.address() && resource != "https://graph.microsoft.com" && !exchange {
        return Err(no(
            400,
            "invalid_resource",
            500_011,
            format!(
                "The resource principal named {resource} was not found in the tenant named {}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
                tenant.domains.first().map_or("", String::as_str)
            ),
        ));
    }
    let now = sandbox.now().as_second();
    let mut claims = json!({
        "aud": if exchange { EXCHANGE } else { sandbox.address() },
        "iss": format!("https://sts.windows.net/{}/", tenant.id),
        "iat": now, "nbf": now, "exp": now + 3900,
        "app_displayname": application.name,
        "appid": application.client,
        "appidacr": if proved == Proved::Secret { "1" } else { "2" },
        "idtyp": "app",
        "oid": tenant.object_id(&format!("sp/{}", application.client)),
        "tid": tenant.id,
        "ver": "1.0",
        // A token says whether it is from a proof that still holds; the sandbox counts, to tell tokens apart.
        "uti": Uuid::now_v7().simple().to_string(),
    });
    // Nothing granted: the token is issued all the same, without the claim.
    let of_exchange = |role: &&String| role.ends_with(".SendAsApp");
    let granted: Vec<&String> = application.granted.iter().filter(|role| of_exchange(role) == exchange).collect();
    if !granted.is_empty() {
        claims["roles"] = json!(granted);
    }
    Ok(
        json!({ "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": sandbox.tokens.sign(&claims) }),
    )
}

/// `POST /sandbox/introspect`: whether a token is good for logging in to a mail server, as RFC 7662 has it. Entra has no
/// such thing; mail servers that are not Exchange ask in this way. A token of an application is for its tenant and not for
/// one mailbox, so what matters of `username` is the domain.
pub(super) async fn introspect(State(sandbox): State<Arc<Sandbox>>, Form(form): Form<Fields>) -> Json<Value> {
    let scenario = sandbox.scenario();
    let claims = form.get("token").and_then(|token| sandbox.tokens.read(token));
    let good = claims.and_then(|claims| {
        let may_send = claims["roles"].as_array()?.iter().any(|role| role == "SMTP.SendAsApp");
        let domain = scenario.tenant(claims["tid"].as_str()?)?.domains.first()?.clone();
        (claims["aud"] == EXCHANGE && may_send && claims["exp"].as_i64()? > sandbox.now().as_second()).then(|| {
            json!({
                "active": true, "token_type": "Bearer", "scope": "SMTP.SendAsApp", "client_id": claims["appid"],
                "username": format!("{}@{domain}", claims["appid"].as_str().unwrap_or_default()),
                "iss": claims["iss"], "aud": claims["aud"], "exp": claims["exp"],
            })
        })
    });
    Json(good.unwrap_or_else(|| json!({ "active": false })))
}

/// Exchange Online, whose tokens log in to a mail server.
pub(super) const EXCHANGE: &str = "https://outlook.office365.com";

async fn authorization_code(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    proved: Proved,
    headers: &HeaderMap,
    form: &Fields,
) -> Result<Value, No> {
    let field = |key: &str| form.get(key).map_or("", String::as_str);
    let agreement = sandbox.agreements.lock().await.remove(field("code"));
    let agreement = agreement
        .filter(|agreement| agreement.client == application.client && agreement.tenant == tenant.id)
        .ok_or_else(|| no(400, "invalid_grant", 54_005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."))?;
    if agreement.redirect != field("redirect_uri") {
        return Err(no(
            400,
            "invalid_client",
            500_112,
            "The reply address does not match the reply address provided when requesting Authorization code.",
        ));
    }
    let on = |uris: &[String]| uris.iter().any(|uri| same_redirect(uri, &agreement.redirect));
    let cross_origin = headers.contains_key(header::ORIGIN);
    if on(&application.redirects.spa) {
        if !cross_origin {
            return Err(no(
                400,
                "invalid_request",
                9_002_327,
                "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
            ));
        }
    } else if cross_origin {
        return Err(no(
            400,
            "invalid_request",
            9_002_326,
            "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
        ));
    } else if on(&application.redirects.public_client) {
        if proved != Proved::Nothing {
            return Err(no(
                401,
                "invalid_client",
                700_025,
                "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
            ));
        }
    } else if proved == Proved::Nothing {
        return Err(no(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    if let Some(challenge) = &agreement.challenge {
        let answer = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier").as_bytes()));
        if *challenge != answer {
            return Err(no(
                400,
                "invalid_grant",
                501_481,
                "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
            ));
        }
    }
    Ok(delegated(sandbox, tenant, application, &agreement).await)
}

async fn refresh(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    proved: Proved,
    form: &Fields,
) -> Result<Value, No> {
    let known = sandbox.refresh_tokens.lock().await.get(form.get("refresh_token").map_or("", String::as_str)).cloned();
    let agreement =
        known
            .filter(|agreement| agreement.client == application.client && agreement.tenant == tenant.id)
            .ok_or_else(|| no(400, "invalid_grant", 9_002_313, "Invalid request. Request is malformed or invalid."))?;
    let is_web = application.redirects.web.iter().any(|uri| same_redirect(uri, &agreement.redirect));
    if is_web && proved == Proved::Nothing {
        return Err(no(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    Ok(delegated(sandbox, tenant, application, &agreement).await)
}

async fn device(sandbox: &Sandbox, tenant: &Tenant, application: &Application, form: &Fields) -> Result<Value, No> {
    if !application.public_flows && application.redirects.public_client.is_empty() {
        return Err(no(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    let code = form.get("device_code").map_or("", String::as_str);
    let (user, scope) = {
        let mut devices = sandbox.devices.lock().await;
        let device = devices
            .get_mut(code)
            .filter(|device| device.client == application.client && device.tenant == tenant.id)
            .ok_or_else(|| {
                no(
                    400,
                    "bad_verification_code",
                    70_018,
                    "Invalid verification code due to User typing in wrong user code for device code flow.",
                )
            })?;
        device.polls += 1;
        if device.polls > 1 && device.approved.is_none() {
            device.approved.clone_from(&tenant.approves_device_codes);
        }
        let user = device.approved.clone().ok_or_else(|| {
            no(
                400,
                "authorization_pending",
                70_016,
                "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
            )
        })?;
        let found = (user, device.scope.clone());
        devices.remove(code);
        found
    };
    let scopes = consented(sandbox, application, &user, &scope)?;
    let agreement = Agreement {
        tenant: tenant.id,
        client: application.client,
        user,
        scopes,
        redirect: String::new(),
        challenge: None,
        nonce: None,
    };
    Ok(delegated(sandbox, tenant, application, &agreement).await)
}

async fn delegated(sandbox: &Sandbox, tenant: &Tenant, application: &Application, agreement: &Agreement) -> Value {
    let now = sandbox.now().as_second();
    let graph: Vec<&str> =
        agreement.scopes.iter().map(String::as_str).filter(|scope| *scope != "offline_access").collect();
    let user_id = tenant.object_id(&agreement.user);
    let access = json!({
        "aud": sandbox.address(),
        "iss": format!("https://sts.windows.net/{}/", tenant.id),
        "iat": now, "nbf": now, "exp": now + 3900,
        "appid": application.client,
        "appidacr": "0",
        "idtyp": "user",
        "oid": user_id,
        "scp": graph.join(" "),
        "tid": tenant.id,
        "upn": agreement.user,
        "ver": "1.0",
        "uti": Uuid::now_v7().simple().to_string(),
    });
    let mut answer = json!({
        "token_type": "Bearer",
        "scope": graph.join(" "),
        "expires_in": 3599,
        "ext_expires_in": 3599,
        "access_token": sandbox.tokens.sign(&access),
    });
    if agreement.scopes.iter().any(|scope| scope == "offline_access") {
        let refresh = format!("1.{}", Uuid::now_v7().simple());
        sandbox.refresh_tokens.lock().await.insert(refresh.clone(), agreement.clone());
        answer["refresh_token"] = json!(refresh);
    }
    if agreement.scopes.iter().any(|scope| scope == "openid") {
        let mut id = json!({
            "aud": application.client,
            "iss": format!("{}/{}/v2.0", sandbox.address(), tenant.id),
            "iat": now, "nbf": now, "exp": now + 3900,
            "name": agreement.user,
            "oid": user_id,
            "preferred_username": agreement.user,
            "sub": tenant.object_id(&format!("{}/{}", application.client, agreement.user)),
            "tid": tenant.id,
            "ver": "2.0",
        });
        if let Some(nonce) = &agreement.nonce {
            id["nonce"] = json!(nonce);
        }
        answer["id_token"] = json!(sandbox.tokens.sign(&id));
        answer["client_info"] =
            json!(BASE64_URL_SAFE_NO_PAD.encode(json!({ "uid": user_id, "utid": tenant.id }).to_string()));
    }
    answer
}
