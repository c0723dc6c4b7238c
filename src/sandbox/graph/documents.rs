//! Documents of the directory, as Graph shows them, from the scenario.
//!
//! Pure functions from a tenant to JSON with every property; `odata` selects from it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    entra::permissions::{self, GRAPH_APP_ID, PermissionKind},
    sandbox::{
        Sandbox,
        scenario::{Application, Mailbox, Secret, Tenant, User},
    },
};

/// The tenant of Microsoft that owns its own applications.
const MICROSOFT: &str = "f8cdef31-a31e-4b4a-93e4-5f571e91255a";

/// Returns an application as Graph shows it: the registration.
pub(super) fn registration(sandbox: &Sandbox, tenant: &Tenant, application: &Application) -> Value {
    let access = |kind: PermissionKind, names: &[String]| -> Vec<Value> {
        names.iter().filter_map(|name| Some(json!({ "id": permissions::id(kind, name)?, "type": kind.id() }))).collect()
    };
    let mut requested = access(PermissionKind::Application, &application.requests.application);
    requested.extend(access(PermissionKind::Delegated, &application.requests.delegated));
    let graph = json!({ "resourceAppId": GRAPH_APP_ID, "resourceAccess": requested });
    let required: Vec<Value> = match &application.requests.on {
        Some(others) => {
            let others = others.iter().map(|(id, access)| json!({ "resourceAppId": id, "resourceAccess": access }));
            others.chain((!requested.is_empty()).then_some(graph)).collect()
        }
        None if requested.is_empty() => Vec::new(),
        None => vec![json!({ "resourceAppId": "00000002-0000-0ff1-ce00-000000000000", "resourceAccess": [] }), graph],
    };
    let in_three_years = sandbox.now().as_second() + 3 * 365 * 86_400;
    let far = jiff::Timestamp::from_second(in_three_years).unwrap_or_default();
    let secrets: Vec<Value> = application
        .secrets
        .iter()
        .map(|secret| {
            let hint: String = secret.value.chars().take(3).collect();
            json!({ "customKeyIdentifier": null, "displayName": secret.name, "endDateTime": secret.expires.unwrap_or(far), "hint": hint, "keyId": secret_id(tenant, application, secret), "secretText": null, "startDateTime": "2024-01-01T00:00:00Z" })
        })
        .collect();
    let keys: Vec<Value> = application
        .certificates
        .iter()
        .filter_map(|known| CertificateDer::from_pem_slice(known.pem.as_bytes()).ok())
        .map(|der| {
            let end = x509_parser::parse_x509_certificate(der.as_ref()).ok().map(|(_, found)| found.validity().not_after.timestamp());
            let end = end.and_then(|end| jiff::Timestamp::from_second(end).ok()).unwrap_or(far);
            let thumbprint = thumbprint(&der);
            json!({ "customKeyIdentifier": thumbprint, "displayName": "CN=mailwright", "endDateTime": end, "key": null, "keyId": tenant.object_id(&thumbprint), "startDateTime": "2024-01-01T00:00:00Z", "type": "AsymmetricX509Cert", "usage": "Verify" })
        })
        .collect();
    json!({
        "id": tenant.object_id(&format!("app/{}", application.client)),
        "appId": application.client,
        "displayName": application.name,
        "description": null,
        "identifierUris": [],
        "publisherDomain": tenant.domains.first(),
        "api": { "acceptMappedClaims": null, "knownClientApplications": [], "oauth2PermissionScopes": [], "preAuthorizedApplications": [], "requestedAccessTokenVersion": null },
        "appRoles": [],
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

/// Returns the id of a client secret.
pub(super) fn secret_id(tenant: &Tenant, application: &Application, secret: &Secret) -> Uuid {
    tenant.object_id(&format!("secret/{}/{}", application.client, secret.value))
}

/// Returns the thumbprint of a certificate, as `customKeyIdentifier` has it.
fn thumbprint(der: &CertificateDer<'_>) -> String {
    BASE64_STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der.as_ref()))
}

/// Returns the thumbprint of a certificate in PEM form.
pub(super) fn thumbprint_of_pem(pem: &str) -> Option<String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| thumbprint(&der))
}

/// Returns the federated credentials of an application.
pub(super) fn federated(tenant: &Tenant, application: &Application) -> Vec<Value> {
    application
        .federated
        .iter()
        .enumerate()
        .map(|(index, known)| {
            let id = tenant.object_id(&format!("fic/{}/{}/{}", application.client, known.issuer, known.subject));
            let name = known.name.clone().unwrap_or_else(|| format!("federated-{index}"));
            json!({ "id": id, "name": name, "issuer": known.issuer, "subject": known.subject, "audiences": ["api://AzureADTokenExchange"] })
        })
        .collect()
}

/// Returns the users who are assigned to an application.
pub(super) fn user_assignments(tenant: &Tenant, application: &Application) -> Vec<Value> {
    application
        .assigned
        .iter()
        .map(|name| json!({ "id": tenant.object_id(&format!("assigned/{}/{name}", application.client)), "appRoleId": Uuid::nil(), "createdDateTime": "2024-01-01T00:00:00Z", "principalDisplayName": name, "principalId": tenant.object_id(name), "principalType": "User", "resourceDisplayName": application.name, "resourceId": tenant.principal_id(application.client) }))
        .collect()
}

/// Returns the service principal of an application.
pub(super) fn principal(tenant: &Tenant, application: &Application) -> Value {
    let redirects = &application.redirects;
    let replies: Vec<&String> =
        [&redirects.web, &redirects.spa, &redirects.public_client].into_iter().flatten().collect();
    json!({
        "id": tenant.principal_id(application.client),
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
        "appDisplayName": application.name,
        "servicePrincipalNames": [application.client],
        "servicePrincipalType": "Application",
        "replyUrls": replies,
        "signInAudience": application.audience.as_deref().unwrap_or("AzureADMyOrg"),
        "tags": ["WindowsAzureActiveDirectoryIntegratedApp"],
    })
}

/// Returns the service principal of Graph, with all permissions.
pub(super) fn graph_principal(tenant: &Tenant) -> Value {
    let (mut roles, mut scopes) = (Vec::new(), Vec::new());
    for (kind, name, id) in permissions::all() {
        match kind {
            PermissionKind::Application => roles.push(json!({ "id": id, "value": name, "isEnabled": true, "allowedMemberTypes": ["Application"], "displayName": name, "description": name, "origin": "Application" })),
            PermissionKind::Delegated => scopes.push(json!({ "id": id, "value": name, "isEnabled": true, "type": "User", "adminConsentDisplayName": name, "adminConsentDescription": name })),
        }
    }
    json!({ "id": tenant.principal_id(GRAPH_APP_ID), "appId": GRAPH_APP_ID, "displayName": "Microsoft Graph", "appDisplayName": "Microsoft Graph", "accountEnabled": true, "appOwnerOrganizationId": MICROSOFT, "servicePrincipalNames": [GRAPH_APP_ID], "servicePrincipalType": "Application", "appRoles": roles, "oauth2PermissionScopes": scopes })
}

/// Returns the application permissions that are granted to an application.
pub(super) fn role_assignments(tenant: &Tenant, application: &Application) -> Vec<Value> {
    application
        .granted
        .iter()
        .map(|name| json!({ "id": tenant.object_id(&format!("role/{}/{name}", application.client)), "appRoleId": permissions::id(PermissionKind::Application, name), "createdDateTime": "2024-01-01T00:00:00Z", "principalDisplayName": application.name, "principalId": tenant.principal_id(application.client), "principalType": "ServicePrincipal", "resourceDisplayName": "Microsoft Graph", "resourceId": tenant.principal_id(GRAPH_APP_ID) }))
        .collect()
}

/// Returns the delegated permissions that are granted to an application.
pub(super) fn grants(tenant: &Tenant, application: &Application) -> Vec<Value> {
    let grant_on = |resource: &str, id: String, consent: &str, principal: Value, scopes: &[String]| json!({ "id": tenant.object_id(&id).simple().to_string(), "clientId": tenant.principal_id(application.client), "consentType": consent, "principalId": principal, "resourceId": tenant.principal_id(resource), "scope": format!(" {}", scopes.join(" ")) });
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

/// Returns a user, with all properties or the basic ones.
pub(super) fn user_document(tenant: &Tenant, user: &User, whole: bool) -> Value {
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
        "id": tenant.object_id(&user.name), "displayName": user.display_name.as_ref().unwrap_or(&user.name), "givenName": null,
        "surname": null, "mail": mail, "businessPhones": [], "jobTitle": null, "mobilePhone": null, "officeLocation": null,
        "preferredLanguage": null,
        "userPrincipalName": user.name, "accountEnabled": user.enabled && !matches!(user.mailbox, Mailbox::Shared | Mailbox::Room),
        "assignedPlans": plans, "companyName": user.company, "department": user.department,
        "proxyAddresses": addresses, "userType": "Member",
    });
    if !whole {
        hide_details(&mut document);
    }
    document
}

/// Removes the properties that are not visible with `User.ReadBasic.All` only.
pub(super) fn hide_details(document: &mut Value) {
    if let Some(map) = document.as_object_mut() {
        for hidden in ["accountEnabled", "assignedPlans", "companyName", "department", "proxyAddresses", "userType"] {
            map.remove(hidden);
        }
    }
}
