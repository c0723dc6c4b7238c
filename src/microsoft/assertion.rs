//! Client assertions: a JWT that an application signs with the key of its certificate (RFC 7523).
//!
//! Source: Microsoft's page "Certificate credentials": PS256, `x5t#S256`, the token endpoint as audience.

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// A certificate with its private key, as a PEM file holds them.
#[derive(Debug)]
pub struct Certificate {
    pem: SecretString,
    der: Vec<u8>,
}

/// Why a certificate cannot sign. Never quotes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate in the PEM file.
    #[error("the file holds no certificate in PEM form")]
    NoCertificate,
    /// There is no private key, or one of another kind.
    #[error("the file holds no RSA private key in PEM form")]
    NoKey,
    /// The key is there, and does not sign.
    #[error("the private key cannot sign")]
    NotSigned,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    nbf: i64,
    iat: i64,
    exp: i64,
}

impl Certificate {
    /// Reads a PEM file.
    pub fn from_pem(pem: SecretString) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(pem.expose_secret().as_bytes())
            .map_err(|_| CertificateError::NoCertificate)?
            .to_vec();
        let certificate = Self { pem, der };
        certificate.key().map(|_| certificate)
    }

    fn key(&self) -> Result<EncodingKey, CertificateError> {
        // The crate takes a PEM file with one block.
        let pem = self.pem.expose_secret();
        let block = ["PRIVATE KEY", "RSA PRIVATE KEY"].into_iter().find_map(|label| {
            let start = pem.find(&format!("-----BEGIN {label}-----"))?;
            let end_line = format!("-----END {label}-----");
            let end = pem[start..].find(&end_line)? + start + end_line.len();
            Some(&pem[start..end])
        });
        let block = block.ok_or(CertificateError::NoKey)?;
        EncodingKey::from_rsa_pem(block.as_bytes()).map_err(|_| CertificateError::NoKey)
    }

    /// The certificate in DER form.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate, as `x5t#S256` writes it.
    pub fn thumbprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&self.der))
    }

    /// SHA-1 of the certificate, as Graph names registered ones.
    pub fn sha1_thumbprint(&self) -> Vec<u8> {
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref().to_vec()
    }

    /// Until when the certificate is good; none if it cannot be told.
    pub fn not_after(&self) -> Option<Timestamp> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&self.der).ok()?;
        Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    }

    /// An assertion for a token endpoint, good for ten minutes.
    pub(super) fn assertion(
        &self,
        client: &str,
        endpoint: &str,
        now: Timestamp,
        id: uuid::Uuid,
    ) -> Result<SecretString, CertificateError> {
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(self.thumbprint());
        let now = now.as_second();
        let claims =
            Claims { aud: endpoint, iss: client, sub: client, jti: id.to_string(), nbf: now, iat: now, exp: now + 600 };
        jsonwebtoken::encode(&header, &claims, &self.key()?)
            .map(SecretString::from)
            .map_err(|_| CertificateError::NotSigned)
    }
}
