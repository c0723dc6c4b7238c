//! TLS trust of outgoing connections.
//!
//! [`Trust`] combines the platform's certificate authorities with the certificates of `--outgoing-ca-file`: further authorities,
//! and server certificates, which are pinned. A pinned certificate is trusted for the names in it until it expires, regardless of
//! its issuer. [`HandshakeFault`](super::handshake_fault::HandshakeFault) describes a failed handshake. SMTP and HTTP use both.
//!
//! Where the platform has no authorities, only pinned certificates are accepted. A file without a readable certificate is an error.
//! Nothing here connects. No certificate is accepted for another name or after its end.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use x509_parser::x509::X509Version;

use super::certificate_fault::{CertificateFault, at};
use crate::text::try_decode;

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

/// Names the fault of a certificate whose key did not make a valid signature in the handshake.
fn explain_signature(error: TlsError, certificate: &CertificateDer<'_>) -> TlsError {
    if !matches!(error, TlsError::InvalidCertificate(CertificateError::BadSignature)) {
        return error;
    }
    x509_parser::parse_x509_certificate(certificate)
        .map_or(error, |(_, parsed)| CertificateFault::of_handshake_signature(&parsed).into_error())
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
            .map_err(|error| explain_signature(error, cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
            .map_err(|error| explain_signature(error, cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
