//! Rules for applications registered at Microsoft Entra: cloud, tenant, client id, credential, redirect URI.
//!
//! They check the form of values, and the functions that a delegate can serve; whether the registration exists and fits is checked by
//! [`crate::verify`].

use super::{Violation, Violations};
use crate::model::{
    Client, Cloud, Code, Function, Profile,
    host::is_host,
    provider::{Credential, GraphDelegate, GraphDirect},
};

/// Checks the application that reads the directory for `verify`. Pointers are relative to the environment's document.
pub fn check_reader(reader: &GraphDirect) -> Vec<Violation> {
    let mut found = Vec::new();
    check_direct("/verify/reader", reader, &mut Violations::of_settings("", &mut found));
    found
}

/// Checks an application that signs in with its own credential.
pub(super) fn check_direct(pointer: &str, direct: &GraphDirect, found: &mut Violations<'_>) {
    check_registration(pointer, &direct.cloud, &direct.tenant, &direct.client, found);
    check_token_file(pointer, &direct.credential, found);
}

/// Checks the path of a federated token file.
pub(super) fn check_token_file(pointer: &str, credential: &Credential, found: &mut Violations<'_>) {
    if let Credential::FederatedTokenFile(path) = credential
        && (!path.starts_with('/') || path.split('/').any(|part| part == "..") || path.chars().any(char::is_control))
    {
        found.add(
            &format!("{pointer}/credential/federatedTokenFile"),
            Code::InvalidValue,
            "this is not the whole path of a file".to_owned(),
            "Write it from the root, without `..`: /var/run/secrets/azure/tokens/azure-identity-token.",
        );
    }
}

/// Checks an application that sends as the signed-in user.
pub(super) fn check_delegate(delegate: &GraphDelegate, profile: &Profile, found: &mut Violations<'_>) {
    let pointer = "/provider/microsoft-graph-delegate";
    check_registration(pointer, &delegate.cloud, &delegate.tenant, &delegate.client, found);
    let user_interface = Function::user_interface();
    for function in profile.functions.iter().filter(|f| **f != user_interface) {
        found.add(
            &format!("/functions/{function}"),
            Code::DelegateFunction,
            format!("a delegate profile is interactive and cannot serve `{function}`: it needs a user who signs in"),
            "Claim `user-interface` alone here; serve the other function by `microsoft-graph-direct` or `smtp`.",
        );
    }
    match delegate.platform {
        Client::Native if delegate.redirect != "https://localhost" => found.add(
            &format!("{pointer}/redirect"),
            Code::NativeRedirect,
            "a native delegate redirects to `https://localhost`".to_owned(),
            "Write exactly `redirect: https://localhost`.",
        ),
        Client::Spa if !is_spa_redirect(&delegate.redirect) => found.add(
            &format!("{pointer}/redirect"),
            Code::SpaRedirect,
            "a spa delegate redirects to the HTTPS address that users open".to_owned(),
            "Write the address as the browser shows it: https, a real host, no fragment, no wildcard.",
        ),
        _ => {}
    }
}

/// Checks the cloud, the tenant and the client of an application.
pub(super) fn check_registration(pointer: &str, cloud: &Cloud, tenant: &str, client: &str, found: &mut Violations<'_>) {
    if let Cloud::Custom(custom) = cloud {
        for (key, address) in [("signIn", &custom.sign_in), ("graph", &custom.graph)] {
            let host = address.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
            let (name, port) = host.map_or(("", None), |host| {
                host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)))
            });
            if !is_host(name) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
                found.add(
                    &format!("{pointer}/cloud/custom/{key}"),
                    Code::InvalidValue,
                    "this is not the address of a host".to_owned(),
                    "Write it as https://host or https://host:port, without a path: secrets travel there.",
                );
            }
        }
    }
    let shared = ["common", "organizations", "consumers"].contains(&tenant.to_ascii_lowercase().as_str());
    if shared || !(is_guid(tenant) || (tenant.contains('.') && is_host(tenant))) {
        found.add(
            &format!("{pointer}/tenant"),
            Code::InvalidValue,
            "a tenant is its id (a GUID) or one of its domain names".to_owned(),
            "Take the Directory (tenant) ID from the registration's overview page.",
        );
    }
    if !is_guid(client) {
        found.add(
            &format!("{pointer}/client"),
            Code::InvalidValue,
            "a client is the application id, a GUID".to_owned(),
            "Take the Application (client) ID from the registration's overview page.",
        );
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn is_spa_redirect(redirect: &str) -> bool {
    let Some(rest) = redirect.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(
        authority,
        |(host, port)| {
            if port.parse::<u16>().is_ok() { host } else { authority }
        },
    );
    is_host(host)
        && redirect.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'*' | b'#' | b'\\' | b'<' | b'>' | b'"'))
}
