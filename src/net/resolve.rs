//! Host lookup: [`resolve`] returns the addresses of a host and port.
//!
//! Loopback names (`localhost`, `mail.localhost`) get loopback addresses without a query, so that no name server can redirect
//! connections to them. For other names the error of the resolver is returned. Time limits are set by the caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::host::is_loopback;

/// Returns the addresses of a host.
pub async fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await.map(Iterator::collect::<Vec<SocketAddr>>);
    if !is_loopback(host) {
        return found;
    }
    let own: Vec<SocketAddr> =
        found.unwrap_or_default().into_iter().filter(|own| own.ip().to_canonical().is_loopback()).collect();
    Ok(if own.is_empty() { loopback(port).to_vec() } else { own })
}

/// Returns the loopback addresses with a port.
pub fn loopback(port: u16) -> [SocketAddr; 2] {
    [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)].map(|address| SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loopback_name_has_loopback_addresses_only() {
        for host in ["localhost", "LocalHost.", "mail.localhost", "no.such.name.localhost"] {
            let found = resolve(host, 25).await.unwrap();
            assert!(!found.is_empty() && found.iter().all(|own| own.ip().is_loopback() && own.port() == 25), "{host}");
        }
        assert_eq!(resolve("127.0.0.2", 25).await.unwrap(), ["127.0.0.2:25".parse().unwrap()]);
        assert_eq!(resolve("::1", 25).await.unwrap(), ["[::1]:25".parse().unwrap()]);
        assert_eq!(resolve("::ffff:127.0.0.1", 25).await.unwrap(), ["[::ffff:127.0.0.1]:25".parse().unwrap()]);
        assert!(resolve("localhost.invalid", 25).await.is_err());
    }
}
