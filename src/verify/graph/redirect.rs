//! The checks of redirect URIs: registered under the right platform, with an exact match.
//!
//! Source: Microsoft's page "Redirect URI (reply URL) outline and restrictions": case-sensitive, whole match, the port
//! of localhost ignored, no wildcard, http for localhost alone. Tools write an empty path as nothing or as `/`; it is
//! not documented if Entra accepts one for the other, so that difference alone is *unknown*.
//!
//! The findings name the first ten questionable addresses of a registration. Each way of sending needs an address of its own; a
//! remedy for a missing one names them all, and `mailwright delegate` has a finding of its own.

use reqwest::Url;

use crate::{
    entra::graph::Application,
    model::{
        Client,
        finding::{Finding, Verdict},
        finding_id::FindingId,
    },
    verify::remedy::Remedies,
};

/// A platform of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Platform {
    Web,
    Spa,
    PublicClient,
}

impl Platform {
    const ALL: [Self; 3] = [Self::PublicClient, Self::Spa, Self::Web];

    fn for_client(client: Client) -> Self {
        match client {
            Client::Native => Self::PublicClient,
            Client::Spa => Self::Spa,
        }
    }

    /// Returns the key of the platform in a registration.
    fn id(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Spa => "spa",
            Self::PublicClient => "publicClient",
        }
    }

    /// Returns the name of the platform in the portal.
    fn label(self) -> &'static str {
        match self {
            Self::Web => "Web",
            Self::Spa => "Single-page application",
            Self::PublicClient => "Mobile and desktop applications",
        }
    }

    fn registered(self, application: &Application) -> &[String] {
        match self {
            Self::Web => &application.web.redirect_uris,
            Self::Spa => &application.spa.redirect_uris,
            Self::PublicClient => &application.public_client.redirect_uris,
        }
    }
}

/// The part in which two addresses differ. `Same` works; for `Slash` it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    Same,
    /// The addresses differ like `https://host` and `https://host/`.
    Slash,
    Case,
    TrailingSlash,
    Port,
    Scheme,
    Query,
    Path,
    Host,
    Everything,
}

impl Difference {
    /// Returns true for a difference that is a misspelling. Another path or query may belong to another client.
    fn is_misspelling(self) -> bool {
        matches!(self, Self::Case | Self::TrailingSlash | Self::Port | Self::Scheme)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Same => "nothing",
            Self::Slash => "the slash after the host",
            Self::Case => "upper and lower case",
            Self::TrailingSlash => "the slash at the end",
            Self::Port => "the port",
            Self::Scheme => "the scheme",
            Self::Query => "the query",
            Self::Path => "the path",
            Self::Host => "the host",
            Self::Everything => "everything",
        }
    }
}

const POINTER: &str = "/provider/microsoft-graph-delegate/redirect";
/// The redirect URI of `mailwright delegate`. The port of its listener is not compared.
const HELPER: &str = "http://localhost";

/// Runs every check of a registration's redirect URIs for one profile.
pub(super) fn check(
    application: &Application,
    client: Client,
    redirect: &str,
    remedies: &Remedies<'_>,
) -> Vec<Finding> {
    let own = registered(application, client, redirect, remedies);
    // Each remedy sets the whole list: with two of them the second would undo the first.
    let helper = (client == Client::Native).then(|| helper(application, remedies));
    let is_useful = |helper: &Finding| helper.verdict == Verdict::Pass || own.verdict == Verdict::Pass;
    let helper = helper.filter(is_useful);
    let mut findings = vec![own];
    findings.extend(helper);
    findings.extend(questionable(application, Platform::for_client(client), remedies));
    findings
}

/// Evaluates the redirect URI of `mailwright delegate`. The profile has that of the ERP client.
fn helper(application: &Application, remedies: &Remedies<'_>) -> Finding {
    let platform = Platform::PublicClient;
    let uris = platform.registered(application);
    if uris.iter().any(|uri| difference(HELPER, uri) <= Difference::Slash) {
        return Finding::pass(
            FindingId::RedirectDesktop,
            POINTER,
            format!("`{HELPER}` is registered for {}, so that `mailwright delegate` can sign in", platform.label()),
        );
    }
    let all: Vec<String> = uris.iter().cloned().chain([HELPER.to_owned()]).collect();
    Finding::fail(
        FindingId::RedirectDesktop,
        POINTER,
        "`mailwright delegate` cannot sign in with the browser: its redirect URI is not registered",
    )
    .seen(list_registered(application))
    .expected(format!("{}: {HELPER}", platform.label()))
    .remedy(["If persons send with `mailwright delegate`, add it; `--device-code` works without it.".to_owned()])
    .remedy(remedies.redirects(platform.id(), &all))
}

/// Returns the redirect URIs that the ways of sending need.
fn needed(client: Client) -> String {
    let platform = Platform::for_client(client).label();
    match client {
        Client::Native => format!(
            "Under \"{platform}\": `https://localhost` for a program with an embedded browser, such as the ERP client; `{HELPER}` for `mailwright delegate`, at any port."
        ),
        Client::Spa => format!(
            "Under \"{platform}\": the exact address of each page that signs in. The console's page is `/console/delegate` below the `--public-url` of the service; a page of the ERP has its own."
        ),
    }
}

fn registered(application: &Application, client: Client, redirect: &str, remedies: &Remedies<'_>) -> Finding {
    let wanted = Platform::for_client(client);
    let nearest = |platform: Platform| {
        let uris = platform.registered(application).iter();
        uris.map(|uri| (difference(redirect, uri), uri)).min_by_key(|(difference, _)| *difference)
    };
    let here = nearest(wanted);
    match here {
        Some((Difference::Same, _)) => {
            return Finding::pass(
                FindingId::Redirect,
                POINTER,
                format!("`{redirect}` is registered for {}", wanted.label()),
            );
        }
        Some((Difference::Slash, uri)) => {
            let mut all: Vec<String> =
                wanted.registered(application).iter().filter(|kept| *kept != uri).cloned().collect();
            all.push(redirect.to_owned());
            return Finding::unknown(
                FindingId::RedirectSlash,
                POINTER,
                "the registered redirect URI and the profile's differ by the slash after the host; Microsoft does not document if that matters",
            )
            .seen(mark_difference(redirect, uri))
            .expected(redirect)
            .remedy([format!("Write both the same way: `redirect: {uri}` in the profile, or the registration as the profile has it.")])
            .remedy(remedies.redirects(wanted.id(), &all));
        }
        _ => {}
    }
    let mut all: Vec<String> = wanted.registered(application).to_vec();
    all.push(redirect.to_owned());
    for other in Platform::ALL.into_iter().filter(|platform| *platform != wanted) {
        if let Some((Difference::Same | Difference::Slash, uri)) = nearest(other) {
            let (id, code) = match client {
                Client::Native if other == Platform::Spa => (FindingId::RedirectNative, "AADSTS9002327"),
                Client::Native => (FindingId::RedirectNative, "AADSTS7000218"),
                Client::Spa => (FindingId::RedirectSpa, "AADSTS9002326"),
            };
            let rest: Vec<String> = other.registered(application).iter().filter(|kept| *kept != uri).cloned().collect();
            let mut steps = vec![format!(
                "Remove it from \"{}\", then add it to \"{}\": one address cannot be on two platforms.",
                other.label(),
                wanted.label()
            )];
            steps.extend(remedies.redirects(other.id(), &rest));
            steps.extend(remedies.redirects(wanted.id(), &all).into_iter().skip(1));
            return Finding::fail(
                id,
                POINTER,
                format!("the redirect URI is registered for the wrong platform; signing in would end with {code}"),
            )
            .seen(format!("{}: {uri}", other.label()))
            .expected(format!("{}: {redirect}", wanted.label()))
            .remedy(steps)
            .remedy([needed(client)]);
        }
    }
    let anywhere = Platform::ALL.into_iter().filter_map(|platform| Some((platform, nearest(platform)?)));
    match anywhere.min_by_key(|(platform, (difference, _))| (*difference, *platform != wanted)) {
        Some((platform, (difference, uri))) if difference < Difference::Host => {
            // The helper's address is not a misspelling of `https://localhost`.
            let is_helper = client == Client::Native && self::difference(HELPER, uri) <= Difference::Slash;
            let is_replaced = platform == wanted && difference.is_misspelling() && !is_helper;
            let kept = wanted.registered(application).iter().filter(|kept| !is_replaced || *kept != uri);
            let all: Vec<String> = kept.cloned().chain([redirect.to_owned()]).collect();
            let elsewhere = if platform == wanted { "" } else { " and is registered for another platform" };
            let finding = Finding::fail(
                FindingId::RedirectDiffers,
                POINTER,
                format!(
                    "a redirect URI is registered that differs by {}{elsewhere}; signing in would end with AADSTS50011",
                    difference.label()
                ),
            )
            .seen(format!("{}: {}", platform.label(), mark_difference(redirect, uri)))
            .expected(format!("{}: {redirect}", wanted.label()))
            .remedy(remedies.redirects(wanted.id(), &all));
            if is_replaced {
                finding
            } else {
                finding.remedy([format!("`{uri}` stays as it is: another client may sign in with it.")])
            }
        }
        _ => Finding::fail(
            FindingId::Redirect,
            POINTER,
            "the redirect URI is not registered; signing in would end with AADSTS50011".to_owned(),
        )
        .seen(list_registered(application))
        .expected(format!("{}: {redirect}", wanted.label()))
        .remedy(remedies.redirects(wanted.id(), &all))
        .remedy([needed(client)]),
    }
}

/// The number of redirect URIs that have a finding of their own.
const SHOWN: usize = 10;
/// The number of redirect URIs that are compared with one another. Entra allows 256 per registration.
const COMPARED: usize = 512;

/// Returns the findings for other redirect URIs that are registered and should not be.
fn questionable(application: &Application, wanted: Platform, remedies: &Remedies<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let uris = || {
        Platform::ALL
            .into_iter()
            .flat_map(|platform| platform.registered(application).iter().map(move |uri| (platform, uri)))
    };
    for (platform, uri) in uris() {
        let kept = || -> Vec<String> {
            platform.registered(application).iter().filter(|kept| *kept != uri).cloned().collect()
        };
        if uri.contains('*') {
            findings.push(
                Finding::fail(
                    FindingId::RedirectWildcard,
                    POINTER,
                    "a redirect URI has a wildcard: the owner of any name below it receives sign-ins",
                )
                .seen(format!("{}: {uri}", platform.label()))
                .expected("whole addresses")
                .remedy(remedies.redirects(platform.id(), &kept())),
            );
        } else if uri.starts_with("http://") && !Url::parse(uri).ok().is_some_and(|url| is_local(&url)) {
            findings.push(
                Finding::fail(
                    FindingId::RedirectHttp,
                    POINTER,
                    "a redirect URI is plain http: sign-ins are sent in clear",
                )
                .seen(format!("{}: {uri}", platform.label()))
                .expected("https")
                .remedy(remedies.redirects(platform.id(), &kept())),
            );
        }
    }
    if findings.len() > SHOWN {
        let others = findings.split_off(SHOWN).len();
        if let Some(last) = findings.last_mut() {
            last.seen = format!("{}; and {others} more like these", last.seen);
        }
    }
    let local: Vec<_> =
        uris().take(COMPARED).filter(|(_, uri)| Url::parse(uri).is_ok_and(|url| is_local(&url))).collect();
    for (index, (platform, uri)) in local.iter().enumerate() {
        let twin =
            local[index + 1..].iter().find(|(_, other)| difference(uri, other) <= Difference::Slash && uri != other);
        if let Some((other_platform, other)) = twin
            && (*platform == wanted || *other_platform == wanted)
        {
            findings.push(
                Finding::fail(FindingId::RedirectTwice, POINTER, "two redirect URIs of localhost differ by their port only, and Entra uses either of them, with its platform")
                    .seen(format!("{}: {uri}; {}: {other}", platform.label(), other_platform.label()))
                    .expected("one of them")
                    .remedy(["Remove one of the two: the port of localhost is not compared."]),
            );
        }
    }
    findings
}

fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1"))
}

/// Returns the part in which a registered address differs from the expected one, the least important first.
fn difference(wanted: &str, registered: &str) -> Difference {
    if wanted == registered {
        return Difference::Same;
    }
    let (Ok(a), Ok(b)) = (Url::parse(wanted), Url::parse(registered)) else { return Difference::Everything };
    if a.host_str() != b.host_str() {
        return Difference::Host;
    }
    if a.scheme() != b.scheme() {
        return Difference::Scheme;
    }
    // A default port that is written out is the same address; the port of localhost is not compared.
    if !is_local(&a) && a.port_or_known_default() != b.port_or_known_default() {
        return Difference::Port;
    }
    if a.query() != b.query() || a.fragment() != b.fragment() {
        return Difference::Query;
    }
    // The `url` crate writes an empty path as `/`, and keeps the case of a path.
    if a.path() == b.path() {
        let bare = |text: &str| text.trim_end_matches('/').to_lowercase();
        return if a.path() == "/"
            && bare(wanted) == bare(registered)
            && wanted.ends_with('/') != registered.ends_with('/')
        {
            Difference::Slash
        } else {
            Difference::Same
        };
    }
    if a.path().eq_ignore_ascii_case(b.path()) {
        return Difference::Case;
    }
    if a.path().trim_end_matches('/') == b.path().trim_end_matches('/') {
        return Difference::TrailingSlash;
    }
    Difference::Path
}

/// Returns the registered address with the part that differs between `«` and `»`.
fn mark_difference(wanted: &str, registered: &str) -> String {
    let same = |a: char, b: char| a == b;
    let head: usize =
        wanted.chars().zip(registered.chars()).take_while(|(a, b)| same(*a, *b)).map(|(_, b)| b.len_utf8()).sum();
    let (rest_wanted, rest) = (&wanted[head..], &registered[head..]);
    let tail: usize = rest_wanted
        .chars()
        .rev()
        .zip(rest.chars().rev())
        .take_while(|(a, b)| same(*a, *b))
        .map(|(_, b)| b.len_utf8())
        .sum();
    let (middle, end) = rest.split_at(rest.len() - tail);
    format!("{}«{middle}»{end}", &registered[..head])
}

fn list_registered(application: &Application) -> String {
    let mut parts = Vec::new();
    for platform in Platform::ALL {
        let uris = platform.registered(application);
        if !uris.is_empty() {
            let more = if uris.len() > 5 { format!(" and {} more", uris.len() - 5) } else { String::new() };
            let shown: Vec<&str> = uris.iter().take(5).map(String::as_str).collect();
            parts.push(format!("{}: {}{more}", platform.label(), shown.join(", ")));
        }
    }
    if parts.is_empty() { "no redirect URI at all".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_important_difference_is_named() {
        const WANTED: &str = "https://erp.example/auth";
        for (registered, expected) in [
            (WANTED, Difference::Same),
            ("https://erp.example:443/auth", Difference::Same),
            ("https://erp.example/Auth", Difference::Case),
            ("https://erp.example/auth/", Difference::TrailingSlash),
            ("https://erp.example:8443/auth", Difference::Port),
            ("http://erp.example/auth", Difference::Scheme),
            ("https://erp.example/auth?a=b", Difference::Query),
            ("https://erp.example/other", Difference::Path),
            ("https://other.example/auth", Difference::Host),
            ("no address", Difference::Everything),
        ] {
            assert_eq!(difference(WANTED, registered), expected, "{registered}");
        }
        assert_eq!(difference("https://erp.example", "https://erp.example/"), Difference::Slash);
        assert_eq!(difference("http://localhost:1234/a", "http://localhost:5678/a"), Difference::Same);
    }

    #[test]
    fn the_part_that_differs_is_marked() {
        assert_eq!(mark_difference("https://a.example/x", "https://a.example/X"), "https://a.example/«X»");
        assert_eq!(mark_difference("https://a.example/", "https://a.example"), "https://a.example«»");
    }
}
