//! Syntax of host names and IP addresses in settings, and the test for names and addresses of this machine.
//!
//! [`is_loopback`] goes by the text alone; nothing here looks a name up in DNS.

use std::net::IpAddr;

/// Returns true for a host name (RFC 1123) or an IP address.
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
/// connected to without a lookup: see [`crate::net::http_client`].
pub fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let top = name.rsplit_once('.').map_or(name, |(_, top)| top);
    top.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in ["mail.example.com", "localhost", "10.0.0.1", "::1", "a_b.example", "x"] {
            assert!(is_host(host), "{host}");
        }
        for other in
            ["", "-a.example", "a-.example", "a b", "https://a.example", "a.example:25", "a..b", &"a".repeat(64)]
        {
            assert!(!is_host(other), "{other}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in
            ["localhost", "LOCALHOST.", "db.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for other in ["localhost.example.com", "notlocalhost", "10.0.0.1", "0.0.0.0", "::", "example.com"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
