//! Everything that must hold between profiles and settings. `validate` points the result at files, the service
//! refuses a changeset by it, and neither has rules of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Address, AppliesTo, Client, Cloud, Code, CompanyId, Delivery, Encryption, Function, Profile, ProfileName, Provider,
    Settings, WatchSettings,
    code::Severity,
    provider::{Credential, GraphDelegate, GraphDirect, Smtp},
    resolution::{Cell, Resolver},
};
use crate::model::{secret_detection, strings};

/// A rule that is broken, and where: a profile (or the settings) and a JSON pointer into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The profile; none for the environment's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// Where in it, as a JSON pointer; the empty one is the whole.
    pub pointer: String,
    /// Which rule.
    pub code: Code,
    /// What is wrong, in one sentence.
    pub message: String,
    /// How to mend it.
    pub remedy: String,
}

impl Violation {
    /// Whether it stops an apply.
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }
}

/// Checks everything; the texts of profiles, where `is_new` says so: those that were there had their turn. Costs two passes
/// over the profiles and one look-up a cell. Ordered; empty if all is well.
pub fn check(
    settings: &Settings,
    profiles: &BTreeMap<&ProfileName, &Profile>,
    is_new: impl Fn(&ProfileName) -> bool + Sync,
) -> Vec<Violation> {
    let texts = || {
        let new = profiles.par_iter().filter(|(name, _)| is_new(name));
        let found = new.flat_map_iter(|(name, profile)| {
            let mut found = Vec::new();
            check_texts(Some(name), profile, &mut found);
            found
        });
        found.collect::<Vec<Violation>>()
    };
    let (mut violations, of_texts) = rayon::join(|| check_all_but_texts(settings, profiles), texts);
    violations.extend(of_texts);
    check_texts(None, settings, &mut violations);
    violations.sort();
    violations
}

/// The same for whoever has looked for keys and masks in the texts already, where they were written.
pub fn check_all_but_texts(settings: &Settings, profiles: &BTreeMap<&ProfileName, &Profile>) -> Vec<Violation> {
    let each = || {
        let found = profiles.par_iter().flat_map_iter(|(name, profile)| {
            let mut found = Vec::new();
            check_profile(settings, name, profile, &mut found);
            found
        });
        found.collect::<Vec<Violation>>()
    };
    let together = || {
        let mut violations = Vec::new();
        check_names(profiles, &mut violations);
        let resolver = Resolver::new(profiles.iter().map(|(name, profile)| (*name, *profile)));
        check_claims(&resolver, |_| (), &mut violations);
        check_unserved(settings, &mut violations);
        check_delivery(&settings.delivery, &mut violations);
        super::approvals::check(settings, &mut violations);
        check_cells(settings, &resolver, &mut violations);
        violations
    };
    // What is about all of them is one long look; what is about each is done beside it.
    let (mut violations, of_each) = rayon::join(together, each);
    violations.extend(of_each);
    violations.sort();
    violations
}

/// Returns the reason why a text is not an e-mail address, and what to write instead; none if it is one.
pub fn address_problem(text: &str) -> Option<(String, String)> {
    let error = Address::parse(text).err()?;
    Some((format!("this is not an e-mail address: {error}"), error.remedy.to_owned()))
}

/// No text is a key, a token or a mask.
fn check_texts(profile: Option<&ProfileName>, document: &impl Serialize, out: &mut Vec<Violation>) {
    strings::each(document, |pointer, key, text| {
        let alarm = secret_detection::alarm(text).filter(|_| !secret_detection::is_ours(key, text));
        out.extend(alarm.map(|(code, message, remedy)| Violation {
            profile: profile.cloned(),
            pointer: pointer.to_owned(),
            code,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        }));
    });
}

fn check_profile(settings: &Settings, name: &ProfileName, profile: &Profile, out: &mut Vec<Violation>) {
    let mut report = |pointer: &str, code: Code, message: String, remedy: &str| {
        out.push(Violation {
            profile: Some(name.clone()),
            pointer: pointer.to_owned(),
            code,
            message,
            remedy: remedy.to_owned(),
        });
    };
    if profile.description.chars().count() > 100 {
        report(
            "/description",
            Code::TooLong,
            format!("the description has {} characters; 100 are allowed", profile.description.chars().count()),
            "Shorten it.",
        );
    }
    if profile.description.chars().any(char::is_control) {
        report(
            "/description",
            Code::InvalidValue,
            "the description has control characters".to_owned(),
            "Write it on one line.",
        );
    }
    if profile.functions.is_empty() {
        report(
            "/functions",
            Code::InvalidValue,
            "the profile claims no function".to_owned(),
            "Name at least one; `mailwright functions` lists them.",
        );
    }
    match &profile.applies_to {
        AppliesTo::Companies(companies) if companies.is_empty() => report(
            "/appliesTo",
            Code::InvalidValue,
            "the profile applies to no company".to_owned(),
            "Name at least one company, or write `appliesTo: system-wide`.",
        ),
        AppliesTo::Companies(companies) => {
            for company in companies.iter().filter(|company| !settings.companies.contains(*company)) {
                report(
                    &format!("/appliesTo/companies/{company}"),
                    Code::UnknownCompany,
                    format!("company `{company}` does not exist in the environment"),
                    "Add it to `companies` in environment.yaml, or correct it here.",
                );
            }
        }
        AppliesTo::SystemWide => {}
    }
    match &profile.from {
        Some(from) => {
            if let Some((message, _)) = address_problem(&from.address) {
                report(
                    "/from/address",
                    Code::InvalidAddress,
                    message,
                    "Write it as local-part@domain, without a display name; that goes into `from.name`.",
                );
            }
            if from.name.as_ref().is_some_and(|n| n.chars().any(char::is_control) || n.chars().count() > 100) {
                report(
                    "/from/name",
                    Code::TooLong,
                    "the display name has control characters, or more than 100 characters".to_owned(),
                    "Shorten it, on one line.",
                );
            }
        }
        None if !matches!(profile.provider, Provider::MicrosoftGraphDelegate(_)) => report(
            "",
            Code::FromMissing,
            format!("a `{}` profile needs a `from` address", profile.provider.id()),
            "Add `from: { address: someone@example.com }`.",
        ),
        None => {}
    }
    match &profile.provider {
        Provider::Smtp(smtp) => check_smtp(smtp, &mut report),
        Provider::MicrosoftGraphDelegate(delegate) => check_delegate(delegate, profile, &mut report),
        Provider::MicrosoftGraphDirect(direct) => {
            check_direct("/provider/microsoft-graph-direct", direct, &mut report);
        }
    }
}

fn check_smtp(smtp: &Smtp, report: &mut impl FnMut(&str, Code, String, &str)) {
    if !is_host(&smtp.host) {
        report(
            "/provider/smtp/host",
            Code::InvalidValue,
            "this is not a host name or an IP address".to_owned(),
            "Write the name alone: no scheme, no port, no spaces.",
        );
    }
    if smtp.port == 0 {
        report(
            "/provider/smtp/port",
            Code::InvalidValue,
            "port 0 cannot be connected to".to_owned(),
            "Use 587 with starttls, 465 with tls.",
        );
    }
    if let Some(oauth) = &smtp.oauth {
        let pointer = "/provider/smtp/oauth";
        check_registration(pointer, &oauth.cloud, &oauth.tenant, &oauth.client, report);
        check_token_file(pointer, &oauth.credential, report);
        if smtp.password.is_some() || smtp.username.is_none() {
            report(
                pointer,
                Code::LoginIncomplete,
                "a login by token goes with a user name and without a password".to_owned(),
                "Add `username`, the mailbox that sends, and remove `password`.",
            );
        }
        if smtp.encryption == Encryption::None && !is_loopback(&smtp.host) {
            report(
                "/provider/smtp/encryption",
                Code::PasswordInClear,
                format!("the token would travel to `{}` in clear", smtp.host),
                "Use `encryption: starttls` or `tls`; in clear is for loopback addresses only.",
            );
        }
    }
    match (&smtp.username, &smtp.password) {
        _ if smtp.oauth.is_some() => {}
        (Some(_), None) => report(
            "/provider/smtp/username",
            Code::LoginIncomplete,
            "a user name without a password".to_owned(),
            "Add `password: { secret: NAME/KEY }` (or `oauth`), or remove the user name.",
        ),
        (None, Some(_)) => report(
            "/provider/smtp/password",
            Code::LoginIncomplete,
            "a password without a user name".to_owned(),
            "Add `username`, or remove the password.",
        ),
        _ => {}
    }
    if smtp.username.as_ref().is_some_and(|user| user.is_empty() || user.chars().any(char::is_control)) {
        report(
            "/provider/smtp/username",
            Code::InvalidValue,
            "the user name is empty or has control characters".to_owned(),
            "Correct it.",
        );
    }
    if smtp.password.is_some() && smtp.encryption == Encryption::None && !is_loopback(&smtp.host) {
        report(
            "/provider/smtp/encryption",
            Code::PasswordInClear,
            format!("the password would travel to `{}` in clear", smtp.host),
            "Use `encryption: starttls` or `tls`; in clear is for loopback addresses only.",
        );
    }
    if (smtp.encryption == Encryption::Tls && smtp.port == 587)
        || (smtp.encryption == Encryption::Starttls && smtp.port == 465)
    {
        report(
            "/provider/smtp/port",
            Code::UnusualPort,
            format!("port {} rarely speaks what `encryption` says", smtp.port),
            "Submission is `starttls` on 587 (RFC 6409) or `tls` on 465 (RFC 8314).",
        );
    }
}

/// Everything that is wrong with the application that reads the directory for verify. Pointers are the environment's.
pub fn check_reader(reader: &GraphDirect) -> Vec<Violation> {
    let mut out = Vec::new();
    check_direct("/verify/reader", reader, &mut |pointer, code, message, remedy| {
        out.push(Violation { profile: None, pointer: pointer.to_owned(), code, message, remedy: remedy.to_owned() });
    });
    out
}

fn check_direct(pointer: &str, direct: &GraphDirect, report: &mut impl FnMut(&str, Code, String, &str)) {
    check_registration(pointer, &direct.cloud, &direct.tenant, &direct.client, report);
    check_token_file(pointer, &direct.credential, report);
}

fn check_token_file(pointer: &str, credential: &Credential, report: &mut impl FnMut(&str, Code, String, &str)) {
    if let Credential::FederatedTokenFile(path) = credential
        && (!path.starts_with('/') || path.contains("/../") || path.chars().any(char::is_control))
    {
        report(
            &format!("{pointer}/credential/federatedTokenFile"),
            Code::InvalidValue,
            "this is not the whole path of a file".to_owned(),
            "Write it from the root, without `..`: /var/run/secrets/azure/tokens/azure-identity-token.",
        );
    }
}

fn check_delegate(delegate: &GraphDelegate, profile: &Profile, report: &mut impl FnMut(&str, Code, String, &str)) {
    let pointer = "/provider/microsoft-graph-delegate";
    check_registration(pointer, &delegate.cloud, &delegate.tenant, &delegate.client, report);
    let user_interface = Function::user_interface();
    for function in profile.functions.iter().filter(|f| **f != user_interface) {
        report(
            &format!("/functions/{function}"),
            Code::DelegateFunction,
            format!("a delegate profile is interactive and cannot serve `{function}`: nobody is there to sign in"),
            "Claim `user-interface` alone here; serve the other function by `microsoft-graph-direct` or `smtp`.",
        );
    }
    match delegate.platform {
        Client::Native if delegate.redirect != "https://localhost" => report(
            &format!("{pointer}/redirect"),
            Code::NativeRedirect,
            "a native delegate redirects to `https://localhost`".to_owned(),
            "Write exactly `redirect: https://localhost`.",
        ),
        Client::Spa if !is_spa_redirect(&delegate.redirect) => report(
            &format!("{pointer}/redirect"),
            Code::SpaRedirect,
            "a spa delegate redirects to the HTTPS address that users open".to_owned(),
            "Write the address as the browser shows it: https, a real host, no fragment, no wildcard.",
        ),
        _ => {}
    }
}

fn check_registration(
    pointer: &str,
    cloud: &Cloud,
    tenant: &str,
    client: &str,
    report: &mut impl FnMut(&str, Code, String, &str),
) {
    if let Cloud::Custom(custom) = cloud {
        for (key, address) in [("signIn", &custom.sign_in), ("graph", &custom.graph)] {
            let host = address.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
            let (name, port) = host.map_or(("", None), |host| {
                host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)))
            });
            if !is_host(name) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
                report(
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
        report(
            &format!("{pointer}/tenant"),
            Code::InvalidValue,
            "a tenant is its id (a GUID) or one of its domain names".to_owned(),
            "Take the Directory (tenant) ID from the registration's overview page.",
        );
    }
    if !is_guid(client) {
        report(
            &format!("{pointer}/client"),
            Code::InvalidValue,
            "a client is the application id, a GUID".to_owned(),
            "Take the Application (client) ID from the registration's overview page.",
        );
    }
}

fn check_names(profiles: &BTreeMap<&ProfileName, &Profile>, out: &mut Vec<Violation>) {
    let mut seen: BTreeMap<String, &ProfileName> = BTreeMap::new();
    for name in profiles.keys().copied() {
        if let Some(first) = seen.insert(name.as_str().to_ascii_lowercase(), name) {
            out.push(Violation {
                profile: Some(name.clone()),
                pointer: String::new(),
                code: Code::NamesDifferInCase,
                message: format!("`{name}` and `{first}` differ in case only"),
                remedy: "Rename one of them: some file systems cannot hold both.".to_owned(),
            });
        }
    }
}

/// What two enabled profiles claim, told of the one with the higher rank: the one that was laid over the other.
pub fn claimed_twice<K: Ord>(
    profiles: &BTreeMap<&ProfileName, &Profile>,
    rank: impl Fn(&ProfileName) -> K,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    check_claims(&Resolver::new(profiles.iter().map(|(name, profile)| (*name, *profile))), rank, &mut violations);
    violations
}

fn check_claims<K: Ord>(resolver: &Resolver<'_>, rank: impl Fn(&ProfileName) -> K, out: &mut Vec<Violation>) {
    for conflict in resolver.conflicts() {
        let whom = conflict.company.map_or("system-wide".to_owned(), |company| format!("for company `{company}`"));
        let (first, second) = match (conflict.first, conflict.second) {
            (first, second) if rank(first) > rank(second) => (second, first),
            in_order => in_order,
        };
        out.push(Violation {
            profile: Some(second.clone()),
            pointer: format!("/functions/{}", conflict.function),
            code: Code::ClaimedTwice,
            message: format!("`{}` is claimed {whom} by profile `{first}` too", conflict.function),
            remedy: "Remove the function from one of them, disable one, or give them different companies.".to_owned(),
        });
    }
}

fn check_delivery(delivery: &Delivery, out: &mut Vec<Violation>) {
    let mut report = |pointer: String, code: Code, message: &str, remedy: &str| {
        out.push(Violation {
            profile: None,
            pointer: format!("/delivery{pointer}"),
            code,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
    };
    for (index, allowed) in delivery.recipients.allow.iter().enumerate() {
        let ok = allowed.strip_prefix("*@").map_or_else(|| address_problem(allowed).is_none(), is_host);
        if !ok {
            report(
                format!("/recipients/allow/{index}"),
                Code::InvalidAddress,
                "this is neither an address nor `*@domain`",
                "Write it as test@example.com, or as *@example.com for a whole domain.",
            );
        }
    }
    if let Some((message, remedy)) = delivery.recipients.rewrite_to.as_deref().and_then(address_problem) {
        report("/recipients/rewriteTo".to_owned(), Code::InvalidAddress, &message, &remedy);
    }
    if delivery.recipients.subject_tag.as_ref().is_some_and(|tag| tag.chars().any(char::is_control)) {
        report(
            "/recipients/subjectTag".to_owned(),
            Code::InvalidValue,
            "the subject's tag has control characters",
            "Write a short word in brackets: \"[TEST]\".",
        );
    }
    if delivery.retry.first > delivery.retry.longest {
        report(
            "/retry/first".to_owned(),
            Code::InvalidValue,
            "the first wait is longer than the longest",
            "Make `first` shorter, or `longest` longer.",
        );
    }
    for (index, webhook) in delivery.webhooks.iter().enumerate() {
        if !is_webhook(&webhook.url) {
            report(format!("/webhooks/{index}/url"), Code::InvalidValue, NO_WEBHOOK, WRITE_WEBHOOK);
        }
    }
}

const NO_WEBHOOK: &str = "this is not the address of a webhook";
const WRITE_WEBHOOK: &str =
    "Write it as https://host/path; http:// is for this machine alone, and no name or password belongs in it.";

/// Whether something may be posted to this address: `https://host/path`, or `http://` on this machine alone.
fn is_webhook(url: &str) -> bool {
    let (rest, is_clear) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if host.contains(':') => (host, port),
        Some(_) => return false,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|p| p > 0));
    // A backslash is a slash to some who read addresses.
    let is_plain = !url.contains(['@', '\\', ' ']) && !url.chars().any(char::is_control);
    is_plain && is_port && is_host(host) && (!is_clear || is_loopback(host))
}

/// Everything that is wrong with whom a watch tells. Pointers are the environment's; `companies` are those it has.
pub fn check_watch(watch: &WatchSettings, companies: &BTreeSet<CompanyId>) -> Vec<Violation> {
    let mut out = Vec::new();
    let mut report = |pointer: String, code: Code, message: String, remedy: &str| {
        out.push(Violation {
            profile: None,
            pointer: format!("/watch/notify{pointer}"),
            code,
            message,
            remedy: remedy.to_owned(),
        });
    };
    for (index, webhook) in watch.notify.webhooks.iter().enumerate() {
        if !is_webhook(&webhook.url) {
            report(format!("/webhooks/{index}/url"), Code::InvalidValue, NO_WEBHOOK.to_owned(), WRITE_WEBHOOK);
        }
    }
    let Some(mail) = &watch.notify.mail else { return out };
    if !companies.contains(&mail.company) {
        report(
            "/mail/company".to_owned(),
            Code::UnknownCompany,
            format!("company `{}` does not exist in the environment", mail.company),
            "Add it to `companies`, or name one that is there.",
        );
    }
    for (index, recipient) in mail.to.iter().enumerate() {
        if let Err(error) = Address::parse(recipient) {
            report(
                format!("/mail/to/{index}"),
                Code::InvalidAddress,
                format!("`{}` is not an address: {error}", recipient.escape_debug()),
                "Write it as name@domain, without a display name.",
            );
        }
    }
    out
}

fn check_unserved(settings: &Settings, out: &mut Vec<Violation>) {
    for (index, entry) in settings.unserved.iter().enumerate() {
        for company in entry.companies.iter().filter(|company| !settings.companies.contains(*company)) {
            out.push(Violation {
                profile: None,
                pointer: format!("/unserved/{index}/companies/{company}"),
                code: Code::UnknownCompany,
                message: format!("company `{company}` does not exist in the environment"),
                remedy: "Add it to `companies`, or remove it here.".to_owned(),
            });
        }
    }
}

/// One violation for all functions that are lost for the same companies: what is missing is most often one profile.
fn check_cells(settings: &Settings, resolver: &Resolver<'_>, out: &mut Vec<Violation>) {
    let mut lost: BTreeMap<Function, BTreeMap<CompanyId, Vec<Client>>> = BTreeMap::new();
    for cell in Cell::all(&settings.companies) {
        if resolver.sender(&cell).is_none() && !settings.is_meant_unserved(&cell.company, cell.function) {
            lost.entry(cell.function).or_default().entry(cell.company).or_default().extend(cell.client);
        }
    }
    let mut together: BTreeMap<Vec<String>, Vec<Function>> = BTreeMap::new();
    for (function, companies) in lost {
        // A client is named only where the other one is served.
        let whom = |(company, clients): (CompanyId, Vec<Client>)| match clients.as_slice() {
            [client] => format!("{company} ({})", client.id()),
            _ => company.to_string(),
        };
        together.entry(companies.into_iter().map(whom).collect()).or_default().push(function);
    }
    for (companies, functions) in together {
        let claim = match functions.as_slice() {
            [one] => format!("`{one}` or what it falls back to"),
            _ => format!("`{}`, what the others fall back to, or each of them", Function::default_function()),
        };
        let functions: Vec<String> = functions.iter().map(|function| format!("`{function}`")).collect();
        out.push(Violation {
            profile: None,
            pointer: "/companies".to_owned(),
            code: Code::NobodySends,
            message: format!("nobody sends {} for {}", some_of(&functions), some_of(&companies)),
            remedy: format!("Let an enabled profile claim {claim}; or say under `unserved` that it is meant."),
        });
    }
}

/// The first five, and how many more there are.
fn some_of(words: &[String]) -> String {
    let shown = words.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A host name (RFC 1123) or an IP address.
pub fn is_host(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

/// Returns true if a host can only be this machine: 127.0.0.0/8, `::1` (also as `[::1]` and as an IPv4 address in IPv6
/// form), `localhost` and the names below it (RFC 6761). Any other name may resolve to anything. `localhost` names are
/// to be connected to without a look-up: see [`crate::net::http_client`].
pub fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let top = name.rsplit_once('.').map_or(name, |(_, top)| top);
    top.eq_ignore_ascii_case("localhost")
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
