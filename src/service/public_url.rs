//! [`PublicUrl`]: the address of the service as people's browsers see it (`serve --public-url`).
//!
//! Behind a reverse proxy the service cannot know it: a `Host` header is what a client chooses. Passkeys and enrolment links need
//! it, and so does a sign-in that comes back from an identity provider.

use reqwest::Url;

use crate::passkey::RelyingParty;

/// An origin: `https://HOST[:PORT]`, or `http://localhost[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    site: Option<RelyingParty>,
}

impl PublicUrl {
    /// Parses an address. Returns the reason why it cannot be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|_| "it is not a web address".to_owned())?;
        let is_local = url.scheme() == "http" && url.domain() == Some("localhost");
        if url.scheme() != "https" && !is_local {
            return Err("it must begin with https://; http:// is possible for localhost only".to_owned());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("it must have no path: pages are at /console".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it must have no user name".to_owned());
        }
        let origin = url.origin().ascii_serialization();
        Ok(Self { site: RelyingParty::from_origin(&origin), origin })
    }

    /// Returns the origin, without a slash at its end.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the site of passkeys; none for an IP address, which browsers have no passkeys for.
    pub(super) fn site(&self) -> Option<&RelyingParty> {
        self.site.as_ref()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends there")]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_console_is_an_origin() {
        for (text, origin, has_passkeys) in [
            ("https://mail.example.com", "https://mail.example.com", true),
            ("https://MAIL.example.com:8443/", "https://mail.example.com:8443", true),
            ("http://localhost:8470", "http://localhost:8470", true),
            ("https://192.0.2.1", "https://192.0.2.1", false),
        ] {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!((url.origin(), url.site().is_some()), (origin, has_passkeys), "{text}");
        }
        for wrong in [
            "mail.example.com",
            "http://mail.example.com",
            "http://127.0.0.1:8470",
            "https://mail.example.com/console",
            "https://mail.example.com/?a",
            "https://ann@mail.example.com",
            "ftp://localhost",
            "",
        ] {
            assert!(PublicUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}
