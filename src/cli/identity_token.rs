//! The `OpenID` Connect identity token of a CI job: [`from_github`] requests one from GitHub Actions.
//!
//! `args::service` calls it if no token of the service is given, after it has checked where the token may be sent. The service
//! verifies it (`service::oidc`). A request takes at most 30 seconds; without a token there is an error with the permission that
//! the job needs.

use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::{CliError, Context, variables};
use crate::{
    entra::http::{Http, HttpOptions, Request},
    model::{Code, host::is_loopback},
};

/// Requests an identity token from GitHub Actions. The request token is sent to GitHub's address only, and is not part of
/// any message.
pub(super) fn from_github(context: &Context, audience: &str) -> Result<SecretString, CliError> {
    let missing = |why: &str| {
        CliError::coded(Code::IdentityTokenMissing, format!("cannot get an identity token: {why}"))
            .remedy("Give the job `permissions: { id-token: write }`; elsewhere, set MAILWRIGHT_TOKEN to the token.")
    };
    let Some((address, request_token)) = variables::github_identity() else {
        return Err(missing("GitHub Actions does not offer one to this job"));
    };
    let mut url = Url::parse(&address).map_err(|_| missing("ACTIONS_ID_TOKEN_REQUEST_URL is not an address"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&host)) {
        return Err(missing("ACTIONS_ID_TOKEN_REQUEST_URL is not an https:// address"));
    }
    url.query_pairs_mut().append_pair("audience", audience);
    let options = HttpOptions {
        connections: 1,
        timeout: Duration::from_secs(15),
        patience: Duration::from_secs(30),
        ..HttpOptions::default()
    };
    let http = Http::new(&options).map_err(CliError::new)?;
    let runtime = context.runtime()?;
    // The request runs on its own thread, because the caller may already run on a runtime.
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(http.send(Request::get(url).bearer(&request_token)))).join()
    });
    let answer = answer.map_err(|_| missing("the request failed"))?.map_err(|error| missing(&error.to_string()))?;
    if !answer.is_success() {
        return Err(missing(&format!("`{host}` answered HTTP {}", answer.status)));
    }
    let token = answer.body["value"].as_str().filter(|token| !token.is_empty());
    token.map(|token| token.to_owned().into()).ok_or_else(|| missing("the answer does not contain a token"))
}
