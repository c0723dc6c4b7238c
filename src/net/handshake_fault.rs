//! Explanations of failed TLS handshakes.
//!
//! [`HandshakeFault`] says which side ended a handshake and why, with a remedy; [`CertificateFault`] what is wrong with a
//! server's certificate. Texts from a certificate are printable and bounded. Nothing here decides about trust.

use std::{error::Error, fmt, sync::Arc};

use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, Error as TlsError, OtherError};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, x509::X509Version};

use crate::text::is_hidden;

/// Maximum number of names of a certificate in a message.
const NAMES_SHOWN: usize = 10;
/// Maximum length of a text from a certificate in a message.
const TEXT_SHOWN: usize = 120;

/// A fault of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// It has expired.
    Expired {
        /// Its end.
        until: Option<Timestamp>,
    },
    /// It is not valid yet.
    NotYetValid {
        /// Its beginning.
        from: Option<Timestamp>,
    },
    /// It is for other names.
    Name {
        /// The names in it.
        names: Vec<String>,
    },
    /// It has no subject alternative name; the common name is not used (RFC 9525).
    NoName {
        /// The common name.
        common_name: String,
    },
    /// No trusted authority issued it.
    UnknownIssuer {
        /// The issuer in the certificate.
        issuer: String,
    },
    /// It is self-signed and not trusted.
    SelfSigned,
    /// It is the certificate of an authority (CA:TRUE), not of a server.
    Authority,
    /// It has version 1 or 2, which have no subject alternative names.
    Version {
        /// The version.
        version: u32,
    },
    /// Its signature algorithm is insecure.
    WeakSignature {
        /// The algorithm.
        algorithm: String,
    },
    /// It is not for servers.
    Purpose,
    /// It was revoked.
    Revoked,
    /// It cannot be parsed.
    Malformed,
    /// This machine trusts no authority at all.
    NoAuthorities,
    /// Another reason.
    Other {
        /// The reason.
        why: String,
    },
}

impl CertificateFault {
    pub(super) fn new(error: &CertificateError, certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::Expired { until: at(validity.not_after.timestamp()) }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid { from: at(validity.not_before.timestamp()) }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let names = names(certificate);
                if names.is_empty() {
                    return Self::NoName { common_name: common_name(certificate) };
                }
                Self::Name { names }
            }
            // The version explains more than the unknown issuer.
            _ if certificate.version() != X509Version::V3 => Self::Version { version: certificate.version().0 + 1 },
            CertificateError::UnknownIssuer if certificate.issuer() == certificate.subject() => Self::SelfSigned,
            CertificateError::UnknownIssuer => Self::UnknownIssuer { issuer: shown(&certificate.issuer().to_string()) },
            CertificateError::Revoked => Self::Revoked,
            CertificateError::BadEncoding => Self::Malformed,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::Purpose,
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Self::WeakSignature { algorithm: algorithm(certificate) }
            }
            CertificateError::BadSignature => Self::Other {
                why: "an authority with the name of its issuer is trusted here, and did not sign it".to_owned(),
            },
            _ if certificate.is_ca() && certificate.issuer() == certificate.subject() => Self::SelfSigned,
            _ if certificate.is_ca() => Self::Authority,
            _ if algorithm(certificate).contains("SHA-1") => Self::WeakSignature { algorithm: algorithm(certificate) },
            other => Self::Other { why: spaced(&format!("{other:?}")) },
        }
    }

    pub(super) fn into_error(self) -> TlsError {
        TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

impl Error for CertificateFault {}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &Option<Timestamp>| at.map_or_else(|| "an unreadable time".to_owned(), |at| at.to_string());
        match self {
            Self::Expired { until } => write!(f, "the server's certificate has expired: valid until {}", time(until)),
            Self::NotYetValid { from } => write!(
                f,
                "the server's certificate is not valid yet, or this machine's clock is behind: valid from {}",
                time(from)
            ),
            Self::Name { names } => {
                write!(f, "the server's certificate is for other names: {}", names.join(", "))
            }
            Self::NoName { common_name } => write!(
                f,
                "the server's certificate has no subject alternative name, and its common name `{common_name}` counts no more"
            ),
            Self::UnknownIssuer { issuer } => {
                write!(f, "no authority that is trusted here issued the server's certificate; its issuer is `{issuer}`")
            }
            Self::SelfSigned => f.write_str("the server's certificate is signed by itself, and is not trusted here"),
            Self::Authority => {
                f.write_str("the server shows the certificate of an authority (CA:TRUE) instead of a server's")
            }
            Self::Version { version } => write!(
                f,
                "the server's certificate is of X.509 version {version}, which cannot name a server; version 3 is needed"
            ),
            Self::WeakSignature { algorithm } => {
                write!(f, "the server's certificate is signed with {algorithm}, which is not accepted; SHA-256 is")
            }
            Self::Purpose => f.write_str("the server's certificate is not for servers (extended key usage)"),
            Self::Revoked => f.write_str("the server's certificate was revoked"),
            Self::Malformed => f.write_str("the server's certificate cannot be read"),
            Self::NoAuthorities => f.write_str("this machine has no list of trusted authorities"),
            Self::Other { why } => write!(f, "the server's certificate is not accepted: {why}"),
        }
    }
}

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
            TlsError::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                match inner.downcast_ref::<CertificateFault>() {
                    Some(fault) => Self::Certificate(fault.clone()),
                    None => Self::Certificate(CertificateFault::Other { why: spaced(&format!("{inner:?}")) }),
                }
            }
            TlsError::InvalidCertificate(error) => {
                Self::Certificate(CertificateFault::Other { why: spaced(&format!("{error:?}")) })
            }
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
            TlsError::PeerMisbehaved(why) => Self::Other { why: spaced(&format!("{why:?}")) },
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
            "Or create a valid self-signed one: openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 730 -keyout server.key -out server.pem -subj /CN={host} -addext subjectAltName={kind}:{host}; give server.pem with --outgoing-ca-file."
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
                | CertificateFault::Purpose => vec!["Have the server's administrator replace the certificate.".to_owned(), make],
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

/// Returns the time of a certificate's field.
pub(super) fn at(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

/// Returns the server names in a certificate.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(address) => Some(std::net::Ipv4Addr::from(address).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|address| std::net::Ipv6Addr::from(address).to_string()),
        },
        _ => None,
    });
    names.take(NAMES_SHOWN).collect()
}

fn common_name(certificate: &X509Certificate<'_>) -> String {
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    shown(name.unwrap_or_default())
}

/// Returns the name of the signature algorithm of a certificate.
fn algorithm(certificate: &X509Certificate<'_>) -> String {
    let oid = certificate.signature_algorithm.algorithm.to_id_string();
    match oid.as_str() {
        "1.2.840.113549.1.1.4" => "MD5".to_owned(),
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" | "1.3.14.3.2.29" => "SHA-1".to_owned(),
        _ => format!("an algorithm that is not supported ({oid})"),
    }
}

/// Returns a text from a certificate, printable and of bounded length.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).take(TEXT_SHOWN).collect()
}

/// Splits a name in camel case into words: `UnknownIssuer` becomes `unknown issuer`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    let mut last = ' ';
    for c in name.chars().filter(|c| !c.is_control()).take(TEXT_SHOWN) {
        match c {
            'A'..='Z' => {
                if last.is_ascii_lowercase() || last.is_ascii_digit() {
                    words.push(' ');
                }
                words.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => words.push(c),
            _ if !words.ends_with(' ') => words.push(' '),
            _ => {}
        }
        last = c;
    }
    words.trim().to_owned()
}
