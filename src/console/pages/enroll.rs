//! Enrolment: the page that a link opens. Its code is behind a `#`, so that no server and no log sees it; the script puts it into
//! the form. The next page asks the device for a passkey, and its answer creates a session.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroize as _;

use super::sign_in::{Source, signed_in};
use crate::{
    console::{
        answer::{Answer, render},
        extract::Form,
        page::{Page, shown},
        passkey_form::{NewPasskey, PasskeyForm, site},
        problem_page::{ProblemNotice, status_of},
    },
    model::operator::LABEL_LIMIT,
    service::{HttpProblem, Service},
};

/// The page with the field for the code.
#[derive(Template)]
#[template(path = "enroll.html")]
struct EnrollPage {
    page: Page,
    /// Why no passkey can be made at this address.
    obstacle: Option<ProblemNotice>,
    problem: Option<ProblemNotice>,
}

/// The page that asks the device.
#[derive(Template)]
#[template(path = "enroll_passkey.html")]
struct EnrollPasskeyPage {
    page: Page,
    name: String,
    form: PasskeyForm,
    label_limit: usize,
}

/// Shows the field for the code.
pub(in crate::console) async fn show(State(service): State<Arc<Service>>, page: Page, headers: HeaderMap) -> Answer {
    let obstacle = site(&service, &headers).err().map(|problem| ProblemNotice::new(&problem));
    render(&EnrollPage { page, obstacle, problem: None })
}

/// The code of a link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct Code {
    code: String,
}

/// Shows whose link it is, and asks the device for a passkey.
pub(in crate::console) async fn open(
    State(service): State<Arc<Service>>,
    page: Page,
    headers: HeaderMap,
    Source(source): Source,
    Form(mut entry): Form<Code>,
) -> Result<Response, HttpProblem> {
    let code = SecretString::from(entry.code.trim().to_owned());
    entry.code.zeroize();
    let begun = async {
        let site = site(&service, &headers)?;
        service.begin_enrolment(&site, &code, &source).await
    };
    match begun.await {
        Ok((operator, options)) => {
            let form = PasskeyForm::create(&options);
            render(&EnrollPasskeyPage { page, name: shown(&operator.name), form, label_limit: LABEL_LIMIT })
        }
        Err(problem) => refuse(page, &problem),
    }
}

/// Registers the passkey, and signs the person in.
pub(in crate::console) async fn finish(
    State(service): State<Arc<Service>>,
    page: Page,
    headers: HeaderMap,
    Source(source): Source,
    Form(entry): Form<NewPasskey>,
) -> Result<Response, HttpProblem> {
    let finished = async {
        let site = site(&service, &headers)?;
        service.finish_enrolment(&site, &entry.answer, &entry.label, &source).await
    };
    match finished.await {
        Ok((_, secret)) => Ok(signed_in(&service, &page, "/console", &secret)),
        Err(problem) => refuse(page, &problem),
    }
}

/// Shows the field for the code again, with the problem.
fn refuse(page: Page, problem: &HttpProblem) -> Result<Response, HttpProblem> {
    let problem_page = EnrollPage { page, obstacle: None, problem: Some(ProblemNotice::new(problem)) };
    Ok((status_of(problem), render(&problem_page)?).into_response())
}
