//! Client data: what the browser states about the request that it answers: purpose, challenge and origin of the page (`WebAuthn`
//! level 3, section 5.8.1).
//!
//! [`check`] refuses an answer to another request, for another purpose, from another site or from a frame. [`challenge`] and
//! [`origin`] read without a check. The signature over the client data is verified in `relying_party`.

use serde::Deserialize;

use super::{challenge::Challenge, error::PasskeyError};

/// The purpose of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new key.
    Create,
    /// A signature of a key.
    Get,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData<'a> {
    r#type: &'a str,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    top_origin: Option<String>,
}

/// Returns the challenge that an answer contains, without any check: with it the request is found.
pub(super) fn challenge(bytes: &[u8]) -> Option<Challenge> {
    Challenge::parse(&serde_json::from_slice::<ClientData<'_>>(bytes).ok()?.challenge)
}

/// Returns the origin of the page that asked, without any check.
pub(super) fn origin(bytes: &[u8]) -> Option<String> {
    Some(serde_json::from_slice::<ClientData<'_>>(bytes).ok()?.origin)
}

/// Refuses an answer to another request, for another purpose, or that another site asked for.
pub(super) fn check(
    bytes: &[u8],
    purpose: Purpose,
    challenge: &Challenge,
    origins: &[String],
) -> Result<(), PasskeyError> {
    let data: ClientData<'_> = serde_json::from_slice(bytes).map_err(|_| PasskeyError::Malformed)?;
    let expected = match purpose {
        Purpose::Create => "webauthn.create",
        Purpose::Get => "webauthn.get",
    };
    if data.r#type != expected {
        return Err(PasskeyError::OtherPurpose);
    }
    if Challenge::parse(&data.challenge).as_ref() != Some(challenge) {
        return Err(PasskeyError::Challenge);
    }
    // A page of another site could show ours in a frame, and a person would not see what they confirm.
    if !origins.contains(&data.origin) || data.cross_origin || data.top_origin.is_some() {
        return Err(PasskeyError::OtherSite);
    }
    Ok(())
}
