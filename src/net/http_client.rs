//! HTTP client that follows no redirects and never uses a proxy for this machine.
//!
//! [`HttpClient`] has one pool of connections for loopback addresses and one for all others. `HTTP_PROXY`, `HTTPS_PROXY`,
//! `ALL_PROXY` and `NO_PROXY` apply to other machines only: otherwise a bearer token for a service on this machine would be sent
//! to the proxy unencrypted. A loopback name is not looked up in DNS, so that no name server can redirect such a request.
//!
//! Callers decide which addresses may be requested, and set time limits. A client whose TLS cannot be prepared fails at the request
//! that needs it, before anything is sent; the next request tries again.

use std::{
    error::Error as _,
    sync::{Arc, OnceLock},
};

use reqwest::{
    ClientBuilder, Method, RequestBuilder, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

use crate::{
    model::host::is_loopback,
    net::{handshake_fault::HandshakeFault, resolve::loopback},
    text::is_hidden,
};

/// Maximum length of an error in a message.
const ERROR_SHOWN: usize = 300;

/// Applies the caller's settings: time limits, certificate authorities, pools.
type Configure = dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync;

/// An HTTP client. Clones share their connections.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    configure: Box<Configure>,
    /// Created on first use: preparing TLS takes longer than most requests.
    loopback: OnceLock<reqwest::Client>,
    remote: OnceLock<reqwest::Client>,
}

impl HttpClient {
    /// Creates a client. `configure` is called at the first request for a loopback address and at the first one for another; again
    /// if that failed, and by requests that run at the same time as the first one.
    pub fn new(configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { configure: Box::new(configure), loopback: OnceLock::new(), remote: OnceLock::new() }))
    }

    /// Starts a request. Fails if TLS cannot be prepared.
    pub fn request(&self, method: Method, url: Url) -> reqwest::Result<RequestBuilder> {
        Ok(self.for_host(is_loopback_url(&url))?.request(method, url))
    }

    /// Prepares the connection pool for an address, so that a failure is reported before anything is sent.
    pub fn prepare(&self, url: &Url) -> reqwest::Result<()> {
        self.for_host(is_loopback_url(url)).map(drop)
    }

    fn for_host(&self, is_loopback: bool) -> reqwest::Result<&reqwest::Client> {
        let slot = if is_loopback { &self.0.loopback } else { &self.0.remote };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let mut builder = (self.0.configure)(reqwest::Client::builder())
            .user_agent(concat!("mailwright/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none());
        if is_loopback {
            builder = builder.no_proxy().dns_resolver(Loopback);
        }
        let client = builder.build()?;
        Ok(slot.get_or_init(|| client))
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// Returns true if the address can only be this machine. `Url` has brought odd spellings such as `0x7f.1` into the usual
/// form before.
pub fn is_loopback_url(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

/// Describes a failed request on one line: a fault of TLS by its name, otherwise the innermost cause. The address is left
/// out, because its path or query may hold a secret.
pub fn describe_error(error: &reqwest::Error) -> String {
    if let Some(fault) = HandshakeFault::find(error) {
        return fault.to_string();
    }
    let mut innermost = None;
    let mut next = error.source();
    while let Some(cause) = next {
        innermost = Some(cause);
        next = cause.source();
    }
    match innermost {
        Some(cause) => cause.to_string().chars().filter(|c| !is_hidden(*c)).take(ERROR_SHOWN).collect(),
        None if error.is_timeout() => "no answer in time".to_owned(),
        None if error.is_connect() => "the connection failed".to_owned(),
        None => "the request failed".to_owned(),
    }
}

/// Resolves every name to this machine. Used only for loopback names.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(loopback(0).into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses an address as a client does, and returns true if it is this machine's.
    fn is_here(url: &str) -> bool {
        is_loopback_url(&Url::parse(url).unwrap())
    }

    #[test]
    fn every_spelling_of_this_machine_is_loopback() {
        for url in [
            "http://127.0.0.1:8470/",
            "http://127.1/",
            "http://127.255.3.4/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://2130706433/",
            "http://[::1]:8470/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "https://localhost:8470/",
            "https://LOCALHOST./",
            "https://mail.localhost/",
            "https://a.b.LocalHost./",
            "http://１２７.０.０.１/",
        ] {
            assert!(is_here(url), "{url}");
        }
    }

    #[test]
    fn what_merely_looks_like_this_machine_is_not() {
        for url in [
            "http://localhost.example.com/",
            "http://notlocalhost/",
            "http://mylocalhost./",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1.nip.io/",
            "http://example.com/127.0.0.1",
            "http://127.0.0.1@example.com/",
            "http://example.com\\@127.0.0.1/",
            "http://[::ffff:128.0.0.1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://128.0.0.1/",
            "http://10.0.0.1/",
            "http://localhost.localdomain/",
        ] {
            assert!(!is_here(url), "{url}");
        }
    }
}
