//! Redirect URIs: registered under the right platform, to the letter.
//!
//! Source: Microsoft's page "Redirect URI (reply URL) outline and restrictions": case-sensitive, whole match, the port
//! of localhost ignored, no wildcard, http for localhost alone. Tools write an empty path and `/` alike; whether Entra takes
//! the one for the other is documented nowhere, so that difference alone is *unknown*.

use reqwest::Url;

use crate::{
    entra::graph::Application,
    model::{Client, finding::Finding, finding_id::Id},
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

    fn of(client: Client) -> Self {
        match client {
            Client::Native => Self::PublicClient,
            Client::Spa => Self::Spa,
        }
    }

    /// As a registration writes it.
    fn id(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Spa => "spa",
            Self::PublicClient => "publicClient",
        }
    }

    /// As the portal calls it.
    fn words(self) -> &'static str {
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

/// Where two addresses differ. `Same` works; whether `Slash` does is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    Same,
    /// `https://host` and `https://host/`.
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
    /// Whether it is the same place, misspelt. A path or a query of its own may be somebody else's.
    fn is_a_slip(self) -> bool {
        matches!(self, Self::Case | Self::TrailingSlash | Self::Port | Self::Scheme)
    }

    fn words(self) -> &'static str {
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

/// Every check of a registration's redirect URIs for one profile.
pub(super) fn check(
    application: &Application,
    client: Client,
    redirect: &str,
    remedies: &Remedies<'_>,
) -> Vec<Finding> {
    let mut findings = vec![registered(application, client, redirect, remedies)];
    findings.extend(questionable(application, Platform::of(client), remedies));
    findings
}

fn registered(application: &Application, client: Client, redirect: &str, remedies: &Remedies<'_>) -> Finding {
    let wanted = Platform::of(client);
    let nearest = |platform: Platform| {
        let uris = platform.registered(application).iter();
        uris.map(|uri| (difference(redirect, uri), uri)).min_by_key(|(difference, _)| *difference)
    };
    let here = nearest(wanted);
    match here {
        Some((Difference::Same, _)) => {
            return Finding::pass(Id::Redirect, POINTER, format!("`{redirect}` is registered for {}", wanted.words()));
        }
        Some((Difference::Slash, uri)) => {
            let mut all: Vec<String> =
                wanted.registered(application).iter().filter(|kept| *kept != uri).cloned().collect();
            all.push(redirect.to_owned());
            return Finding::unknown(
                Id::RedirectSlash,
                POINTER,
                "the registered redirect URI and the profile's differ by the slash after the host: whether that counts is not documented",
            )
            .seen(marked(redirect, uri))
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
                Client::Native if other == Platform::Spa => (Id::RedirectNative, "AADSTS9002327"),
                Client::Native => (Id::RedirectNative, "AADSTS7000218"),
                Client::Spa => (Id::RedirectSpa, "AADSTS9002326"),
            };
            let rest: Vec<String> = other.registered(application).iter().filter(|kept| *kept != uri).cloned().collect();
            let mut steps = vec![format!(
                "Remove it from \"{}\", then add it to \"{}\": one address cannot be on two platforms.",
                other.words(),
                wanted.words()
            )];
            steps.extend(remedies.redirects(other.id(), &rest));
            steps.extend(remedies.redirects(wanted.id(), &all).into_iter().skip(1));
            return Finding::fail(
                id,
                POINTER,
                format!("the redirect URI is registered for the wrong platform; signing in would end with {code}"),
            )
            .seen(format!("{}: {uri}", other.words()))
            .expected(format!("{}: {redirect}", wanted.words()))
            .remedy(steps);
        }
    }
    let anywhere = Platform::ALL.into_iter().filter_map(|platform| Some((platform, nearest(platform)?)));
    match anywhere.min_by_key(|(platform, (difference, _))| (*difference, *platform != wanted)) {
        Some((platform, (difference, uri))) if difference < Difference::Host => {
            let is_replaced = platform == wanted && difference.is_a_slip();
            let kept = wanted.registered(application).iter().filter(|kept| !is_replaced || *kept != uri);
            let all: Vec<String> = kept.cloned().chain([redirect.to_owned()]).collect();
            let elsewhere = if platform == wanted { "" } else { " and stands under another platform" };
            let finding = Finding::fail(
                Id::RedirectDiffers,
                POINTER,
                format!(
                    "a redirect URI is registered that differs by {}{elsewhere}; signing in would end with AADSTS50011",
                    difference.words()
                ),
            )
            .seen(format!("{}: {}", platform.words(), marked(redirect, uri)))
            .expected(format!("{}: {redirect}", wanted.words()))
            .remedy(remedies.redirects(wanted.id(), &all));
            if is_replaced {
                finding
            } else {
                finding.remedy([format!("`{uri}` stays as it is: another client may sign in with it.")])
            }
        }
        _ => Finding::fail(
            Id::Redirect,
            POINTER,
            "the redirect URI is not registered; signing in would end with AADSTS50011".to_owned(),
        )
        .seen(listed(application))
        .expected(format!("{}: {redirect}", wanted.words()))
        .remedy(remedies.redirects(wanted.id(), &all)),
    }
}

/// Redirect URIs that have a finding of their own.
const SHOWN: usize = 10;
/// Redirect URIs that are compared with one another. Entra allows 256 for one registration.
const COMPARED: usize = 512;

/// What is registered beside it and should not be.
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
                    Id::RedirectWildcard,
                    POINTER,
                    "a redirect URI has a wildcard: whoever gets a name below it receives sign-ins",
                )
                .seen(format!("{}: {uri}", platform.words()))
                .expected("whole addresses")
                .remedy(remedies.redirects(platform.id(), &kept())),
            );
        } else if uri.starts_with("http://") && !Url::parse(uri).ok().is_some_and(|url| is_local(&url)) {
            findings.push(
                Finding::fail(Id::RedirectHttp, POINTER, "a redirect URI is plain http: sign-ins travel in clear")
                    .seen(format!("{}: {uri}", platform.words()))
                    .expected("https")
                    .remedy(remedies.redirects(platform.id(), &kept())),
            );
        }
    }
    if findings.len() > SHOWN {
        let others = findings.split_off(SHOWN).len();
        if let Some(last) = findings.last_mut() {
            last.seen = format!("{}; and {others} more like it or like those before", last.seen);
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
                Finding::fail(Id::RedirectTwice, POINTER, "two redirect URIs of localhost differ by their port alone, and Entra takes either, with its platform")
                    .seen(format!("{}: {uri}; {}: {other}", platform.words(), other_platform.words()))
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

/// Where a registered address differs from the wanted one, the least important first.
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
    // The crate writes an empty path as `/`, and leaves the case of a path alone.
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

/// The registered address with the part that differs between `«` and `»`.
fn marked(wanted: &str, registered: &str) -> String {
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

fn listed(application: &Application) -> String {
    let mut parts = Vec::new();
    for platform in Platform::ALL {
        let uris = platform.registered(application);
        if !uris.is_empty() {
            let more = if uris.len() > 5 { format!(" and {} more", uris.len() - 5) } else { String::new() };
            let shown: Vec<&str> = uris.iter().take(5).map(String::as_str).collect();
            parts.push(format!("{}: {}{more}", platform.words(), shown.join(", ")));
        }
    }
    if parts.is_empty() { "no redirect URI at all".to_owned() } else { parts.join("; ") }
}
