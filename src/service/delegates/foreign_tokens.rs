//! Refusal of tokens that the service must never have: access tokens for Microsoft Graph or another resource, and refresh tokens.
//!
//! [`check_headers`] and [`check_text`] refuse a request that has one, with a code of its own and before anything else is done
//! with it. Neither the token nor a part of it is in the refusal or in the log. Detection is in
//! [`crate::entra::token_detection`].

use axum::http::{HeaderMap, Uri};

use crate::{
    entra::token_detection::has_access_or_refresh_token, model::Code, service::http::HttpProblem, text::percent_decode,
};

/// Refuses a request with such a token in its headers or its address.
pub(super) fn check_headers(headers: &HeaderMap, uri: &Uri) -> Result<(), HttpProblem> {
    for value in headers.values() {
        check_text(value.as_bytes())?;
    }
    check_text(&percent_decode(uri.path().as_bytes()))?;
    check_text(&percent_decode(uri.query().unwrap_or_default().as_bytes()))
}

/// Refuses a text that has such a token.
pub(super) fn check_text(text: &[u8]) -> Result<(), HttpProblem> {
    if has_access_or_refresh_token(text) {
        return Err(HttpProblem::new(
            Code::GraphTokenRefused,
            "the request has an access token or a refresh token of Microsoft Entra; it was refused unread",
        )
        .remedy(
            "Send an ID token whose audience is the client id of the delegate profile. The client keeps all other tokens.",
        ));
    }
    Ok(())
}
