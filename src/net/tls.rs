//! TLS trust of outgoing connections, and explanations of failed handshakes.
//!
//! [`Trust`] combines the platform's certificate authorities with the certificates of `--outgoing-ca-file`: further authorities,
//! and server certificates, which are pinned. A pinned certificate is trusted for the names in it until it expires, regardless of
//! its issuer. [`HandshakeFault`] describes a failed handshake. SMTP and HTTP use both.
//!
//! Nothing here connects. No certificate is accepted for another name or after its end.

use std::{
    error::Error,
    fmt,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, x509::X509Version};

use crate::text::{is_hidden, try_decode};

/// Maximum number of names of a certificate in a message.
const NAMES_SHOWN: usize = 10;
/// Maximum length of a text from a certificate in a message.
const TEXT_SHOWN: usize = 120;

/// The trusted certificates. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<ServerVerifier>,
}

impl Trust {
    /// Combines the platform's authorities with the certificates of a PEM file. Fails if the file has no certificate, or one that
    /// cannot be parsed.
    pub fn new(certificates: Option<&[u8]>) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut given = Vec::new();
        let bytes = certificates.unwrap_or_default();
        // Comments between certificates may be in any encoding.
        let text = try_decode(bytes).unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned());
        for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let certificate = certificate
                .map_err(|_| format!("the certificate authorities are not in PEM form (certificate {})", index + 1))?;
            x509_parser::parse_x509_certificate(&certificate)
                .map_err(|_| format!("certificate {} of the certificate authorities cannot be read", index + 1))?;
            given.push(certificate);
        }
        if certificates.is_some() && given.is_empty() {
            // DER begins with a sequence.
            let is_der = bytes.first() == Some(&0x30);
            let why = if is_der { " in PEM form; `openssl x509 -inform DER` converts it" } else { "" };
            return Err(format!("the file of certificate authorities holds no certificate{why}"));
        }
        let verifier = ServerVerifier { platform: OnceLock::new(), given, provider: Arc::clone(&provider) };
        Ok(Self { provider, verifier: Arc::new(verifier) })
    }

    /// Returns the settings for TLS 1.2 and 1.3 with this trust.
    pub fn client_config(&self) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?;
        let verifier = Arc::clone(&self.verifier);
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// Returns true unless a certificate says of itself that it issues no others: a server's own certificate in the file
/// must not become an authority for every name.
fn may_issue(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    // Version 1 has no extensions; old authorities are of that version.
    parsed.version() != X509Version::V3 || parsed.is_ca()
}

/// Verifies certificates of servers: a pinned one as it is, others as the platform does.
#[derive(Debug)]
struct ServerVerifier {
    /// Read when a server is first met: that takes longer than most of what is done without one. None where the platform
    /// has no authorities; pinned certificates are of use all the same.
    platform: OnceLock<Option<rustls_platform_verifier::Verifier>>,
    /// The certificates of the file: authorities, and servers' own certificates.
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    fn platform(&self) -> Option<&rustls_platform_verifier::Verifier> {
        let read = || {
            let authorities = self.given.iter().filter(|certificate| may_issue(certificate)).cloned();
            let provider = Arc::clone(&self.provider);
            rustls_platform_verifier::Verifier::new_with_extra_roots(authorities, provider).ok()
        };
        self.platform.get_or_init(read).as_ref()
    }

    fn verify_pinned(
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, CertificateFault> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| CertificateFault::Malformed)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = parsed.validity();
        if now < validity.not_before.timestamp() {
            return Err(CertificateFault::NotYetValid { from: at(validity.not_before.timestamp()) });
        }
        if now > validity.not_after.timestamp() {
            return Err(CertificateFault::Expired { until: at(validity.not_after.timestamp()) });
        }
        let has_name = ParsedCertificate::try_from(certificate).and_then(|own| verify_server_name(&own, name));
        match has_name {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(TlsError::InvalidCertificate(error)) => Err(CertificateFault::new(&error, &parsed)),
            Err(_) => Err(CertificateFault::Malformed),
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if self.given.iter().any(|own| own == end_entity) {
            return Self::verify_pinned(end_entity, server_name, now).map_err(CertificateFault::into_error);
        }
        let Some(platform) = self.platform() else { return Err(CertificateFault::NoAuthorities.into_error()) };
        let verified = platform.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            TlsError::InvalidCertificate(error) => {
                let parsed = x509_parser::parse_x509_certificate(end_entity);
                let fault =
                    parsed.map_or(CertificateFault::Malformed, |(_, parsed)| CertificateFault::new(&error, &parsed));
                fault.into_error()
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

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
    fn new(error: &CertificateError, certificate: &X509Certificate<'_>) -> Self {
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

    fn into_error(self) -> TlsError {
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
            Self::Other { why } => write!(f, "the TLS handshake failed: {why}"),
        }
    }
}

fn at(seconds: i64) -> Option<Timestamp> {
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
