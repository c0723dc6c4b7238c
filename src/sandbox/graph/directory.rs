//! The directory of a tenant, apart from its users: the organization, applications, service principals and grants.
//!
//! Answers requests that read; an unknown path or object, and a missing permission, are errors as Graph words them.
//! `registrations` and `consents` have those that change the scenario.

use serde_json::{Value, json};

use super::{
    GraphRequest, Reply,
    documents::{federated, grants, graph_principal, principal, registration, role_assignments, user_assignments},
    error::{ODataError, absent, denied, refusal, unknown_segment},
    odata::{
        APPLICATION, ASSIGNMENT, DIRECTORY_OBJECT, DOMAIN, EntityType, FEDERATED, GRANT, ORGANIZATION,
        SERVICE_PRINCIPAL,
    },
};
use crate::{
    entra::permissions::GRAPH_APP_ID,
    sandbox::scenario::{Application, Tenant},
};

/// The number of assignments that `$expand` returns: `microsoft-graph-docs-contrib#2851`.
const EXPANDED: usize = 20;

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
    if let Some(id) = request.path.strip_prefix("/oauth2PermissionGrants/") {
        return one_grant(request, id);
    }
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
    let items = registered.map(|application| expanded_registration(request, application)).collect();
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
    let installed = installed.map(|application| expanded_principal(request, application));
    // Every tenant has the service principal of Graph.
    let items = std::iter::once(graph_principal(tenant)).chain(installed).collect();
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

fn one_grant(request: &GraphRequest<'_>, id: &str) -> Reply {
    if !request.caller.has(&READ_GRANTS) {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let mut all = tenant.all_applications().into_iter().flat_map(|application| grants(tenant, &application));
    let grant = all.find(|grant| grant["id"] == id).ok_or_else(|| absent(id))?;
    Ok((200, request.query.entity(request.sandbox, &GRANT, grant)?))
}

/// Returns a registration, with the relationships that the request names.
fn expanded_registration(request: &GraphRequest<'_>, application: &Application) -> Value {
    let mut document = registration(request.sandbox, request.caller.tenant, application);
    if request.query.expands("owners") {
        document["owners"] = json!([]);
    }
    document
}

/// Returns a service principal, with the relationships that the request names.
fn expanded_principal(request: &GraphRequest<'_>, application: &Application) -> Value {
    let tenant = request.caller.tenant;
    let mut document = principal(tenant, application);
    if request.query.expands("owners") {
        document["owners"] = json!([]);
    }
    if request.query.expands("appRoleAssignments") {
        let assignments = role_assignments(tenant, application).into_iter().take(EXPANDED);
        document["appRoleAssignments"] = assignments.collect();
    }
    document
}

/// Returns a list of a resource, or one entry of it; `id` is the path after the list.
fn list_or_entry(request: &GraphRequest<'_>, of: &EntityType, id: &str, items: Vec<Value>) -> Reply {
    if let Some(id) = id.strip_prefix('/') {
        // A federated credential is found by its name, too.
        let entry = items.into_iter().find(|item| item["id"] == id || item["name"] == id);
        return Ok((200, request.query.entity(request.sandbox, of, entry.ok_or_else(|| absent(id))?)?));
    }
    let items = request.query.filtered(of, items)?;
    Ok((200, request.query.page(request.sandbox, request.path, of, items)?))
}

fn one_application(request: &GraphRequest<'_>, client: &str, rest: &str) -> Reply {
    if !request.caller.may_read(client) {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let application = find_registered(tenant, client)?;
    if rest.is_empty() {
        let document = expanded_registration(request, &application);
        return Ok((200, request.query.entity(request.sandbox, &APPLICATION, document)?));
    }
    if let Some(id) = rest.strip_prefix("/federatedIdentityCredentials") {
        return list_or_entry(request, &FEDERATED, id, federated(tenant, &application));
    }
    match rest {
        // The sandbox has no owners.
        "/owners" => list_or_entry(request, &DIRECTORY_OBJECT, "", Vec::new()),
        _ => Err(unknown_segment()),
    }
}

fn one_principal(request: &GraphRequest<'_>, client: &str, rest: &str) -> Reply {
    let tenant = request.caller.tenant;
    if client == GRAPH_APP_ID {
        return principal_of_graph(request, rest);
    }
    if !request.caller.may_read(client) {
        return Err(denied());
    }
    let application = find_installed(tenant, client)?;
    if rest.is_empty() {
        let document = expanded_principal(request, &application);
        return Ok((200, request.query.entity(request.sandbox, &SERVICE_PRINCIPAL, document)?));
    }
    // Without permission, an application may read its own object, but not its assignments and grants.
    let others = request.caller.reads_applications();
    for (list, of, may_read) in [
        ("/appRoleAssignments", &ASSIGNMENT, others),
        ("/appRoleAssignedTo", &ASSIGNMENT, others),
        ("/oauth2PermissionGrants", &GRANT, request.caller.has(&READ_GRANTS)),
        ("/owners", &DIRECTORY_OBJECT, others),
    ] {
        let Some(id) = rest.strip_prefix(list) else { continue };
        if !may_read {
            return Err(denied());
        }
        let items = match list {
            "/appRoleAssignments" => role_assignments(tenant, &application),
            "/appRoleAssignedTo" => user_assignments(tenant, &application),
            "/oauth2PermissionGrants" => grants(tenant, &application),
            _ => Vec::new(),
        };
        return list_or_entry(request, of, id, items);
    }
    Err(unknown_segment())
}

/// Answers for the service principal of Graph, whose permissions are granted to the others.
fn principal_of_graph(request: &GraphRequest<'_>, rest: &str) -> Reply {
    if !request.caller.reads_applications() {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    match rest {
        "" => Ok((200, request.query.entity(request.sandbox, &SERVICE_PRINCIPAL, graph_principal(tenant))?)),
        "/appRoleAssignedTo" => {
            let all = tenant.all_applications();
            let installed = all.iter().filter(|application| !application.not_installed);
            let items = installed.flat_map(|application| role_assignments(tenant, application)).collect();
            list_or_entry(request, &ASSIGNMENT, "", items)
        }
        "/appRoleAssignments" => list_or_entry(request, &ASSIGNMENT, "", Vec::new()),
        "/oauth2PermissionGrants" => list_or_entry(request, &GRANT, "", Vec::new()),
        "/owners" => list_or_entry(request, &DIRECTORY_OBJECT, "", Vec::new()),
        _ => Err(unknown_segment()),
    }
}

/// Returns an application that is registered in the tenant.
pub(super) fn find_registered(tenant: &Tenant, client: &str) -> Result<Application, ODataError> {
    tenant.application(client).filter(|application| !application.registered_elsewhere).ok_or_else(|| absent(client))
}

/// Returns an application that has a service principal in the tenant.
pub(super) fn find_installed(tenant: &Tenant, client: &str) -> Result<Application, ODataError> {
    tenant.application(client).filter(|application| !application.not_installed).ok_or_else(|| absent(client))
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
