//! Errors of requests without a usable reply, and the remedy for faults of TLS.
//!
//! [`HttpError`] names the host and the fault. Its texts contain nothing that was sent and nothing of the reply's body.

use super::REPLY_LIMIT;
use crate::net::{certificate_fault::CertificateFault, handshake_fault::HandshakeFault};

/// An error without a usable reply. Texts contain nothing that was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The name does not resolve.
    #[error("the name `{host}` does not resolve")]
    Name {
        /// The host.
        host: String,
    },
    /// The connection failed, or a proxy refused the request.
    #[error("`{host}` cannot be reached: {why}")]
    Unreachable {
        /// The host.
        host: String,
        /// The error of the connection.
        why: String,
    },
    /// TLS failed.
    #[error("no secure connection to `{host}`: {fault}")]
    Tls {
        /// The host.
        host: String,
        /// The fault.
        fault: HandshakeFault,
    },
    /// TLS failed after the request was sent, or a part of it: the host may have read it.
    #[error("the secure connection to `{host}` broke after the request: {fault}")]
    TlsBroken {
        /// The host.
        host: String,
        /// The fault.
        fault: HandshakeFault,
    },
    /// The deadline passed.
    #[error("`{host}` did not answer within {seconds} s")]
    Timeout {
        /// The host.
        host: String,
        /// The deadline.
        seconds: u64,
    },
    /// The reply is incomplete.
    #[error("the reply of `{host}` is incomplete")]
    Broken {
        /// The host.
        host: String,
    },
    /// The reply exceeds the size limit.
    #[error("the reply of `{host}` is larger than {} MiB", REPLY_LIMIT / 1024 / 1024)]
    Huge {
        /// The host.
        host: String,
    },
    /// The reply is a redirect.
    #[error("`{host}` redirects to `{to}`; redirects are not followed")]
    Redirect {
        /// The host.
        host: String,
        /// The host of the redirect.
        to: String,
    },
    /// The reply is not JSON.
    #[error("`{host}` answered HTTP {status} with {what}")]
    NotJson {
        /// The host.
        host: String,
        /// The status.
        status: u16,
        /// The description of the body.
        what: String,
    },
    /// The host stayed busy for longer than the caller allows.
    #[error("{}", describe_busy(host, *status, *asked, *tries))]
    Busy {
        /// The host.
        host: String,
        /// The status: 429 means throttling, any other a failure of the host.
        status: u16,
        /// The number of seconds that the host asks to wait, if that is too long.
        asked: Option<u64>,
        /// The number of attempts.
        tries: u32,
    },
}

fn describe_busy(host: &str, status: u16, asked: Option<u64>, tries: u32) -> String {
    let what = if status == 429 { "is throttling" } else { "is busy or not available" };
    let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
    match asked {
        Some(seconds) => format!("`{host}` {what} (HTTP {status}), and asks to wait {seconds} s"),
        None => format!("`{host}` {what} (HTTP {status}); it was asked {times}"),
    }
}

/// Returns the remedy for a fault of TLS with a host of Microsoft. Microsoft's certificates are good: another program answers,
/// or this machine is at fault.
pub fn tls_remedy(fault: &HandshakeFault) -> &'static str {
    match fault {
        HandshakeFault::Certificate(CertificateFault::Expired { .. } | CertificateFault::NotYetValid { .. }) => {
            "Correct this machine's clock (timedatectl status), or renew the certificate of the proxy that answers."
        }
        HandshakeFault::Certificate(
            CertificateFault::UnknownIssuer { .. } | CertificateFault::SelfSigned | CertificateFault::Authority,
        ) => "Trust the proxy's certificate authority: `--outgoing-ca-file FILE`.",
        HandshakeFault::Certificate(CertificateFault::NoAuthorities) => {
            "Install the system's certificates (the package ca-certificates), or give `--outgoing-ca-file FILE`."
        }
        _ => "Check HTTPS_PROXY, NO_PROXY and the host: the peer is not Microsoft's server, or a proxy intercepts TLS.",
    }
}
