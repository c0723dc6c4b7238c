//! Client assertions: a JWT that an application signs with the key of its certificate (RFC 7523).
//!
//! [`Certificate`] holds the certificate and key of a PEM file and signs with the key, which never leaves it. `verify` takes its
//! SHA-1 and its expiry from it. A file without a usable RSA key, or a key that fails to sign, is a [`CertificateError`]; an
//! expired certificate signs nevertheless, and Entra refuses it.
//!
//! Source: Microsoft's page "Certificate credentials": PS256, `x5t#S256`, the token endpoint as audience.

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use crate::credential::CertificateError;
use crate::credential::CertificateWithKey;

/// A certificate with its private key, as a PEM file holds them.
#[derive(Debug)]
pub struct Certificate(CertificateWithKey);

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
        CertificateWithKey::parse(pem.expose_secret()).map(Self)
    }

    /// Returns the SHA-256 of the certificate, in the form of `x5t#S256`.
    pub fn thumbprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&self.0.der))
    }

    /// Returns the SHA-1 of the certificate, by which Graph identifies registered certificates (`customKeyIdentifier`).
    pub fn sha1_thumbprint(&self) -> Vec<u8> {
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.0.der).as_ref().to_vec()
    }

    /// Returns when the certificate expires; none if it cannot be read.
    pub fn not_after(&self) -> Option<Timestamp> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&self.0.der).ok()?;
        Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    }

    /// Returns when the certificate becomes valid; none if it cannot be read.
    pub fn not_before(&self) -> Option<Timestamp> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&self.0.der).ok()?;
        Timestamp::from_second(certificate.validity().not_before.timestamp()).ok()
    }

    /// Returns an assertion for a token endpoint, valid for ten minutes.
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
        let key = EncodingKey::from_rsa_pem(self.0.key.expose_secret().as_bytes());
        jsonwebtoken::encode(&header, &claims, &key.map_err(|_| CertificateError::NotSigned)?)
            .map(SecretString::from)
            .map_err(|_| CertificateError::NotSigned)
    }
}
