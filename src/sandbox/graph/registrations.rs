//! Changes of the directory that a registration consists of: applications, service principals, credentials and assignments.
//! They change the scenario in memory, so that everything else sees them; a tenant has at most 1000 applications. `consents` has
//! the changes of consent.
//!
//! Sources: Microsoft Graph v1.0, "Create application", "Update application", "Delete application", "application: addPassword",
//! "application: removePassword", "Create federatedIdentityCredential", "Delete federatedIdentityCredential", "Create
//! servicePrincipal", "Update servicePrincipal", "Delete servicePrincipal", "Grant an appRoleAssignment to a service
//! principal", "Grant an appRoleAssignment for a service principal" (`appRoleAssignedTo`) and "Delete appRoleAssignment".
//! `addKey` is left out: it needs a proof by an existing key.

use axum::http::Method;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    GraphRequest, Reply, consents,
    directory::{find_installed, find_registered, parse_key},
    documents::{federated, principal, registration, role_assignments, secret_id, thumbprint_of_pem, user_assignments},
    error::{ODataError, absent, denied, refusal, wrong_method},
    odata::{APPLICATION, ASSIGNMENT, FEDERATED, SERVICE_PRINCIPAL},
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
        "/oauth2PermissionGrants" if is_post => return consents::create_grant(request),
        _ => {}
    }
    let method = request.method.as_str();
    match (method, request.path.strip_prefix("/oauth2PermissionGrants/")) {
        ("PATCH", Some(id)) => return consents::update_grant(request, id),
        ("DELETE", Some(id)) => return consents::delete_grant(request, id),
        _ => {}
    }
    if let Some((client, rest)) = parse_key(tenant, request.path, "applications", "app") {
        let application = find_registered(tenant, &client)?;
        return match (method, rest) {
            ("PATCH", "") => update_application(request, &application),
            ("DELETE", "") => delete_application(request, &application),
            ("POST", "/addPassword") => add_password(request, &application),
            ("POST", "/removePassword") => remove_password(request, &application),
            ("POST", "/federatedIdentityCredentials") => add_federated(request, &application),
            ("DELETE", rest) => remove_federated(request, &application, rest),
            _ => Err(wrong_method()),
        };
    }
    let Some((client, rest)) = parse_key(tenant, request.path, "servicePrincipals", "sp") else {
        return Err(wrong_method());
    };
    match (method, rest) {
        ("POST", "/appRoleAssignments") => assign_role(request, Some(find_registered(tenant, &client)?)),
        ("POST", "/appRoleAssignedTo") if client == GRAPH_APP_ID => assign_role(request, None),
        ("POST", "/appRoleAssignedTo") => assign_user(request, &find_installed(tenant, &client)?),
        ("PATCH", "") => update_principal(request, &find_installed(tenant, &client)?),
        ("DELETE", "") => delete_principal(request, &find_installed(tenant, &client)?),
        ("DELETE", rest) => {
            // The same assignment is listed with the application that has it, and with the one that grants it.
            let lists = [rest.strip_prefix("/appRoleAssignments/"), rest.strip_prefix("/appRoleAssignedTo/")];
            match (client.as_str(), lists) {
                (GRAPH_APP_ID, [None, Some(id)]) | (_, [Some(id), None]) => remove_role(request, &client, id),
                (_, [None, Some(id)]) => remove_user(request, &find_installed(tenant, &client)?, id),
                _ => Err(wrong_method()),
            }
        }
        _ => Err(wrong_method()),
    }
}

pub(super) fn bad(message: impl Into<String>) -> ODataError {
    refusal(400, "Request_BadRequest", message)
}

pub(super) fn require(request: &GraphRequest<'_>, permission: &str) -> Result<(), ODataError> {
    if request.caller.has(&[permission]) { Ok(()) } else { Err(denied()) }
}

/// Changes the caller's tenant, if the scenario still has it, and returns the result of the change.
fn change_tenant<T>(request: &GraphRequest<'_>, change: impl FnOnce(&mut Tenant) -> T) -> Option<T> {
    let id = request.caller.tenant.id;
    let mut result = None;
    request.sandbox.change(|scenario| {
        result = scenario.tenants.iter_mut().find(|tenant| tenant.id == id).map(change);
    });
    result
}

/// Changes an application of the caller's tenant, and returns it as it is now.
pub(super) fn change(
    request: &GraphRequest<'_>,
    client: Uuid,
    change: impl FnOnce(&mut Application),
) -> Result<Application, ODataError> {
    let changed = change_tenant(request, |tenant| {
        let application = tenant.applications.iter_mut().find(|application| application.client == client)?;
        change(application);
        Some(application.clone())
    });
    changed.flatten().ok_or_else(|| absent(&client.to_string()))
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
    update(request.caller.tenant, &mut application, &body)?;
    let is_full = change_tenant(request, |tenant| {
        let is_full = tenant.applications.len() >= APPLICATIONS;
        if !is_full {
            tenant.applications.push(application.clone());
        }
        is_full
    });
    if is_full == Some(true) {
        return Err(refusal(403, "Directory_QuotaExceeded", "The directory object quota limit has been exceeded."));
    }
    let document = registration(request.sandbox, request.caller.tenant, &application);
    Ok((201, request.query.entity(request.sandbox, &APPLICATION, document)?))
}

/// Deletes a registration and, as Graph does, its service principal.
fn delete_application(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    change_tenant(request, |tenant| tenant.applications.retain(|known| known.client != application.client));
    Ok((204, Value::Null))
}

fn update_application(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let mut updated = application.clone();
    update(request.caller.tenant, &mut updated, &body)?;
    change(request, application.client, |application| *application = updated)?;
    Ok((204, Value::Null))
}

/// Takes over the properties of a body.
fn update(tenant: &Tenant, application: &mut Application, body: &Value) -> Result<(), ODataError> {
    if let Some(name) = body["displayName"].as_str() {
        name.clone_into(&mut application.name);
    }
    if let Some(audience) = body["signInAudience"].as_str() {
        application.audience = Some(audience.to_owned());
    }
    if let Some(allowed) = body["isFallbackPublicClient"].as_bool() {
        application.public_flows = allowed;
    }
    if let Some(deactivated) = body["isDisabled"].as_bool() {
        application.deactivated = deactivated;
    }
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
        requests.on = Some(
            resources
                .iter()
                .filter(|resource| resource["resourceAppId"] != GRAPH_APP_ID)
                .map(|resource| {
                    let id = serde_json::from_value(resource["resourceAppId"].clone());
                    let access = serde_json::from_value(resource["resourceAccess"].clone());
                    let wrong = |_| bad("Invalid value specified for property 'requiredResourceAccess'.");
                    Ok((id.map_err(wrong)?, access.map_err(wrong)?))
                })
                .collect::<Result<_, ODataError>>()?,
        );
        application.requests = requests;
    }
    if let Some(keys) = body["keyCredentials"].as_array() {
        application.certificates =
            keys.iter().map(|key| certificate(tenant, application, key)).collect::<Result<_, _>>()?;
    }
    Ok(())
}

/// Returns the certificate of an entry of `keyCredentials`. A request has every one that is to remain; those that the
/// application has already can be named by `keyId` or `customKeyIdentifier`, without their contents.
fn certificate(tenant: &Tenant, application: &Application, entry: &Value) -> Result<Certificate, ODataError> {
    if let Some(key) = entry["key"].as_str() {
        BASE64_STANDARD.decode(key).map_err(|_| bad("Key credential is not a base64 certificate."))?;
        return Ok(Certificate { pem: format!("-----BEGIN CERTIFICATE-----\n{key}\n-----END CERTIFICATE-----\n") });
    }
    let is_named = |known: &&Certificate| {
        thumbprint_of_pem(&known.pem).is_some_and(|thumbprint| {
            entry["customKeyIdentifier"] == thumbprint || entry["keyId"] == tenant.object_id(&thumbprint).to_string()
        })
    };
    application.certificates.iter().find(is_named).cloned().ok_or_else(|| bad("Key credential has no key."))
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
    let now = request.sandbox.now();
    let expires = match wanted["endDateTime"].as_str() {
        Some(text) => {
            text.parse::<Timestamp>().map_err(|_| bad("Invalid value specified for property 'endDateTime'."))?
        }
        // "addPassword": two years by default.
        None => Timestamp::from_second(now.as_second() + 2 * 365 * 86_400).unwrap_or(now),
    };
    let secret = Secret {
        value: format!("Sbx8Q~{}", Uuid::now_v7().simple()),
        name: wanted["displayName"].as_str().unwrap_or_default().to_owned(),
        expires: Some(expires),
    };
    let id = secret_id(request.caller.tenant, application, &secret);
    let context = format!("{}/v1.0/$metadata#microsoft.graph.passwordCredential", request.sandbox.address());
    let answer = json!({
        "@odata.context": context, "customKeyIdentifier": null, "keyId": id, "displayName": secret.name,
        "secretText": secret.value, "hint": "Sbx", "startDateTime": now, "endDateTime": expires,
    });
    change(request, application.client, |application| application.secrets.push(secret))?;
    Ok((200, answer))
}

fn remove_password(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let tenant = request.caller.tenant;
    let is_named = |secret: &Secret| body["keyId"] == secret_id(tenant, application, secret).to_string();
    if !application.secrets.iter().any(is_named) {
        let id = body["keyId"].as_str().unwrap_or_default();
        return Err(bad(format!("No password credential found with keyId '{id}'.")));
    }
    change(request, application.client, |changed| changed.secrets.retain(|secret| !is_named(secret)))?;
    Ok((204, Value::Null))
}

/// Deletes a federated credential; `rest` is the path after the application.
fn remove_federated(request: &GraphRequest<'_>, application: &Application, rest: &str) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let id = rest.strip_prefix("/federatedIdentityCredentials/").ok_or_else(wrong_method)?;
    let mut all = application.federated.iter().zip(federated(request.caller.tenant, application));
    let (removed, _) = all.find(|(_, shown)| shown["id"] == id || shown["name"] == id).ok_or_else(|| absent(id))?;
    change(request, application.client, |application| application.federated.retain(|known| known != removed))?;
    Ok((204, Value::Null))
}

fn update_principal(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    change(request, application.client, |application| {
        if let Some(enabled) = body["accountEnabled"].as_bool() {
            application.disabled = !enabled;
        }
        if let Some(required) = body["appRoleAssignmentRequired"].as_bool() {
            application.assignment_required = required;
        }
    })?;
    Ok((204, Value::Null))
}

/// Deletes a service principal, with what was granted to it.
fn delete_principal(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    change(request, application.client, |application| {
        application.not_installed = true;
        application.granted.clear();
        application.consented.clear();
        application.consented_by.clear();
        application.consented_on.clear();
        application.assigned.clear();
    })?;
    Ok((204, Value::Null))
}

/// Assigns a user to an application.
fn assign_user(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "AppRoleAssignment.ReadWrite.All")?;
    let body = request.json()?;
    let tenant = request.caller.tenant;
    if body["resourceId"] != tenant.principal_id(application.client).to_string() {
        return Err(bad("The resourceId does not match the service principal of the request."));
    }
    let principal = body["principalId"].as_str().unwrap_or_default();
    let user = tenant.user(principal).filter(|user| user.name != principal).ok_or_else(|| absent(principal))?;
    if application.assigned.iter().any(|assigned| assigned.eq_ignore_ascii_case(&user.name)) {
        return Err(bad("Permission being assigned already exists on the object"));
    }
    let changed = change(request, application.client, |application| application.assigned.push(user.name.clone()))?;
    let document = user_assignments(tenant, &changed).pop().unwrap_or_default();
    Ok((201, request.query.entity(request.sandbox, &ASSIGNMENT, document)?))
}

/// Deletes the assignment of a user.
fn remove_user(request: &GraphRequest<'_>, application: &Application, id: &str) -> Reply {
    require(request, "AppRoleAssignment.ReadWrite.All")?;
    let mut all = application.assigned.iter().zip(user_assignments(request.caller.tenant, application));
    let (removed, _) = all.find(|(_, shown)| shown["id"] == id).ok_or_else(|| absent(id))?;
    change(request, application.client, |application| application.assigned.retain(|user| user != removed))?;
    Ok((204, Value::Null))
}

fn add_federated(request: &GraphRequest<'_>, application: &Application) -> Reply {
    require(request, "Application.ReadWrite.All")?;
    let body = request.json()?;
    let text =
        |key: &str| body[key].as_str().map(str::to_owned).ok_or_else(|| bad(format!("Property {key} is required.")));
    let credential = Federated { issuer: text("issuer")?, subject: text("subject")?, name: Some(text("name")?) };
    let is_same = |known: &Federated| known.issuer == credential.issuer && known.subject == credential.subject;
    if application.federated.iter().any(is_same) {
        return Err(refusal(
            409,
            "Request_MultipleObjectsWithSameKeyValue",
            "FederatedIdentityCredential already exists.",
        ));
    }
    let changed = change(request, application.client, |application| application.federated.push(credential))?;
    let mut answer = federated(request.caller.tenant, &changed).pop().unwrap_or_default();
    answer["audiences"] = body["audiences"].clone();
    Ok((201, request.query.entity(request.sandbox, &FEDERATED, answer)?))
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
    let application = change(request, application.client, |application| application.not_installed = false)?;
    Ok((201, request.query.entity(request.sandbox, &SERVICE_PRINCIPAL, principal(tenant, &application))?))
}

/// Fails unless an id is that of Graph's service principal.
pub(super) fn check_graph(tenant: &Tenant, id: &Value) -> Result<(), ODataError> {
    let graph = tenant.principal_id(GRAPH_APP_ID).to_string();
    if *id == graph { Ok(()) } else { Err(absent(id.as_str().unwrap_or_default())) }
}

/// Grants a permission to an application: to the one of the address, or to the one that the body names.
fn assign_role(request: &GraphRequest<'_>, of_address: Option<Application>) -> Reply {
    require(request, "AppRoleAssignment.ReadWrite.All")?;
    let body = request.json()?;
    let tenant = request.caller.tenant;
    check_graph(tenant, &body["resourceId"])?;
    let principal = &body["principalId"];
    let application = match of_address {
        Some(application) if *principal != tenant.principal_id(application.client).to_string() => {
            return Err(bad("The principalId does not match the service principal of the request."));
        }
        Some(application) => application,
        None => find_principal(tenant, principal).ok_or_else(|| absent(principal.as_str().unwrap_or_default()))?,
    };
    let name = permission_name(PermissionKind::Application, &body["appRoleId"])?;
    if application.not_installed {
        return Err(absent(&application.client.to_string()));
    }
    if application.granted.iter().any(|granted| granted == name) {
        return Err(bad("Permission being assigned already exists on the object"));
    }
    let changed = change(request, application.client, |application| application.granted.push(name.to_owned()))?;
    let document = role_assignments(tenant, &changed).pop().unwrap_or_default();
    Ok((201, request.query.entity(request.sandbox, &ASSIGNMENT, document)?))
}

/// Deletes an assignment of a permission: 204 without contents, or 404 if there is none with this id.
fn remove_role(request: &GraphRequest<'_>, holder: &str, id: &str) -> Reply {
    require(request, "AppRoleAssignment.ReadWrite.All")?;
    let tenant = request.caller.tenant;
    let holders = tenant.all_applications().into_iter().filter(|application| !application.not_installed);
    let mut holders = holders.filter(|application| holder == GRAPH_APP_ID || application.client.to_string() == holder);
    let found = holders.find_map(|application| {
        let mut all = application.granted.iter().zip(role_assignments(tenant, &application));
        let (name, _) = all.find(|(_, shown)| shown["id"] == id)?;
        Some((application.client, name.clone()))
    });
    let (client, name) = found.ok_or_else(|| absent(id))?;
    change(request, client, |application| application.granted.retain(|granted| *granted != name))?;
    Ok((204, Value::Null))
}

/// Returns the application whose service principal has an id.
pub(super) fn find_principal(tenant: &Tenant, id: &Value) -> Option<Application> {
    let mut all = tenant.all_applications().into_iter();
    all.find(|application| *id == tenant.principal_id(application.client).to_string())
}
