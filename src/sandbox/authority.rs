//! The sandbox's own certificate authority, and the certificate of its servers.
//!
//! [`Authority::new`] creates it at each start, and does not write its key; or keeps it in a folder (`ca.pem`, `ca-key.pem`), so
//! that clients that trust it need not be started again. It is the only part of the sandbox that writes to disk.

use std::path::Path;

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
    /// Creates a certificate of a server with these names, and its authority, or takes the authority from a folder.
    pub(super) fn new(hosts: &[String], folder: Option<&Path>) -> Result<Self, String> {
        let failed = |error: rcgen::Error| format!("cannot create a certificate: {error}");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.distinguished_name.push(DnType::CommonName, "Mailwright sandbox");
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let kept = folder.map(|folder| Kept { folder });
        let stored = kept.as_ref().map(Kept::read).transpose()?.flatten();
        let key = match &stored {
            Some((key, _)) => KeyPair::from_pem(key).map_err(|error| format!("cannot read `ca-key.pem`: {error}"))?,
            None => KeyPair::generate().map_err(failed)?,
        };
        // The certificate of the same key and name: only its signature differs from the one that is kept.
        let certificate = authority.self_signed(&key).map_err(failed)?;
        let pem = match stored {
            Some((_, pem)) => pem,
            None => certificate.pem(),
        };
        if let Some(kept) = &kept {
            kept.write(&key.serialize_pem(), &pem)?;
        }
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
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![signed.der().clone()], private))
            .map_err(|error| format!("cannot use the certificate: {error}"))?;
        Ok(Self { pem, tls })
    }
}

/// The maximum size of a PEM file of the authority, in bytes.
const PEM_LIMIT: u64 = 64 * 1024;

/// A folder that keeps the authority.
struct Kept<'a> {
    folder: &'a Path,
}

impl Kept<'_> {
    /// Reads the key and the certificate. Returns none if the folder has neither.
    fn read(&self) -> Result<Option<(String, String)>, String> {
        let read = |name: &str| match crate::fs::read_ordinary(&self.folder.join(name), PEM_LIMIT) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read `{}`: {error}", self.folder.join(name).display())),
        };
        match (read("ca-key.pem")?, read("ca.pem")?) {
            (Some(key), Some(pem)) => Ok(Some((key, pem))),
            (None, None) => Ok(None),
            _ => Err(format!("`{}` has only one of `ca.pem` and `ca-key.pem`; remove it", self.folder.display())),
        }
    }

    /// Writes the key, readable by its owner only, and the certificate.
    fn write(&self, key: &str, pem: &str) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot write to `{}`: {error}", self.folder.display());
        std::fs::create_dir_all(self.folder).map_err(failed)?;
        crate::fs::write_private(&self.folder.join("ca-key.pem"), key.as_bytes()).map_err(failed)?;
        crate::fs::write_atomically(&self.folder.join("ca.pem"), pem.as_bytes()).map_err(failed)
    }
}
