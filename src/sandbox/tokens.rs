//! Tokens of the sandbox: JWTs that are signed with a key that it publishes.
//!
//! `entra` signs them, `graph` and `smtp` read them. The sandboxes of one process share the key, which the first of them
//! creates. Audience and expiry are not checked here.

use std::sync::OnceLock;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet},
};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

/// The key pair of the sandbox, which signs and verifies tokens.
pub(super) struct Tokens {
    signing: EncodingKey,
    reading: DecodingKey,
    published: Value,
}

const KEY_ID: &str = "mailwright-sandbox";

impl Tokens {
    pub(super) fn new() -> Result<Self, String> {
        // Creating a key takes longer than everything else at the start of a sandbox.
        static KEY: OnceLock<Result<String, String>> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
                .map_err(|error| format!("cannot create a key: {error}"))?;
            Ok(key.serialize_pem())
        });
        let signing = EncodingKey::from_rsa_pem(key.as_ref().map_err(Clone::clone)?.as_bytes())
            .map_err(|error| format!("cannot use the key: {error}"))?;
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256)
            .map_err(|error| format!("cannot publish the key: {error}"))?;
        jwk.common.key_id = Some(KEY_ID.to_owned());
        let reading = DecodingKey::from_jwk(&jwk).map_err(|error| format!("cannot use the key: {error}"))?;
        let mut published = serde_json::to_value(JwkSet { keys: vec![jwk] }).unwrap_or_default();
        published["keys"][0]["use"] = json!("sig");
        published["keys"][0]["x5t"] = json!(KEY_ID);
        Ok(Self { signing, reading, published })
    }

    /// Returns the keys in the form of `jwks_uri`.
    pub(super) fn published(&self) -> Value {
        self.published.clone()
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(KEY_ID.to_owned());
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap_or_default()
    }

    /// Signs a token for Graph or Exchange. Its header has `x5t`, which is the same as `kid`, and `nonce`, as with the real
    /// service; but the real signature is over another nonce, so that only Graph can verify it.
    pub(super) fn sign_access(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(KEY_ID.to_owned());
        header.x5t = Some(KEY_ID.to_owned());
        header.nonce = Some(uuid::Uuid::now_v7().simple().to_string());
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap_or_default()
    }

    /// Returns the claims of a token that the sandbox signed.
    pub(super) fn read(&self, token: &str) -> Option<Value> {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_aud = false;
        validation.validate_exp = false;
        jsonwebtoken::decode::<Value>(token, &self.reading, &validation).ok().map(|data| data.claims)
    }
}
