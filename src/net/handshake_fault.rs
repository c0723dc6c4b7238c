//! [`HandshakeFault`]: which side ended a TLS handshake and why, with a remedy.
//!
//! A fault of a certificate is a [`CertificateFault`]. An error of the TLS library without a kind of its own is quoted. Nothing here
//! decides about trust.

use std::{error::Error, fmt};

use rustls::{AlertDescription, Error as TlsError};

use super::certificate_fault::{CertificateFault, shown, spaced};
use crate::text::shell::quote_posix;

/// The reason of a failed TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The certificate is not accepted.
    Certificate(CertificateFault),
    /// The server has neither TLS 1.2 nor 1.3.
    Version,
    /// Client and server have no cipher, key exchange or signature algorithm in common.
    Cipher,
    /// The server does not speak TLS.
    NotTls,
    /// The server requires a client certificate.
    ClientCertificate,
    /// The server ended the handshake.
    Alert {
        /// The alert in words.
        alert: String,
        /// True if another attempt would fail in the same way.
        is_lasting: bool,
    },
    /// Another reason.
    Other {
        /// The reason.
        why: String,
    },
}

impl HandshakeFault {
    /// Classifies a TLS error.
    pub fn new(error: &TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(error) => Self::Certificate(CertificateFault::unseen(error)),
            TlsError::NoCertificatesPresented => {
                Self::Certificate(CertificateFault::Other { why: "the server sends none".to_owned() })
            }
            TlsError::AlertReceived(AlertDescription::ProtocolVersion)
            | TlsError::PeerIncompatible(
                rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13
                | rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::Version,
            TlsError::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
            | TlsError::PeerIncompatible(_)
            | TlsError::PeerMisbehaved(rustls::PeerMisbehaved::SelectedUnofferedCipherSuite) => Self::Cipher,
            TlsError::AlertReceived(AlertDescription::CertificateRequired) => Self::ClientCertificate,
            TlsError::AlertReceived(alert) => Self::Alert {
                alert: spaced(&format!("{alert:?}")),
                is_lasting: !matches!(alert, AlertDescription::InternalError | AlertDescription::UserCanceled),
            },
            TlsError::InvalidMessage(_)
            | TlsError::InappropriateMessage { .. }
            | TlsError::InappropriateHandshakeMessage { .. }
            | TlsError::PeerSentOversizedRecord => Self::NotTls,
            TlsError::PeerMisbehaved(why) => Self::Other {
                why: format!("the server does not keep to the protocol: {}", spaced(&format!("{why:?}"))),
            },
            other => Self::Other { why: shown(&other.to_string()) },
        }
    }

    /// Finds a TLS error in an error and its causes.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref::<TlsError>() {
                return Some(Self::new(found));
            }
            if let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
                && let Some(found) = Self::find(inner)
            {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }

    /// Returns true if another try would fail in the same way until an administrator changes something.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Alert { is_lasting, .. } => *is_lasting,
            Self::Other { .. } => false,
            _ => true,
        }
    }

    /// Returns the remedies. `probe` is an `openssl s_client` command, without redirections, that shows the server's side.
    pub fn remedy(&self, host: &str, probe: &str) -> Vec<String> {
        let host = host.trim_matches(['[', ']']);
        let pin = format!(
            "If this is the intended server: {probe} </dev/null | openssl x509 -outform PEM > server.pem, compare its fingerprint with the server's administrator (openssl x509 -in server.pem -noout -fingerprint -sha256), then give it with --outgoing-ca-file server.pem."
        );
        let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        let make = format!(
            "Or create a valid self-signed one: openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 730 -keyout server.key -out server.pem -subj {} -addext {}; give server.pem with --outgoing-ca-file.",
            quote_posix(&format!("/CN={host}")),
            quote_posix(&format!("subjectAltName={kind}:{host}"))
        );
        let see = format!("{probe} </dev/null");
        match self {
            Self::Certificate(fault) => match fault {
                CertificateFault::Expired { .. } => vec!["Have the server's administrator renew it.".to_owned(), see],
                CertificateFault::NotYetValid { .. } => vec![see, "timedatectl status".to_owned()],
                CertificateFault::Name { .. } => vec![
                    "Write `host` as one of these names if this is the intended server; otherwise have the certificate replaced.".to_owned(),
                    see,
                ],
                CertificateFault::UnknownIssuer { .. } => vec![
                    "The server must send its intermediate certificates.".to_owned(),
                    "For a private authority: `--outgoing-ca-file FILE`, for `mailwright serve` or with `--local`.".to_owned(),
                    see,
                ],
                CertificateFault::SelfSigned | CertificateFault::Authority => vec![pin, make],
                CertificateFault::NoName { .. }
                | CertificateFault::Version { .. }
                | CertificateFault::WeakSignature { .. }
                | CertificateFault::KeySize { is_issuer: false, .. }
                | CertificateFault::Purpose => vec!["Have the server's administrator replace the certificate.".to_owned(), make],
                CertificateFault::KeySize { is_issuer: true, .. }
                | CertificateFault::NameConstraint
                | CertificateFault::IssuerNotAuthority
                | CertificateFault::Chain => vec![
                    "Have the server's administrator get a certificate from an authority that may issue it.".to_owned(),
                    pin,
                ],
                CertificateFault::CriticalExtension => vec![
                    "Have the server's administrator get a certificate without this extension.".to_owned(),
                    format!("{probe} </dev/null | openssl x509 -noout -text"),
                ],
                CertificateFault::RevocationUnknown => vec![
                    "Check whether this machine reaches the authority's revocation service (OCSP, CRL).".to_owned(),
                    format!("{probe} -status </dev/null"),
                ],
                CertificateFault::NoAuthorities => vec![
                    "Install the system's certificates (the package ca-certificates), or pass `--outgoing-ca-file FILE`.".to_owned(),
                ],
                CertificateFault::Revoked | CertificateFault::Malformed | CertificateFault::Other { .. } => {
                    vec!["Have the server's administrator replace the certificate.".to_owned(), see]
                }
            },
            Self::Version => vec!["Have the server's administrator enable TLS 1.2 or 1.3.".to_owned(), see],
            Self::Cipher => vec![
                "Have the server's administrator enable ECDHE with AES-GCM or ChaCha20-Poly1305, and a key of RSA 2048 or more, P-256 or Ed25519.".to_owned(),
                format!("{probe} -tls1_2 -cipher ECDHE+AESGCM </dev/null"),
            ],
            Self::NotTls => vec!["`tls` is for port 465, `starttls` for 587: check both.".to_owned(), see],
            Self::ClientCertificate => vec![
                "Client certificates are not supported: have the server's administrator accept a password or a token.".to_owned(),
            ],
            Self::Alert { .. } | Self::Other { .. } => vec![see],
        }
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(fault) => fault.fmt(f),
            Self::Version => f.write_str("the server offers only insecure versions of TLS"),
            Self::Cipher => f.write_str("the server and this program have no cipher in common"),
            Self::NotTls => f.write_str("the server does not speak TLS"),
            Self::ClientCertificate => f.write_str("the server requires a client certificate"),
            Self::Alert { alert, .. } => write!(f, "the server ended the TLS handshake with the alert `{alert}`"),
            Self::Other { why } => write!(f, "TLS failed: {why}"),
        }
    }
}
