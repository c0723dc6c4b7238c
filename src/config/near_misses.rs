//! Remedies for settings that are written as in other programs: `ssl: true`, `tenantId`, `provider: smtp`.
//!
//! `schema` asks [`key_of_other_programs`] and [`map_instead_of_text`] when a key or value does not fit. A remedy quotes a value
//! only if it cannot be a secret: an address, a company or the name of a provider. Nothing is corrected silently. If it knows no
//! better remedy, the one of `schema` remains.

use crate::model::{CompanyId, provider::UNREGISTERED_CLIENT, rules::address_problem};

/// Returns the remedy for a text where a map is expected.
pub(super) fn map_instead_of_text(pointer: &str, written: &str) -> Option<String> {
    match pointer {
        "/from" => {
            let example = if address_problem(written).is_none() { written } else { "erp@example.com" };
            Some(format!("Write `from: {{ address: {example} }}`."))
        }
        "/provider" => Some(provider_map(written)),
        "/appliesTo" => Some(applies_to(written)),
        _ => None,
    }
}

/// Returns a complete map of the provider that a text names.
fn provider_map(written: &str) -> String {
    let smtp = "provider: { smtp: { host: smtp.example.com, port: 587, encryption: starttls, username: erp@example.com, password: { secret: NAME/password } } }";
    let application = format!("tenant: contoso.onmicrosoft.com, client: \"{UNREGISTERED_CLIENT}\"");
    let direct = format!(
        "provider: {{ microsoft-graph-direct: {{ {application}, credential: {{ clientSecret: {{ secret: NAME/client-secret }} }} }} }}"
    );
    let delegate = format!(
        "provider: {{ microsoft-graph-delegate: {{ {application}, platform: native, redirect: \"https://localhost\" }} }}"
    );
    match written {
        "smtp" => format!("Write a map: `{smtp}`."),
        "microsoft-graph-direct" => format!("Write a map: `{direct}`."),
        "microsoft-graph-delegate" => format!("Write a map: `{delegate}`."),
        _ => format!("Write a map with one of three providers: `{smtp}`, `{direct}` or `{delegate}`."),
    }
}

/// Returns the remedy for a text that is not `system-wide`.
pub(super) fn applies_to(written: &str) -> String {
    let example = if written.parse::<CompanyId>().is_ok() { written } else { "EDU1" };
    format!("Write `appliesTo: system-wide`, or `appliesTo: {{ companies: [\"{example}\"] }}`.")
}

/// Returns the remedy for an unknown key that has another name here.
pub(super) fn key_of_other_programs(pointer: &str, key: &str) -> Option<&'static str> {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).take(40).collect();
    let is_graph = pointer.starts_with("/provider/microsoft-graph-");
    match (pointer, plain.as_str()) {
        ("/provider/smtp", "ssl" | "tls" | "secure" | "usessl" | "usetls" | "enablessl" | "starttls") => {
            Some("Write `encryption: tls` (usually port 465), or `encryption: starttls` (port 587).")
        }
        ("/provider/smtp", "server" | "hostname" | "smtphost" | "smtpserver" | "smtphostname" | "address") => {
            Some("Write `host`.")
        }
        ("/provider/smtp", "user" | "login" | "account") => Some("Write `username`."),
        (_, "tenantid" | "directoryid") if is_graph => Some("Write `tenant`."),
        (_, "clientid" | "appid" | "applicationid") if is_graph => Some("Write `client`."),
        (_, "redirecturi" | "redirecturl") if is_graph => Some("Write `redirect`."),
        (_, "clientsecret" | "secret" | "certificate") if is_graph => Some(
            "Write `credential: { clientSecret: { secret: NAME/client-secret } }`, or `certificate` instead of `clientSecret`.",
        ),
        ("", "tenantid" | "tenant" | "directoryid") => {
            Some("Write `tenant` below `provider.microsoft-graph-direct` or `provider.microsoft-graph-delegate`.")
        }
        ("", "clientid" | "client" | "appid" | "applicationid") => {
            Some("Write `client` below `provider.microsoft-graph-direct` or `provider.microsoft-graph-delegate`.")
        }
        ("", "host" | "server" | "smtphost" | "smtpserver" | "hostname") => Some("Write `host` below `provider.smtp`."),
        ("", "port") => Some("Write `port` below `provider.smtp`."),
        ("", "ssl" | "tls" | "encryption") => Some("Write `encryption: tls` below `provider.smtp`."),
        ("", "username" | "user" | "login") => Some("Write `username` below `provider.smtp`."),
        ("", "sender" | "fromaddress" | "email") => Some("Write `from: { address: erp@example.com }`."),
        _ => None,
    }
}
