//! One profile by hand. What is changed here is drift until Git says the same.
//!
//! A secret cannot be sealed here: a profile may only name secrets that the service has under the same name.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State as Shared,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::{
    api::Changed,
    model::{Code, Digest, Profile, ProfileChange, ProfileName, ProfileState, SecretReference, State, StoredProfile},
    service::{
        Service,
        access::{Admin, As, Viewer},
        http::extract::{Body, Segment},
        http::{AnyProblem, HttpProblem},
    },
};

/// One profile, live and as the last apply left it
#[utoipa::path(get, path = "/v1/profiles/{name}", tag = "profiles", params(("name" = ProfileName, Path, description = "The profile.")),
    responses((status = 200, description = "The profile; its `ETag` is what `If-Match` wants.", body = ProfileState), AnyProblem))]
pub(super) async fn read(
    _: As<Viewer>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
) -> Result<Response, HttpProblem> {
    let state = service.state();
    let found = state.profiles.get(&name).ok_or_else(|| missing(&name))?;
    Ok(([(header::ETAG, tag(found))], Json(found)).into_response())
}

/// Make or replace a profile by hand
#[utoipa::path(put, path = "/v1/profiles/{name}", tag = "profiles", request_body = Profile,
    params(
        ("name" = ProfileName, Path, description = "The profile."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the profile that is replaced, or `*` for whatever is there."),
        ("If-None-Match" = Option<String>, Header, description = "`*` to make a profile that is not there."),
    ),
    responses((status = 200, description = "Done, or nothing to do.", body = Changed), AnyProblem))]
pub(super) async fn put(
    As(caller, _): As<Admin>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
    headers: HeaderMap,
    Body(profile, _room): Body<Profile>,
) -> Result<Json<Changed>, HttpProblem> {
    let wanted = name.clone();
    let change = move |state: &State| {
        let live = precondition(&headers, state, &wanted)?;
        replace(state, wanted, live, profile)
    };
    answer(service.change_by_hand(&caller, "profile.put", &name, change).await)
}

/// Change a profile by hand: an RFC 7396 merge patch
#[utoipa::path(patch, path = "/v1/profiles/{name}", tag = "profiles",
    request_body(content = Object, description = "The fields to change; null removes one.", content_type = "application/merge-patch+json"),
    params(
        ("name" = ProfileName, Path, description = "The profile."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the profile, or `*` for whatever is there."),
    ),
    responses((status = 200, description = "Done, or nothing to do.", body = Changed), AnyProblem))]
pub(super) async fn patch(
    As(caller, _): As<Admin>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
    headers: HeaderMap,
    Body(patch, _room): Body<Value>,
) -> Result<Json<Changed>, HttpProblem> {
    let wanted = name.clone();
    let change = move |state: &State| {
        let live = precondition(&headers, state, &wanted)?.ok_or_else(|| missing(&wanted))?;
        let mut document = serde_json::to_value(&live.profile).map_err(HttpProblem::internal)?;
        merge(&mut document, patch);
        let profile = serde_json::from_value(document).map_err(|_| {
            HttpProblem::malformed(
                "with the patch, the profile would not be one: something is missing, unknown or of the wrong type",
            )
        })?;
        replace(state, wanted, Some(live), profile)
    };
    answer(service.change_by_hand(&caller, "profile.patch", &name, change).await)
}

/// Remove a profile by hand
#[utoipa::path(delete, path = "/v1/profiles/{name}", tag = "profiles",
    params(
        ("name" = ProfileName, Path, description = "The profile."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the profile, or `*` for whatever is there."),
    ),
    responses((status = 200, description = "Done.", body = Changed), AnyProblem))]
pub(super) async fn delete(
    As(caller, _): As<Admin>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
    headers: HeaderMap,
) -> Result<Json<Changed>, HttpProblem> {
    let wanted = name.clone();
    let change = move |state: &State| {
        precondition(&headers, state, &wanted)?.ok_or_else(|| missing(&wanted))?;
        Ok(Some(ProfileChange::Delete { name: wanted }))
    };
    answer(service.change_by_hand(&caller, "profile.delete", &name, change).await)
}

fn answer(result: Result<(u64, crate::model::ChangeSummary), HttpProblem>) -> Result<Json<Changed>, HttpProblem> {
    result.map(|(generation, summary)| Json(Changed { generation, summary }))
}

fn missing(name: &ProfileName) -> HttpProblem {
    HttpProblem::not_found(format!("there is no profile `{name}`"))
}

fn tag(state: &ProfileState) -> String {
    format!("\"g{}\"", state.changed.generation)
}

/// The live profile, if the request says rightly which one it changes.
fn precondition<'a>(
    headers: &HeaderMap,
    state: &'a State,
    name: &ProfileName,
) -> Result<Option<&'a StoredProfile>, HttpProblem> {
    let text = |header| headers.get(header).map(|value: &header::HeaderValue| value.to_str().unwrap_or_default());
    let found = state.profiles.get(name).filter(|found| found.live.is_some());
    let holds = match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (Some("*"), None) => found.is_some(),
        (Some(wanted), None) => found.is_some_and(|found| wanted.split(',').any(|part| part.trim() == tag(found))),
        (None, Some("*")) => found.is_none(),
        _ => {
            return Err(HttpProblem::new(Code::PreconditionMissing, "a change by hand says which profile it changes")
                .remedy("Send `If-Match` with the profile's ETag (or `*`), or `If-None-Match: *` to make a new one."));
        }
    };
    if !holds {
        let what = if found.is_some() { "the profile is another by now" } else { "there is no such profile" };
        return Err(HttpProblem::precondition_failed(what).remedy("Read the profile again, and change that."));
    }
    Ok(found.and_then(|found| found.live.as_ref()))
}

/// The profile in the place of the live one, with the digests that the service has for the secrets that it names.
fn replace(
    state: &State,
    name: ProfileName,
    live: Option<&StoredProfile>,
    profile: Profile,
) -> Result<Option<ProfileChange>, HttpProblem> {
    let (mut secrets, mut next) = (BTreeMap::new(), BTreeMap::new());
    if let Some((reference, _)) = profile.provider.secret() {
        let digest = digest_of(state, live, reference).ok_or_else(|| {
            HttpProblem::new(Code::SecretNotSent, format!("the service has no secret `{reference}`"))
                .remedy("A secret comes with an apply: `mailwright secrets set`, then `mailwright apply`.")
        })?;
        secrets.insert(reference.clone(), digest);
        // A rotation that is under way goes on.
        let staged = live.and_then(|live| live.next.get(reference)).cloned();
        next.extend(staged.map(|digest| (reference.clone(), digest)));
    }
    let profile = StoredProfile { profile, secrets, next };
    Ok(match live {
        Some(live) if *live == profile => None,
        Some(_) => Some(ProfileChange::Update { name, profile }),
        None => Some(ProfileChange::Create { name, profile }),
    })
}

fn digest_of(state: &State, live: Option<&StoredProfile>, reference: &SecretReference) -> Option<Digest> {
    let own = live.and_then(|live| live.secrets.get(reference));
    let any = || state.live_stored().find_map(|(_, stored)| stored.secrets.get(reference));
    own.or_else(any).cloned()
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
}
