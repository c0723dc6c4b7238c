//! Consent to delegated permissions of Graph, for all users or for one: `oAuth2PermissionGrant`.
//!
//! Answers requests that change a consent; `directory` shows them. Consent on other resources is part of the scenario alone.
//!
//! Sources: Microsoft Graph v1.0, "Create oAuth2PermissionGrant", "Update oAuth2PermissionGrant" and "Delete
//! oAuth2PermissionGrant".

use serde_json::Value;

use super::{
    GraphRequest, Reply,
    documents::grants,
    error::{ODataError, absent, refusal},
    odata::GRANT,
    registrations::{bad, change, check_graph, find_principal, require},
};
use crate::{
    entra::permissions::{self, PermissionKind},
    sandbox::scenario::{Application, Tenant},
};

/// Deletes a consent.
pub(super) fn delete_grant(request: &GraphRequest<'_>, id: &str) -> Reply {
    require(request, "DelegatedPermissionGrant.ReadWrite.All")?;
    let (application, user) = find_granted(request.caller.tenant, id)?;
    change(request, application.client, |application| match &user {
        Some(user) => drop(application.consented_by.remove(user)),
        None => application.consented.clear(),
    })?;
    Ok((204, Value::Null))
}

/// Returns the application that has the consent with this id, and the user whose consent it is; none for the consent for all
/// users.
fn find_granted(tenant: &Tenant, id: &str) -> Result<(Application, Option<String>), ODataError> {
    let is_id = |name: String| tenant.object_id(&name).simple().to_string() == id;
    let of_one = |application: Application| {
        if !application.consented.is_empty() && is_id(format!("all/{}", application.client)) {
            return Some((application, None));
        }
        let mut users = application.consented_by.keys();
        let user = users.find(|user| is_id(format!("{user}/{}", application.client))).cloned()?;
        Some((application, Some(user)))
    };
    tenant.all_applications().into_iter().find_map(of_one).ok_or_else(|| absent(id))
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

pub(super) fn create_grant(request: &GraphRequest<'_>) -> Reply {
    require(request, "DelegatedPermissionGrant.ReadWrite.All")?;
    let body = request.json()?;
    let tenant = request.caller.tenant;
    check_graph(tenant, &body["resourceId"])?;
    let user = match (body["consentType"].as_str(), body["principalId"].as_str()) {
        (Some("AllPrincipals"), _) => None,
        (Some("Principal"), Some(id)) => Some(tenant.user(id).ok_or_else(|| absent(id))?.name.clone()),
        _ => {
            return Err(bad("Invalid value specified for property 'consentType' of resource 'OAuth2PermissionGrant'."));
        }
    };
    let mut application = find_principal(tenant, &body["clientId"])
        .filter(|application| !application.not_installed)
        .ok_or_else(|| absent(body["clientId"].as_str().unwrap_or_default()))?;
    let exists = match &user {
        Some(user) => application.consented_by.contains_key(user),
        None => !application.consented.is_empty(),
    };
    if exists {
        return Err(refusal(409, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists."));
    }
    let scopes = scopes(&body)?;
    // The grant alone, for the answer.
    application.consented.clear();
    application.consented_by.clear();
    application.consented_on.clear();
    set_consent(&mut application, user.as_ref(), scopes.clone());
    change(request, application.client, |application| set_consent(application, user.as_ref(), scopes))?;
    let document = grants(tenant, &application).pop().unwrap_or_default();
    Ok((201, request.query.entity(request.sandbox, &GRANT, document)?))
}

fn set_consent(application: &mut Application, user: Option<&String>, scopes: Vec<String>) {
    match user {
        Some(user) => drop(application.consented_by.insert(user.clone(), scopes)),
        None => application.consented = scopes,
    }
}

pub(super) fn update_grant(request: &GraphRequest<'_>, id: &str) -> Reply {
    require(request, "DelegatedPermissionGrant.ReadWrite.All")?;
    let scopes = scopes(&request.json()?)?;
    let (application, user) = find_granted(request.caller.tenant, id)?;
    change(request, application.client, |application| set_consent(application, user.as_ref(), scopes))?;
    Ok((204, Value::Null))
}
