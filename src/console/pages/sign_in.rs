//! Sign-in with a token or a passkey, and sign-out. The token is in the body of the request only; the browser is given a new
//! session. `identity_sign_in` has the sign-in with an identity provider, which the form links to.
//!
//! The page has the request for a passkey in it, bound to the browser by a cookie: an answer that an attacker made for its own
//! browser signs no other browser in.
//!
//! After a sign-in the browser is sent back here once: if its cookie is missing then, it did not keep it, and the page says why.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, header, request::Parts, uri::Authority},
    response::Response,
};
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroize as _;

use crate::{
    console::{
        answer::{Answer, redirect, render},
        cookies,
        extract::{Form, Parameters},
        page::{Page, SignedIn, shown},
        passkey_form::{PasskeyForm, local_address, site},
        problem_page::{ProblemNotice, status_of},
    },
    model::host,
    net::listener::Peer,
    service::{HttpProblem, IdentityProvider, Service, SignInSource},
    text::percent_encode,
};

/// The page with the form.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    page: Page,
    next: String,
    /// The identity providers to choose from, each with its address.
    providers: Vec<Choice>,
    /// The event before: `ended`, `out`.
    notice: Option<&'static str>,
    /// Why the browser cannot keep a session: `cookie`, `clear-text`.
    obstacle: Option<&'static str>,
    /// Why a sign-in was refused.
    problem: Option<ProblemNotice>,
    /// The form for a passkey, if passkeys can be used at this address.
    passkey: Option<PasskeyForm>,
    /// The address at which they can, on this machine.
    local: Option<String>,
}

/// An identity provider to sign in with.
struct Choice {
    label: String,
    address: String,
}

/// Returns the identity providers, after which the browser continues at `next`. A sign-in begins at the address that the provider
/// sends the browser back to: the cookie of another one would not be there.
fn choices(service: &Service, base: &str, next: &str) -> Vec<Choice> {
    let next = percent_encode(next.as_bytes(), b"-._~/");
    let origin = service.public_origin().unwrap_or_default();
    let choice = |provider: IdentityProvider| Choice {
        address: format!("{origin}{base}/console/sign-in/with/{}?next={next}", provider.name),
        label: shown(&provider.label),
    };
    service.identity_providers().into_iter().map(choice).collect()
}

/// The source of a sign-in, as an extractor.
pub(in crate::console) struct Source(pub(in crate::console) SignInSource);

impl FromRequestParts<Arc<Service>> for Source {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, HttpProblem> {
        let client = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(SignInSource {
            // An IPv4 address that arrives as IPv6 is the same address.
            address: parts.extensions.get::<Peer>().map(|Peer(address)| address.ip().to_canonical()),
            client: client.to_owned(),
            replaces: parts.extensions.get::<SignedIn>().map(|signed_in| signed_in.session.clone()),
        }))
    }
}

/// The parameters of the page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Arrival {
    next: String,
    why: String,
}

/// Shows the form, or continues if there is a session.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    headers: HeaderMap,
    Parameters(arrival): Parameters<Arrival>,
) -> Answer {
    let next = local_path(&arrival.next).to_owned();
    if page.user.is_some() && arrival.why != "out" {
        return Ok(redirect(&format!("{}{next}", page.base)));
    }
    let notice = ["ended", "out"].into_iter().find(|why| *why == arrival.why);
    let obstacle =
        if is_clear_text(&headers) { Some("clear-text") } else { (arrival.why == "done").then_some("cookie") };
    let providers = choices(&service, &page.base, &next);
    let form = SignInPage { page, next, providers, notice, obstacle, problem: None, passkey: None, local: None };
    ask(&service, &headers, form)
}

/// Renders the form, with a request for a passkey if the address has them.
fn ask(service: &Service, headers: &HeaderMap, mut form: SignInPage) -> Answer {
    form.local = local_address(service, headers).map(|console| format!("{console}/sign-in"));
    let Ok(site) = site(service, headers) else { return render(&form) };
    // Tabs of one browser share the secret, so that a second one does not spoil the first.
    let browser = match cookies::passkey(headers, service) {
        Some(browser) => browser,
        None => Service::new_browser_secret()?,
    };
    form.passkey = Some(PasskeyForm::get(&service.begin_passkey_sign_in(&site, &browser)?));
    let mut response = render(&form)?;
    if let Some(cookie) = cookies::set_passkey(service, &browser) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The answer of a device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct PasskeyEntry {
    answer: String,
    #[serde(default)]
    next: String,
}

/// Creates a session for the person of a passkey, with a new secret, whatever the browser had before.
pub(in crate::console) async fn sign_in_with_passkey(
    State(service): State<Arc<Service>>,
    page: Page,
    headers: HeaderMap,
    Source(source): Source,
    Form(entry): Form<PasskeyEntry>,
) -> Result<Response, HttpProblem> {
    let next = local_path(&entry.next).to_owned();
    let browser = cookies::passkey(&headers, &service);
    let begun = async {
        let site = site(&service, &headers)?;
        service.sign_in_with_passkey(&site, &entry.answer, browser.as_ref(), &source).await
    };
    match begun.await {
        Ok((_, secret)) => Ok(signed_in(&service, &page, &next, &secret)),
        Err(problem) => refuse(&service, &headers, page, next, &problem),
    }
}

/// Gives the browser its session, and sends it to where it wanted to go.
pub(in crate::console) fn signed_in(service: &Service, page: &Page, next: &str, secret: &SecretString) -> Response {
    let mut response = redirect(&address(&page.base, next, Some("done")));
    let headers = response.headers_mut();
    for cookie in [cookies::set_session(service, secret), cookies::remove_passkey(service)].into_iter().flatten() {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

/// The fields of the form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct Entry {
    token: String,
    #[serde(default)]
    next: String,
}

/// Creates a session, with a new secret, whatever the browser had before.
pub(in crate::console) async fn sign_in(
    State(service): State<Arc<Service>>,
    page: Page,
    headers: HeaderMap,
    Source(source): Source,
    Form(mut entry): Form<Entry>,
) -> Result<Response, HttpProblem> {
    let next = local_path(&entry.next).to_owned();
    let token = SecretString::from(entry.token.trim().to_owned());
    entry.token.zeroize();
    match service.sign_in(&token, &source).await {
        Ok((_, secret)) => Ok(signed_in(&service, &page, &next, &secret)),
        Err(problem) => refuse(&service, &headers, page, next, &problem),
    }
}

/// Shows the form again, with the problem.
pub(in crate::console) fn refuse(
    service: &Service,
    headers: &HeaderMap,
    page: Page,
    next: String,
    problem: &HttpProblem,
) -> Result<Response, HttpProblem> {
    let refused = Some(ProblemNotice::new(problem));
    let providers = choices(service, &page.base, &next);
    let form = SignInPage {
        page,
        next,
        providers,
        notice: None,
        obstacle: None,
        problem: refused,
        passkey: None,
        local: None,
    };
    let mut response = ask(service, headers, form)?;
    *response.status_mut() = status_of(problem);
    Ok(response)
}

/// Ends the session.
pub(in crate::console) async fn sign_out(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
) -> Result<Response, HttpProblem> {
    service.end_session(&caller, &session, &session.id).await?;
    Ok(signed_out(&service, &page))
}

/// Ends all sessions of the token or the person.
pub(in crate::console) async fn sign_out_everywhere(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
) -> Result<Response, HttpProblem> {
    service.sign_out_everywhere(&caller, &session).await?;
    Ok(signed_out(&service, &page))
}

/// Sends the browser to the form, without its cookie.
pub(in crate::console) fn signed_out(service: &Service, page: &Page) -> Response {
    let mut response = redirect(&address(&page.base, "/console", Some("out")));
    if let Some(cookie) = cookies::remove_session(service) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Returns the address of the form, after which the browser continues at `next`.
pub(in crate::console) fn address(base: &str, next: &str, why: Option<&str>) -> String {
    let next = percent_encode(next.as_bytes(), b"-._~/");
    let why = why.map(|why| format!("&why={why}")).unwrap_or_default();
    format!("{base}/console/sign-in?next={next}{why}")
}

/// Returns a path of the console, or that of the overview if the text is anything else: nothing may lead to another host.
pub(in crate::console) fn local_path(text: &str) -> &str {
    let rest = text.strip_prefix("/console");
    let is_path = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let is_plain = text.len() <= 2000 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_form = rest.is_some_and(|rest| rest.starts_with("/sign-in"));
    if is_path && is_plain && !is_form { text } else { "/console" }
}

/// Returns true if a browser loaded the page without encryption from another machine, so that it will not keep the cookie.
///
/// Browsers send `Sec-Fetch-Site` over encrypted connections and to this machine only. A proxy that terminates TLS may be in
/// between, so a missing header alone proves nothing for other programs; they are shown the form.
fn is_clear_text(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_local =
        text("host").and_then(|host| Authority::try_from(host).ok()).is_some_and(|host| host::is_loopback(host.host()));
    let is_browser = text("user-agent").is_some_and(|agent| agent.starts_with("Mozilla/"));
    !is_local && is_browser && text("sec-fetch-site").is_none() && text("x-forwarded-proto") != Some("https")
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn only_paths_of_the_console_are_followed() {
        for path in ["/console", "/console/profiles", "/console/profiles?q=a&page=2", "/console?x"] {
            assert_eq!(local_path(path), path);
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/console",
            "/consolex",
            "/console\\@evil.example",
            "/console/\r\nSet-Cookie: a=b",
            "/console/sign-in?next=/console",
            "/v1/state",
            "console",
            "/console/ü",
        ] {
            assert_eq!(local_path(other), "/console", "{other}");
        }
    }
}
