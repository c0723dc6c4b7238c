//! The checks of a registration: accounts that may sign in, disabled applications, public clients; and the parser of
//! exported registrations.
//!
//! [`check`] and its neighbours evaluate an application that was read from Graph or that [`from_export`] parsed. They send no
//! request. A file that is not an exported application, or is that of another one, is an error that names what it seems to be.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    entra::graph::{Application, KeyCredential, PasswordCredential, RedirectUris, ServicePrincipal},
    model::{Client, finding::Finding, finding_id::FindingId},
    text::shell::quote_posix,
    verify::remedy::Remedies,
};

/// The number of credentials whose deletion is a command of a remedy.
const CREDENTIALS: usize = 5;

/// Parses an exported registration: the output of `az ad app show` and of Graph, or the portal's manifest in either
/// form. PowerShell's form of these, with capital letters, is read as well. A list, as `az ad app list` prints, is
/// searched for the client.
pub fn from_export(document: &Value, client: &str) -> Result<Application, String> {
    let is_powershell = is_powershell_export(document);
    let document = &if is_powershell { from_powershell(document) } else { document.clone() };
    let document = match document {
        Value::Array(items) => find_registration(items, client)?,
        Value::Object(map) if map.get("value").is_some_and(Value::is_array) => {
            find_registration(map["value"].as_array().map_or(&[][..], Vec::as_slice), client)?
        }
        other => other,
    };
    if let Some(what) = other_document(document) {
        return Err(format!("this is {what} and not a registration: export one with `az ad app show --id {client}`"));
    }
    let application = if document.get("replyUrlsWithType").is_some() {
        from_old_manifest(document)
    } else {
        serde_json::from_value(document.clone()).map_err(|error| {
            let cause = if is_powershell { "; `ConvertTo-Json -Depth 10` exports all of it" } else { "" };
            format!("this is not a whole registration: {error}{cause}")
        })?
    };
    if application.app_id.is_empty() {
        return Err("this is not a registration: it has no `appId`".to_owned());
    }
    if !application.app_id.eq_ignore_ascii_case(client) {
        return Err(format!(
            "this is the registration of {}, and the profile's client is {client}",
            application.app_id
        ));
    }
    Ok(application)
}

/// Returns the kind of a document that has an `appId` as well and is not a registration.
fn other_document(document: &Value) -> Option<&'static str> {
    let has = |key: &str| document.get(key).is_some();
    let typed = |name: &str| {
        ["@odata.type", "odata.type"]
            .iter()
            .any(|key| document[*key].as_str().is_some_and(|found| found.ends_with(name)))
    };
    let of_service_principals = [
        "servicePrincipalType",
        "servicePrincipalNames",
        "appRoleAssignmentRequired",
        "appRoleAssignments",
        "appRoleAssignedTo",
        "appOwnerOrganizationId",
        "oauth2PermissionGrants",
        "oauth2PermissionScopes",
    ];
    if of_service_principals.iter().any(|key| has(key)) || typed(".servicePrincipal") || typed(".ServicePrincipal") {
        return Some("a service principal (what `az ad sp show` and `Get-MgServicePrincipal` print)");
    }
    if has("password") && has("tenant") {
        return Some("a credential (what `az ad sp create-for-rbac` and `az ad app credential reset` print)");
    }
    if has("replyUrls") && !has("web") && !has("replyUrlsWithType") {
        return Some("the output of a retired tool (the module AzureAD, or `az` before 2.37)");
    }
    // A registration that Graph or the portal wrote has at least one of these.
    let known = [
        "signInAudience",
        "requiredResourceAccess",
        "web",
        "spa",
        "publicClient",
        "replyUrlsWithType",
        "passwordCredentials",
        "keyCredentials",
        "isFallbackPublicClient",
        "allowPublicClient",
    ];
    (has("appId") && !known.iter().any(|key| has(key)))
        .then_some("a document with an `appId` and no other property of a registration,")
}

/// Returns true for the keys of `Get-MgApplication | ConvertTo-Json`: `AppId` for `appId`.
fn is_powershell_export(document: &Value) -> bool {
    let has = |document: &Value| document.get("AppId").is_some() && document.get("appId").is_none();
    match document {
        Value::Array(items) => items.iter().any(has),
        Value::Object(map) => {
            has(document) || map.get("value").and_then(Value::as_array).is_some_and(|items| items.iter().any(has))
        }
        _ => false,
    }
}

/// Returns the document in Graph's form: keys begin in lower case, bytes are base64 and times RFC 3339.
fn from_powershell(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let renamed = map.iter().map(|(key, value)| {
                let mut letters = key.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase());
                let key: String = first.into_iter().chain(letters).collect();
                let bytes = read_byte_list(value).filter(|_| key == "customKeyIdentifier");
                let value = bytes.map_or_else(|| from_powershell(value), |bytes| BASE64_STANDARD.encode(bytes).into());
                (key, value)
            });
            Value::Object(renamed.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(from_powershell).collect(),
        Value::String(text) => {
            // Windows PowerShell writes times as milliseconds.
            let milliseconds = text.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/"));
            let at =
                milliseconds.and_then(|text| text.parse().ok()).and_then(|ms| Timestamp::from_millisecond(ms).ok());
            at.map_or_else(|| value.clone(), |at| at.to_string().into())
        }
        other => other.clone(),
    }
}

/// Reads bytes that PowerShell wrote as a list of numbers.
fn read_byte_list(value: &Value) -> Option<Vec<u8>> {
    value.as_array()?.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
}

fn find_registration<'a>(items: &'a [Value], client: &str) -> Result<&'a Value, String> {
    let is = |item: &&Value| item["appId"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(client));
    items.iter().find(is).ok_or_else(|| format!("none of the {} registrations is that of {client}", items.len()))
}

/// Converts a manifest in the form of Azure AD Graph, which the portal wrote until 2024.
fn from_old_manifest(document: &Value) -> Application {
    let urls = |kind: &str| {
        let all = document["replyUrlsWithType"].as_array().into_iter().flatten();
        let ours = all.filter(|url| url["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(kind)));
        RedirectUris { redirect_uris: ours.filter_map(|url| url["url"].as_str().map(str::to_owned)).collect() }
    };
    let listed = |key: &str| document[key].as_array().into_iter().flatten();
    let text = |item: &Value, key: &str| item[key].as_str().map(str::to_owned);
    Application {
        app_id: document["appId"].as_str().unwrap_or_default().to_owned(),
        display_name: document["name"].as_str().map(str::to_owned),
        sign_in_audience: document["signInAudience"].as_str().map(str::to_owned),
        is_fallback_public_client: document["allowPublicClient"].as_bool(),
        is_disabled: document["isDisabled"].as_bool(),
        required_resource_access: serde_json::from_value(document["requiredResourceAccess"].clone())
            .unwrap_or_default(),
        web: urls("Web"),
        spa: urls("Spa"),
        public_client: urls("InstalledClient"),
        password_credentials: listed("passwordCredentials")
            .map(|credential| PasswordCredential {
                key_id: text(credential, "keyId"),
                display_name: text(credential, "displayName"),
                hint: text(credential, "hint"),
                start_date_time: credential["startDate"].as_str().and_then(|text| text.parse().ok()),
                end_date_time: credential["endDate"].as_str().and_then(|text| text.parse().ok()),
            })
            .collect(),
        key_credentials: listed("keyCredentials")
            .map(|credential| KeyCredential {
                key_id: text(credential, "keyId"),
                display_name: text(credential, "displayName"),
                custom_key_identifier: text(credential, "customKeyIdentifier"),
                start_date_time: credential["startDate"].as_str().and_then(|text| text.parse().ok()),
                end_date_time: credential["endDate"].as_str().and_then(|text| text.parse().ok()),
            })
            .collect(),
        ..Application::default()
    }
}

/// Runs the checks of every registration.
pub(super) fn check(
    application: &Application,
    service_principal: Option<&ServicePrincipal>,
    base: &str,
    remedies: &Remedies<'_>,
) -> Vec<Finding> {
    let mut findings = enabled(Some(application), service_principal, base, remedies);
    findings.push(audience(application, base, remedies));
    findings
}

/// Checks that the application is enabled, in the registration and in the service principal.
pub(super) fn enabled(
    application: Option<&Application>,
    service_principal: Option<&ServicePrincipal>,
    base: &str,
    remedies: &Remedies<'_>,
) -> Vec<Finding> {
    let client = format!("{base}/client");
    let mut findings = Vec::new();
    let statuses = [
        application.and_then(|application| application.disabled_by_microsoft_status.as_deref()),
        service_principal.and_then(|principal| principal.disabled_by_microsoft_status.as_deref()),
    ];
    let by_microsoft = statuses.into_iter().flatten().find(|status| !matches!(*status, "" | "NotDisabled"));
    let is_deactivated = application.is_some_and(|application| application.is_disabled == Some(true))
        || service_principal.is_some_and(|principal| principal.is_disabled == Some(true));
    if let Some(status) = by_microsoft {
        findings.push(
            Finding::fail(FindingId::ClientDisabled, &client, "Microsoft has disabled the application")
                .seen(status.chars().take(100).collect::<String>())
                .expected("NotDisabled")
                .remedy([
                    "Ask Microsoft's support, which considers the application a violation of the services agreement.",
                ]),
        );
    } else if is_deactivated {
        findings.push(
            Finding::fail(
                FindingId::ClientDisabled,
                &client,
                "the application is deactivated: no new token is issued for it, and those that were issued end within an hour or so",
            )
            .seen("isDisabled: true")
            .expected("isDisabled: false")
            .remedy(remedies.activate()),
        );
    } else if service_principal.is_some_and(|principal| principal.account_enabled == Some(false)) {
        findings.push(
            Finding::fail(
                FindingId::ClientDisabled,
                &client,
                "the application is disabled in the tenant: neither users nor the application itself can sign in",
            )
            .seen("accountEnabled: false")
            .expected("accountEnabled: true")
            .remedy(remedies.enable()),
        );
    } else if service_principal.is_some() {
        findings.push(Finding::pass(
            FindingId::ServicePrincipal,
            &client,
            "the application is installed in the tenant and enabled",
        ));
    }
    findings
}

fn audience(application: &Application, base: &str, remedies: &Remedies<'_>) -> Finding {
    let client = format!("{base}/client");
    match application.sign_in_audience.as_deref() {
        Some("PersonalMicrosoftAccount") => Finding::fail(
            FindingId::Audience,
            &client,
            "the registration is for personal accounts only, and no user of the tenant may sign in",
        )
        .seen("PersonalMicrosoftAccount")
        .expected("AzureADMyOrg")
        .remedy([format!("az ad app update --id {} --sign-in-audience AzureADMyOrg", remedies.id())]),
        Some(audience @ ("AzureADMyOrg" | "AzureADMultipleOrgs" | "AzureADandPersonalMicrosoftAccount")) => {
            Finding::pass(FindingId::Audience, &client, format!("accounts of the tenant may sign in ({audience})"))
        }
        _ => Finding::unknown(FindingId::Audience, &client, "it is not known which accounts may sign in")
            .seen(application.sign_in_audience.clone().unwrap_or_default())
            .remedy([format!("az ad app show --id {} --query signInAudience", remedies.id())]),
    }
}

/// Runs the checks of a client that users sign in to.
pub(super) fn check_public(
    application: &Application,
    client: Client,
    base: &str,
    remedies: &Remedies<'_>,
) -> Vec<Finding> {
    let pointer = format!("{base}/platform");
    let mut findings = Vec::new();
    if client == Client::Native {
        findings.push(if application.is_fallback_public_client == Some(true) {
            Finding::pass(FindingId::PublicFlows, &pointer, "public client flows are allowed")
        } else {
            Finding::fail(FindingId::PublicFlows, &pointer, "public client flows are off: signing in through the browser works, device code and integrated Windows sign-in do not")
                .seen("isFallbackPublicClient: false")
                .expected("isFallbackPublicClient: true, where desktop clients use these flows")
                .remedy([format!("az ad app update --id {} --is-fallback-public-client true", remedies.id())])
        });
    }
    let (passwords, keys) = (application.password_credentials.len(), application.key_credentials.len());
    if passwords + keys > 0 && application.web.redirect_uris.is_empty() {
        findings.push(
            Finding::fail(
                FindingId::PublicCredential,
                &pointer,
                "the client is public, and has credentials that it must not use (AADSTS700025)",
            )
            .seen(format!("{passwords} client secrets, {keys} certificates"))
            .expected("no credential")
            .remedy(delete_credentials(application, &remedies.id())),
        );
    } else {
        findings.push(Finding::pass(FindingId::PublicCredential, &pointer, "no credential is on the public client"));
    }
    findings
}

/// Returns the commands that delete the credentials of an application. `client` is quoted.
fn delete_credentials(application: &Application, client: &str) -> Vec<String> {
    let passwords = application.password_credentials.iter().map(|credential| (&credential.key_id, ""));
    let keys = application.key_credentials.iter().map(|credential| (&credential.key_id, " --cert"));
    let known = passwords.chain(keys).filter_map(|(id, option)| Some((id.as_deref()?, option))).take(CREDENTIALS);
    let mut commands: Vec<String> = known
        .map(|(id, option)| format!("az ad app credential delete --id {client} --key-id {}{option}", quote_posix(id)))
        .collect();
    if commands.is_empty() {
        commands.push(format!("az ad app credential list --id {client}"));
    }
    commands
}
