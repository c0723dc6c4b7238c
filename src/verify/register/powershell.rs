//! Renders a [`Registration`](super::Registration) as a PowerShell script that registers the application in Microsoft Entra. It
//! uses the modules `Microsoft.Graph.Authentication` and, to limit sending to a mailbox, `ExchangeOnlineManagement`.
//!
//! It does what the script of `bash` does, with two exceptions: it runs the Exchange commands where sending is to be limited to
//! the mailbox, and has none elsewhere, while the other one prints them in both cases; and it creates no certificate, because
//! that needs `openssl`. Values are quoted for PowerShell.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Registration, UNREGISTERED_CLIENT, shown};
use crate::{entra::permissions::GRAPH_APP_ID, model::Cloud, text::shell::quote_powershell as quoted};

const FUNCTIONS: &str = r#"
function Invoke-Graph([string]$Method, [string]$Path, [string]$Body) {
  $arguments = @{ Method = $Method; Uri = "$graph/v1.0/$Path"; OutputType = 'PSObject' }
  if ($Body) { $arguments.Body = $Body; $arguments.ContentType = 'application/json' }
  # A new object is not visible everywhere at once.
  for ($try = 1; $true; $try++) {
    try { return Invoke-MgGraphRequest @arguments }
    catch { if ($Method -eq 'GET' -or $try -ge 6) { throw }; Write-Host "attempt $try of 6 failed; trying again in 10 seconds"; Start-Sleep 10 }
  }
}

$organization = @((Invoke-Graph GET 'organization').value)[0]
$names = @($organization.id) + @($organization.verifiedDomains | ForEach-Object { $_.name })
if ($names -notcontains $tenant) { throw 'Connect-MgGraph is signed in to another tenant' }

$found = @((Invoke-Graph GET $search).value)
if ($found.Count -gt 1) { throw 'several applications have this name; write the client id of the right one into the profile' }
"#;

const PRINCIPAL: &str = r"
$object = $application.id
$client = $application.appId
$principal = @((Invoke-Graph GET ('servicePrincipals?$filter=appId%20eq%20''' + $client + '''')).value)[0]
if (-not $principal) {
  $principal = Invoke-Graph POST 'servicePrincipals' (@{ appId = $client } | ConvertTo-Json)
  Write-Host 'installed the application in the tenant'
}
$principal = $principal.id
";

const PERMISSIONS: &str = r#"
$access = @((Invoke-Graph GET "applications/$object").requiredResourceAccess)
$own = $access | Where-Object { $_.resourceAppId -eq $graphApp }
$known = @($own | ForEach-Object { $_.resourceAccess })
$missing = @($wanted | Where-Object { @($known | ForEach-Object { $_.id }) -notcontains $_.id })
if ($missing.Count -gt 0) {
  $all = @($access | Where-Object { $_ -and $_.resourceAppId -ne $graphApp }) + @(@{ resourceAppId = $graphApp; resourceAccess = @($known | Where-Object { $_ }) + $missing })
  $null = Invoke-Graph PATCH "applications/$object" (@{ requiredResourceAccess = $all } | ConvertTo-Json -Depth 6)
  Write-Host 'requested the missing permissions'
}
$microsoftGraph = (Invoke-Graph GET ('servicePrincipals(appId=''' + $graphApp + ''')?$select=id')).id

$granted = @((Invoke-Graph GET "servicePrincipals/$principal/appRoleAssignments").value | ForEach-Object { $_.appRoleId })
foreach ($role in @($wanted | Where-Object { $_.type -eq 'Role' -and $granted -notcontains $_.id })) {
  $null = Invoke-Graph POST "servicePrincipals/$principal/appRoleAssignments" (@{ principalId = $principal; resourceId = $microsoftGraph; appRoleId = $role.id } | ConvertTo-Json)
  Write-Host 'consented to an application permission'
}
if ($scopes) {
  $grant = @((Invoke-Graph GET "servicePrincipals/$principal/oauth2PermissionGrants").value | Where-Object { $_.consentType -eq 'AllPrincipals' -and $_.resourceId -eq $microsoftGraph })[0]
  $before = if ($grant) { @($grant.scope.Trim() -split '\s+') } else { @() }
  $after = @($before) + @($scopes | Where-Object { $before -notcontains $_ })
  if (-not $grant) {
    $null = Invoke-Graph POST 'oauth2PermissionGrants' (@{ clientId = $principal; consentType = 'AllPrincipals'; resourceId = $microsoftGraph; scope = $after -join ' ' } | ConvertTo-Json)
  } elseif ($after.Count -gt $before.Count) {
    $null = Invoke-Graph PATCH "oauth2PermissionGrants/$($grant.id)" (@{ scope = $after -join ' ' } | ConvertTo-Json)
  }
}
"#;

const REDIRECTS: &str = r#"
function Add-Redirect([string]$Platform, [string]$Uri) {
  $known = @((Invoke-Graph GET "applications/$object").$Platform.redirectUris | Where-Object { $_ })
  if ($known -ccontains $Uri) { return }
  $null = Invoke-Graph PATCH "applications/$object" (@{ $Platform = @{ redirectUris = @($known) + @($Uri) } } | ConvertTo-Json -Depth 4)
  Write-Host "added a redirect URI to $Platform"
}
"#;

/// Renders the script.
pub(super) fn render(registration: &Registration) -> String {
    let Registration { environment, profile, options, .. } = registration;
    let mut out = format!(
        "#Requires -Modules Microsoft.Graph.Authentication\n\
         # Registers the application of the profile `{profile}` of `{environment}` in Microsoft Entra, as the profile needs it.\n\
         # Printed by: mailwright microsoft register {environment} {profile} --shell powershell\n\
         #\n\
         # Run it in the repository, as an administrator who may register applications and consent (Privileged Role\n\
         # Administrator). It adds what is missing and removes nothing, so it can run again.\n\
         $ErrorActionPreference = 'Stop'\n\n"
    );
    let cloud = match &registration.cloud {
        Cloud::UsGovernmentL4 => "USGov",
        Cloud::UsGovernmentL5 => "USGovDoD",
        Cloud::China => "China",
        Cloud::Global | Cloud::Custom(_) => "Global",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "$tenant = {}", quoted(&registration.tenant));
    let _ = writeln!(out, "$graph = {}", quoted(registration.graph()));
    let _ = writeln!(out, "$search = {}", quoted(&registration.search_path()));
    let _ = writeln!(out, "$graphApp = {}", quoted(GRAPH_APP_ID));
    let _ = writeln!(
        out,
        "Connect-MgGraph -TenantId $tenant -Environment {cloud} -NoWelcome -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All', 'DelegatedPermissionGrant.ReadWrite.All', 'Organization.Read.All'"
    );
    out.push_str(FUNCTIONS);
    let create = match &registration.client {
        Some(_) => "throw 'the tenant has no application with the client id of the profile'".to_owned(),
        None => format!(
            "$application = Invoke-Graph POST 'applications' {}\n  Write-Host 'registered the application'",
            quoted(&registration.new_application().to_string())
        ),
    };
    let _ = writeln!(out, "if ($found.Count -eq 1) {{ $application = $found[0] }} else {{\n  {create}\n}}");
    out.push_str(PRINCIPAL);
    write_client_id(registration, &mut out);
    write_permissions(registration, &mut out);
    if !registration.redirects.is_empty() {
        out.push_str(REDIRECTS);
        for (platform, uri) in &registration.redirects {
            let _ = writeln!(out, "Add-Redirect '{platform}' {}", quoted(uri));
        }
    }
    write_credential(registration, &mut out);
    if let Some(from) = registration.from.as_ref().filter(|_| options.is_scoped) {
        out.push_str("\n# Exchange lets the application send as this mailbox alone. Needs the module ExchangeOnlineManagement.\nConnect-ExchangeOnline -ShowBanner:$false\n");
        for line in exchange_lines(registration, from, "$client", "$principal") {
            let _ = writeln!(out, "try {{ $null = {line} }} catch {{ Write-Warning $_ }}");
        }
    }
    let probe = if options.is_scoped { " --probe" } else { "" };
    let _ = writeln!(
        out,
        "\nWrite-Host \"client id: $client\"\nWrite-Host 'next: mailwright verify {environment} {profile}{probe}'"
    );
    out
}

/// Returns the lines that let Exchange limit sending to one mailbox (RBAC for Applications). `client` and `principal` are
/// written as they are.
pub(super) fn exchange_lines(registration: &Registration, from: &str, client: &str, principal: &str) -> Vec<String> {
    let name = quoted(&registration.display_name());
    let filter = quoted(&format!("PrimarySmtpAddress -eq '{}'", from.replace('\'', "''")));
    vec![
        format!("New-ServicePrincipal -AppId {client} -ObjectId {principal} -DisplayName {name}"),
        format!("New-ManagementScope -Name {name} -RecipientRestrictionFilter {filter}"),
        format!("New-ManagementRoleAssignment -App {client} -Role 'Application Mail.Send' -CustomResourceScope {name}"),
    ]
}

fn write_client_id(registration: &Registration, out: &mut String) {
    let Some(place) = registration.options.client_place.as_ref().filter(|_| registration.client.is_none()) else {
        return;
    };
    let _ = write!(
        out,
        "\n# The profile gets the client id.\n$path = Join-Path (Get-Location) {}\n$lines = [IO.File]::ReadAllText($path) -split \"`n\"\n\
         $lines[{index}] = $lines[{index}].Replace('{UNREGISTERED_CLIENT}', $client)\n\
         [IO.File]::WriteAllText($path, $lines -join \"`n\")\n",
        quoted(&shown(&place.path)),
        index = place.line.saturating_sub(1)
    );
}

fn write_permissions(registration: &Registration, out: &mut String) {
    let Registration { roles, scopes, .. } = registration;
    if roles.is_empty() && scopes.is_empty() {
        return;
    }
    out.push_str("\n$wanted = @(\n");
    for (kind, list) in [("Role", roles), ("Scope", scopes)] {
        for (name, id) in list {
            let _ = writeln!(out, "  @{{ id = '{id}'; type = '{kind}' }} # {name}");
        }
    }
    let names: Vec<String> = scopes.iter().map(|(name, _)| format!("'{name}'")).collect();
    let _ = writeln!(out, ")\n$scopes = @({})", names.join(", "));
    out.push_str(PERMISSIONS.trim_start_matches('\n'));
}

fn write_credential(registration: &Registration, out: &mut String) {
    let Registration { environment, options, .. } = registration;
    let literal = |body: &Value| quoted(&body.to_string());
    if let Some((issuer, subject)) = options.federation.as_ref().filter(|_| registration.secret.is_none()) {
        let body = json!({ "name": "mailwright", "issuer": issuer, "subject": subject, "audiences": ["api://AzureADTokenExchange"] });
        let _ = write!(
            out,
            "\n$subjects = @((Invoke-Graph GET \"applications/$object/federatedIdentityCredentials\").value | ForEach-Object {{ $_.subject }})\n\
             if ($subjects -cnotcontains {}) {{ $null = Invoke-Graph POST \"applications/$object/federatedIdentityCredentials\" {} }}\n",
            quoted(subject),
            literal(&body)
        );
    }
    let (Some((reference, is_certificate)), Some((file, _))) = (&registration.secret, &options.secret_file) else {
        return;
    };
    let file = quoted(&shown(file));
    if *is_certificate {
        let _ = write!(
            out,
            "\n# A certificate needs openssl, which PowerShell does not have: print the script with `--shell bash`, or create one and run\n\
             #   mailwright secrets set {environment} {reference} < certificate-and-key.pem\n\
             # and upload the certificate alone: App registrations > the application > Certificates & secrets.\n"
        );
        return;
    }
    let body = json!({ "passwordCredential": { "displayName": "Mailwright", "endDateTime": options.secret_expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() } });
    let _ = write!(
        out,
        "\nif (Test-Path -LiteralPath {file}) {{ Write-Host 'kept the sealed credential; `mailwright secrets rotate` replaces it' }} else {{\n  \
         # The value goes from Entra into the age file, and is shown nowhere.\n  \
         $OutputEncoding = [Text.UTF8Encoding]::new($false)\n  \
         (Invoke-Graph POST \"applications/$object/addPassword\" {}).secretText | mailwright secrets set {environment} {reference}\n  \
         if ($LASTEXITCODE -ne 0) {{ throw 'the client secret was not sealed; remove it in Entra' }}\n}}\n",
        literal(&body)
    );
}
