//! The environment variables of the process. Their values are read here, and [`LIST`] is what `mailwright help environment`
//! prints.
//!
//! [`check`] refuses an unknown variable with the prefix `MAILWRIGHT_`, so that a misspelt name is not ignored; variables that
//! Kubernetes sets for a service of that name are let through. An option of the command line takes precedence over its variable;
//! the caller decides that. The library reads none, except that `git` passes some on to its child process.

use std::net::IpAddr;

use super::CliError;
use crate::{config::suggest, model::Code};

/// The service's address, if the command line does not give one.
pub(crate) const SERVICE: &str = "MAILWRIGHT_SERVICE";
/// The bearer token.
pub(crate) const TOKEN: &str = "MAILWRIGHT_TOKEN";
/// A file that holds the bearer token.
pub(crate) const TOKEN_FILE: &str = "MAILWRIGHT_TOKEN_FILE";
/// The origins that the token may be sent to.
pub(crate) const TOKEN_ORIGINS: &str = "MAILWRIGHT_TOKEN_ORIGINS";
/// A PEM file with the certificate authority to trust for the service.
pub(crate) const CA_FILE: &str = "MAILWRIGHT_CA_FILE";
/// A file with age identities.
pub(crate) const AGE_IDENTITY_FILE: &str = "MAILWRIGHT_AGE_IDENTITY_FILE";
/// A file with the SSH key that approves plans.
pub(crate) const SSH_KEY_FILE: &str = "MAILWRIGHT_SSH_KEY_FILE";
/// The audience of the identity token that is requested from GitHub Actions.
pub(crate) const OIDC_AUDIENCE: &str = "MAILWRIGHT_OIDC_AUDIENCE";
/// A token of a user or application with read access to the directory, for `verify`.
pub(crate) const READER_TOKEN: &str = "MAILWRIGHT_READER_TOKEN";
/// The address of the service as people's browsers see it, for `serve`.
pub(crate) const PUBLIC_URL: &str = "MAILWRIGHT_PUBLIC_URL";
/// The tenant of the delegate profile, for `delegate`.
pub(crate) const DELEGATE_TENANT: &str = "MAILWRIGHT_DELEGATE_TENANT";
/// The client id of the delegate profile, for `delegate`.
pub(crate) const DELEGATE_APPLICATION: &str = "MAILWRIGHT_DELEGATE_APPLICATION";
/// The program that opens an address, for `delegate`.
pub(crate) const BROWSER: &str = "BROWSER";
/// Filter of the service's log in the syntax of `tracing`: `info`, `mailwright=debug`, ...
pub(crate) const LOG: &str = "MAILWRIGHT_LOG";

const KNOWN: &[&str] = &[
    SERVICE,
    TOKEN,
    TOKEN_FILE,
    TOKEN_ORIGINS,
    CA_FILE,
    AGE_IDENTITY_FILE,
    READER_TOKEN,
    SSH_KEY_FILE,
    OIDC_AUDIENCE,
    PUBLIC_URL,
    DELEGATE_TENANT,
    DELEGATE_APPLICATION,
    LOG,
];

/// The width of text that is not printed to a terminal.
pub(crate) const COLUMNS: &str = "COLUMNS";

/// Every variable that users set, with its meaning.
pub(crate) const LIST: &[(&str, &str)] = &[
    (SERVICE, "address of the service; `{environment}` in it is replaced"),
    (TOKEN, "the bearer token"),
    (TOKEN_FILE, "file with the bearer token; `{environment}` in its name is replaced"),
    (TOKEN_ORIGINS, "origins that the token may be sent to"),
    (CA_FILE, "PEM file with the certificate authority of the service"),
    (AGE_IDENTITY_FILE, "file with age identities that open secrets"),
    (SSH_KEY_FILE, "SSH key that signs approvals"),
    (OIDC_AUDIENCE, "audience of the identity token that is requested from GitHub Actions"),
    (READER_TOKEN, "token with read access to the directory, for `verify`"),
    (PUBLIC_URL, "address of the console as browsers see it, for `serve`"),
    (DELEGATE_TENANT, "tenant of the delegate profile, for `delegate`"),
    (DELEGATE_APPLICATION, "client id of the delegate profile, for `delegate`"),
    (LOG, "filter of the log: `info`, `mailwright=debug`"),
    ("NO_COLOR", "no colours, if it is set"),
    (COLUMNS, "width of text that is not printed to a terminal; otherwise lines are not folded"),
    ("TZ", "time zone of the times that are shown; JSON documents have UTC"),
    ("VISUAL, EDITOR", "editor of `secrets edit`"),
    (BROWSER, "program that opens the sign-in of `delegate`; otherwise the desktop's"),
];

/// Returns the value of a variable; an empty value counts as absent.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads them")]
pub(crate) fn read(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    // A file with Windows line endings leaves a carriage return, and an editor a byte order mark.
    let value = value.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// Returns an error for a variable with the prefix `MAILWRIGHT_` that is not in the list.
pub(crate) fn check() -> Result<(), CliError> {
    let mut unknown: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("MAILWRIGHT_") && !KNOWN.contains(&name.as_str()))
        .filter(|(name, value)| !value.to_str().is_some_and(|value| is_service_link(name, value)))
        .map(|(name, _)| name)
        .collect();
    unknown.sort();
    let Some(name) = unknown.first() else { return Ok(()) };
    let error = CliError::coded(Code::UnknownEnvironmentVariable, format!("unknown environment variable `{name}`"));
    Err(match suggest::nearest(name, KNOWN.iter().copied()) {
        Some(meant) => error.remedy(format!("Did you mean `{meant}`? Otherwise unset it.")),
        None => error.remedy(format!("Unset it. Mailwright reads: {}.", KNOWN.join(", "))),
    })
}

/// Returns true for a variable that Kubernetes puts into each pod for a Service whose name begins with `mailwright`
/// (`enableServiceLinks`). It is not a setting. The value must have the form that Kubernetes uses, so that
/// `MAILWRIGHT_PORT=8470`, an attempt to set a port, is still an error.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_protocol = |text: &str| ["tcp", "udp", "sctp"].contains(&text.to_ascii_lowercase().as_str());
    let is_host = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| {
        let parts = text.split_once("://").and_then(|(protocol, rest)| Some((protocol, rest.rsplit_once(':')?)));
        parts.is_some_and(|(protocol, (host, port))| is_protocol(protocol) && is_host(host) && is_port(port))
    };
    if name.ends_with("_SERVICE_HOST") {
        return is_host(value);
    }
    if let Some((_, port_name)) = name.rsplit_once("_SERVICE_PORT")
        && (port_name.is_empty() || port_name.starts_with('_'))
    {
        return is_port(value);
    }
    // MAILWRIGHT_PORT_8470_TCP, and what may follow that.
    if let Some((_, tail)) = name.rsplit_once("_PORT_") {
        let parts: Vec<&str> = tail.split('_').collect();
        return match parts[..] {
            [port, protocol] => is_port(port) && is_protocol(protocol) && is_address(value),
            [port, protocol, what] if is_port(port) && is_protocol(protocol) => match what {
                "PROTO" => is_protocol(value),
                "PORT" => is_port(value),
                "ADDR" => is_host(value),
                _ => false,
            },
            _ => false,
        };
    }
    name.ends_with("_PORT") && is_address(value)
}

/// Returns the address at which GitHub Actions issues identity tokens, and the request token. Both are set if the job has
/// the permission.
pub(crate) fn github_identity() -> Option<(String, secrecy::SecretString)> {
    Some((read("ACTIONS_ID_TOKEN_REQUEST_URL")?, read("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?.into()))
}

/// Returns the user's home folder.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads them")]
pub(crate) fn home() -> Option<std::path::PathBuf> {
    let name = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    std::env::var_os(name).filter(|value| !value.is_empty()).map(Into::into)
}

/// Returns the folder of the user's configuration, if a variable names one.
pub(crate) fn config_home() -> Option<std::path::PathBuf> {
    read("XDG_CONFIG_HOME").or_else(|| if cfg!(windows) { read("APPDATA") } else { None }).map(Into::into)
}

/// Returns the user's folder for runtime files, which is in memory.
pub(crate) fn runtime_dir() -> Option<std::path::PathBuf> {
    read("XDG_RUNTIME_DIR").map(Into::into)
}

/// Returns the user's name on this machine.
pub(crate) fn user() -> String {
    ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(read).unwrap_or_else(|| "unknown".to_owned())
}

/// Returns the user's editor.
pub(crate) fn editor() -> Option<String> {
    read("VISUAL").or_else(|| read("EDITOR"))
}

/// Returns true if this is a CI job for a pull request, which runs code that has not been reviewed yet.
pub(crate) fn is_pull_request() -> bool {
    let github = read("GITHUB_EVENT_NAME").is_some_and(|event| event.starts_with("pull_request"));
    github || read("CI_MERGE_REQUEST_IID").is_some() || read("SYSTEM_PULLREQUEST_PULLREQUESTID").is_some()
}

/// Returns the branch that a CI system names if it has checked out a commit instead of a branch. A tag is not a branch.
pub(crate) fn branch() -> Option<String> {
    let github = || read("GITHUB_REF_NAME").filter(|_| read("GITHUB_REF_TYPE").as_deref() == Some("branch"));
    // A pull request has its own branch; the commit that is checked out is a merge without a branch.
    let github = || if read("GITHUB_HEAD_REF").is_some() { read("GITHUB_HEAD_REF") } else { github() };
    let gitlab =
        || read("CI_COMMIT_BRANCH").or_else(|| read("CI_COMMIT_REF_NAME").filter(|_| read("CI_COMMIT_TAG").is_none()));
    let azure = || read("BUILD_SOURCEBRANCH").and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned));
    github().or_else(gitlab).or_else(azure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_of_kubernetes_are_recognised_by_name_and_value() {
        for (name, value) in [
            ("MAILWRIGHT_SERVICE_HOST", "10.96.14.2"),
            ("MAILWRIGHT_SERVICE_PORT", "8470"),
            ("MAILWRIGHT_SERVICE_PORT_HTTPS", "8470"),
            ("MAILWRIGHT_PORT", "tcp://10.96.14.2:8470"),
            ("MAILWRIGHT_PORT_8470_TCP", "tcp://10.96.14.2:8470"),
            ("MAILWRIGHT_PORT_8470_TCP_PROTO", "tcp"),
            ("MAILWRIGHT_PORT_8470_TCP_PORT", "8470"),
            ("MAILWRIGHT_PORT_8470_TCP_ADDR", "10.96.14.2"),
            ("MAILWRIGHT_CANARY_SERVICE_HOST", "fd00::2"),
            ("MAILWRIGHT_CANARY_PORT", "udp://[fd00::2]:53"),
            ("MAILWRIGHT_TOKEN_SERVICE_PORT", "1"),
        ] {
            assert!(is_service_link(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("MAILWRIGHT_PORT", "8470"),
            ("MAILWRIGHT_SERVICE_HOST", "mail.example.com"),
            ("MAILWRIGHT_SERVICE_PORTS", "8470"),
            ("MAILWRIGHT_SERVICE_PORT", "https"),
            ("MAILWRIGHT_PORT_8470_TCP_NAME", "x"),
            ("MAILWRIGHT_PORT_TCP", "tcp://10.96.14.2:8470"),
            ("MAILWRIGHT_PORT", "http://10.96.14.2:8470"),
            ("MAILWRIGHT_SERVIC", "http://127.0.0.1"),
            ("MAILWRIGHT_HOST", "10.96.14.2"),
        ] {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
        assert!(KNOWN.iter().all(|name| !is_service_link(name, "10.96.14.2") && !is_service_link(name, "8470")));
    }

    #[test]
    fn the_list_has_every_variable() {
        assert!(KNOWN.iter().all(|name| LIST.iter().any(|(listed, _)| listed == name)));
    }

    #[test]
    fn the_page_of_the_code_names_every_variable() {
        let page = Code::UnknownEnvironmentVariable.explanation();
        for name in KNOWN {
            assert!(page.contains(name), "{name} is missing in `mailwright explain MW0250`");
        }
    }
}
