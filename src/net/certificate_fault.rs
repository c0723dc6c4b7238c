//! [`CertificateFault`]: the fault of a server's certificate, and its description.
//!
//! Texts from a certificate are printable and bounded. A certificate that cannot be read, and an error without a kind of its own, are
//! faults as well. Nothing here decides about trust; the remedies are in [`super::handshake_fault`].

use std::{error::Error, fmt, sync::Arc};

use jiff::Timestamp;
use rustls::{CertificateError, Error as TlsError, OtherError};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, public_key::PublicKey, x509::X509Version};

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
    /// Its RSA key, or that of its issuer, has a size that is not accepted.
    KeySize {
        /// The size in bits.
        bits: usize,
        /// True for the key of the issuer.
        is_issuer: bool,
    },
    /// An authority in its chain may not issue a certificate for these names.
    NameConstraint,
    /// A certificate in its chain that is not one of an authority issued another one.
    IssuerNotAuthority,
    /// It has a critical extension that is not supported.
    CriticalExtension,
    /// Its chain is too long or too complex.
    Chain,
    /// It is not known whether it was revoked.
    RevocationUnknown,
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
            CertificateError::BadSignature => {
                match issuer_key_size(certificate).filter(|bits| !is_accepted_size(*bits)) {
                    Some(bits) => Self::KeySize { bits, is_issuer: true },
                    None => Self::Other {
                        why: "an authority with the name of its issuer is trusted here, and did not sign it".to_owned(),
                    },
                }
            }
            _ if certificate.is_ca() && certificate.issuer() == certificate.subject() => Self::SelfSigned,
            _ if certificate.is_ca() => Self::Authority,
            CertificateError::Other(OtherError(inner)) if !matches!(Self::named(inner), Self::Other { .. }) => {
                Self::named(inner)
            }
            _ if algorithm(certificate).contains("SHA-1") => Self::WeakSignature { algorithm: algorithm(certificate) },
            other => Self::unseen(other),
        }
    }

    /// Returns the fault that an error states, without the certificate.
    pub(super) fn unseen(error: &CertificateError) -> Self {
        match error {
            CertificateError::Other(OtherError(inner)) => Self::named(inner),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired { until: None },
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid { from: None }
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::BadEncoding => Self::Malformed,
            CertificateError::UnhandledCriticalExtension => Self::CriticalExtension,
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. }
            | CertificateError::InvalidOcspResponse => Self::RevocationUnknown,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::Purpose,
            CertificateError::BadSignature => Self::other("a signature does not match its key"),
            CertificateError::UnknownIssuer => Self::other("no authority that is trusted here issued it"),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::other("it is for other names")
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Self::other("its signature algorithm is not supported")
            }
            CertificateError::ApplicationVerificationFailure => Self::other("this machine's policy refuses it"),
            other => Self::Other { why: spaced(&format!("{other:?}")) },
        }
    }

    fn other(why: &str) -> Self {
        Self::Other { why: why.to_owned() }
    }

    /// Returns the fault that an error of the certificate library or of the platform has by its name: the library's errors
    /// are not part of the interface of rustls.
    fn named(error: &Arc<dyn Error + Send + Sync>) -> Self {
        if let Some(fault) = error.downcast_ref::<Self>() {
            return fault.clone();
        }
        let name = format!("{error:?}");
        match name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default() {
            "NameConstraintViolation" => Self::NameConstraint,
            "EkuError" | "EmptyEkuExtension" => Self::Purpose,
            "CaUsedAsEndEntity" => Self::Authority,
            "EndEntityUsedAsCa" => Self::IssuerNotAuthority,
            "UnsupportedCriticalExtension" => Self::CriticalExtension,
            "MaximumNameConstraintComparisonsExceeded"
            | "MaximumPathBuildCallsExceeded"
            | "MaximumPathDepthExceeded"
            | "MaximumSignatureChecksExceeded"
            | "PathLenConstraintViolated" => Self::Chain,
            "UnsupportedCertVersion" => {
                Self::other("a certificate in its chain is of X.509 version 1 or 2; version 3 is needed")
            }
            "SignatureAlgorithmMismatch" => Self::other("it names two different signature algorithms"),
            "CertDistrusted" => Self::other("an authority in its chain is not trusted any more"),
            "ExtensionValueInvalid"
            | "InvalidNetworkMaskConstraint"
            | "InvalidSerialNumber"
            | "MalformedDnsIdentifier"
            | "MalformedExtensions"
            | "MalformedNameConstraint"
            | "UnsupportedNameType" => Self::Malformed,
            // The platform's own words.
            "Error" | "General" | "Os" | "" => Self::Other { why: shown(&error.to_string()) },
            _ => Self::Other { why: spaced(&name) },
        }
    }

    /// Returns the fault of a certificate whose key did not make a valid signature in the handshake.
    pub(super) fn of_handshake_signature(certificate: &X509Certificate<'_>) -> Self {
        match key_size(certificate).filter(|bits| !is_accepted_size(*bits)) {
            Some(bits) => Self::KeySize { bits, is_issuer: false },
            None => Self::other("the server does not have its private key"),
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
            Self::KeySize { bits, is_issuer } => {
                let whose = if *is_issuer { "is signed with" } else { "has" };
                write!(f, "the server's certificate {whose} an RSA key of {bits} bits; 2048 to 8192 bits are accepted")
            }
            Self::NameConstraint => f.write_str(
                "an authority of the server's certificate may not issue certificates for all its names (name constraints)",
            ),
            Self::IssuerNotAuthority => f.write_str(
                "the server's certificate was issued by a certificate that is not one of an authority (CA:FALSE)",
            ),
            Self::CriticalExtension => f.write_str(
                "the server's certificate, or one of its chain, has a critical extension that this program does not support",
            ),
            Self::Chain => f.write_str(
                "the chain of the server's certificate is longer than its authorities permit, or too complex",
            ),
            Self::RevocationUnknown => {
                f.write_str("it is not known whether the server's certificate was revoked")
            }
            Self::Purpose => f.write_str("the server's certificate is not for servers (extended key usage)"),
            Self::Revoked => f.write_str("the server's certificate was revoked"),
            Self::Malformed => f.write_str("the server's certificate cannot be read"),
            Self::NoAuthorities => f.write_str("this machine has no list of trusted authorities"),
            Self::Other { why } => write!(f, "the server's certificate is not accepted: {why}"),
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

/// Returns the size of a certificate's RSA key in bits; none for a key of another kind.
fn key_size(certificate: &X509Certificate<'_>) -> Option<usize> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else { return None };
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    Some((key.modulus.len() - zeros) * 8)
}

/// Returns the size of the RSA key that signed a certificate, which is that of the signature; none for a key of another kind.
fn issuer_key_size(certificate: &X509Certificate<'_>) -> Option<usize> {
    let oid = certificate.signature_algorithm.algorithm.to_id_string();
    // PKCS #1 (RFC 8017).
    oid.starts_with("1.2.840.113549.1.1.").then(|| certificate.signature_value.data.len() * 8)
}

/// Returns true for the sizes of RSA keys that signatures are verified with.
fn is_accepted_size(bits: usize) -> bool {
    (2048..=8192).contains(&bits)
}

/// Returns a text from a certificate, printable and of bounded length.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).take(TEXT_SHOWN).collect()
}

/// Splits a name in camel case into words: `UnknownIssuer` becomes `unknown issuer`.
pub(super) fn spaced(name: &str) -> String {
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
