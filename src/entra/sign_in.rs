//! Sign-in at Entra: [`SignIn`] reads the public configuration of a tenant and requests tokens, as an application or with a
//! device code.
//!
//! A [`Refusal`] keeps Entra's codes (`AADSTS7000215`), because they distinguish the causes, and the OAuth errors do not. A reply
//! that is not from Entra, has no usable token or does not come is another [`SignInError`]. A wait for a user ends when the
//! device code expires. Tokens are not cached here, and no redirect is followed.
//!
//! Source: Microsoft's pages "OAuth 2.0 client credentials flow", "Device authorization grant", "Error codes".

use std::{pin::Pin, time::Duration};

use jiff::Timestamp;
use oauth2::{
    ClientId, ClientSecret, DeviceAuthorizationUrl, ErrorResponse, HttpRequest, HttpResponse, RequestTokenError, Scope,
    StandardDeviceAuthorizationResponse, TokenResponse as _, TokenUrl, basic::BasicTokenType,
};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::entra::{
    Certificate, CertificateError, Endpoints, Http, HttpError,
    aadsts::{self, AadstsCode, Cause},
    authorization_code::{Provider, ProviderAnswer, UserTokens},
    http::{HttpReply, Request},
};

/// The parts of a tenant's `OpenID` configuration that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Discovery {
    /// The issuer of the tenant's tokens, which contains the tenant's id.
    pub issuer: String,
    /// The address of the token endpoint.
    pub token_endpoint: String,
    /// The host of the Graph that belongs to the tenant's cloud.
    pub msgraph_host: String,
    /// The host that signs in to the tenant's cloud.
    pub cloud_instance_name: String,
    /// The part of the world, and of the cloud, that the tenant is in.
    pub tenant_region_scope: Option<String>,
}

impl Discovery {
    /// Returns the tenant's id, from the issuer.
    pub fn tenant_id(&self) -> Option<uuid::Uuid> {
        self.issuer.split('/').find_map(|part| part.parse().ok())
    }
}

/// The credential that an application presents.
#[derive(Debug)]
pub enum ClientAuthentication {
    /// A client secret.
    Secret(SecretString),
    /// A certificate, by a signed assertion.
    Certificate(Certificate),
    /// A token of another issuer that the application trusts.
    Federated(SecretString),
}

/// A token that was just issued.
#[derive(Debug)]
pub struct AccessToken {
    /// The token.
    pub value: SecretString,
    /// The lifetime.
    pub expires_in: Option<Duration>,
}

/// The reason why a token or a configuration is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Entra refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There was no usable reply.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The certificate cannot sign.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The reply has a token that cannot be used.
    #[error("the reply of the sign-in host (HTTP 200) has a token that {0}")]
    UnusableToken(&'static str),
    /// The reply is JSON of an unknown form.
    #[error("the reply of the sign-in host (HTTP {0}) has an unknown form")]
    Unknown(u16),
}

/// A refusal of Entra.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}: {error_description}")]
pub struct Refusal {
    /// The OAuth error.
    pub error: String,
    /// The first line of the text. It contains no part of the credential.
    #[serde(default, deserialize_with = "text_or_none")]
    pub error_description: String,
    /// The numbers of `AADSTS…`.
    #[serde(default, deserialize_with = "codes")]
    pub error_codes: Vec<u32>,
    /// The id by which Microsoft's support finds the request.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// The HTTP status; 0 if it is not known.
    #[serde(skip)]
    pub status: u16,
}

/// The OAuth errors that Entra uses, including those of RFC 6749 and RFC 8628.
const OAUTH_ERRORS: [&str; 19] = [
    "access_denied",
    "authorization_declined",
    "authorization_pending",
    "bad_verification_code",
    "consent_required",
    "expired_token",
    "interaction_required",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_resource",
    "invalid_scope",
    "invalid_tenant",
    "login_required",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
];

/// Reads a text; none if the value is not one.
fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().unwrap_or_default().to_owned())
}

/// Reads numbers that are written as numbers or as texts; other elements are skipped.
fn codes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    let Value::Array(items) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    let number = |item: &Value| match item {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok().or_else(|| aadsts::parse(text)),
        _ => None,
    };
    Ok(items.iter().filter_map(number).take(20).collect())
}

impl ErrorResponse for Refusal {}

impl Refusal {
    /// Returns the row of the table that explains the refusal best: of several codes the last is the most precise
    /// (`AADSTS70002: … AADSTS50012: …`).
    pub fn entry(&self) -> Option<&'static AadstsCode> {
        self.error_codes.iter().rev().find_map(|code| aadsts::find(*code))
    }

    /// Returns why Entra refused, from the HTTP status, the AADSTS code or the OAuth error.
    pub fn cause(&self) -> Cause {
        // A failure of the service itself takes precedence over the code: there are many such codes, and not all are known.
        if self.status >= 500 || matches!(self.error.as_str(), "server_error" | "temporarily_unavailable") {
            return Cause::Service;
        }
        if let Some(entry) = self.entry() {
            return entry.cause;
        }
        // Conditional Access has its own ranges of codes.
        if self.error_codes.iter().any(|code| matches!(code, 53_000..=53_099 | 530_000..=530_999)) {
            return Cause::ConditionalAccess;
        }
        match self.error.as_str() {
            "invalid_tenant" => Cause::Tenant,
            "consent_required" => Cause::Consent,
            _ => Cause::Unknown,
        }
    }

    /// Returns true if the refusal has the form that Entra uses. The JSON of a proxy may have an `error` as well.
    pub fn is_from_entra(&self) -> bool {
        !self.error_codes.is_empty()
            || self.error_description.contains("AADSTS")
            || OAUTH_ERRORS.contains(&self.error.as_str())
    }

    /// Shortens the text to its first line, and removes the credential in case another server returned it.
    fn tidy(mut self, proof: Option<&SecretString>) -> Self {
        let mut text = self.error_description.lines().next().unwrap_or_default().to_owned();
        // The rest of the text is for Microsoft's support and differs each time.
        text.truncate(text.find(" Trace ID:").unwrap_or(text.len()));
        // Some refusals have codes in the text only.
        if self.error_codes.is_empty() {
            self.error_codes = aadsts::find_codes(&text);
        }
        for secret in proof.iter().map(|proof| proof.expose_secret()).filter(|secret| secret.len() > 3) {
            text = text.replace(secret, "…");
        }
        self.error_description = text.chars().filter(|c| !c.is_control()).take(400).collect();
        self.error = self.error.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(60).collect();
        self
    }
}

type Entra = oauth2::Client<
    Refusal,
    oauth2::StandardTokenResponse<oauth2::EmptyExtraTokenFields, BasicTokenType>,
    oauth2::basic::BasicTokenIntrospectionResponse,
    oauth2::StandardRevocableToken,
    oauth2::basic::BasicRevocationErrorResponse,
>;

/// The sign-in service of one cloud.
#[derive(Clone, Debug)]
pub struct SignIn {
    http: Http,
    endpoints: Endpoints,
}

impl SignIn {
    /// Creates a sign-in for one cloud.
    pub fn new(http: Http, endpoints: Endpoints) -> Self {
        Self { http, endpoints }
    }

    fn url(&self, tenant: &str, rest: &str) -> Option<Url> {
        let mut url = self.endpoints.sign_in.clone();
        url.path_segments_mut().ok()?.pop_if_empty().push(tenant).extend(rest.split('/'));
        Some(url)
    }

    /// Reads the public configuration of a tenant. Also returns the date of the reply, to compare clocks.
    pub async fn discover(&self, tenant: &str) -> Result<(Discovery, Option<Timestamp>), SignInError> {
        let url = self.url(tenant, "v2.0/.well-known/openid-configuration").ok_or(SignInError::Unknown(0))?;
        let answer = self.http.send(Request::get(url)).await?;
        if !answer.is_success() {
            return Err(reply_error(&answer, None));
        }
        let discovery: Discovery = answer.read().ok_or(SignInError::Unknown(answer.status))?;
        if discovery.issuer.is_empty() {
            Err(SignInError::Unknown(answer.status))
        } else {
            Ok((discovery, answer.date))
        }
    }

    /// Requests a token for the application itself.
    pub async fn application_token(
        &self,
        tenant: &str,
        client: &str,
        proof: &ClientAuthentication,
        scope: &str,
        now: Timestamp,
    ) -> Result<AccessToken, SignInError> {
        let endpoint = self.url(tenant, "oauth2/v2.0/token").ok_or(SignInError::Unknown(0))?;
        let mut entra =
            Entra::new(ClientId::new(client.to_owned())).set_token_uri(TokenUrl::from_url(endpoint.clone()));
        entra = entra.set_auth_type(oauth2::AuthType::RequestBody);
        let assertion = match proof {
            ClientAuthentication::Secret(secret) => {
                entra = entra.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
                None
            }
            ClientAuthentication::Certificate(certificate) => {
                Some(certificate.assertion(client, endpoint.as_str(), now, uuid::Uuid::now_v7())?)
            }
            ClientAuthentication::Federated(token) => Some(token.clone()),
        };
        let mut request = entra.exchange_client_credentials().add_scope(Scope::new(scope.to_owned()));
        if let Some(assertion) = &assertion {
            request = request
                .add_extra_param("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                .add_extra_param("client_assertion", assertion.expose_secret().to_owned());
        }
        let sent = match proof {
            ClientAuthentication::Secret(secret) => Some(secret),
            _ => assertion.as_ref(),
        };
        let answer = request.request_async(self).await;
        answer.map_err(|error| convert_error(error, sent)).and_then(|token| Self::token(&token))
    }

    /// Begins a sign-in by device code. The caller shows the user where to go, then waits with
    /// [`SignIn::device_token`].
    pub async fn device_code(
        &self,
        tenant: &str,
        client: &str,
        scope: &str,
    ) -> Result<StandardDeviceAuthorizationResponse, SignInError> {
        let url = self.url(tenant, "oauth2/v2.0/devicecode").ok_or(SignInError::Unknown(0))?;
        let entra = Entra::new(ClientId::new(client.to_owned()))
            .set_device_authorization_url(DeviceAuthorizationUrl::from_url(url));
        let request =
            entra.exchange_device_code().add_scopes(scope.split(' ').map(|scope| Scope::new(scope.to_owned())));
        request.request_async(self).await.map_err(|error| convert_error(error, None))
    }

    /// Waits until the user has signed in, or the code has expired.
    pub async fn device_token(
        &self,
        tenant: &str,
        client: &str,
        begun: &StandardDeviceAuthorizationResponse,
    ) -> Result<AccessToken, SignInError> {
        Self::token(&self.wait_for_user(tenant, client, begun).await?)
    }

    /// Does what [`SignIn::device_token`] does, and returns the ID token as well: for a program that the user runs.
    pub async fn device_user_tokens(
        &self,
        tenant: &str,
        client: &str,
        begun: &StandardDeviceAuthorizationResponse,
    ) -> Result<UserTokens, SignInError> {
        UserTokens::from_answer(&self.wait_for_user(tenant, client, begun).await?)
    }

    async fn wait_for_user(
        &self,
        tenant: &str,
        client: &str,
        begun: &StandardDeviceAuthorizationResponse,
    ) -> Result<ProviderAnswer, SignInError> {
        let url = self.url(tenant, "oauth2/v2.0/token").ok_or(SignInError::Unknown(0))?;
        let provider = Provider::new(ClientId::new(client.to_owned())).set_token_uri(TokenUrl::from_url(url));
        let wait = provider.exchange_device_access_token(begun).request_async(self, tokio::time::sleep, None).await;
        wait.map_err(convert_device_error)
    }

    /// Returns the address at which a person signs in to a tenant, and the one at which the code is redeemed.
    pub fn user_endpoints(&self, tenant: &str) -> Result<(Url, Url), SignInError> {
        let url = |rest: &str| self.url(tenant, rest).ok_or(SignInError::Unknown(0));
        Ok((url("oauth2/v2.0/authorize")?, url("oauth2/v2.0/token")?))
    }

    /// Returns the access token of an answer.
    pub(super) fn token<F: oauth2::ExtraTokenFields>(
        token: &oauth2::StandardTokenResponse<F, BasicTokenType>,
    ) -> Result<AccessToken, SignInError> {
        let value = token.access_token().secret();
        if value.is_empty() {
            return Err(SignInError::UnusableToken("is empty"));
        }
        // RFC 6750, 2.1: other characters cannot be sent in a header.
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SignInError::UnusableToken("has blanks, line breaks or other characters that no token has"));
        }
        Ok(AccessToken { value: value.clone().into(), expires_in: token.expires_in() })
    }
}

/// Sends the requests of the `oauth2` crate with the client of this program and its limits.
impl<'c> oauth2::AsyncHttpClient<'c> for SignIn {
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, RequestError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let host = || self.endpoints.sign_in.host_str().unwrap_or_default().to_owned();
            let url = Url::parse(&request.uri().to_string())
                .map_err(|_| RequestError(HttpError::Name { host: host() }.into()))?;
            let form = String::from_utf8(request.into_body()).unwrap_or_default();
            let waits_for_a_user = form.contains("device_code=");
            let sent = self.http.send(Request::post_form(url, form.into())).await;
            let mut answer = sent.map_err(|error| RequestError(error.into()))?;
            if !answer.is_success() {
                let refusal = read_refusal(&answer).ok_or(RequestError(SignInError::Unknown(answer.status)))?;
                // The crate drops the status. While it waits for a user, it decides by the OAuth error when to repeat the
                // request.
                if !waits_for_a_user {
                    return Err(RequestError(SignInError::Refused(refusal)));
                }
            }
            for key in ["expires_in", "interval"] {
                normalize_number(&mut answer.body, key);
            }
            let mut response = HttpResponse::new(answer.body.to_string().into_bytes());
            if let Ok(status) = oauth2::http::StatusCode::from_u16(answer.status) {
                *response.status_mut() = status;
            }
            Ok(response)
        })
    }
}

/// The error of a request that the `oauth2` crate makes: of the HTTP client, or a reply that is not from Entra.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RequestError(pub(super) SignInError);

/// Reads a refusal of Entra; none if the reply is something else.
pub(super) fn read_refusal(answer: &HttpReply) -> Option<Refusal> {
    let refusal = answer.read::<Refusal>().filter(Refusal::is_from_entra)?;
    Some(Refusal { status: answer.status, ..refusal })
}

fn reply_error(answer: &HttpReply, proof: Option<&SecretString>) -> SignInError {
    match read_refusal(answer) {
        Some(refusal) => SignInError::Refused(refusal.tidy(proof)),
        None => SignInError::Unknown(answer.status),
    }
}

fn tidy_error(error: SignInError, proof: Option<&SecretString>) -> SignInError {
    match error {
        SignInError::Refused(refusal) => SignInError::Refused(refusal.tidy(proof)),
        other => other,
    }
}

/// Converts a number that is written as a text (`"3599"`), as the older endpoint and proxies write it. A value that is not a
/// number is removed: a token whose lifetime is not known is still a token.
fn normalize_number(body: &mut Value, key: &str) {
    let Some(value) = body.get_mut(key) else { return };
    let seconds = match value {
        Value::Number(number) => number.as_u64().or_else(|| truncate_seconds(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().or_else(|| truncate_seconds(text.trim().parse().ok()?)),
        _ => None,
    };
    match (seconds, body.as_object_mut()) {
        (Some(seconds), Some(map)) => drop(map.insert(key.to_owned(), seconds.into())),
        (None, Some(map)) => drop(map.remove(key)),
        _ => {}
    }
}

/// Truncates a number of seconds to whole seconds.
fn truncate_seconds(seconds: f64) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    Some(duration.as_secs())
}

/// Converts the error of a wait for a user: the crate has its own type for these refusals.
fn convert_device_error(error: RequestTokenError<RequestError, oauth2::DeviceCodeErrorResponse>) -> SignInError {
    match error {
        RequestTokenError::ServerResponse(response) => {
            let refusal = Refusal {
                error: response.error().to_string(),
                error_description: response.error_description().cloned().unwrap_or_default(),
                ..Refusal::default()
            };
            SignInError::Refused(refusal.tidy(None))
        }
        RequestTokenError::Request(RequestError(error)) => tidy_error(error, None),
        _ => SignInError::Unknown(200),
    }
}

pub(super) fn convert_error(
    error: RequestTokenError<RequestError, Refusal>,
    proof: Option<&SecretString>,
) -> SignInError {
    match error {
        RequestTokenError::ServerResponse(refusal) => SignInError::Refused(refusal.tidy(proof)),
        RequestTokenError::Request(RequestError(error)) => tidy_error(error, proof),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => SignInError::Unknown(200),
    }
}
