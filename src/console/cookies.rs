//! Cookies: the secret of the session, a sign-in with an identity provider in progress, the secret that binds the request for a
//! passkey to a browser, and the chosen language.
//!
//! All have the prefix `__Host-`, which binds them to this host and to encrypted connections; browsers accept that on
//! `localhost` without TLS as well. Such a cookie has the path `/`, so each environment of a process has a name of its own.

use axum::http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::texts::Language;
use crate::service::{SIGN_IN_LIMIT, Service};

/// The cookie of the language; also the prefix of the session's, followed by `-` and the environment's name if there are several.
const LANGUAGE: &str = "__Host-mw.language";
const SESSION: &str = "__Host-mw";
/// The cookie of a sign-in in progress; followed by `-` and the environment's name if there are several.
const SIGN_IN: &str = "__Host-mw.sign-in";
const PASSKEY: &str = "__Host-mw.passkey";
/// Time for which the binding is kept, in seconds: longer than the five minutes within which a request is answered.
const PASSKEY_KEPT: u32 = 600;
/// Maximum size of the secret of the binding.
const SECRET_LIMIT: usize = 64;
/// How long the choice of a language is kept, in seconds.
const LANGUAGE_KEPT: u32 = 365 * 24 * 60 * 60;

/// Returns the secret of the session in a request.
pub(super) fn session(headers: &HeaderMap, service: &Service) -> Option<String> {
    find(headers, &session_name(service)).map(str::to_owned)
}

/// Returns the cookie that gives the browser a session.
pub(super) fn set_session(service: &Service, secret: &SecretString) -> Option<HeaderValue> {
    cookie(&format!("{}={}", session_name(service), secret.expose_secret()))
}

/// Returns the cookie that removes the session from the browser.
pub(super) fn remove_session(service: &Service) -> Option<HeaderValue> {
    cookie(&format!("{}=; Max-Age=0", session_name(service)))
}

/// Returns the sign-in with an identity provider that the browser has begun.
pub(super) fn sign_in<'a>(headers: &'a HeaderMap, service: &Service) -> Option<&'a str> {
    find(headers, &name_of(SIGN_IN, service))
}

/// Returns the cookie of a sign-in that begins. `SameSite=Lax`: the provider sends the browser back from another site.
pub(super) fn set_sign_in(service: &Service, value: &str) -> Option<HeaderValue> {
    cookie(&format!("{}={value}; Max-Age={}", name_of(SIGN_IN, service), SIGN_IN_LIMIT.as_secs()))
}

/// Returns the cookie that removes a sign-in from the browser.
pub(super) fn remove_sign_in(service: &Service) -> Option<HeaderValue> {
    cookie(&format!("{}=; Max-Age=0", name_of(SIGN_IN, service)))
}

/// Returns the secret that binds a request for a passkey to the browser.
pub(super) fn passkey(headers: &HeaderMap, service: &Service) -> Option<SecretString> {
    let value = find(headers, &name_of(PASSKEY, service)).filter(|value| value.len() <= SECRET_LIMIT)?;
    Some(SecretString::from(value.to_owned()))
}

/// Returns the cookie that binds requests for passkeys to the browser. It is sent with requests of the console's own pages only.
pub(super) fn set_passkey(service: &Service, secret: &SecretString) -> Option<HeaderValue> {
    let pair = format!("{}={}", name_of(PASSKEY, service), secret.expose_secret());
    HeaderValue::from_str(&format!("{pair}; Max-Age={PASSKEY_KEPT}; Path=/; Secure; HttpOnly; SameSite=Strict")).ok()
}

/// Returns the cookie that removes the binding.
pub(super) fn remove_passkey(service: &Service) -> Option<HeaderValue> {
    cookie(&format!("{}=; Max-Age=0", name_of(PASSKEY, service)))
}

/// Returns the language that was chosen.
pub(super) fn language(headers: &HeaderMap) -> Option<Language> {
    find(headers, LANGUAGE)?.parse().ok()
}

/// Returns the cookie that keeps the choice of a language.
pub(super) fn set_language(language: Language) -> Option<HeaderValue> {
    cookie(&format!("{LANGUAGE}={}; Max-Age={LANGUAGE_KEPT}", language.id()))
}

fn cookie(pair: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{pair}; Path=/; Secure; HttpOnly; SameSite=Lax")).ok()
}

fn session_name(service: &Service) -> String {
    name_of(SESSION, service)
}

/// Returns the name of a cookie in an environment.
fn name_of(prefix: &str, service: &Service) -> String {
    if service.base().is_empty() { prefix.to_owned() } else { format!("{prefix}-{}", service.environment()) }
}

/// Returns the value of a cookie. Two cookies of one name are none: `__Host-` allows no second one, so something is wrong.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    let found = values.next()?;
    values.next().is_none().then_some(found)
}
