//! The directory of a tenant, apart from its users: the organization, applications, service principals and grants.
//!
//! Answers requests that read; an unknown path or object, and a missing permission, are errors as Graph words them. `registrations`
//! has those that change the scenario.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    GraphRequest, Reply,
    documents::{grants, graph_principal, principal, registration, role_assignments},
    error::{absent, denied, refusal, unknown_segment},
    odata::{APPLICATION, ASSIGNMENT, DOMAIN, FEDERATED, GRANT, ORGANIZATION, SERVICE_PRINCIPAL},
};
use crate::{entra::permissions::GRAPH_APP_ID, sandbox::scenario::Tenant};

/// Permissions that show grants of delegated permissions.
const READ_GRANTS: [&str; 4] = [
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "DelegatedPermissionGrant.Read.All",
    "DelegatedPermissionGrant.ReadWrite.All",
];

/// Answers a GET request.
pub(super) fn route(request: &GraphRequest<'_>) -> Reply {
    match request.path {
        "/organization" => return organization(request),
        "/domains" => return domains(request),
        "/applications" => return applications(request),
        "/servicePrincipals" => return service_principals(request),
        "/oauth2PermissionGrants" => return all_grants(request),
        _ => {}
    }
    let tenant = request.caller.tenant;
    if let Some((client, rest)) = parse_key(tenant, request.path, "applications", "app") {
        return one_application(request, &client, rest);
    }
    if let Some((client, rest)) = parse_key(tenant, request.path, "servicePrincipals", "sp") {
        return one_principal(request, &client, rest);
    }
    let segment = request.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    Err(refusal(400, "BadRequest", format!("Resource not found for the segment '{segment}'.")))
}

fn organization(request: &GraphRequest<'_>) -> Reply {
    if !request.caller.has(&["Organization.Read.All", "Directory.Read.All", "User.Read", "Directory.ReadWrite.All"]) {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let domains: Vec<Value> = tenant
        .domains
        .iter()
        .enumerate()
        .map(|(index, name)| json!({ "capabilities": "Email, OfficeCommunicationsOnline", "isDefault": index == 0, "isInitial": name.ends_with(".onmicrosoft.com"), "name": name, "type": "Managed" }))
        .collect();
    let organization = json!({ "id": tenant.id, "displayName": tenant.domains.first(), "verifiedDomains": domains });
    Ok((200, request.query.page(request.sandbox, request.path, &ORGANIZATION, vec![organization])?))
}

fn domains(request: &GraphRequest<'_>) -> Reply {
    if !request.caller.has(&["Domain.Read.All", "Directory.Read.All"]) {
        return Err(denied());
    }
    let domains = request.caller.tenant.domains.iter().map(|name| json!({ "id": name, "isVerified": true })).collect();
    Ok((200, request.query.page(request.sandbox, request.path, &DOMAIN, domains)?))
}

fn applications(request: &GraphRequest<'_>) -> Reply {
    if !request.caller.reads_applications() {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let all = tenant.all_applications();
    let registered = all.iter().filter(|application| !application.registered_elsewhere);
    let items = registered.map(|application| registration(request.sandbox, tenant, application)).collect();
    let items = request.query.filtered(&APPLICATION, items)?;
    Ok((200, request.query.page(request.sandbox, request.path, &APPLICATION, items)?))
}

fn service_principals(request: &GraphRequest<'_>) -> Reply {
    if !request.caller.reads_applications() {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let all = tenant.all_applications();
    let installed = all.iter().filter(|application| !application.not_installed);
    let items = installed.map(|application| principal(tenant, application)).collect();
    let items = request.query.filtered(&SERVICE_PRINCIPAL, items)?;
    Ok((200, request.query.page(request.sandbox, request.path, &SERVICE_PRINCIPAL, items)?))
}

fn all_grants(request: &GraphRequest<'_>) -> Reply {
    if !request.caller.has(&READ_GRANTS) {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let items = tenant.all_applications().iter().flat_map(|application| grants(tenant, application)).collect();
    let items = request.query.filtered(&GRANT, items)?;
    Ok((200, request.query.page(request.sandbox, request.path, &GRANT, items)?))
}

fn one_application(request: &GraphRequest<'_>, client: &str, rest: &str) -> Reply {
    if !request.caller.may_read(client) {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let application = tenant
        .application(client)
        .filter(|application| !application.registered_elsewhere)
        .ok_or_else(|| absent(client))?;
    match rest {
        "" => Ok((200, request.query.selected(&APPLICATION, registration(request.sandbox, tenant, &application))?)),
        "/federatedIdentityCredentials" => {
            let items = application.federated.iter().enumerate().map(|(index, known)| json!({ "id": tenant.object_id(&format!("fic/{client}/{index}")), "name": format!("federated-{index}"), "issuer": known.issuer, "subject": known.subject, "audiences": ["api://AzureADTokenExchange"] })).collect();
            Ok((200, request.query.page(request.sandbox, request.path, &FEDERATED, items)?))
        }
        _ => Err(unknown_segment()),
    }
}

fn one_principal(request: &GraphRequest<'_>, client: &str, rest: &str) -> Reply {
    let tenant = request.caller.tenant;
    if client == GRAPH_APP_ID {
        if !request.caller.reads_applications() {
            return Err(denied());
        }
        return Ok((200, request.query.selected(&SERVICE_PRINCIPAL, graph_principal(tenant))?));
    }
    if !request.caller.may_read(client) {
        return Err(denied());
    }
    let application =
        tenant.application(client).filter(|application| !application.not_installed).ok_or_else(|| absent(client))?;
    // Without permission, an application may read its own object, but not its assignments and grants.
    let others = request.caller.reads_applications();
    match rest {
        "" => Ok((200, request.query.selected(&SERVICE_PRINCIPAL, principal(tenant, &application))?)),
        "/appRoleAssignments" if others => Ok((
            200,
            request.query.page(request.sandbox, request.path, &ASSIGNMENT, role_assignments(tenant, &application))?,
        )),
        "/appRoleAssignedTo" if others => {
            let items = application.assigned.iter().map(|name| json!({ "id": tenant.object_id(&format!("assigned/{client}/{name}")), "appRoleId": Uuid::nil(), "principalDisplayName": name, "principalId": tenant.object_id(name), "principalType": "User", "resourceDisplayName": application.name, "resourceId": tenant.object_id(&format!("sp/{client}")) })).collect();
            Ok((200, request.query.page(request.sandbox, request.path, &ASSIGNMENT, items)?))
        }
        "/oauth2PermissionGrants" if request.caller.has(&READ_GRANTS) => {
            Ok((200, request.query.page(request.sandbox, request.path, &GRANT, grants(tenant, &application))?))
        }
        "/appRoleAssignments" | "/appRoleAssignedTo" | "/oauth2PermissionGrants" => Err(denied()),
        _ => Err(unknown_segment()),
    }
}

/// Parses `NAME(appId='ID')rest` or `NAME/OBJECT-ID/rest`. Returns the application's id and the rest.
pub(super) fn parse_key<'p>(tenant: &Tenant, path: &'p str, name: &str, prefix: &str) -> Option<(String, &'p str)> {
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
