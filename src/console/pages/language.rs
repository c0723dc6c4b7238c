//! Choice of the language: kept in a cookie, so that it works before the sign-in.

use axum::{http::header, response::Response};
use serde::Deserialize;

use crate::{
    console::{answer::redirect, cookies, extract::Form, page::Page, pages::sign_in::local_path},
    service::HttpProblem,
};

/// The fields of the form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct Choice {
    language: String,
    next: String,
}

/// Keeps the choice, and returns to the page.
pub(in crate::console) async fn choose(page: Page, Form(choice): Form<Choice>) -> Result<Response, HttpProblem> {
    let language = choice.language.parse().map_err(|()| {
        HttpProblem::malformed("the console does not have this language")
            .remedy("Choose one of the languages that it offers.")
    })?;
    let mut response = redirect(&format!("{}{}", page.base, local_path(&choice.next)));
    if let Some(cookie) = cookies::set_language(language) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
