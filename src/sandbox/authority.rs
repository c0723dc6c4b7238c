//! The sandbox's own certificate authority. It is created at each start, and its key is never written.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate authority and a server's certificate that it signed.
pub(super) struct Authority {
    /// The authority's certificate, which clients of the sandbox must trust.
    pub(super) pem: String,
    /// The configuration of servers.
    pub(super) tls: rustls::ServerConfig,
}

impl Authority {
    /// Creates an authority, and a certificate of a server with these names.
    pub(super) fn new(hosts: &[String]) -> Result<Self, String> {
        let failed = |error: rcgen::Error| format!("cannot create a certificate: {error}");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.distinguished_name.push(DnType::CommonName, "Mailwright sandbox");
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = authority.self_signed(&key).map_err(failed)?;
        let issuer = Issuer::new(authority, key);

        let mut server = CertificateParams::new(hosts.to_vec()).map_err(failed)?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate().map_err(failed)?;
        let signed = server.signed_by(&server_key, &issuer).map_err(failed)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![signed.der().clone(), certificate.der().clone()], private)
            })
            .map_err(|error| format!("cannot use the certificate: {error}"))?;
        Ok(Self { pem: certificate.pem(), tls })
    }
}
