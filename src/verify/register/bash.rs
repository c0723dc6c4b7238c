//! Renders a [`Registration`](super::Registration) as a script for Bash and `az` that registers the application in Microsoft
//! Entra.
//!
//! It sends the requests to Microsoft Graph with `az rest`, creates a certificate with `openssl` where the profile uses one,
//! and prints the Exchange commands that limit sending to a mailbox. Values are quoted for a POSIX shell. What exists already
//! is kept, so the script can be run again after a failure, which ends it.

use std::fmt::Write as _;

use serde_json::json;

use super::{Registration, UNREGISTERED_CLIENT, shown};
use crate::{entra::permissions::GRAPH_APP_ID, text::shell::quote_posix_always as quoted};

const FUNCTIONS: &str = r#"
say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }
# Standard input may be this script.
az() { command az "$@" </dev/null; }
# Sends a request to Graph: METHOD PATH, then options of `az rest`.
request() { az rest --method "$1" --url "$graph/v1.0/$2" --resource "$graph" --output tsv "${@:3}"; }
send() { request "$1" "$2" --headers Content-Type=application/json --body "$3" "${@:4}"; }
# A new object is not visible everywhere at once.
retry() {
  local try
  for try in 1 2 3 4 5 6; do
    "$@" && return 0
    say "attempt $try of 6 failed; trying again in 10 seconds"
    sleep 10
  done
  return 1
}
has_line() { grep -Fxqi -- "$2" <<<"$1"; }
"#;

const FIND: &str = r#"
names=$(request get organization --query 'value[0].[id, verifiedDomains[].name][]')
has_line "$names" "$tenant" || fail "az is signed in to another tenant; run: az login --tenant $tenant"

found=$(request get "$search" --query 'value[].[appId, id]')
if [ "$(grep -c . <<<"$found")" -gt 1 ]; then
  fail "several applications are named \"$name\"; write the client id of the right one into the profile"
fi
if [ -n "$found" ]; then
  say "the application exists"
"#;

const PRINCIPAL: &str = r#"
IFS=$'\t' read -r client object <<<"$found"

principal=$(request get "servicePrincipals?\$filter=appId%20eq%20'$client'&\$select=id" --query 'value[0].id')
if [ -z "$principal" ]; then
  principal=$(retry send post servicePrincipals '{"appId":"'"$client"'"}' --query id)
  say "installed the application in the tenant"
fi
"#;

const PERMISSIONS: &str = r#"
requested=$(retry request get "applications/$object?\$select=requiredResourceAccess" --query 'requiredResourceAccess[].resourceAccess[].id')
# NAME ID=KIND
request_permission() {
  has_line "$requested" "${2%=*}" && return 0
  az ad app permission add --id "$client" --api "$graph_app" --api-permissions "$2" --only-show-errors
  say "requested $1"
}
microsoft_graph=$(request get "servicePrincipals(appId='$graph_app')?\$select=id" --query id)
"#;

const ROLES: &str = r#"
granted=$(request get "servicePrincipals/$principal/appRoleAssignments" --query 'value[].appRoleId')
# NAME ID
grant_role() {
  has_line "$granted" "$2" && return 0
  retry send post "servicePrincipals/$principal/appRoleAssignments" \
    '{"principalId":"'"$principal"'","resourceId":"'"$microsoft_graph"'","appRoleId":"'"$2"'"}' --query id >/dev/null
  say "consented to the application permission $1"
}
"#;

const SCOPES: &str = r#"
# Delegated permissions are one text for the whole tenant.
grants=$(request get "servicePrincipals/$principal/oauth2PermissionGrants" --query 'value[].[consentType, resourceId, id, scope]')
grant=$(awk -F '\t' -v graph="$microsoft_graph" '$1 == "AllPrincipals" && $2 == graph { print $3; exit }' <<<"$grants")
consented=$(awk -F '\t' -v graph="$microsoft_graph" '$1 == "AllPrincipals" && $2 == graph { print $4; exit }' <<<"$grants")
all=$consented
for scope in $scopes; do
  case " $all " in *" $scope "*) ;; *) all="$all $scope" ;; esac
done
if [ -z "$grant" ]; then
  retry send post oauth2PermissionGrants \
    '{"clientId":"'"$principal"'","consentType":"AllPrincipals","resourceId":"'"$microsoft_graph"'","scope":"'"${all# }"'"}' --query id >/dev/null
  say "consented to the delegated permissions"
elif [ "$all" != "$consented" ]; then
  send patch "oauth2PermissionGrants/$grant" '{"scope":"'"${all# }"'"}' >/dev/null
  say "consented to the missing delegated permissions"
fi
"#;

const REDIRECTS: &str = r#"
# PLATFORM URI URI-AS-JSON: adds to the list, which Graph replaces as a whole.
add_redirect() {
  local known list
  known=$(request get "applications/$object?\$select=$1" --query "$1.redirectUris")
  has_exact_line "$known" "$2" && return 0
  list=$(az rest --method get --url "$graph/v1.0/applications/$object?\$select=$1" --resource "$graph" --output json --query "$1.redirectUris")
  list=$(tr -d '\r\n' <<<"$list")
  list=${list%]*}
  [ "${list// /}" = '[' ] || list="$list,"
  send patch "applications/$object" '{"'"$1"'":{"redirectUris":'"$list$3"']}}' >/dev/null
  say "added a redirect URI to $1"
}
has_exact_line() { grep -Fxq -- "$2" <<<"$1"; }
"#;

const SECRET_BEFORE: &str = r#"
if [ -e "$secret_file" ]; then
  say "kept $secret_file; \`mailwright secrets rotate\` replaces it"
else
  [ -e "$recipients" ] || fail "$recipients does not exist: run \`mailwright secrets init\` first"
"#;

/// Renders the script.
pub(super) fn render(registration: &Registration) -> String {
    let Registration { environment, profile, options, .. } = registration;
    let mut out = format!(
        "#!/usr/bin/env bash\n\
         # Registers the application of the profile `{profile}` of `{environment}` in Microsoft Entra, as the profile needs it.\n\
         # Printed by: mailwright microsoft register {environment} {profile}\n\
         #\n\
         # Run it in the repository, after `az login --tenant TENANT` as an administrator who may register applications and consent\n\
         # (Privileged Role Administrator). It adds what is missing and removes nothing, so it can run again.\n\
         set -euo pipefail\n\n"
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "tenant={}", quoted(&registration.tenant));
    let _ = writeln!(out, "graph={}", quoted(registration.graph()));
    let _ = writeln!(out, "name={}", quoted(&registration.display_name()));
    let _ = writeln!(out, "search={}", quoted(&registration.search_path()));
    let _ = writeln!(out, "graph_app={}", quoted(GRAPH_APP_ID));
    out.push_str(FUNCTIONS);
    if let Some(az_name) = registration.endpoints.az_name {
        let _ = writeln!(
            out,
            "\n[ \"$(az cloud show --query name --output tsv)\" = {az_name} ] || fail \"run: az cloud set --name {az_name}\""
        );
    }
    out.push_str(FIND);
    if let Some(client) = &registration.client {
        let _ = writeln!(out, "else\n  fail \"the tenant has no application with the client id {client}\"\nfi");
    } else {
        let body = quoted(&registration.new_application().to_string());
        let _ = writeln!(
            out,
            "else\n  found=$(send post applications {body} --query '[appId, id]' | tr '\\n' '\\t')\n  say \"registered the application\"\nfi"
        );
    }
    out.push_str(PRINCIPAL);
    write_client_id(registration, &mut out);
    write_permissions(registration, &mut out);
    write_redirects(registration, &mut out);
    write_credential(registration, &mut out);
    write_scoping(registration, &mut out);
    let scoped = if options.is_scoped { " --probe" } else { "" };
    let _ =
        writeln!(out, "\nsay \"client id: $client\"\nsay \"next: mailwright verify {environment} {profile}{scoped}\"");
    out
}

/// Writes the new client id into the file that states it.
fn write_client_id(registration: &Registration, out: &mut String) {
    let Some(place) = registration.options.client_place.as_ref().filter(|_| registration.client.is_none()) else {
        return;
    };
    let _ = write!(
        out,
        "\n# The profile gets the client id.\nclient_file={}\nif sed -n {line}p \"$client_file\" | grep -Fq {UNREGISTERED_CLIENT}; then\n  \
         text=$(awk -v new=\"$client\" 'NR == {line} {{ sub(\"{UNREGISTERED_CLIENT}\", new) }} {{ print }}' \"$client_file\")\n  \
         printf '%s\\n' \"$text\" >\"$client_file\"\n  say \"wrote the client id into $client_file\"\nfi\n",
        quoted(&shown(&place.path)),
        line = place.line
    );
}

fn write_permissions(registration: &Registration, out: &mut String) {
    let Registration { roles, scopes, .. } = registration;
    if roles.is_empty() && scopes.is_empty() {
        return;
    }
    out.push_str(PERMISSIONS);
    for (name, id) in roles {
        let _ = writeln!(out, "request_permission {name} {id}=Role");
    }
    for (name, id) in scopes {
        let _ = writeln!(out, "request_permission {name} {id}=Scope");
    }
    if !roles.is_empty() {
        out.push_str(ROLES);
        for (name, id) in roles {
            let _ = writeln!(out, "grant_role {name} {id}");
        }
    }
    if !scopes.is_empty() {
        let names: Vec<&str> = scopes.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(out, "\nscopes='{}'", names.join(" "));
        out.push_str(SCOPES.trim_start_matches('\n'));
    }
}

fn write_redirects(registration: &Registration, out: &mut String) {
    if registration.redirects.is_empty() {
        return;
    }
    out.push_str(REDIRECTS);
    for (platform, uri) in &registration.redirects {
        let _ = writeln!(out, "add_redirect {platform} {} {}", quoted(uri), quoted(&json!(uri).to_string()));
    }
}

fn write_credential(registration: &Registration, out: &mut String) {
    let Registration { environment, options, .. } = registration;
    if let Some((issuer, subject)) = options.federation.as_ref().filter(|_| registration.secret.is_none()) {
        let body = json!({ "name": "mailwright", "issuer": issuer, "subject": subject, "audiences": ["api://AzureADTokenExchange"] });
        let _ = write!(
            out,
            "\nsubjects=$(request get \"applications/$object/federatedIdentityCredentials\" --query 'value[].subject')\n\
             if ! has_line \"$subjects\" {subject}; then\n  \
             retry send post \"applications/$object/federatedIdentityCredentials\" {body} --query id >/dev/null\n  \
             say \"trusts the federated token\"\nfi\n",
            subject = quoted(subject),
            body = quoted(&body.to_string())
        );
    }
    let (Some((reference, is_certificate)), Some((file, recipients))) = (&registration.secret, &options.secret_file)
    else {
        return;
    };
    let _ = write!(out, "\nsecret_file={}\nrecipients={}", quoted(&shown(file)), quoted(&shown(recipients)));
    out.push_str(SECRET_BEFORE);
    if *is_certificate {
        let _ = write!(
            out,
            "  pem=$(openssl req -x509 -newkey rsa:3072 -nodes -days 365 -subj /CN=mailwright -keyout /dev/stdout -out /dev/stdout 2>/dev/null)\n  \
             az ad app credential reset --id \"$client\" --append --only-show-errors --cert \"$(printf '%s\\n' \"$pem\" | openssl x509)\" >/dev/null\n  \
             printf '%s\\n' \"$pem\" | mailwright secrets set {environment} {reference} >&2\n  \
             say \"added a certificate\"\nfi\n"
        );
    } else {
        let body = json!({ "passwordCredential": { "displayName": "Mailwright", "endDateTime": options.secret_expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() } });
        let _ = write!(
            out,
            "  # The value goes from Entra into the age file, and is shown nowhere.\n  \
             retry send post \"applications/$object/addPassword\" {} --query secretText |\n    \
             mailwright secrets set {environment} {reference} >&2\n  say \"added a client secret\"\nfi\n",
            quoted(&body.to_string())
        );
    }
}

/// Writes the lines of PowerShell that let Exchange limit sending to one mailbox.
fn write_scoping(registration: &Registration, out: &mut String) {
    let Some(from) = registration
        .from
        .as_ref()
        .filter(|_| registration.secret.is_some() || registration.options.federation.is_some())
    else {
        return;
    };
    let why = if registration.options.is_scoped {
        "Exchange must let the application send as this mailbox. In PowerShell, after Connect-ExchangeOnline:"
    } else {
        "Mail.Send lets the application send as every mailbox of the tenant. To limit it to one, print the script with --scoped, remove Mail.Send, and run in PowerShell, after Connect-ExchangeOnline:"
    };
    let _ = writeln!(out, "\nsay {}", quoted(why));
    // The ids are known to the script only, so each line leaves its quotes for them.
    let from: String = from.chars().filter(|c| !c.is_control()).collect();
    for line in super::powershell::exchange_lines(registration, &from, "\u{1}", "\u{2}") {
        let line = quoted(&format!("  {line}")).replace('\u{1}', "'\"$client\"'").replace('\u{2}', "'\"$principal\"'");
        let _ = writeln!(out, "say {line}");
    }
}
