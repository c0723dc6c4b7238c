//! Security headers of every answer of the console.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Everything comes from the service itself; nothing inline, no frames, no plug-ins, no other base address. [`ConnectSources`]
/// are added to `connect-src`.
const POLICY: [&str; 2] = [
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
    "; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
];

/// The origins of other hosts to which the script of a page may connect. The handler of the page adds them to its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectSources(pub(super) Vec<String>);

impl ConnectSources {
    /// Returns the content security policy. A source that is not an origin with TLS is left out.
    fn policy(&self) -> HeaderValue {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '[' | ']');
        let is_origin = |text: &&String| text.strip_prefix("https://").is_some_and(|host| host.chars().all(is_plain));
        let [mut policy, rest] = POLICY.map(str::to_owned);
        for source in self.0.iter().filter(is_origin) {
            policy.push(' ');
            policy.push_str(source);
        }
        HeaderValue::from_str(&(policy + &rest)).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
    }
}

/// Adds the headers to an answer. `sources` are those that its page needs.
pub(super) fn add(headers: &mut HeaderMap, sources: &ConnectSources) {
    headers.insert(header::CONTENT_SECURITY_POLICY, sources.policy());
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends there")]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_added_to_the_policy() {
        let policy = |sources: &[&str]| {
            let sources = ConnectSources(sources.iter().map(|source| (*source).to_owned()).collect());
            sources.policy().to_str().unwrap().to_owned()
        };
        let own = policy(&[]);
        assert!(own.contains("; connect-src 'self'; img-src"), "{own}");
        let added = policy(&["https://login.example", "https://graph.example:8443"]);
        assert!(
            added.contains("; connect-src 'self' https://login.example https://graph.example:8443; img"),
            "{added}"
        );
        for source in ["http://login.example", "https://a.example; script-src *", "https://*", "https://a.example/x"] {
            assert_eq!(policy(&[source]), own);
        }
    }
}
