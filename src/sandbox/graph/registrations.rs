//! Changes of the directory that a registration consists of: applications, service principals, credentials, permissions and
//! consent. They change the scenario in memory, so that everything else sees them; a tenant has at most 1000 applications.
//!
//! Sources: Microsoft Graph v1.0, "Create application", "Update application", "application: addPassword", "Create
//! federatedIdentityCredential", "Create servicePrincipal", "Grant an appRoleAssignment to a service principal", "Delete
//! appRoleAssignment", "Create oAuth2PermissionGrant", "Update oAuth2PermissionGrant" and "Delete oAuth2PermissionGrant".

use axum::http::Method;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    GraphRequest, Reply,
    directory::parse_key,
    documents::{grants, principal, registration, role_assignments},
    error::{ODataError, absent, denied, refusal, wrong_method},
};
use crate::{
    entra::permissions::{self, GRAPH_APP_ID, PermissionKind},
    sandbox::scenario::{Application, Certificate, Federated, Requests, Secret, Tenant},
};

/// The largest number of applications of a tenant, because a client could create them without end.
const APPLICATIONS: usize = 1000;

/// Answers a request that changes something.
pub(super) fn route(request: &GraphRequest<'_>) -> Reply {
    let tenant = request.caller.tenant;
    let is_post = *request.method == Method::POST;
    match request.path {
        "/applications" if is_post => return create_application(request),
        "/servicePrincipals" if is_post => return create_principal(request),
        "/oauth2PermissionGrants" if is_post => return create_grant(request),
        _ => {}
    }
    let is_delete = *request.method == Method::DELETE;
    match request.path.strip_prefix("/oauth2PermissionGrants/") {
        Some(id) if *request.method == Method::PATCH => return update_grant(request, id),
        Some(id) if is_delete => return delete_grant(request, id),
        _ => {}
    }
    if let Some((client, rest)) = parse_key(tenant, request.path, "applications", "app") {
        let application = find(tenant, &client)?;
        return match (is_post, rest) {
            (false, "") if *request.method == Method::PATCH => update_application(request, &application),
            (true, "/addPassword") => add_password(request, &application),
            (true, "/federatedIdentityCredentials") => add_federated(request, &application),
            _ => Err(wrong_method()),
        };
    }
    match parse_key(tenant, request.path, "servicePrincipals", "sp") {
        Some((client, "/appRoleAssignments")) if is_post => return assign_role(request, &find(tenant, &client)?),
        Some((client, rest)) if is_delete => {
            // The same assignment is listed with the application that has it, and with the one that grants it.
            let id = match (client.as_str(), rest.strip_prefix("/appRoleAssignments/")) {
                (GRAPH_APP_ID, None) => rest.strip_prefix("/appRoleAssignedTo/"),
                (_, id) => id,
            };
            return remove_role(request, &client, id.ok_or_else(wrong_method)?);
        }
        _ => {}
    }
    Err(wrong_method())
}

fn find(tenant: &Tenant, client: &str) -> Result<Application, ODataError> {
    tenant.application(client).filter(|application| !application.registered_elsewhere).ok_or_else(|| absent(client))
}

fn bad(message: impl Into<String>) -> ODataError {
    refusal(400, "Request_BadRequest", message)
}

fn require(request: &GraphRequest<'_>, permission: &str) -> Result<(), ODataError> {
    if request.caller.has(&[permission]) { Ok(()) } else { Err(denied()) }
}

/// Changes an application of the caller's tenant, and returns it as it is now.
fn change(request: &GraphRequest<'_>, client: Uuid, change: impl FnOnce(&mut Application)) -> Reply {
    let id = request.caller.tenant.id;
    let mut changed = None;
    request.sandbox.change(|scenario| {
        let tenant = scenario.tenants.iter_mut().find(|tenant| tenant.id == id);
        if let Some(application) =
            tenant.and_then(|tenant| tenant.applications.iter_mut().find(|application| application.client == client))
        {
            change(application);
            changed = Some(application.clone());
        }
    });
    let changed = changed.ok_or_else(|| absent(&client.to_string()))?;
    Ok((200, registration(request.sandbox, request.caller.tenant, &changed)))
}

fn create_application(request: &GraphRequest<'_>) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let name = body["displayName"].as_str().filter(|name| !name.is_empty() && name.len() <= 256);
    let name = name.ok_or_else(|| bad("Property displayName is required and has 1 to 256 characters."))?;
    let mut application = Application {
        client: Uuid::now_v7(),
        name: name.to_owned(),
        audience: body["signInAudience"].as_str().map(str::to_owned),
        not_installed: true,
        ..Application::default()
    };
    update(&mut application, &body)?;
    let id = request.caller.tenant.id;
    let mut is_full = false;
    request.sandbox.change(|scenario| {
        if let Some(tenant) = scenario.tenants.iter_mut().find(|tenant| tenant.id == id) {
            is_full = tenant.applications.len() >= APPLICATIONS;
            if !is_full {
                tenant.applications.push(application.clone());
            }
        }
    });
    if is_full {
        return Err(refusal(403, "Directory_QuotaExceeded", "The directory object quota limit has been exceeded."));
    }
    Ok((201, registration(request.sandbox, request.caller.tenant, &application)))
}

fn update_application(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let mut updated = application.clone();
    update(&mut updated, &body)?;
    change(request, application.client, |application| *application = updated)?;
    Ok((204, Value::Null))
}

/// Takes over the properties of a body.
fn update(application: &mut Application, body: &Value) -> Result<(), ODataError> {
    let redirects = [
        ("web", &mut application.redirects.web),
        ("spa", &mut application.redirects.spa),
        ("publicClient", &mut application.redirects.public_client),
    ];
    for (platform, list) in redirects {
        if let Some(uris) = body[platform]["redirectUris"].as_array() {
            *list = uris.iter().filter_map(|uri| uri.as_str().map(str::to_owned)).collect();
        }
    }
    if let Some(resources) = body["requiredResourceAccess"].as_array() {
        let mut requests = Requests::default();
        for access in resources
            .iter()
            .filter(|resource| resource["resourceAppId"] == GRAPH_APP_ID)
            .flat_map(|resource| resource["resourceAccess"].as_array().into_iter().flatten())
        {
            let (list, kind) = match access["type"].as_str() {
                Some("Role") => (&mut requests.application, PermissionKind::Application),
                Some("Scope") => (&mut requests.delegated, PermissionKind::Delegated),
                _ => return Err(bad("Invalid value specified for property 'type' of resource 'ResourceAccess'.")),
            };
            list.push(permission_name(kind, &access["id"])?.to_owned());
        }
        application.requests = requests;
    }
    if let Some(keys) = body["keyCredentials"].as_array() {
        for key in keys.iter().filter_map(|key| key["key"].as_str()) {
            BASE64_STANDARD.decode(key).map_err(|_| bad("Key credential is not a base64 certificate."))?;
            let pem = format!("-----BEGIN CERTIFICATE-----\n{key}\n-----END CERTIFICATE-----\n");
            application.certificates.push(Certificate { pem });
        }
    }
    Ok(())
}

/// Returns the name of a permission of Graph.
fn permission_name(kind: PermissionKind, id: &Value) -> Result<&'static str, ODataError> {
    let id = id.as_str().unwrap_or_default();
    permissions::all()
        .find(|(own, _, known)| *own == kind && known.eq_ignore_ascii_case(id))
        .map(|(_, name, _)| name)
        .ok_or_else(|| bad(format!("Permission '{id}' was not found on the application.")))
}

fn add_password(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let wanted = &body["passwordCredential"];
    let expires = match wanted["endDateTime"].as_str() {
        Some(text) => Some(
            text.parse::<jiff::Timestamp>().map_err(|_| bad("Invalid value specified for property 'endDateTime'."))?,
        ),
        None => None,
    };
    let secret = Secret {
        value: format!("Sbx8Q~{}", Uuid::now_v7().simple()),
        name: wanted["displayName"].as_str().unwrap_or_default().to_owned(),
        expires,
    };
    let answer = json!({ "keyId": Uuid::now_v7(), "displayName": secret.name, "secretText": secret.value, "hint": "Sbx", "endDateTime": expires });
    change(request, application.client, |application| application.secrets.push(secret))?;
    Ok((200, answer))
}

fn add_federated(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let text =
        |key: &str| body[key].as_str().map(str::to_owned).ok_or_else(|| bad(format!("Property {key} is required.")));
    let federated = Federated { issuer: text("issuer")?, subject: text("subject")? };
    let name = text("name")?;
    if application.federated.contains(&federated) {
        return Err(refusal(
            409,
            "Request_MultipleObjectsWithSameKeyValue",
            "FederatedIdentityCredential already exists.",
        ));
    }
    let answer = json!({ "id": Uuid::now_v7(), "name": name, "issuer": federated.issuer, "subject": federated.subject, "audiences": body["audiences"] });
    change(request, application.client, |application| application.federated.push(federated))?;
    Ok((201, answer))
}

fn create_principal(request: &GraphRequest<'_>) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let client = body["appId"].as_str().unwrap_or_default();
    let tenant = request.caller.tenant;
    let application = tenant.application(client).ok_or_else(|| {
        bad(format!("The appId '{client}' of the service principal does not reference a valid application object."))
    })?;
    if !application.not_installed {
        return Err(refusal(409, "Request_MultipleObjectsWithSameKeyValue", "The service principal already exists."));
    }
    change(request, application.client, |application| application.not_installed = false)?;
    Ok((201, principal(tenant, &application)))
}

/// Fails unless an id is that of Graph's service principal.
fn check_graph(tenant: &Tenant, id: &Value) -> Result<(), ODataError> {
    let graph = tenant.object_id(&format!("sp/{GRAPH_APP_ID}")).to_string();
    if *id == graph { Ok(()) } else { Err(absent(id.as_str().unwrap_or_default())) }
}

fn assign_role(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "AppRoleAssignment.ReadWrite.All")?;
    let body = request.json()?;
    let tenant = request.caller.tenant;
    check_graph(tenant, &body["resourceId"])?;
    if body["principalId"] != tenant.object_id(&format!("sp/{}", application.client)).to_string() {
        return Err(bad("The principalId does not match the service principal of the request."));
    }
    let name = permission_name(PermissionKind::Application, &body["appRoleId"])?;
    if application.not_installed {
        return Err(absent(&application.client.to_string()));
    }
    if application.granted.iter().any(|granted| granted == name) {
        return Err(bad("Permission being assigned already exists on the object"));
    }
    let mut granted = application.clone();
    granted.granted = vec![name.to_owned()];
    change(request, application.client, |application| application.granted.push(name.to_owned()))?;
    Ok((201, role_assignments(tenant, &granted).pop().unwrap_or_default()))
}

/// Deletes an assignment of a permission: 204 without contents, or 404 if there is none with this id.
fn remove_role(request: &GraphRequest<'_>, holder: &str, id: &str) -> Reply {
    require(request, "AppRoleAssignment.ReadWrite.All")?;
    let tenant = request.caller.tenant;
    let holders = tenant.all_applications().into_iter().filter(|application| !application.not_installed);
    let mut holders = holders.filter(|application| holder == GRAPH_APP_ID || application.client.to_string() == holder);
    let found = holders.find_map(|application| {
        let at = role_assignments(tenant, &application).iter().position(|assignment| assignment["id"] == id)?;
        Some((application.client, at))
    });
    let (client, at) = found.ok_or_else(|| absent(id))?;
    change(request, client, |application| drop(application.granted.remove(at)))?;
    Ok((204, Value::Null))
}

/// Deletes the consent for all users.
fn delete_grant(request: &GraphRequest<'_>, id: &str) -> Reply {
    require(request, "DelegatedPermissionGrant.ReadWrite.All")?;
    let application = find_granted(request.caller.tenant, id)?;
    change(request, application.client, |application| application.consented.clear())?;
    Ok((204, Value::Null))
}

/// Returns the application that has the consent for all users with this id.
fn find_granted(tenant: &Tenant, id: &str) -> Result<Application, ODataError> {
    let of_all = |application: &Application| {
        !application.consented.is_empty()
            && tenant.object_id(&format!("all/{}", application.client)).simple().to_string() == id
    };
    tenant.all_applications().into_iter().find(of_all).ok_or_else(|| absent(id))
}

fn scopes(body: &Value) -> Result<Vec<String>, ODataError> {
    let scope = body["scope"].as_str().ok_or_else(|| bad("Property scope is required."))?;
    scope
        .split_whitespace()
        .map(|name| match permissions::id(PermissionKind::Delegated, name) {
            Some(_) => Ok(name.to_owned()),
            None => Err(bad(format!("Invalid scope '{name}'."))),
        })
        .collect()
}

fn create_grant(request: &GraphRequest<'_>) -> Reply {
    require(request, "DelegatedPermissionGrant.ReadWrite.All")?;
    let body = request.json()?;
    let tenant = request.caller.tenant;
    check_graph(tenant, &body["resourceId"])?;
    if body["consentType"] != "AllPrincipals" {
        return Err(bad("The sandbox grants for all principals only."));
    }
    let mut installed = tenant.all_applications().into_iter().filter(|application| !application.not_installed);
    let mut application = installed
        .find(|application| body["clientId"] == tenant.object_id(&format!("sp/{}", application.client)).to_string())
        .ok_or_else(|| absent(body["clientId"].as_str().unwrap_or_default()))?;
    if !application.consented.is_empty() {
        return Err(refusal(409, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists."));
    }
    application.consented = scopes(&body)?;
    let consented = application.consented.clone();
    change(request, application.client, |application| application.consented = consented)?;
    Ok((201, grants(tenant, &application).into_iter().next().unwrap_or_default()))
}

fn update_grant(request: &GraphRequest<'_>, id: &str) -> Reply {
    require(request, "DelegatedPermissionGrant.ReadWrite.All")?;
    let scopes = scopes(&request.json()?)?;
    let application = find_granted(request.caller.tenant, id)?;
    change(request, application.client, |application| application.consented = scopes)?;
    Ok((204, Value::Null))
}
