//! Parsers of argument values that several commands accept: durations such as `90d` (one hour to ten years), and addresses to
//! listen on.
//!
//! They are for `value_parser` and return an error for the user. A host name in an address is looked up, and an IPv4 address is
//! preferred; no port is opened here.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use crate::{cli::CliError, model::Code};

/// Parses a duration: `12h`, `90d`, `4w`; at most ten years.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, CliError> {
    let wrong = || CliError::coded(Code::Usage, "write a number and h, d or w, such as 90d; at most ten years");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 24 * 7,
        _ => return Err(wrong()),
    };
    let count: u64 = number.parse().map_err(|_| wrong())?;
    let hours = count.checked_mul(hours).filter(|hours| (1..=10 * 366 * 24).contains(hours)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(hours * 3600))
}

/// Parses `HOST:PORT`. The host is an address or a name of this machine.
pub(crate) fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|_| "write it as HOST:PORT: 127.0.0.1:8470, localhost:8470, [::1]:8470".to_owned())?
        .collect();
    // Of a name with addresses of both kinds, the IPv4 address works with more clients.
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
        .ok_or("the name has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        for (text, hours) in [("12h", 12), ("90d", 90 * 24), ("4w", 4 * 7 * 24)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(hours * 3600), "{text}");
        }
        for text in ["", "h", "12", "12m", "0h", "-1d", "99999999w", "18446744073709551615d", "4ww", "é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_listen_address_has_a_host_and_a_port() {
        assert_eq!(parse_listen_address("127.0.0.1:0").unwrap(), "127.0.0.1:0".parse().unwrap());
        assert_eq!(parse_listen_address("[::1]:8470").unwrap(), "[::1]:8470".parse().unwrap());
        assert!(parse_listen_address("8470").is_err());
        assert!(parse_listen_address("127.0.0.1").is_err());
    }
}
