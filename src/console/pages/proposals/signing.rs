//! Signing a proposal: the page that shows what is signed, and the signatures by a passkey and at an identity provider.
//!
//! [`sign`] shows the text. An operator sends the answer of a passkey to [`add_signature`]; a person of an identity provider
//! follows the link of [`sign_with_provider`], and comes back to `identity_sign_in`. Nothing is verified here: that is in
//! `service::signatures`.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;

use super::show_result;
use crate::{
    console::{
        answer::{Answer, render},
        extract::{Form, Segment},
        page::{Page, SignedIn, shown},
        pages::identity_sign_in::to_provider,
        passkey_form::{PasskeyForm, site},
    },
    model::{
        Allowances, Signature,
        session::{Session, SessionSubject},
    },
    service::{HttpProblem, Service, SignatureDraft, WantedSignature},
};

/// The page that shows what is signed, with the request for a passkey or the link to the identity provider.
#[derive(Template)]
#[template(path = "sign.html")]
struct SignPage {
    page: Page,
    id: String,
    record: Signature,
    signer: String,
    name: String,
    reason: String,
    text: String,
    draft: String,
    /// The form for a passkey; none for a person of an identity provider.
    form: Option<PasskeyForm>,
    /// The address that leads to the identity provider of the person, and its name.
    provider: Option<(String, String)>,
}

/// The fields of a request for a signature.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct SignEntry {
    meaning: String,
    reason: String,
    offset: String,
}

/// Shows what is signed, and asks for a passkey or leads to the identity provider.
pub(in crate::console) async fn sign(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    Segment(id): Segment<String>,
    headers: HeaderMap,
    Form(entry): Form<SignEntry>,
) -> Answer {
    let begun = async {
        let wanted = WantedSignature {
            meaning: entry.meaning.parse().map_err(HttpProblem::malformed)?,
            reason: entry.reason.trim().to_owned(),
            offset_minutes: entry.offset.parse().map_err(|_| HttpProblem::malformed("`offset` is not a number"))?,
        };
        if matches!(session.subject, SessionSubject::Identity { .. }) {
            return Ok((service.draft_signature(&caller, &session, &id, wanted).await?, None));
        }
        let site = site(&service, &headers)?;
        let draft = service.draft_signature(&caller, &session, &id, wanted).await?;
        let options = service.begin_signature(&site, &session, &draft.digest()).await?;
        Ok((draft, Some(options)))
    };
    match begun.await {
        Ok((draft, options)) => render(&SignPage {
            provider: draft.is_for_provider().then(|| {
                let address = format!("{}/console/proposals/{id}/sign/{}", page.base, draft.digest());
                (address, provider_label(&service, &session))
            }),
            signer: shown(&draft.record().signer),
            name: shown(&draft.record().printed_name),
            reason: shown(&draft.record().reason),
            text: draft.text(),
            draft: draft.to_field(),
            form: options.as_ref().map(PasskeyForm::get),
            record: draft.record().clone(),
            id,
            page,
        }),
        Err(problem) => show_result(&service, page, &caller, &id, &Allowances::default(), Err(problem)).await,
    }
}

/// Returns the name of the identity provider of a person, as the form for the sign-in shows it.
fn provider_label(service: &Service, session: &Session) -> String {
    let name = service.confirming_provider(session);
    let found = service.identity_providers().into_iter().find(|provider| Some(&provider.name) == name.as_ref());
    found.map(|provider| shown(&provider.label)).unwrap_or_default()
}

/// Sends the person of a session to its identity provider, to confirm there that it signs the text that a page has shown.
pub(in crate::console) async fn sign_with_provider(
    State(service): State<Arc<Service>>,
    SignedIn { session, .. }: SignedIn,
    Segment((id, digest)): Segment<(String, String)>,
) -> Result<Response, HttpProblem> {
    let begun = service.begin_signature_with_provider(&session, &id, &digest).await?;
    Ok(to_provider(&service, &begun))
}

/// The answer of a passkey, and what it signs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct SignatureEntry {
    draft: String,
    answer: String,
}

/// Adds a signature by a passkey.
pub(in crate::console) async fn add_signature(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    Segment(id): Segment<String>,
    headers: HeaderMap,
    Form(entry): Form<SignatureEntry>,
) -> Answer {
    let signed = async {
        let draft = SignatureDraft::from_field(id.clone(), &entry.draft)
            .ok_or_else(|| HttpProblem::malformed("the form is damaged").remedy("Load the page again."))?;
        service.sign_proposal(&caller, &session, &site(&service, &headers)?, draft, &entry.answer).await
    };
    let result = signed.await;
    show_result(&service, page, &caller, &id, &Allowances::default(), result).await
}
