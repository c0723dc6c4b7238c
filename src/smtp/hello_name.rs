//! The name by which this machine greets mail servers.
//!
//! [`HelloName`] is parsed from an option or derived from the machine. A machine whose name has no domain greets with the address
//! of each connection instead. It does not look names up in DNS.

use std::{fmt, net::IpAddr, str::FromStr};

/// The argument of EHLO and HELO: a host name, or the address of the connection as a literal (RFC 5321, section 4.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelloName(Option<String>);

impl HelloName {
    /// Creates the name from the full name of this machine; without one, the address of each connection is used.
    pub fn from_machine() -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname")).unwrap_or_default();
        let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
        // Servers refuse a name without a domain (Postfix: reject_non_fqdn_helo_hostname).
        let is_full = name.contains('.') && is_host_name(&name) && !name.starts_with("localhost.");
        Self(is_full.then_some(name))
    }

    /// Returns the argument for a connection from a local address.
    pub(crate) fn for_connection(&self, local: Option<IpAddr>) -> String {
        if let Some(name) = &self.0 {
            return name.clone();
        }
        match local.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => format!("[{address}]"),
            Some(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
            None => "[127.0.0.1]".to_owned(),
        }
    }
}

impl fmt::Display for HelloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("the address of the connection"))
    }
}

impl FromStr for HelloName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_literal =
            text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|inner| {
                match inner.strip_prefix("IPv6:") {
                    Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                    None => inner.parse::<std::net::Ipv4Addr>().is_ok(),
                }
            });
        if is_literal || is_host_name(text) {
            return Ok(Self(Some(text.to_owned())));
        }
        Err("it is neither a host name such as mail.example.com nor an address such as [192.0.2.1]".to_owned())
    }
}

/// Returns true for letters, digits and hyphens in labels of 1 to 63, with at least one letter.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label) && text.bytes().any(|b| b.is_ascii_alphabetic())
}
