//! Endpoints that read and change one profile by hand. A change by hand is drift until the files in Git have it, too.
//!
//! These endpoints do not accept secrets: a profile can only name secrets that the service already has under the same name, and is
//! refused otherwise. Each change needs the right `edit` in `changes`, which of the built-in roles `admin` has, and a precondition:
//! without one the answer is 428, and 412 if it does not hold. A profile that is the same already is a success without a new
//! generation.

use std::sync::Arc;

use axum::{
    Json,
    extract::State as Shared,
    http::{HeaderMap, Method, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::{
    api::Changed,
    changes::access::NeededRight,
    model::{
        Code, Profile, ProfileChange, ProfileName, ProfileState, State, StoredProfile,
        access::{Activity, Area, Question},
    },
    service::{
        Service,
        access::{self, Authorized, EditProfiles, SeeSomeProfiles},
        changes::edit::replacement,
        entity_tag::tag_profile,
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Segment},
        },
    },
};

/// Get a profile
///
/// Live and as of the last apply.
#[utoipa::path(get, path = "/v1/profiles/{name}", tag = "profiles", params(("name" = ProfileName, Path, description = "The profile.")),
    responses((status = 200, description = "The profile. Send its `ETag` as `If-Match` to change it.", body = ProfileState), AnyProblem))]
pub(super) async fn get_profile(
    Authorized(caller, _): Authorized<SeeSomeProfiles>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
) -> Result<Response, HttpProblem> {
    let state = service.state();
    let found = state.profiles.get(&name).ok_or_else(|| not_found(&name))?;
    for stored in found.live.iter().chain(found.applied()) {
        let right = NeededRight::of_profile(&name, &stored.profile, Activity::See);
        let (decision, _) = right.decide(&caller.policy, &caller.principal, caller.at);
        if !decision.is_allowed() {
            let question = Question::everywhere(Area::Profiles, Activity::See);
            let path = format!("/v1/profiles/{name}");
            return Err(access::refuse(&service, &caller, &question, &Method::GET, &path).await);
        }
    }
    Ok(([(header::ETAG, tag_profile(found))], Json(found)).into_response())
}

/// Create or replace a profile
#[utoipa::path(put, path = "/v1/profiles/{name}", tag = "profiles", request_body = Profile,
    params(
        ("name" = ProfileName, Path, description = "The profile."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the profile to replace, or `*` for any."),
        ("If-None-Match" = Option<String>, Header, description = "`*` to create a profile that does not exist."),
    ),
    responses((status = 200, description = "Changed, or the profile was the same.", body = Changed), AnyProblem))]
pub(super) async fn put_profile(
    Authorized(caller, _): Authorized<EditProfiles>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
    headers: HeaderMap,
    Body(profile, _permit): Body<Profile>,
) -> Result<Json<Changed>, HttpProblem> {
    let wanted = name.clone();
    let change = move |state: &State| {
        let live = check_precondition(&headers, state, &wanted)?;
        replacement(state, wanted, live, profile)
    };
    to_answer(service.change_by_hand(&caller, "profile.put", &name, change).await)
}

/// Change a profile
///
/// With a JSON merge patch (RFC 7396).
#[utoipa::path(patch, path = "/v1/profiles/{name}", tag = "profiles",
    request_body(content = Object, description = "The fields to change; null removes a field.", content_type = "application/merge-patch+json"),
    params(
        ("name" = ProfileName, Path, description = "The profile."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the profile, or `*` for any."),
    ),
    responses((status = 200, description = "Changed, or the profile was the same.", body = Changed), AnyProblem))]
pub(super) async fn patch_profile(
    Authorized(caller, _): Authorized<EditProfiles>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
    headers: HeaderMap,
    Body(patch, _permit): Body<Value>,
) -> Result<Json<Changed>, HttpProblem> {
    let wanted = name.clone();
    let change = move |state: &State| {
        let live = check_precondition(&headers, state, &wanted)?.ok_or_else(|| not_found(&wanted))?;
        let mut document = serde_json::to_value(&live.profile).map_err(HttpProblem::internal)?;
        merge(&mut document, patch);
        let profile = serde_json::from_value(document).map_err(|_| {
            HttpProblem::malformed("the patched profile is not valid: a field is missing, unknown or of the wrong type")
        })?;
        replacement(state, wanted, Some(live), profile)
    };
    to_answer(service.change_by_hand(&caller, "profile.patch", &name, change).await)
}

/// Delete a profile
#[utoipa::path(delete, path = "/v1/profiles/{name}", tag = "profiles",
    params(
        ("name" = ProfileName, Path, description = "The profile."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the profile, or `*` for any."),
    ),
    responses((status = 200, description = "Deleted.", body = Changed), AnyProblem))]
pub(super) async fn delete_profile(
    Authorized(caller, _): Authorized<EditProfiles>,
    Shared(service): Shared<Arc<Service>>,
    Segment(name): Segment<ProfileName>,
    headers: HeaderMap,
) -> Result<Json<Changed>, HttpProblem> {
    let wanted = name.clone();
    let change = move |state: &State| {
        check_precondition(&headers, state, &wanted)?.ok_or_else(|| not_found(&wanted))?;
        Ok(Some(ProfileChange::Delete { name: wanted }))
    };
    to_answer(service.change_by_hand(&caller, "profile.delete", &name, change).await)
}

fn to_answer(result: Result<(u64, crate::model::ChangeSummary), HttpProblem>) -> Result<Json<Changed>, HttpProblem> {
    result.map(|(generation, summary)| Json(Changed { generation, summary }))
}

fn not_found(name: &ProfileName) -> HttpProblem {
    HttpProblem::not_found(format!("profile `{name}` does not exist"))
}

/// Checks the precondition headers of a request and returns the live profile.
fn check_precondition<'a>(
    headers: &HeaderMap,
    state: &'a State,
    name: &ProfileName,
) -> Result<Option<&'a StoredProfile>, HttpProblem> {
    let text = |header| headers.get(header).map(|value: &header::HeaderValue| value.to_str().unwrap_or_default());
    let found = state.profiles.get(name).filter(|found| found.live.is_some());
    let holds = match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (Some("*"), None) => found.is_some(),
        (Some(wanted), None) => {
            found.map(tag_profile).is_some_and(|tag| wanted.split(',').any(|part| part.trim() == tag))
        }
        (None, Some("*")) => found.is_none(),
        _ => {
            return Err(HttpProblem::new(Code::PreconditionMissing, "a change by hand needs a precondition").remedy(
                "Send `If-Match` with the profile's ETag (or `*`), or `If-None-Match: *` to create a profile.",
            ));
        }
    };
    if !holds {
        let message =
            if found.is_some() { "the profile was changed in the meantime" } else { "the profile does not exist" };
        return Err(HttpProblem::precondition_failed(message).remedy("Read the profile again, and repeat the change."));
    }
    Ok(found.and_then(|found| found.live.as_ref()))
}

/// Applies a JSON merge patch (RFC 7396).
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn a_merge_patch_follows_the_examples_of_rfc_7396() {
        for (mut target, patch, merged) in [
            (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "b", "b": "c" }), json!({ "a": null }), json!({ "b": "c" })),
            (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": { "b": "c" } }), json!({ "a": { "b": "d", "c": null } }), json!({ "a": { "b": "d" } })),
            (json!({ "a": [{ "b": "c" }] }), json!({ "a": [1] }), json!({ "a": [1] })),
            (json!(["a", "b"]), json!({ "a": "b", "c": null }), json!({ "a": "b" })),
            (json!({}), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
        ] {
            merge(&mut target, patch);
            assert_eq!(target, merged);
        }
    }
}
