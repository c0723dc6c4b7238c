//! The stand-in for Microsoft Graph: what the verifier and a mail sender ask for, with Graph's own permission checks,
//! paging, `$select`, `$filter`, `$top`, `$batch`, and errors.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Sandbox, Sent,
    odata::{APPLICATION, ASSIGNMENT, DOMAIN, FEDERATED, GRANT, MESSAGE, ORGANIZATION, Query, SERVICE_PRINCIPAL, USER},
    scenario::{Application, Mailbox, Tenant, User},
};
use crate::entra::permissions::{self, GRAPH_APP_ID, Kind};

/// How large a request may be: Graph's limit for writing.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A no of Graph's.
#[derive(Debug)]
pub(super) struct No(u16, &'static str, String);

pub(super) fn no(status: u16, code: &'static str, text: impl Into<String>) -> No {
    No(status, code, text.into())
}

fn denied() -> No {
    no(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

fn absent(id: &str) -> No {
    no(
        404,
        "Request_ResourceNotFound",
        format!("Resource '{id}' does not exist or one of its queried reference-property objects are not present."),
    )
}

pub(super) fn error_body(now: jiff::Timestamp, code: &str, text: &str) -> Value {
    let id = Uuid::now_v7();
    json!({ "error": { "code": code, "message": text, "innerError": { "date": now.strftime("%Y-%m-%dT%H:%M:%S").to_string(), "request-id": id, "client-request-id": id } } })
}

type Answered = Result<(u16, Value), No>;

/// Who asks.
struct Caller<'a> {
    tenant: &'a Tenant,
    /// The application that the token is for.
    client: String,
    /// The user who signed in, if one did.
    user: Option<String>,
    permissions: BTreeSet<String>,
}

impl Caller<'_> {
    fn has(&self, any: &[&str]) -> bool {
        any.iter().any(|permission| self.permissions.contains(*permission))
    }

    fn reads_applications(&self) -> bool {
        self.has(&[
            "Application.Read.All",
            "Application.ReadWrite.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ])
    }

    /// An application may read itself without any permission.
    fn may_read(&self, client: &str) -> bool {
        self.reads_applications() || (self.user.is_none() && self.client.eq_ignore_ascii_case(client))
    }
}

/// Everything under `/v1.0`.
pub(super) async fn handle(
    State(sandbox): State<Arc<Sandbox>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (status, answer) = whole(&sandbox, &method, &uri, &headers, &body).await;
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let request_id = [("request-id", Uuid::now_v7().to_string())];
    if answer.is_null() {
        (status_code, request_id).into_response()
    } else {
        (status_code, request_id, Json(answer)).into_response()
    }
}

async fn whole(sandbox: &Sandbox, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> (u16, Value) {
    if body.len() > BODY_LIMIT {
        return (
            413,
            error_body(sandbox.now(), "ErrorMessageSizeExceeded", "The message exceeds the maximum supported size."),
        );
    }
    let path = uri.path().trim_start_matches("/v1.0");
    // An upload goes to an address that carries its own right.
    if let Some(session) = path.strip_prefix("/upload/") {
        return upload(sandbox, session, headers, body).await;
    }
    let scenario = sandbox.scenario();
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer "));
    let claims = token.and_then(|token| sandbox.tokens.read(token));
    let Some(claims) = claims else {
        return (401, error_body(sandbox.now(), "InvalidAuthenticationToken", "Access token is empty or invalid."));
    };
    let text = |key: &str| claims[key].as_str().unwrap_or_default().to_owned();
    let Some(tenant) = scenario.tenant(&text("tid")) else {
        return (401, error_body(sandbox.now(), "InvalidAuthenticationToken", "Invalid tenant."));
    };
    if claims["exp"].as_i64().unwrap_or_default() < sandbox.now().as_second() {
        return (
            401,
            error_body(
                sandbox.now(),
                "InvalidAuthenticationToken",
                "Lifetime validation failed, the token is expired.",
            ),
        );
    }
    let roles = claims["roles"].as_array().into_iter().flatten().filter_map(|role| role.as_str().map(str::to_owned));
    let caller = Caller {
        tenant,
        client: text("appid"),
        user: claims["upn"].as_str().map(str::to_owned),
        permissions: roles.chain(text("scp").split_whitespace().map(str::to_owned)).collect(),
    };
    if path == "/$batch" && method == Method::POST {
        return batch(sandbox, &caller, body).await;
    }
    let url = format!("{path}{}", uri.query().map(|query| format!("?{query}")).unwrap_or_default());
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    one(sandbox, &caller, method, &url, content_type, body).await
}

async fn batch(sandbox: &Sandbox, caller: &Caller<'_>, body: &Bytes) -> (u16, Value) {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(requests) = document["requests"].as_array() else {
        return (400, error_body(sandbox.now(), "BadRequest", "Invalid batch payload format."));
    };
    if requests.len() > 20 {
        return (
            400,
            error_body(sandbox.now(), "BadRequest", "The number of requests in the batch exceeds the limit of 20."),
        );
    }
    let mut responses = Vec::new();
    for request in requests {
        let url = request["url"].as_str().unwrap_or_default();
        let url = if url.starts_with('/') { url.to_owned() } else { format!("/{url}") };
        let method = request["method"].as_str().unwrap_or("GET").parse().unwrap_or(Method::GET);
        let inner = Bytes::from(if request["body"].is_null() { String::new() } else { request["body"].to_string() });
        let fault = sandbox.take_fault(&format!("$batch{url}"));
        let (status, mut headers, body) =
            if let Some((status, fault)) = fault.and_then(|fault| fault.status.map(|status| (status, fault))) {
                let mut headers = json!({ "Content-Type": "application/json" });
                if let Some(text) = fault.retry_after_text(sandbox.now()) {
                    headers["Retry-After"] = json!(text);
                }
                (
                    status,
                    headers,
                    error_body(sandbox.now(), fault.code.as_deref().unwrap_or("TooManyRequests"), "Too many requests."),
                )
            } else {
                let (status, body) = one(sandbox, caller, &method, &url, "application/json", &inner).await;
                (status, json!({ "Content-Type": "application/json" }), body)
            };
        headers["Cache-Control"] = json!("no-cache");
        responses.push(json!({ "id": request["id"], "status": status, "headers": headers, "body": body }));
    }
    // The real service answers in any order.
    responses.reverse();
    (200, json!({ "responses": responses }))
}

async fn one(
    sandbox: &Sandbox,
    caller: &Caller<'_>,
    method: &Method,
    url: &str,
    content_type: &str,
    body: &Bytes,
) -> (u16, Value) {
    match routed(sandbox, caller, method, url, content_type, body).await {
        Ok(answer) => answer,
        Err(No(status, code, text)) => (status, error_body(sandbox.now(), code, &text)),
    }
}

/// `NAME(appId='ID')rest` or `NAME/OBJECT-ID/rest`: the application that it means, and the rest.
fn keyed<'p>(tenant: &Tenant, path: &'p str, name: &str, prefix: &str) -> Option<(String, &'p str)> {
    let rest = path.strip_prefix('/')?.strip_prefix(name)?;
    if let Some(rest) = rest.strip_prefix("(appId='") {
        let (id, rest) = rest.split_once("')")?;
        return Some((id.to_owned(), rest));
    }
    let rest = rest.strip_prefix('/')?;
    let (object, rest) = rest.split_once('/').map_or((rest, ""), |(object, _)| (object, &rest[object.len()..]));
    if object == tenant.object_id(&format!("{prefix}/{GRAPH_APP_ID}")).to_string() {
        return Some((GRAPH_APP_ID.to_owned(), rest));
    }
    let all = tenant.all_applications();
    let found = all
        .iter()
        .find(|application| tenant.object_id(&format!("{prefix}/{}", application.client)).to_string() == object);
    Some((found.map_or_else(|| object.to_owned(), |application| application.client.to_string()), rest))
}

async fn routed(
    sandbox: &Sandbox,
    caller: &Caller<'_>,
    method: &Method,
    url: &str,
    content_type: &str,
    body: &Bytes,
) -> Answered {
    let (path, query) = Query::read(url)?;
    let tenant = caller.tenant;
    if let Some(rest) =
        path.strip_prefix("/users/").or_else(|| path.strip_prefix("/me").map(|rest| rest.trim_start_matches('/')))
    {
        let (who, rest) = if path.starts_with("/me") {
            let user = caller.user.clone().ok_or_else(|| {
                no(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
            })?;
            (user, rest.to_owned())
        } else {
            let (who, rest) = rest.split_once('/').unwrap_or((rest, ""));
            (who.to_owned(), rest.to_owned())
        };
        return of_user(sandbox, caller, method, &who, &rest, &query, content_type, body).await;
    }
    if *method != Method::GET {
        return Err(no(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target."));
    }
    if path == "/users" {
        return users(sandbox, caller, &query);
    }
    if path == "/organization" {
        if !caller.has(&["Organization.Read.All", "Directory.Read.All", "User.Read", "Directory.ReadWrite.All"]) {
            return Err(denied());
        }
        let domains: Vec<Value> = tenant
            .domains
            .iter()
            .enumerate()
            .map(|(index, name)| json!({ "capabilities": "Email, OfficeCommunicationsOnline", "isDefault": index == 0, "isInitial": name.ends_with(".onmicrosoft.com"), "name": name, "type": "Managed" }))
            .collect();
        let organization =
            json!({ "id": tenant.id, "displayName": tenant.domains.first(), "verifiedDomains": domains });
        return Ok((200, query.page(sandbox, &path, &ORGANIZATION, vec![organization])?));
    }
    if path == "/domains" {
        if !caller.has(&["Domain.Read.All", "Directory.Read.All"]) {
            return Err(denied());
        }
        let domains = tenant.domains.iter().map(|name| json!({ "id": name, "isVerified": true })).collect();
        return Ok((200, query.page(sandbox, &path, &DOMAIN, domains)?));
    }
    if path == "/applications" || path == "/servicePrincipals" {
        if !caller.reads_applications() {
            return Err(denied());
        }
        let of = if path == "/applications" { &APPLICATION } else { &SERVICE_PRINCIPAL };
        let items = tenant
            .all_applications()
            .iter()
            .filter(|application| {
                if path == "/applications" { !application.registered_elsewhere } else { !application.not_installed }
            })
            .map(|application| {
                if path == "/applications" {
                    registration(sandbox, tenant, application)
                } else {
                    principal(tenant, application)
                }
            })
            .collect();
        return Ok((200, query.page(sandbox, &path, of, query.filtered(of, items)?)?));
    }
    if path == "/oauth2PermissionGrants" {
        if !caller.has(&[
            "Directory.Read.All",
            "DelegatedPermissionGrant.Read.All",
            "DelegatedPermissionGrant.ReadWrite.All",
            "Directory.ReadWrite.All",
        ]) {
            return Err(denied());
        }
        let items = tenant.all_applications().iter().flat_map(|application| grants(tenant, application)).collect();
        return Ok((200, query.page(sandbox, &path, &GRANT, query.filtered(&GRANT, items)?)?));
    }
    if let Some((client, rest)) = keyed(tenant, &path, "applications", "app") {
        if !caller.may_read(&client) {
            return Err(denied());
        }
        let application = tenant
            .application(&client)
            .filter(|application| !application.registered_elsewhere)
            .ok_or_else(|| absent(&client))?;
        return match rest {
            "" => Ok((200, query.selected(&APPLICATION, registration(sandbox, tenant, &application))?)),
            "/federatedIdentityCredentials" => {
                let items = application.federated.iter().enumerate().map(|(index, known)| json!({ "id": tenant.object_id(&format!("fic/{client}/{index}")), "name": format!("federated-{index}"), "issuer": known.issuer, "subject": known.subject, "audiences": ["api://AzureADTokenExchange"] })).collect();
                Ok((200, query.page(sandbox, &path, &FEDERATED, items)?))
            }
            _ => Err(no(400, "BadRequest", "Resource not found for the segment.")),
        };
    }
    if let Some((client, rest)) = keyed(tenant, &path, "servicePrincipals", "sp") {
        return of_principal(sandbox, caller, &client, rest, &path, &query);
    }
    Err(no(
        400,
        "BadRequest",
        format!(
            "Resource not found for the segment '{}'.",
            path.trim_start_matches('/').split('/').next().unwrap_or_default()
        ),
    ))
}

fn of_principal(
    sandbox: &Sandbox,
    caller: &Caller<'_>,
    client: &str,
    rest: &str,
    path: &str,
    query: &Query,
) -> Answered {
    let tenant = caller.tenant;
    if client == GRAPH_APP_ID {
        if !caller.reads_applications() {
            return Err(denied());
        }
        return Ok((200, query.selected(&SERVICE_PRINCIPAL, graph_principal(tenant))?));
    }
    if !caller.may_read(client) {
        return Err(denied());
    }
    let application =
        tenant.application(client).filter(|application| !application.not_installed).ok_or_else(|| absent(client))?;
    // Reading itself is documented for the object alone, not for what hangs on it.
    let others = caller.reads_applications();
    match rest {
        "" => Ok((200, query.selected(&SERVICE_PRINCIPAL, principal(tenant, &application))?)),
        "/appRoleAssignments" if others => {
            Ok((200, query.page(sandbox, path, &ASSIGNMENT, role_assignments(tenant, &application))?))
        }
        "/appRoleAssignedTo" if others => {
            let items = application.assigned.iter().map(|name| json!({ "id": tenant.object_id(&format!("assigned/{client}/{name}")), "appRoleId": Uuid::nil(), "principalDisplayName": name, "principalId": tenant.object_id(name), "principalType": "User", "resourceDisplayName": application.name, "resourceId": tenant.object_id(&format!("sp/{client}")) })).collect();
            Ok((200, query.page(sandbox, path, &ASSIGNMENT, items)?))
        }
        "/oauth2PermissionGrants"
            if caller.has(&[
                "Directory.Read.All",
                "Directory.ReadWrite.All",
                "DelegatedPermissionGrant.ReadWrite.All",
                "DelegatedPermissionGrant.Read.All",
            ]) =>
        {
            Ok((200, query.page(sandbox, path, &GRANT, grants(tenant, &application))?))
        }
        "/appRoleAssignments" | "/appRoleAssignedTo" | "/oauth2PermissionGrants" => Err(denied()),
        _ => Err(no(400, "BadRequest", "Resource not found for the segment.")),
    }
}

fn registration(sandbox: &Sandbox, tenant: &Tenant, application: &Application) -> Value {
    let access = |kind: Kind, names: &[String]| -> Vec<Value> {
        names.iter().filter_map(|name| Some(json!({ "id": permissions::id(kind, name)?, "type": kind.id() }))).collect()
    };
    let mut requested = access(Kind::Application, &application.requests.application);
    requested.extend(access(Kind::Delegated, &application.requests.delegated));
    // Beside Graph another resource, as most registrations have one.
    let required = if requested.is_empty() {
        json!([])
    } else {
        json!([
            { "resourceAppId": "00000002-0000-0ff1-ce00-000000000000", "resourceAccess": [] },
            { "resourceAppId": GRAPH_APP_ID, "resourceAccess": requested },
        ])
    };
    let years = sandbox.now().as_second() + 3 * 365 * 86_400;
    let far = jiff::Timestamp::from_second(years).unwrap_or_default();
    let secrets: Vec<Value> = application
        .secrets
        .iter()
        .enumerate()
        .map(|(index, secret)| {
            let hint: String = secret.value.chars().take(3).collect();
            json!({ "customKeyIdentifier": null, "displayName": secret.name, "endDateTime": secret.expires.unwrap_or(far), "hint": hint, "keyId": tenant.object_id(&format!("secret/{}/{index}", application.client)), "secretText": null, "startDateTime": "2024-01-01T00:00:00Z" })
        })
        .collect();
    let keys: Vec<Value> = application
        .certificates
        .iter()
        .filter_map(|known| CertificateDer::from_pem_slice(known.pem.as_bytes()).ok())
        .map(|der| {
            let end = x509_parser::parse_x509_certificate(der.as_ref()).ok().map(|(_, found)| found.validity().not_after.timestamp());
            let end = end.and_then(|end| jiff::Timestamp::from_second(end).ok()).unwrap_or(far);
            let thumbprint = BASE64_STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der.as_ref()));
            json!({ "customKeyIdentifier": thumbprint, "displayName": "CN=mailwright", "endDateTime": end, "key": null, "keyId": tenant.object_id(&thumbprint), "startDateTime": "2024-01-01T00:00:00Z", "type": "AsymmetricX509Cert", "usage": "Verify" })
        })
        .collect();
    json!({
        "id": tenant.object_id(&format!("app/{}", application.client)),
        "appId": application.client,
        "displayName": application.name,
        "signInAudience": application.audience.as_deref().unwrap_or("AzureADMyOrg"),
        "isFallbackPublicClient": application.public_flows,
        "disabledByMicrosoftStatus": null,
        "isDisabled": application.deactivated,
        "requiredResourceAccess": required,
        "web": { "homePageUrl": null, "logoutUrl": null, "redirectUris": application.redirects.web, "implicitGrantSettings": { "enableAccessTokenIssuance": false, "enableIdTokenIssuance": false }, "redirectUriSettings": [] },
        "spa": { "redirectUris": application.redirects.spa },
        "publicClient": { "redirectUris": application.redirects.public_client },
        "passwordCredentials": secrets,
        "keyCredentials": keys,
        "tags": [],
        "createdDateTime": "2024-01-01T00:00:00Z",
    })
}

fn principal(tenant: &Tenant, application: &Application) -> Value {
    json!({
        "id": tenant.object_id(&format!("sp/{}", application.client)),
        "appId": application.client,
        "displayName": application.name,
        "accountEnabled": !application.disabled,
        "appRoleAssignmentRequired": application.assignment_required,
        "disabledByMicrosoftStatus": null,
        "isDisabled": application.deactivated,
        "appOwnerOrganizationId":
            if application.registered_elsewhere { tenant.object_id("another tenant") } else { tenant.id },
        "appRoles": [],
        "oauth2PermissionScopes": [],
        "servicePrincipalType": "Application",
    })
}

fn graph_principal(tenant: &Tenant) -> Value {
    let (mut roles, mut scopes) = (Vec::new(), Vec::new());
    for (kind, name, id) in permissions::all() {
        match kind {
            Kind::Application => roles.push(json!({ "id": id, "value": name, "isEnabled": true, "allowedMemberTypes": ["Application"], "displayName": name, "description": name, "origin": "Application" })),
            Kind::Delegated => scopes.push(json!({ "id": id, "value": name, "isEnabled": true, "type": "User", "adminConsentDisplayName": name, "adminConsentDescription": name })),
        }
    }
    json!({ "id": tenant.object_id(&format!("sp/{GRAPH_APP_ID}")), "appId": GRAPH_APP_ID, "displayName": "Microsoft Graph", "accountEnabled": true, "appRoles": roles, "oauth2PermissionScopes": scopes })
}

fn role_assignments(tenant: &Tenant, application: &Application) -> Vec<Value> {
    application
        .granted
        .iter()
        .map(|name| json!({ "id": tenant.object_id(&format!("role/{}/{name}", application.client)), "appRoleId": permissions::id(Kind::Application, name), "createdDateTime": "2024-01-01T00:00:00Z", "principalDisplayName": application.name, "principalId": tenant.object_id(&format!("sp/{}", application.client)), "principalType": "ServicePrincipal", "resourceDisplayName": "Microsoft Graph", "resourceId": tenant.object_id(&format!("sp/{GRAPH_APP_ID}")) }))
        .collect()
}

fn grants(tenant: &Tenant, application: &Application) -> Vec<Value> {
    let grant_on = |resource: &str, id: String, consent: &str, principal: Value, scopes: &[String]| json!({ "id": tenant.object_id(&id).simple().to_string(), "clientId": tenant.object_id(&format!("sp/{}", application.client)), "consentType": consent, "principalId": principal, "resourceId": tenant.object_id(&format!("sp/{resource}")), "scope": format!(" {}", scopes.join(" ")) });
    let grant = |id, consent, principal, scopes| grant_on(GRAPH_APP_ID, id, consent, principal, scopes);
    let mut all = Vec::new();
    if !application.consented.is_empty() {
        all.push(grant(format!("all/{}", application.client), "AllPrincipals", Value::Null, &application.consented));
    }
    for (user, scopes) in &application.consented_by {
        all.push(grant(format!("{user}/{}", application.client), "Principal", json!(tenant.object_id(user)), scopes));
    }
    for (resource, scopes) in &application.consented_on {
        let id = format!("all/{}/{resource}", application.client);
        all.push(grant_on(&resource.to_string(), id, "AllPrincipals", Value::Null, scopes));
    }
    all
}

fn user_document(tenant: &Tenant, user: &User, whole: bool) -> Value {
    let mail = (user.mailbox != Mailbox::None).then_some(user.mail.as_ref().unwrap_or(&user.name));
    let usual = if user.mailbox == Mailbox::User {
        vec![("9aaf7827-d63c-4b61-89c3-182f06f82e5c".to_owned(), "Enabled")]
    } else {
        Vec::new()
    };
    let plans = match &user.plans {
        Some(plans) => plans.iter().map(|plan| (plan.id.to_string(), plan.status.as_str())).collect(),
        None => usual,
    };
    let plans: Vec<Value> = plans
        .into_iter()
        .map(|(id, status)| json!({ "assignedDateTime": "2024-01-01T00:00:00Z", "capabilityStatus": status, "service": "exchange", "servicePlanId": id }))
        .collect();
    let addresses: Vec<String> = std::iter::once(format!("SMTP:{}", user.name))
        .chain(user.aliases.iter().map(|alias| format!("smtp:{alias}")))
        .collect();
    let mut document = json!({
        "id": tenant.object_id(&user.name), "displayName": user.name, "givenName": null, "surname": null, "mail": mail,
        "userPrincipalName": user.name, "accountEnabled": user.enabled && !matches!(user.mailbox, Mailbox::Shared | Mailbox::Room),
        "assignedPlans": plans, "proxyAddresses": addresses, "userType": "Member",
    });
    if !whole {
        basic(&mut document);
    }
    document
}

/// Takes away what a caller does not see who may read no more than who users are.
fn basic(document: &mut Value) {
    if let Some(map) = document.as_object_mut() {
        for hidden in ["accountEnabled", "assignedPlans", "proxyAddresses", "userType"] {
            map.remove(hidden);
        }
    }
}

const READ_USERS: [&str; 5] =
    ["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All", "User.ReadBasic.All"];

fn users(sandbox: &Sandbox, caller: &Caller<'_>, query: &Query) -> Answered {
    if !caller.has(&READ_USERS) {
        return Err(denied());
    }
    let tenant = caller.tenant;
    let all = tenant.users.iter().map(|user| user_document(tenant, user, true)).collect();
    let mut items = query.filtered(&USER, all)?;
    if !caller.has(&READ_USERS[..4]) {
        for item in &mut items {
            basic(item);
        }
    }
    Ok((200, query.page(sandbox, "/users", &USER, items)?))
}

#[expect(clippy::too_many_arguments, reason = "a request has so many parts")]
async fn of_user(
    sandbox: &Sandbox,
    caller: &Caller<'_>,
    method: &Method,
    who: &str,
    rest: &str,
    query: &Query,
    content_type: &str,
    body: &Bytes,
) -> Answered {
    let tenant = caller.tenant;
    let user = tenant.user(who);
    let own = caller.user.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(who));
    match (method.as_str(), rest) {
        ("GET", "") => {
            if !(caller.has(&READ_USERS) || own && caller.has(&["User.Read"])) {
                return Err(denied());
            }
            let user = user.ok_or_else(|| absent(who))?;
            Ok((200, query.selected(&USER, user_document(tenant, user, caller.has(&READ_USERS[..4])))?))
        }
        ("GET", "mailboxSettings/userPurpose" | "mailboxSettings") => {
            if !caller.has(&["MailboxSettings.Read", "MailboxSettings.ReadWrite"]) {
                return Err(no(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."));
            }
            let user =
                user.ok_or_else(|| no(404, "ErrorInvalidUser", format!("The requested user '{who}' is invalid.")))?;
            let purpose = match user.mailbox {
                Mailbox::User => "user",
                Mailbox::Shared => "shared",
                Mailbox::Room => "room",
                Mailbox::None => {
                    return Err(no(
                        404,
                        "MailboxNotEnabledForRESTAPI",
                        "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
                    ));
                }
            };
            if rest == "mailboxSettings" {
                Ok((200, json!({ "userPurpose": purpose })))
            } else {
                Ok((200, json!({ "@odata.context": "", "value": purpose })))
            }
        }
        ("POST", "sendMail") => {
            let mailbox = may_send(caller, user, who, own)?;
            let mail = if content_type.starts_with("text/plain") {
                let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
                let mime = BASE64_STANDARD.decode(text).map_err(|_| {
                    no(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
                })?;
                json!({ "mime": String::from_utf8_lossy(&mime) })
            } else {
                let document: Value = serde_json::from_slice(body)
                    .map_err(|_| no(400, "BadRequest", "Unable to read JSON request payload."))?;
                if document["message"].is_null() {
                    return Err(no(400, "ErrorInvalidParameter", "The 'message' parameter is required."));
                }
                document["message"].clone()
            };
            if mail["mime"].is_null() && mail["toRecipients"].as_array().is_none_or(Vec::is_empty) {
                return Err(no(400, "ErrorInvalidRecipients", "At least one recipient is not valid."));
            }
            sandbox.sent(Sent { by: "graph".to_owned(), from: mailbox, mail }).await;
            Ok((202, Value::Null))
        }
        ("POST", "messages") => {
            may_write(caller, own)?;
            let mut draft: Value = serde_json::from_slice(body)
                .map_err(|_| no(400, "BadRequest", "Unable to read JSON request payload."))?;
            let id = Uuid::now_v7().simple().to_string();
            draft["id"] = json!(id);
            if draft["internetMessageId"].is_null() {
                draft["internetMessageId"] = json!(format!("<{id}@sandbox.invalid>"));
            }
            sandbox.drafts.lock().await.insert(id, (who.to_owned(), draft.clone()));
            Ok((201, draft))
        }
        ("GET", "mailFolders/sentitems/messages") => {
            if !caller.has(&["Mail.ReadBasic.All", "Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"]) {
                return Err(no(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."));
            }
            let mail = sandbox.mail.lock().await;
            let own = mail.iter().filter(|sent| sent.by == "graph" && sent.from.eq_ignore_ascii_case(who));
            let found = own.filter_map(|sent| message_id(&sent.mail));
            let items = found.map(|id| json!({ "id": id, "internetMessageId": id })).collect();
            let items = query.filtered(&MESSAGE, items)?;
            let path = format!("/users/{who}/mailFolders/sentitems/messages");
            Ok((200, query.page(sandbox, &path, &MESSAGE, items)?))
        }
        ("DELETE", rest) => {
            may_write(caller, own)?;
            let id = rest.strip_prefix("messages/").unwrap_or_default();
            match sandbox.drafts.lock().await.remove(id) {
                Some(_) => Ok((204, Value::Null)),
                None => Err(no(404, "ErrorItemNotFound", "The specified object was not found in the store.")),
            }
        }
        ("POST", rest) => drafts(sandbox, caller, user, who, rest, own, body).await,
        ("GET", _) => Err(no(400, "BadRequest", "Resource not found for the segment.")),
        _ => Err(no(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")),
    }
}

/// The `Message-ID` of what was sent, as MIME or as Graph's own document.
fn message_id(mail: &Value) -> Option<String> {
    if let Some(id) = mail["internetMessageId"].as_str() {
        return Some(id.to_owned());
    }
    let head = mail["mime"].as_str()?.split("\r\n\r\n").next()?;
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"))?;
    line.split_once(':').map(|(_, id)| id.trim().to_owned())
}

fn may_send(caller: &Caller<'_>, user: Option<&User>, who: &str, own: bool) -> Result<String, No> {
    if caller.permissions.is_empty() && caller.user.is_some() {
        return Err(no(
            403,
            "NoPermissionsInAccessToken",
            "The token contains no permissions, or permissions can not be understood.",
        ));
    }
    let by_exchange = caller.user.is_none()
        && caller
            .tenant
            .application(&caller.client)
            .is_some_and(|application| application.exchange.iter().any(|mailbox| mailbox.eq_ignore_ascii_case(who)));
    let allowed = if caller.user.is_some() {
        own && caller.has(&["Mail.Send"]) || caller.has(&["Mail.Send.Shared"])
    } else {
        caller.has(&["Mail.Send"]) || by_exchange
    };
    if !allowed {
        return Err(no(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."));
    }
    let user = user.ok_or_else(|| no(404, "ErrorInvalidUser", format!("The requested user '{who}' is invalid.")))?;
    if user.mailbox == Mailbox::None {
        return Err(no(
            404,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        ));
    }
    Ok(user.name.clone())
}

fn may_write(caller: &Caller<'_>, own: bool) -> Result<(), No> {
    let allowed = caller.has(&["Mail.ReadWrite"]) && (caller.user.is_none() || own);
    if allowed {
        Ok(())
    } else {
        Err(no(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."))
    }
}

/// An upload session of an attachment.
#[derive(Debug)]
pub(super) struct Upload {
    draft: String,
    name: String,
    size: u64,
    received: Vec<u8>,
}

async fn drafts(
    sandbox: &Sandbox,
    caller: &Caller<'_>,
    user: Option<&User>,
    who: &str,
    rest: &str,
    own: bool,
    body: &Bytes,
) -> Answered {
    let (id, action) = rest
        .strip_prefix("messages/")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| no(400, "BadRequest", "Resource not found for the segment."))?;
    may_write(caller, own)?;
    let gone = || no(404, "ErrorItemNotFound", "The specified object was not found in the store.");
    match action {
        "send" => {
            let from = may_send(caller, user, who, own)?;
            let (_, mail) = sandbox.drafts.lock().await.remove(id).ok_or_else(gone)?;
            sandbox.sent(Sent { by: "graph".to_owned(), from, mail }).await;
            Ok((202, Value::Null))
        }
        "attachments" => {
            let attachment: Value = serde_json::from_slice(body)
                .map_err(|_| no(400, "BadRequest", "Unable to read JSON request payload."))?;
            let mut drafts = sandbox.drafts.lock().await;
            let (_, draft) = drafts.get_mut(id).ok_or_else(gone)?;
            push_attachment(draft, attachment.clone());
            Ok((201, attachment))
        }
        "attachments/createUploadSession" => {
            let document: Value = serde_json::from_slice(body)
                .map_err(|_| no(400, "BadRequest", "Unable to read JSON request payload."))?;
            let item = &document["AttachmentItem"];
            if !sandbox.drafts.lock().await.contains_key(id) {
                return Err(gone());
            }
            let session = Uuid::now_v7().simple().to_string();
            let upload = Upload {
                draft: id.to_owned(),
                name: item["name"].as_str().unwrap_or_default().to_owned(),
                size: item["size"].as_u64().unwrap_or(0),
                received: Vec::new(),
            };
            sandbox.uploads.lock().await.insert(session.clone(), upload);
            Ok((
                201,
                json!({ "uploadUrl": upload_address(sandbox, &session), "expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": ["0-"] }),
            ))
        }
        _ => Err(no(400, "BadRequest", "Resource not found for the segment.")),
    }
}

/// On another host than Graph's, as the real service has it, so that no client sends its token there.
fn upload_address(sandbox: &Sandbox, session: &str) -> String {
    format!("{}/v1.0/upload/{session}", sandbox.address().replace("localhost", "127.0.0.1"))
}

fn push_attachment(draft: &mut Value, attachment: Value) {
    match draft["attachments"].as_array_mut() {
        Some(list) => list.push(attachment),
        None => draft["attachments"] = json!([attachment]),
    }
}

/// A part of an attachment: in order, with `Content-Range`, and without a token.
async fn upload(sandbox: &Sandbox, session: &str, headers: &HeaderMap, body: &Bytes) -> (u16, Value) {
    if headers.contains_key(header::AUTHORIZATION) {
        return (
            401,
            error_body(
                sandbox.now(),
                "InvalidAudience",
                "The audience claim value is invalid: the address carries its own right.",
            ),
        );
    }
    let mut uploads = sandbox.uploads.lock().await;
    let Some(upload) = uploads.get_mut(session) else {
        return (404, error_body(sandbox.now(), "ErrorItemNotFound", "The upload session was not found."));
    };
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let start = range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse::<usize>().ok());
    if start != Some(upload.received.len()) {
        return (416, error_body(sandbox.now(), "ErrorInvalidRange", "The range does not follow what was received."));
    }
    upload.received.extend_from_slice(body);
    if (upload.received.len() as u64) < upload.size {
        let next = upload.received.len();
        return (
            200,
            json!({ "expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": [format!("{next}-")] }),
        );
    }
    let Some(done) = uploads.remove(session) else { return (404, Value::Null) };
    drop(uploads);
    if let Some((_, draft)) = sandbox.drafts.lock().await.get_mut(&done.draft) {
        let attachment = json!({ "@odata.type": "#microsoft.graph.fileAttachment", "name": done.name, "size": done.size,
                "contentBytes": BASE64_STANDARD.encode(&done.received) });
        push_attachment(draft, attachment);
    }
    (201, Value::Null)
}
