//! Sign-in of a person at an `OpenID` provider, Entra or another: authorization code with PKCE (RFC 6749, RFC 7636).
//!
//! [`AuthorizationRequest::url`] is the address that the browser is sent to. [`exchange`] redeems the code that comes back, and
//! returns the ID token, which is not verified here. Tokens for other services, which the provider may return as well, are
//! dropped. [`exchange_user`] is for a program that the person runs: it returns the access token and the refresh token as well,
//! and [`refresh_user`] redeems the latter. The code is sent once: no request is repeated. Nothing is written to a file.

use std::{borrow::Cow, pin::Pin};

use jiff::Timestamp;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, Scope, TokenResponse as _, TokenUrl,
    basic::BasicTokenType,
};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::entra::{
    Http,
    http::Request,
    sign_in::{ClientAuthentication, Refusal, RequestError, SignIn, SignInError, convert_error, read_refusal},
};

/// The parameters that both requests share.
#[derive(Debug)]
pub struct AuthorizationRequest<'a> {
    /// The client id of this program at the provider.
    pub client: &'a str,
    /// The address that the provider sends the browser back to. Both requests name it in the same form.
    pub redirect: &'a Url,
    /// The secret by which the code can be redeemed (RFC 7636): 43 to 128 characters.
    pub verifier: &'a SecretString,
}

/// The way in which a client secret is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In the header `Authorization` (`client_secret_basic`).
    Header,
    /// In the form (`client_secret_post`).
    Form,
}

/// The tokens of an answer that matter here.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct IdToken {
    id_token: Option<String>,
}

/// The tokens of a person who signed in to a program that the person runs.
#[derive(Debug)]
pub struct UserTokens {
    /// The access token.
    pub access: SecretString,
    /// The ID token, which is not verified.
    pub id: SecretString,
    /// The refresh token, if the scope `offline_access` was requested and granted.
    pub refresh: Option<SecretString>,
}

impl UserTokens {
    /// Reads the tokens of an answer.
    pub(super) fn from_answer(answer: &ProviderAnswer) -> Result<Self, SignInError> {
        let refresh = answer.refresh_token().map(|token| SecretString::from(token.secret().clone()));
        Ok(Self { access: SignIn::token(answer)?.value, id: id_token(answer)?, refresh })
    }
}

/// Returns the ID token of an answer.
fn id_token(answer: &ProviderAnswer) -> Result<SecretString, SignInError> {
    let token = answer.extra_fields().id_token.clone().map(SecretString::from);
    token.ok_or(SignInError::UnusableToken("is not an ID token; the scope `openid` asks for one"))
}

/// The answer of a token endpoint with an ID token.
pub(super) type ProviderAnswer = oauth2::StandardTokenResponse<IdToken, BasicTokenType>;

impl std::fmt::Debug for IdToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdToken")
    }
}

impl oauth2::ExtraTokenFields for IdToken {}

pub(super) type Provider = oauth2::Client<
    Refusal,
    ProviderAnswer,
    oauth2::basic::BasicTokenIntrospectionResponse,
    oauth2::StandardRevocableToken,
    oauth2::basic::BasicRevocationErrorResponse,
>;

impl AuthorizationRequest<'_> {
    /// Returns the address at which a person signs in. `more` are further parameters.
    pub fn url(&self, endpoint: &Url, scopes: &[String], state: &str, more: &[(&str, &str)]) -> Url {
        let provider = Provider::new(ClientId::new(self.client.to_owned()))
            .set_auth_uri(AuthUrl::from_url(endpoint.clone()))
            .set_redirect_uri(RedirectUrl::from_url(self.redirect.clone()));
        let verifier = PkceCodeVerifier::new(self.verifier.expose_secret().to_owned());
        let mut request = provider
            .authorize_url(|| CsrfToken::new(state.to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(scopes.iter().cloned().map(Scope::new));
        for (name, value) in more {
            request = request.add_extra_param((*name).to_owned(), (*value).to_owned());
        }
        request.url().0
    }
}

/// Redeems a code at the token endpoint of a provider, and returns the ID token.
pub async fn exchange(
    http: &Http,
    endpoint: &Url,
    request: &AuthorizationRequest<'_>,
    code: &str,
    authentication: Option<(&ClientAuthentication, SecretPlace)>,
    now: Timestamp,
) -> Result<SecretString, SignInError> {
    let mut provider =
        Provider::new(ClientId::new(request.client.to_owned())).set_token_uri(TokenUrl::from_url(endpoint.clone()));
    let (mut assertion, mut secret) = (None, None);
    provider = provider.set_auth_type(match authentication {
        Some((ClientAuthentication::Secret(_), SecretPlace::Header)) => AuthType::BasicAuth,
        _ => AuthType::RequestBody,
    });
    match authentication {
        Some((ClientAuthentication::Secret(own), _)) => {
            provider = provider.set_client_secret(ClientSecret::new(own.expose_secret().to_owned()));
            secret = Some(own);
        }
        Some((ClientAuthentication::Certificate(certificate), _)) => {
            assertion = Some(certificate.assertion(request.client, endpoint.as_str(), now, uuid::Uuid::now_v7())?);
        }
        Some((ClientAuthentication::Federated(token), _)) => assertion = Some(token.clone()),
        None => {}
    }
    let mut redeemed = provider
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_redirect_uri(Cow::Owned(RedirectUrl::from_url(request.redirect.clone())))
        .set_pkce_verifier(PkceCodeVerifier::new(request.verifier.expose_secret().to_owned()));
    if let Some(assertion) = &assertion {
        redeemed = redeemed
            .add_extra_param("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .add_extra_param("client_assertion", assertion.expose_secret().to_owned());
    }
    let answer = redeemed.request_async(&Transport { http, secret, keeps_access: false }).await;
    id_token(&answer.map_err(|error| convert_error(error, secret.or(assertion.as_ref())))?)
}

/// Redeems a code for a program that the person runs, a public client, and returns its tokens. `more` are further parameters.
pub async fn exchange_user(
    http: &Http,
    endpoint: &Url,
    request: &AuthorizationRequest<'_>,
    code: &str,
    more: &[(&str, &str)],
) -> Result<UserTokens, SignInError> {
    let provider = Provider::new(ClientId::new(request.client.to_owned()))
        .set_token_uri(TokenUrl::from_url(endpoint.clone()))
        .set_auth_type(AuthType::RequestBody);
    let mut redeemed = provider
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_redirect_uri(Cow::Owned(RedirectUrl::from_url(request.redirect.clone())))
        .set_pkce_verifier(PkceCodeVerifier::new(request.verifier.expose_secret().to_owned()));
    for (name, value) in more {
        redeemed = redeemed.add_extra_param((*name).to_owned(), (*value).to_owned());
    }
    let answer = redeemed.request_async(&Transport { http, secret: None, keeps_access: true }).await;
    UserTokens::from_answer(&answer.map_err(|error| convert_error(error, None))?)
}

/// Gets new tokens for a program that the person runs, without the person. The answer may have no new refresh token; then the
/// old one is still valid. `more` are further parameters.
pub async fn refresh_user(
    http: &Http,
    endpoint: &Url,
    client: &str,
    refresh: &SecretString,
    scopes: &[String],
    more: &[(&str, &str)],
) -> Result<UserTokens, SignInError> {
    let provider = Provider::new(ClientId::new(client.to_owned()))
        .set_token_uri(TokenUrl::from_url(endpoint.clone()))
        .set_auth_type(AuthType::RequestBody);
    let token = RefreshToken::new(refresh.expose_secret().to_owned());
    let mut request = provider.exchange_refresh_token(&token).add_scopes(scopes.iter().cloned().map(Scope::new));
    for (name, value) in more {
        request = request.add_extra_param((*name).to_owned(), (*value).to_owned());
    }
    let answer = request.request_async(&Transport { http, secret: None, keeps_access: true }).await;
    UserTokens::from_answer(&answer.map_err(|error| convert_error(error, Some(refresh)))?)
}

/// Sends the request of the `oauth2` crate with the client of this program and its limits.
struct Transport<'a> {
    http: &'a Http,
    /// The client secret, so that an answer that repeats it is redacted.
    secret: Option<&'a SecretString>,
    /// True if the access token and the refresh token are used.
    keeps_access: bool,
}

impl<'c> oauth2::AsyncHttpClient<'c> for Transport<'_> {
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, RequestError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let unknown = || RequestError(SignInError::Unknown(0));
            let url = Url::parse(&request.uri().to_string()).map_err(|_| unknown())?;
            let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            let authorization = authorization.map(|value| SecretString::from(value.to_owned()));
            let form = String::from_utf8(request.into_body()).map_err(|_| unknown())?;
            let mut post = Request::post_form(url, form.into()).only_once();
            if let (Some(authorization), Some(secret)) = (authorization, self.secret) {
                post = post.authorization(authorization, secret);
            }
            let answer = self.http.send(post).await.map_err(|error| RequestError(error.into()))?;
            if !answer.is_success() {
                let refusal = read_refusal(&answer).map_or(SignInError::Unknown(answer.status), SignInError::Refused);
                return Err(RequestError(refusal));
            }
            // Of the answer, only what is used is read: other fields may have any form.
            let used = |key: &str| answer.body[key].as_str().filter(|_| self.keeps_access);
            let access = if self.keeps_access { used("access_token").unwrap_or_default() } else { "-" };
            let body = serde_json::json!({
                "access_token": access, "token_type": "Bearer", "id_token": answer.body["id_token"].as_str(),
                "refresh_token": used("refresh_token"),
            });
            Ok(HttpResponse::new(body.to_string().into_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_has_every_parameter_once_and_keeps_those_of_the_endpoint() {
        let endpoint = Url::parse("https://login.example/authorize?policy=b2c").unwrap();
        let redirect = Url::parse("https://mail.example/console/sign-in/callback").unwrap();
        // The example of RFC 7636, appendix B.
        let verifier = SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        let request = AuthorizationRequest { client: "app", redirect: &redirect, verifier: &verifier };
        let scopes = ["openid".to_owned(), "profile".to_owned()];
        let url = request.url(&endpoint, &scopes, "S", &[("nonce", "N"), ("response_mode", "query")]);
        let mut pairs: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        pairs.sort();
        let expected = [
            ("client_id", "app"),
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
            ("nonce", "N"),
            ("policy", "b2c"),
            ("redirect_uri", "https://mail.example/console/sign-in/callback"),
            ("response_mode", "query"),
            ("response_type", "code"),
            ("scope", "openid profile"),
            ("state", "S"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
