//! Signing keys of an issuer: fetched through its `OpenID` configuration, cached, and selected for a token.
//!
//! [`IssuerKeys::refresh`] fetches, one request at a time; [`KeySet`] is a copy of the known keys, with the [`Endpoints`] of the
//! same configuration. An issuer that does not answer does not invalidate keys that are known: they stay usable for a day. It is
//! asked once a minute at most, or every 5 seconds while no key is known. Keys of unknown types are skipped; of the others, the
//! first 50 are kept.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{
    Algorithm,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use reqwest::Url;
use serde::Deserialize as _;
use serde_json::Value;

use super::safe_url;
use crate::{
    entra::http::{Http, Request},
    sync::Mutex,
};

/// Maximum number of keys that are kept per issuer.
const KEYS: usize = 50;
/// Age after which keys are fetched again when a token needs one.
pub(super) const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// Age up to which keys are used if they cannot be fetched again.
pub(super) const USABLE: SignedDuration = SignedDuration::from_hours(24);
/// Minimum time between two requests to an issuer.
const BETWEEN: SignedDuration = SignedDuration::from_mins(1);
/// Minimum time between two requests to an issuer without known keys.
const BETWEEN_FIRST: SignedDuration = SignedDuration::from_secs(5);

/// The keys of one issuer, shared by all requests.
#[derive(Default)]
pub(super) struct IssuerKeys {
    known: Mutex<KeySet>,
    /// Held while the keys are fetched, so that only one request at a time asks the issuer.
    fetching: tokio::sync::Mutex<()>,
}

/// The known keys of an issuer, and when they were fetched.
#[derive(Clone, Default)]
pub(super) struct KeySet {
    published: Arc<Vec<Jwk>>,
    endpoints: Option<Arc<Endpoints>>,
    fetched: Option<Timestamp>,
    tried: Option<Timestamp>,
    last_fetch_failed: bool,
}

/// The parts of an `OpenID` configuration by which persons sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// The address that browsers are sent to.
    pub(super) authorization: Url,
    /// The address at which codes are redeemed.
    pub(super) token: Url,
    /// True if the issuer names itself in its answers (RFC 9207).
    pub(super) names_itself: bool,
    /// True if the issuer reads client secrets in the form.
    pub(super) reads_secret_in_form: bool,
    /// True if the issuer is Entra.
    pub(super) is_entra: bool,
}

impl IssuerKeys {
    /// Returns a copy of the known keys.
    pub(super) fn known(&self) -> KeySet {
        self.known.lock().clone()
    }

    /// Replaces the known keys.
    pub(super) fn set(&self, keys: KeySet) {
        *self.known.lock() = keys;
    }

    /// Returns true while a request fetches the keys.
    pub(super) fn is_fetching(&self) -> bool {
        self.fetching.try_lock().is_err()
    }

    /// Fetches the keys of `issuer`, unless another request did so in the meantime.
    pub(super) async fn refresh(&self, http: &Http, issuer: &str, now: Timestamp) {
        let _fetching = self.fetching.lock().await;
        if !self.known().may_fetch(now) {
            return;
        }
        let fetched = fetch(http, issuer).await;
        let mut known = self.known.lock();
        known.tried = Some(now);
        known.last_fetch_failed = fetched.is_err();
        match fetched {
            Ok((keys, endpoints)) => {
                known.published = Arc::new(keys);
                known.endpoints = endpoints.map(Arc::new);
                known.fetched = Some(now);
            }
            Err(reason) => {
                metrics::counter!("mailwright_oidc_failures_total").increment(1);
                tracing::warn!(issuer, reason, "cannot fetch the keys of an issuer");
            }
        }
    }
}

impl KeySet {
    /// Returns the key with an id. Without an id there must be exactly one key that fits.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Jwk> {
        let mut fitting = self.published.iter().filter(|key| can_verify(key, algorithm));
        match id {
            Some(id) => fitting.find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
            None => fitting.next().filter(|_| fitting.next().is_none()).cloned(),
        }
    }

    /// Returns the endpoints for sign-ins; none if they are not known, or the issuer has none that may be used.
    pub(super) fn endpoints(&self) -> Option<Arc<Endpoints>> {
        self.endpoints.clone()
    }

    /// Returns true if keys were ever fetched.
    pub(super) fn is_known(&self) -> bool {
        self.fetched.is_some()
    }

    /// Returns true if the last attempt to fetch the keys failed.
    pub(super) fn last_fetch_failed(&self) -> bool {
        self.last_fetch_failed
    }

    /// Returns true if the keys were fetched less than `age` ago.
    pub(super) fn is_younger(&self, age: SignedDuration, now: Timestamp) -> bool {
        self.fetched.is_some_and(|fetched| now.duration_since(fetched) < age)
    }

    /// Returns true if the issuer may be asked again.
    pub(super) fn may_fetch(&self, now: Timestamp) -> bool {
        let between = if self.fetched.is_none() { BETWEEN_FIRST } else { BETWEEN };
        self.tried.is_none_or(|tried| now.duration_since(tried).abs() >= between)
    }
}

/// Returns true if a key can verify signatures of an algorithm. A symmetric key never can.
fn can_verify(key: &Jwk, algorithm: Algorithm) -> bool {
    let has_type = match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(algorithm, Algorithm::RS256 | Algorithm::PS256),
        AlgorithmParameters::EllipticCurve(curve) => {
            curve.curve == EllipticCurve::P256 && algorithm == Algorithm::ES256
        }
        _ => false,
    };
    let is_for_signatures =
        key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let has_algorithm = key.common.key_algorithm.as_ref().is_none_or(|own| own.to_string() == format!("{algorithm:?}"));
    has_type && is_for_signatures && has_algorithm
}

/// Fetches the keys that an issuer publishes: its `OpenID` configuration names their address.
async fn fetch(http: &Http, issuer: &str) -> Result<(Vec<Jwk>, Option<Endpoints>), String> {
    let configuration =
        get(http, &format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).await?;
    if configuration["issuer"] != *issuer {
        return Err("its OpenID configuration names another issuer".to_owned());
    }
    let address = configuration["jwks_uri"].as_str().ok_or("its OpenID configuration has no `jwks_uri`")?;
    let published = get(http, address).await?;
    let keys = published["keys"].as_array().ok_or("its key document has no list `keys`")?;
    // Keys of unknown types are skipped, so that the others can be used.
    let keys = keys.iter().filter_map(|key| Jwk::deserialize(key).ok()).take(KEYS).collect();
    Ok((keys, endpoints(&configuration)))
}

/// Returns the endpoints in an `OpenID` configuration; none unless both may be used.
fn endpoints(configuration: &Value) -> Option<Endpoints> {
    let url = |key: &str| safe_url(configuration[key].as_str()?).ok().filter(|url| url.fragment().is_none());
    let methods = configuration["token_endpoint_auth_methods_supported"].as_array();
    Some(Endpoints {
        authorization: url("authorization_endpoint")?,
        token: url("token_endpoint")?,
        names_itself: configuration["authorization_response_iss_parameter_supported"] == true,
        // OpenID Connect Discovery 1.0, section 3: without a list, the issuer reads the header only.
        reads_secret_in_form: methods.is_some_and(|methods| methods.iter().any(|one| one == "client_secret_post")),
        is_entra: configuration["cloud_instance_name"].is_string(),
    })
}

async fn get(http: &Http, address: &str) -> Result<Value, String> {
    let url = safe_url(address)?;
    let answer = http.send(Request::get(url)).await.map_err(|error| error.to_string())?;
    if !answer.is_success() {
        return Err(format!("it answered HTTP {}", answer.status));
    }
    Ok(answer.body)
}
