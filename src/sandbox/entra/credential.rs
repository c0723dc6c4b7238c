//! Credentials of an application: a secret, a certificate, a token of another issuer, or none.
//!
//! [`check_credential`] compares the credential of a request with the scenario. A wrong or expired one is refused with the error
//! code of Entra. It issues no token. The signature of a federated token is not checked, because that needs a network.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Fields, OAuthError};
use crate::sandbox::{
    Sandbox,
    entra::error::oauth_error,
    scenario::{Application, Tenant},
};

/// Returns the client id and the secret of the header `Authorization`.
pub(super) fn parse_basic(headers: &HeaderMap) -> Option<(String, Option<String>)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(base64::prelude::BASE64_STANDARD.decode(text).ok()?).ok()?;
    let (client, secret) = text.split_once(':')?;
    Some((client.to_owned(), Some(secret.to_owned())))
}

/// The kind of credential, as the claim `appidacr` has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PresentedCredential {
    None,
    Secret,
    Assertion,
}

/// Checks the credential of an application.
pub(super) fn check_credential(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    secret: Option<&str>,
    form: &Fields,
) -> Result<PresentedCredential, OAuthError> {
    if let Some(secret) = secret {
        let now = sandbox.now();
        let known = application.secrets.iter().find(|known| known.value == secret);
        return match known {
            Some(known) if known.expires.is_none_or(|expires| expires > now) => Ok(PresentedCredential::Secret),
            Some(_) => Err(oauth_error(
                401,
                "invalid_client",
                7_000_222,
                format!(
                    "The provided client secret keys for app '{}' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.",
                    application.client
                ),
            )),
            None => Err(oauth_error(
                401,
                "invalid_client",
                7_000_215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{}'.",
                    application.client
                ),
            )),
        };
    }
    let Some(assertion) = form.get("client_assertion") else { return Ok(PresentedCredential::None) };
    if form.get("client_assertion_type").map(String::as_str)
        != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    {
        return Err(oauth_error(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'client_assertion_type'.",
        ));
    }
    let header = jsonwebtoken::decode_header(assertion)
        .map_err(|_| oauth_error(401, "invalid_client", 50_027, "JWT token is invalid or malformed."))?;
    let certificate = application
        .certificates
        .iter()
        .filter_map(|known| CertificateDer::from_pem_slice(known.pem.as_bytes()).ok())
        .find(|der| {
            let sha256 = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(der.as_ref()));
            let sha1 = BASE64_URL_SAFE_NO_PAD
                .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der.as_ref()));
            header.x5t_s256.as_deref().map(|text| text.trim_end_matches('=')) == Some(&sha256)
                || header.x5t.as_deref().map(|text| text.trim_end_matches('=')) == Some(&sha1)
        });
    match certificate {
        Some(der) => check_certificate(sandbox, tenant, application, assertion, header.alg, der.as_ref()),
        None if header.x5t_s256.is_some() || header.x5t.is_some() => Err(oauth_error(
            401,
            "invalid_client",
            700_027,
            format!(
                "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Please visit the Azure Portal to see application with ID '{}'.]",
                application.client
            ),
        )),
        None => check_federation(application, assertion),
    }
}

fn check_certificate(
    sandbox: &Sandbox,
    tenant: &Tenant,
    application: &Application,
    assertion: &str,
    algorithm: Algorithm,
    der: &[u8],
) -> Result<PresentedCredential, OAuthError> {
    let wrong = |text: &str| {
        oauth_error(401, "invalid_client", 700_027, format!("Client assertion failed signature validation. {text}"))
    };
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| wrong("The certificate cannot be read."))?;
    let key = DecodingKey::from_rsa_der(&certificate.public_key().subject_public_key.data);
    if !matches!(algorithm, Algorithm::PS256 | Algorithm::RS256) {
        return Err(oauth_error(
            401,
            "invalid_client",
            5_002_723,
            "Invalid JWT token. Unsupported key for the signing algorithm.",
        ));
    }
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let data =
        jsonwebtoken::decode::<Value>(assertion, &key, &validation).map_err(|_| wrong("The signature is invalid."))?;
    let claims = data.claims;
    let client = application.client.to_string();
    if claims["iss"] != json!(client) || claims["sub"] != json!(client) {
        return Err(oauth_error(
            401,
            "invalid_client",
            700_021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        ));
    }
    let audience = claims["aud"].as_str().unwrap_or_default();
    let good = [tenant.id.to_string()].into_iter().chain(tenant.domains.iter().cloned()).any(|name| {
        audience == format!("{}/{name}/oauth2/v2.0/token", sandbox.address())
            || audience == format!("{}/{name}/v2.0", sandbox.address())
    });
    if !good {
        return Err(oauth_error(
            401,
            "invalid_client",
            700_023,
            "Client assertion audience claim does not match Realm issuer.",
        ));
    }
    let now = sandbox.now().as_second();
    // Some libraries write times with a fraction.
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds fits")]
    let time = |key: &str| claims[key].as_f64().map(|seconds| seconds as i64);
    if time("nbf").is_some_and(|nbf| nbf > now + 300) || time("exp").is_none_or(|exp| exp < now - 300) {
        return Err(oauth_error(
            401,
            "invalid_client",
            700_024,
            format!(
                "Client assertion is not within its valid time range. Current time: {}, expiry time of assertion {}.",
                sandbox.now(),
                time("exp").unwrap_or_default()
            ),
        ));
    }
    Ok(PresentedCredential::Assertion)
}

fn check_federation(application: &Application, assertion: &str) -> Result<PresentedCredential, OAuthError> {
    // The real service fetches the issuer's keys. The sandbox has no network, and accepts the claims unverified.
    let payload = assertion.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let (issuer, subject) = (claims["iss"].as_str().unwrap_or_default(), claims["sub"].as_str().unwrap_or_default());
    let audience = match &claims["aud"] {
        Value::Array(items) if items.len() == 1 => items[0].as_str().unwrap_or_default().to_owned(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    if application.federated.is_empty() {
        return Err(oauth_error(
            401,
            "invalid_client",
            70_021,
            format!(
                "No matching federated identity record found for presented assertion. Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion Audience: '{audience}'."
            ),
        ));
    }
    if audience != "api://AzureADTokenExchange" {
        return Err(oauth_error(
            401,
            "invalid_client",
            700_212,
            format!("No matching federated identity record found for presented assertion audience '{audience}'."),
        ));
    }
    if !application.federated.iter().any(|known| known.issuer == issuer) {
        return Err(oauth_error(
            401,
            "invalid_client",
            700_211,
            format!("No matching federated identity record found for presented assertion issuer '{issuer}'."),
        ));
    }
    let of_issuer = || application.federated.iter().filter(|known| known.issuer == issuer);
    if !of_issuer().any(|known| known.subject == subject) {
        if of_issuer().any(|known| known.subject.eq_ignore_ascii_case(subject)) {
            // Azure/login#515.
            return Err(oauth_error(
                401,
                "invalid_client",
                7_002_138,
                format!(
                    "No matching federated identity record found for presented assertion subject '{subject}'. The subject matches with case-insensitive comparison, but not with case-sensitive comparison."
                ),
            ));
        }
        return Err(oauth_error(
            401,
            "invalid_client",
            700_213,
            format!(
                "No matching federated identity record found for presented assertion subject '{subject}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
            ),
        ));
    }
    Ok(PresentedCredential::Assertion)
}
