//! Origins that a bearer token may be sent to, as they are configured outside of the repository.
//!
//! [`TokenOrigins`] is a list of patterns: `https://mail.example.com`, `https://*.mail.example.com` (one label),
//! `https://{environment}.mail.example.com`, `prod-*=https://mail.example.com:8443`, `http://127.0.0.1:*`. The address of a
//! service comes from the files, the token from the machine. [`audience_origins`] reads the origins in an identity token.
//!
//! A pattern that is not well-formed is an error; an empty list allows no address. A token that is not a JWT, or has no address as
//! its audience, has no origins. Nothing here sends anything or reads a variable.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::Value;

use crate::{model::EnvironmentName, net::http_client::is_loopback_url};

/// The placeholder for the name of the environment.
const PLACEHOLDER: &str = "{environment}";

/// Origins that a token may be sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenOrigins(Vec<OriginPattern>);

/// A pattern of origins, for some environments or all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OriginPattern {
    /// The pattern as it was written.
    text: String,
    /// The pattern of environments.
    environment: Option<String>,
    scheme: &'static str,
    /// True if the host may have one more label in front.
    has_wildcard: bool,
    host: String,
    /// The port with its colon; none for any port.
    port: Option<String>,
}

impl TokenOrigins {
    /// Parses a list of patterns, separated by blanks or commas.
    pub fn parse(list: &str) -> Result<Self, String> {
        let patterns = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|text| !text.is_empty());
        patterns.map(OriginPattern::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns true if there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the patterns of another list.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns true if the token of an environment may be sent to this address.
    pub fn allow(&self, environment: &EnvironmentName, address: &Url) -> bool {
        self.0.iter().any(|pattern| pattern.matches(environment.as_str(), address))
    }
}

impl std::fmt::Display for TokenOrigins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|pattern| pattern.text.as_str()).collect();
        f.write_str(&texts.join(", "))
    }
}

impl OriginPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let shown = text.escape_debug();
        let wrong = |why: &str| Err(format!("`{shown}` is not an origin: {why}"));
        let (environment, origin) = match text.split_once('=') {
            Some((environment, origin)) if !environment.contains("://") => (Some(environment), origin),
            _ => (None, text),
        };
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(&b));
        if environment.is_some_and(|name| name.is_empty() || !is_name(name)) {
            return wrong("the part before `=` must be the name of an environment or a pattern such as prod-*");
        }
        let (scheme, rest) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
            (Some(rest), _) => ("https", rest),
            (None, Some(rest)) => ("http", rest),
            (None, None) => return wrong("it must begin with https:// or http://"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return wrong("an origin has a scheme, a host and an optional port, and nothing else");
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, "*")) => (host, None),
            Some((host, port)) if !port.contains(']') => (host, Some(format!(":{port}"))),
            _ => (rest, Some(String::new())),
        };
        let (has_wildcard, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        if host.contains('*') {
            return wrong("`*` is allowed for the first label of the host, or for the port");
        }
        // The name of an environment must not choose the domain.
        let mut fixed = host.rsplit('.').take_while(|label| !label.contains(PLACEHOLDER));
        let is_fixed = match fixed.next() {
            Some(top) if top.eq_ignore_ascii_case("localhost") => true,
            Some(_) => fixed.next().is_some(),
            None => false,
        };
        if (has_wildcard || host.contains(PLACEHOLDER)) && !is_fixed {
            return wrong("`*.` or `{environment}` must be followed by a domain, such as mail.example.com");
        }
        let pattern = Self {
            text: text.to_owned(),
            environment: environment.map(str::to_owned),
            scheme,
            has_wildcard,
            host: host.to_owned(),
            port,
        };
        if pattern.url("environment").is_none() { wrong("its host or port is not well-formed") } else { Ok(pattern) }
    }

    /// Returns the origin for an environment, without wildcards.
    fn url(&self, environment: &str) -> Option<Url> {
        let host = self.host.replace(PLACEHOLDER, environment);
        let url = Url::parse(&format!("{}://{host}{}/", self.scheme, self.port.as_deref().unwrap_or_default())).ok()?;
        url.host_str().is_some_and(|host| !host.is_empty()).then_some(url)
    }

    fn matches(&self, environment: &str, address: &Url) -> bool {
        if self.environment.as_deref().is_some_and(|pattern| !matches_star(pattern, environment)) {
            return false;
        }
        // A name with a dot would be more than one label of the host.
        if self.host.contains(PLACEHOLDER) && environment.contains('.') {
            return false;
        }
        let Some(own) = self.url(environment) else { return false };
        let (Some(host), Some(own_host)) = (address.host_str(), own.host_str()) else { return false };
        let is_host = if self.has_wildcard {
            let label = host.strip_suffix(own_host).and_then(|rest| rest.strip_suffix('.'));
            label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
        } else {
            host == own_host
        };
        let is_port = self.port.is_none() || address.port_or_known_default() == own.port_or_known_default();
        is_host && is_port && address.scheme() == own.scheme()
    }
}

/// Matches a text against a pattern in which `*` matches any characters.
fn matches_star(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| matches_star(after, rest))
}

/// Returns the origin of an address, such as `https://mail.example.com`.
pub fn origin_of(address: &Url) -> String {
    address.origin().ascii_serialization()
}

/// Returns the audience as an address, if it is one.
pub fn audience_origin(audience: &str) -> Option<Url> {
    let url = Url::parse(audience.trim()).ok()?;
    (url.scheme() == "https" || url.scheme() == "http" && is_loopback_url(&url)).then_some(url)
}

/// Returns the audiences of an identity token that are addresses. Other tokens have none.
pub fn audience_origins(token: &str) -> Vec<Url> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok();
    let claims = claims.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).unwrap_or_default();
    let audiences = match &claims["aud"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    audiences.into_iter().filter_map(audience_origin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, environment: &str, address: &str) -> bool {
        TokenOrigins::parse(list).unwrap().allow(&environment.parse().unwrap(), &Url::parse(address).unwrap())
    }

    #[test]
    fn a_token_goes_to_the_origins_of_its_patterns() {
        for (list, environment, address) in [
            ("https://mail.example.com", "prod", "https://mail.example.com/prod"),
            ("https://mail.example.com/", "prod", "https://MAIL.example.com:443/"),
            ("https://mail.example.com:8470", "prod", "https://mail.example.com:8470/"),
            ("https://*.mail.example.com", "prod", "https://a.mail.example.com/"),
            ("https://{environment}.mail.example.com", "prod", "https://prod.mail.example.com/"),
            ("https://mail-{environment}.example.com", "prod", "https://mail-prod.example.com/"),
            ("prod-*=https://mail.example.com", "prod-eu", "https://mail.example.com/"),
            ("dev=https://a.example, prod=https://b.example", "prod", "https://b.example/"),
            ("https://a.example https://b.example", "x", "https://b.example/"),
            ("http://127.0.0.1:*", "dev", "http://127.1:9999/"),
            ("https://[::1]:8470", "dev", "https://[0::1]:8470/"),
            ("https://bücher.example", "dev", "https://xn--bcher-kva.example/"),
        ] {
            assert!(allows(list, environment, address), "{list} {environment} {address}");
        }
    }

    #[test]
    fn a_token_goes_nowhere_else() {
        for (list, environment, address) in [
            ("", "prod", "https://mail.example.com/"),
            ("https://mail.example.com", "prod", "http://mail.example.com/"),
            ("https://mail.example.com", "prod", "https://mail.example.com:8443/"),
            ("https://mail.example.com", "prod", "https://mail.example.com.evil.example/"),
            ("https://mail.example.com", "prod", "https://evil.example/mail.example.com"),
            ("https://mail.example.com", "prod", "https://mail.example.com@evil.example/"),
            ("https://mail.example.com", "prod", "https://evil.example\\@mail.example.com/"),
            ("https://mail.example.com", "prod", "https://xmail.example.com/"),
            ("https://*.mail.example.com", "prod", "https://mail.example.com/"),
            ("https://*.mail.example.com", "prod", "https://a.b.mail.example.com/"),
            ("https://*.mail.example.com", "prod", "https://evilmail.example.com/"),
            ("https://{environment}.mail.example.com", "prod", "https://dev.mail.example.com/"),
            ("https://mail-{environment}.example.com", "x.evil", "https://mail-x.evil.example.com/"),
            ("prod-*=https://mail.example.com", "dev", "https://mail.example.com/"),
            ("prod=https://mail.example.com", "prod2", "https://mail.example.com/"),
            ("http://127.0.0.1:8470", "dev", "http://127.0.0.1:8471/"),
        ] {
            if list.contains(PLACEHOLDER) && environment.parse::<EnvironmentName>().is_err() {
                continue;
            }
            assert!(!allows(list, environment, address), "{list} {environment} {address}");
        }
    }

    #[test]
    fn a_pattern_that_is_too_wide_or_not_an_origin_is_refused() {
        for text in [
            "mail.example.com",
            "ftp://mail.example.com",
            "https://",
            "https://*",
            "https://*.com",
            "https://*:443",
            "https://a.*.example.com",
            "https://mail*.example.com",
            "https://{environment}",
            "https://{environment}.com",
            "https://mail.{environment}",
            "https://mail.example.com/path",
            "https://mail.example.com?x",
            "https://user@mail.example.com",
            "https://mail.example.com:99999",
            "https://mail.exa mple.com\\",
            "=https://mail.example.com",
            "a b=https://mail.example.com",
            "https://[::1",
        ] {
            assert!(TokenOrigins::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_identity_token_says_whom_it_is_for() {
        let token = |claims: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let of = |claims: &str| -> Vec<String> { audience_origins(&token(claims)).iter().map(origin_of).collect() };
        assert_eq!(of(r#"{"aud":"https://mail.example.com/prod"}"#), ["https://mail.example.com"]);
        assert_eq!(
            of(r#"{"aud":["x","https://a.example","https://b.example:8470"]}"#),
            ["https://a.example", "https://b.example:8470"]
        );
        assert!(of(r#"{"aud":"mailwright"}"#).is_empty() && of(r#"{"aud":7}"#).is_empty() && of("no JSON").is_empty());
        assert!(of(r#"{"aud":"http://mail.example.com"}"#).is_empty(), "a token does not travel in clear");
        assert!(audience_origins("mw_0123456789ab_secret").is_empty());
    }
}
