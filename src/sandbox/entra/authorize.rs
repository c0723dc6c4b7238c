//! Sign-in and consent of users, consent of administrators for all users, and device codes.
//!
//! Each handler answers at once: the user named in the request signs in and consents. Only a request to choose an account or to
//! sign in again (`prompt`, `max_age=0`) shows a page, with a link for each user. A code is redeemed by `grants`. An error is a
//! page, or is sent to the redirect URI, as Entra does.

use std::sync::Arc;

use axum::{
    Form, Json,
    extract::{Path, Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use serde_json::json;
use uuid::Uuid;

use super::{Fields, OAuthError};
use crate::{
    sandbox::{
        Sandbox,
        entra::error::oauth_error,
        scenario::{Application, Tenant, User},
    },
    text::percent_encode,
};

/// The consent of a user, until it is redeemed.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct UserConsent {
    pub(super) tenant: Uuid,
    pub(super) client: Uuid,
    pub(super) user: String,
    pub(super) scopes: Vec<String>,
    pub(super) redirect: String,
    pub(super) challenge: Option<String>,
    pub(super) nonce: Option<String>,
    /// The time at which the user entered its password, in seconds.
    pub(super) auth_time: i64,
}

/// The parameter by which the links of the page for accounts come back: `account`, `password` or `cancel`.
const PICKED: &str = "sandbox_picked";
/// The age of a sign-in that needed no password, in seconds.
const SIGNED_IN_BEFORE: i64 = 3600;

/// `GET /{tenant}/oauth2/v2.0/authorize`: signs in the user of `login_hint`, or the first user. Shows the accounts if the request
/// asks for that.
pub(in crate::sandbox) async fn authorize(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    Query(query): Query<Fields>,
) -> Response {
    let field = |key: &str| query.get(key).map_or("", String::as_str);
    // Entra shows these errors on a page, and does not send them to the application.
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
    if !all.iter().any(|uris| uris.iter().any(|uri| is_same_redirect(uri, redirect))) {
        return page(
            50_011,
            "The redirect URI specified in the request does not match the redirect URIs configured for the application.",
        );
    }
    let back = |pairs: &[(&str, &str)]| {
        let Ok(mut url) = reqwest::Url::parse(redirect) else {
            return page(50_011, "The redirect URI is not an address.");
        };
        if query.get("response_mode").map(String::as_str) == Some("form_post") {
            return posting_page(redirect, pairs, query.get("state"));
        }
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
    let picked = field(PICKED);
    let needs_password = field("prompt") == "login" || field("max_age") == "0";
    if picked.is_empty() && (needs_password || field("prompt") == "select_account") {
        return account_page(tenant, &application, &query, needs_password);
    }
    if picked == "cancel" {
        return back(&[
            ("error", "access_denied"),
            ("error_description", "AADSTS65004: User declined to consent to access the app."),
        ]);
    }
    let user = match query.get("login_hint") {
        Some(hint) => tenant.user(hint),
        None => tenant.users.first(),
    };
    let Some(user) = user else {
        return page(50_034, "The user account does not exist in the directory.");
    };
    if !user.enabled {
        return page(50_057, "The user account is disabled.");
    }
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
    if field("code_challenge").is_empty() && application.redirects.spa.iter().any(|uri| is_same_redirect(uri, redirect))
    {
        return back(&[
            ("error", "invalid_request"),
            (
                "error_description",
                "AADSTS9002325: Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
            ),
        ]);
    }
    let code = format!("0.{}", Uuid::now_v7().simple());
    let now = sandbox.now().as_second();
    let auth_time = if picked == "password" { now } else { now - SIGNED_IN_BEFORE };
    sandbox.user_consents.lock().await.insert(
        code.clone(),
        UserConsent {
            tenant: tenant.id,
            client: application.client,
            user: user.name.clone(),
            scopes,
            redirect: redirect.to_owned(),
            challenge: query.get("code_challenge").cloned(),
            nonce: query.get("nonce").cloned(),
            auth_time,
        },
    );
    back(&[("code", &code), ("session_state", "sandbox")])
}

/// Returns the page that posts an answer to the application (`response_mode=form_post`, OAuth 2.0 Form Post Response Mode).
fn posting_page(redirect: &str, pairs: &[(&str, &str)], state: Option<&String>) -> Response {
    let state = state.map(|state| ("state", state.as_str()));
    let field = |(name, value): (&str, &str)| {
        format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", markup(name), markup(value))
    };
    let fields: String = pairs.iter().copied().chain(state).map(field).collect();
    Html(format!(
        "<!DOCTYPE html><html><head><title>Working...</title></head><body><form method=\"POST\" name=\"hiddenform\" action=\"{}\">{fields}<noscript><p>Script is disabled. Click Submit to continue.</p><input type=\"submit\" value=\"Submit\"></noscript></form><script>document.forms[0].submit();</script></body></html>",
        markup(redirect)
    ))
    .into_response()
}

/// Shows the accounts of a tenant: each is a link to the same address, with the choice instead of `prompt`.
fn account_page(tenant: &Tenant, application: &Application, query: &Fields, needs_password: bool) -> Response {
    let link = |picked: &str, user: Option<&str>| {
        let own = query.iter().filter(|(name, _)| !["login_hint", "prompt"].contains(&name.as_str()));
        let mut all: Vec<(&str, &str)> = own.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.sort_unstable();
        all.push((PICKED, picked));
        all.extend(user.map(|user| ("login_hint", user)));
        let text = |(name, value): &(&str, &str)| {
            format!("{}={}", percent_encode(name.as_bytes(), UNRESERVED), percent_encode(value.as_bytes(), UNRESERVED))
        };
        all.iter().map(text).collect::<Vec<_>>().join("&amp;")
    };
    let picked = if needs_password { "password" } else { "account" };
    let account = |user: &User| {
        let shown = markup(user.display_name.as_deref().unwrap_or(&user.name));
        format!("<li><a href=\"?{}\">{shown}</a> {}</li>", link(picked, Some(&user.name)), markup(&user.name))
    };
    let accounts: String = tenant.users.iter().map(account).collect();
    let title = if needs_password { "Enter password" } else { "Pick an account" };
    Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><title>Sign in to your account</title><h1>{title}</h1><p>Sandbox of Entra: sign in to {} without a password.</p><ul>{accounts}</ul><p><a href=\"?{}\">Cancel</a></p></html>",
        markup(&application.name),
        link("cancel", None),
    ))
    .into_response()
}

/// Characters that are written as they are in a query.
const UNRESERVED: &[u8] = b"-._~";

/// Returns a text as HTML.
fn markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Compares redirect URIs by exact match, except for the port of localhost.
pub(super) fn is_same_redirect(registered: &str, asked: &str) -> bool {
    let local = |text: &str| {
        let url = reqwest::Url::parse(text).ok()?;
        matches!(url.host_str(), Some("localhost" | "127.0.0.1"))
            .then(|| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.path().to_owned()))
    };
    registered == asked || local(registered).is_some() && local(registered) == local(asked)
}

/// Returns the requested scopes of Graph, if there is consent to them.
pub(super) fn consented(
    sandbox: &Sandbox,
    application: &Application,
    user: &str,
    asked: &str,
) -> Result<Vec<String>, OAuthError> {
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
            return Err(oauth_error(
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

/// `GET /{tenant}/adminconsent` and `GET /{tenant}/v2.0/adminconsent`: an administrator consents to what the
/// registration requests, without a page.
pub(in crate::sandbox) async fn admin_consent(
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

/// `POST /{tenant}/oauth2/v2.0/devicecode`: begins a sign-in by device code.
pub(in crate::sandbox) async fn device_code(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
    Form(form): Form<Fields>,
) -> Response {
    let field = |key: &str| form.get(key).map_or("", String::as_str);
    let scenario = sandbox.scenario();
    let Some(tenant) = scenario.tenant(&name) else { return OAuthError::from_code(90_002).into_response(&sandbox) };
    let Some(application) = tenant.application(field("client_id")) else {
        return OAuthError::from_code(700_016).into_response(&sandbox);
    };
    let (device, user_code) =
        (format!("DAQ{}", Uuid::now_v7().simple()), Uuid::now_v7().simple().to_string()[20..28].to_uppercase());
    sandbox.devices.lock().await.insert(
        device.clone(),
        DeviceSignIn {
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
pub(in crate::sandbox) struct DeviceSignIn {
    pub(in crate::sandbox) user_code: String,
    pub(super) client: Uuid,
    pub(super) tenant: Uuid,
    pub(super) scope: String,
    pub(in crate::sandbox) approved: Option<String>,
    pub(super) polls: u32,
}
