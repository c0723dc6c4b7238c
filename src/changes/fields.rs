//! A profile as a flat table of fields, the unit of comparison in plans, drift and blame. [`profile_fields`] and
//! [`settings_fields`] make the table, [`differing_paths`] compares two tables.
//!
//! Keys are joined by dots. A list is one field (its items are a set, and sorted). A secret is one field: its value is the
//! name, and its digest is stored next to it. The staged next value is another field, named `next`, below it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::{Digest, SecretRecipient, Settings, StoredProfile};

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) value: Value,
    /// For a secret: the digest of its age file.
    pub(crate) digest: Option<Digest>,
}

/// The suffix of the path of a secret's next value.
pub(crate) const NEXT: &str = ".next";

/// Fields by path.
pub(crate) type Fields = BTreeMap<String, Field>;

/// Returns the fields of a profile.
pub(crate) fn profile_fields(stored: &StoredProfile) -> Fields {
    let mut fields = document_fields(&stored.profile);
    if let Some((reference, pointer)) = stored.profile.provider.secret() {
        let path = format!("provider{}", pointer.replace('/', "."));
        let digest = stored.secrets.get(reference).cloned();
        if let Some(next) = stored.next.get(reference) {
            fields.insert(format!("{path}{NEXT}"), Field { value: json!(reference), digest: Some(next.clone()) });
        }
        fields.insert(path, Field { value: json!(reference), digest });
    }
    fields
}

/// Returns the fields of an environment's settings. The fields of the reader are below `verify`, as in the files, and each
/// recipient of secrets is a line as in `recipients.txt`.
pub(crate) fn settings_fields(settings: &Settings) -> Fields {
    let without = Settings { reader: None, secret_recipients: BTreeSet::new(), ..settings.clone() };
    let mut fields = document_fields(&without);
    if !settings.secret_recipients.is_empty() {
        let lines: Vec<String> = settings.secret_recipients.iter().map(SecretRecipient::to_line).collect();
        fields.insert("secretRecipients".to_owned(), Field { value: json!(lines), digest: None });
    }
    let Some(reader) = &settings.reader else { return fields };
    flatten("verify.reader".to_owned(), serde_json::to_value(&reader.application).unwrap_or_default(), &mut fields);
    if let Some((reference, digest)) = reader.age_file() {
        let secret = json!(reference);
        for (_, field) in fields
            .iter_mut()
            .filter(|(path, field)| path.starts_with("verify.reader.credential.") && field.value == secret)
        {
            field.digest = Some(digest.clone());
        }
    }
    fields
}

/// Returns the fields of a document without secrets.
pub(crate) fn document_fields(document: &impl Serialize) -> Fields {
    let mut fields = Fields::new();
    let document = serde_json::to_value(document).unwrap_or_default();
    flatten(String::new(), document, &mut fields);
    fields
}

fn flatten(path: String, value: Value, out: &mut Fields) {
    match value {
        Value::Object(map) if map.keys().eq(["secret"]) => {
            out.insert(path, Field { value: map["secret"].clone(), digest: None });
        }
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(path, value, out);
            }
        }
        value => {
            out.insert(path, Field { value, digest: None });
        }
    }
}

/// Returns the paths at which two tables differ, in order, and the number of equal fields.
pub(crate) fn differing_paths<'a>(one: &'a Fields, other: &'a Fields) -> (Vec<&'a str>, usize) {
    let paths: BTreeSet<&str> = one.keys().chain(other.keys()).map(String::as_str).collect();
    let all = paths.len();
    let differing: Vec<&str> = paths.into_iter().filter(|path| one.get(*path) != other.get(*path)).collect();
    let equal = all - differing.len();
    (differing, equal)
}

/// Returns the value of a field for a document; null if there is no such field.
pub(crate) fn value_at(fields: &Fields, path: &str) -> Value {
    fields.get(path).map_or(Value::Null, |field| field.value.clone())
}

/// Returns the value of a field as it is shown: that of a secret has the digest of its file, because two files of one secret differ
/// in nothing else. Null if there is no such field.
pub(crate) fn shown_at(fields: &Fields, path: &str) -> Value {
    match fields.get(path) {
        Some(Field { value, digest: Some(digest) }) => {
            json!(format!("{} ({})", value.as_str().unwrap_or_default(), digest.short()))
        }
        Some(field) => field.value.clone(),
        None => Value::Null,
    }
}
