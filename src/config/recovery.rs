//! Error recovery: removes invalid values from a document and fills in missing ones, so that later checks run on the rest.
//!
//! [`Recovered`] records what was changed, so that a later check can leave out what may be a consequence of it. A recovered
//! document is for checks only: it becomes no desired state.

use serde_json::{Map, Value as Json, json};

use crate::model::Code;

/// The JSON pointers that recovery changed, or whose values are invalid.
#[derive(Clone, Debug, Default)]
pub(super) struct Recovered {
    places: Vec<String>,
    /// The pointers whose values no type accepts.
    unusable: Vec<String>,
}

impl Recovered {
    pub(super) fn add(&mut self, pointer: impl Into<String>) {
        self.places.push(pointer.into());
    }

    /// Records a value that has to be removed before the document can be deserialized.
    pub(super) fn add_unusable(&mut self, pointer: &str) {
        self.add(pointer);
        self.unusable.push(pointer.to_owned());
    }

    /// Adds what was recovered in a document that is a part of this one.
    pub(super) fn add_below(&mut self, pointer: &str, part: &Self) {
        self.places.extend(part.places.iter().map(|place| format!("{pointer}{place}")));
        self.unusable.extend(part.unusable.iter().map(|place| format!("{pointer}{place}")));
    }

    /// Returns true if a value at a pointer, below it or above it is recovered.
    pub(super) fn overlaps(&self, pointer: &str) -> bool {
        self.places.iter().any(|recovered| is_within(recovered, pointer) || is_within(pointer, recovered))
    }

    /// Returns true if a rule may be broken only because of what is recovered.
    pub(super) fn explains(&self, code: Code, pointer: &str) -> bool {
        match code {
            _ if self.places.is_empty() => false,
            // Rules about several fields together.
            Code::UnusualPort
            | Code::PasswordInClear
            | Code::LoginIncomplete
            | Code::NativeRedirect
            | Code::SpaRedirect
            | Code::DelegateFunction => self.overlaps("/provider"),
            Code::FromMissing => self.overlaps("/from") || self.overlaps("/provider"),
            _ if pointer.is_empty() => false,
            _ => self.overlaps(pointer),
        }
    }
}

fn is_within(pointer: &str, other: &str) -> bool {
    pointer.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Removes the unusable values from a document.
pub(super) fn remove_invalid(document: &mut Json, recovered: &Recovered) {
    for pointer in &recovered.unusable {
        if let Some(value) = document.pointer_mut(pointer) {
            *value = Json::Null;
        }
    }
    prune(document);
}

/// Removes all nulls. A merged document has none of its own.
fn prune(value: &mut Json) {
    match value {
        Json::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune);
        }
        Json::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(prune);
        }
        _ => {}
    }
}

/// Fills in every required value that a profile lacks, with one that breaks no rule.
pub(super) fn fill_defaults(document: &mut Json, recovered: &mut Recovered) {
    let Json::Object(profile) = document else { return };
    if recovered.overlaps("/enabled") {
        // The profile may be intended to be disabled, and then claims nothing.
        profile.insert("enabled".to_owned(), json!(false));
    }
    insert_default(profile, "", "functions", json!([]), recovered);
    insert_default(profile, "", "appliesTo", json!({ "companies": [] }), recovered);
    if let Some(Json::Object(applies)) = profile.get_mut("appliesTo") {
        insert_default(applies, "/appliesTo", "companies", json!([]), recovered);
    }
    if let Some(Json::Object(from)) = profile.get_mut("from") {
        insert_default(from, "/from", "address", json!("user@example.com"), recovered);
    }
    if profile.get("provider").and_then(Json::as_object).is_none_or(|provider| provider.len() != 1) {
        profile.insert("provider".to_owned(), json!({ "smtp": {} }));
        recovered.add("/provider");
    }
    let provider = profile.get_mut("provider").and_then(Json::as_object_mut);
    if let Some((kind, Json::Object(settings))) = provider.and_then(|provider| provider.iter_mut().next()) {
        fill_provider(kind, settings, recovered);
    }
}

fn fill_provider(kind: &str, settings: &mut Map<String, Json>, recovered: &mut Recovered) {
    let pointer = format!("/provider/{kind}");
    match kind {
        "smtp" => {
            insert_default(settings, &pointer, "host", json!("localhost"), recovered);
            remove_unless(settings, &pointer, "password", "secret", recovered);
            if let Some(Json::Object(oauth)) = settings.get_mut("oauth") {
                fill_registration(&format!("{pointer}/oauth"), oauth, true, recovered);
            }
        }
        "microsoft-graph-delegate" => {
            fill_registration(&pointer, settings, false, recovered);
            insert_default(settings, &pointer, "platform", json!("native"), recovered);
            insert_default(settings, &pointer, "redirect", json!("https://localhost"), recovered);
        }
        _ => fill_registration(&pointer, settings, true, recovered),
    }
}

fn fill_registration(pointer: &str, settings: &mut Map<String, Json>, credential: bool, recovered: &mut Recovered) {
    insert_default(settings, pointer, "tenant", json!("example.com"), recovered);
    insert_default(settings, pointer, "client", json!("00000000-0000-0000-0000-000000000000"), recovered);
    let custom = settings.get("cloud").and_then(|cloud| cloud.get("custom"));
    let whole = custom.is_some_and(|custom| ["signIn", "graph"].iter().all(|key| custom.get(key).is_some()));
    if settings.get("cloud").is_some_and(Json::is_object) && !whole {
        settings.remove("cloud");
        recovered.add(format!("{pointer}/cloud"));
    }
    if !credential {
        return;
    }
    if let Some(Json::Object(credential)) = settings.get_mut("credential") {
        let pointer = format!("{pointer}/credential");
        remove_unless(credential, &pointer, "clientSecret", "secret", recovered);
        remove_unless(credential, &pointer, "certificate", "secret", recovered);
    }
    if settings.get("credential").and_then(Json::as_object).is_none_or(|credential| credential.len() != 1) {
        settings.insert("credential".to_owned(), json!({ "federatedTokenFile": "/token" }));
        recovered.add(format!("{pointer}/credential"));
    }
}

fn insert_default(map: &mut Map<String, Json>, pointer: &str, key: &str, value: Json, recovered: &mut Recovered) {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), value);
        recovered.add(format!("{pointer}/{key}"));
    }
}

/// Removes a map that lacks its one required key.
fn remove_unless(map: &mut Map<String, Json>, pointer: &str, key: &str, needed: &str, recovered: &mut Recovered) {
    if map.get(key).is_some_and(|value| value.get(needed).is_none()) {
        map.remove(key);
        recovered.add(format!("{pointer}/{key}"));
    }
}
