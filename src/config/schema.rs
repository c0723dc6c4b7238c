//! JSON Schema 2020-12 on merged documents, with what it finds told in our words and at our places.
//!
//! The schemas are part of the binary. Values are never quoted: what stands in the wrong place may be a secret.

use std::{collections::HashSet, sync::LazyLock};

use jsonschema::{
    Draft, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Value as Json, json};

use super::{parse::PROBLEM_LIMIT, suggest};
use crate::model::{
    Code, CompanyId, InvalidName, Lapse, Problem, ProfileName, RolloutName, SecretReference, rollout::Share,
};

/// The schemas by name, as `mailwright schema` prints them.
pub const SCHEMAS: &[(&str, &str)] = &[
    ("environment", include_str!("../../schema/environment.schema.json")),
    ("profile", include_str!("../../schema/profile.schema.json")),
    ("plan", include_str!("../../schema/plan.schema.json")),
    ("diff", include_str!("../../schema/diff.schema.json")),
    ("oidc", include_str!("../../schema/oidc.schema.json")),
    ("rollout", include_str!("../../schema/rollout.schema.json")),
    ("verify-report", include_str!("../../schema/verify-report.schema.json")),
];

/// Which document is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `environment.yaml`, merged.
    Environment,
    /// A profile of an abstract layer: nothing need be there yet.
    PartialProfile,
    /// A profile, merged, with its variables put in.
    Profile,
    /// A rollout.
    Rollout,
}

/// Something that a schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Where, as a JSON pointer.
    pub(super) pointer: String,
    /// Whether the key is meant and not the value.
    pub(super) at_key: bool,
    pub(super) problem: Problem,
}

#[expect(clippy::expect_used, reason = "the schemas are part of the binary, and a test compiles them")]
fn compile(schema: &Json) -> Validator {
    jsonschema::options().with_draft(Draft::Draft202012).offline().build(schema).expect("the schemas are well formed")
}

#[expect(clippy::expect_used, reason = "the schemas are part of the binary, and a test reads them")]
fn schema(name: &str) -> Json {
    let text = SCHEMAS.iter().find(|(known, _)| *known == name).expect("the schema exists").1;
    serde_json::from_str(text).expect("the schemas are well formed")
}

static ENVIRONMENT: LazyLock<Validator> = LazyLock::new(|| compile(&schema("environment")));
static PARTIAL_PROFILE: LazyLock<Validator> = LazyLock::new(|| compile(&schema("profile")));
static ROLLOUT: LazyLock<Validator> = LazyLock::new(|| compile(&schema("rollout")));
static PROFILE: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = schema("profile");
    schema["$ref"] = json!("#/$defs/effective");
    compile(&schema)
});

/// What the schema does not allow; ordered, without repetitions. Of more than [`PROBLEM_LIMIT`] only so many, and some.
pub(super) fn check(kind: Kind, document: &Json) -> Vec<Mismatch> {
    let validator = match kind {
        Kind::Environment => &ENVIRONMENT,
        Kind::PartialProfile => &PARTIAL_PROFILE,
        Kind::Profile => &PROFILE,
        Kind::Rollout => &ROLLOUT,
    };
    if validator.is_valid(document) {
        return Vec::new();
    }
    let mut found: Vec<Mismatch> = Vec::new();
    for error in validator.iter_errors(document) {
        if found.len() > PROBLEM_LIMIT {
            break;
        }
        for mismatch in told(&error, document, kind) {
            // Of one map several keys may be missing; of one value, whatever is wrong is told once.
            let same = |other: &Mismatch| {
                other.pointer == mismatch.pointer
                    && other.at_key == mismatch.at_key
                    && other.problem.code == mismatch.problem.code
                    && (other.problem.code != Code::MissingKey || other.problem.message == mismatch.problem.message)
            };
            if !found.iter().any(same) {
                found.push(mismatch);
            }
        }
    }
    found
}

/// The keys that mean nothing, as JSON pointers.
pub(super) fn unknown_keys(kind: Kind, document: &Json) -> Vec<String> {
    let unknown = |mismatch: &Mismatch| mismatch.at_key;
    check(kind, document).into_iter().filter(unknown).map(|mismatch| mismatch.pointer).collect()
}

fn told(error: &ValidationError<'_>, document: &Json, kind: Kind) -> Vec<Mismatch> {
    let pointer = error.instance_path().to_string();
    let here = |code: Code, message: String, remedy: String| {
        vec![Mismatch { pointer: pointer.clone(), at_key: false, problem: Problem::new(code, message).remedy(remedy) }]
    };
    if is_secret(&pointer) {
        match error.kind() {
            ValidationErrorKind::Type { .. } => {
                return here(
                    Code::LiteralSecret,
                    "a secret is named here, never written".to_owned(),
                    "Write `{ secret: NAME/KEY }`, and seal the value with `mailwright secrets set ENV NAME/KEY`. If this was ever committed, the value is no secret any more: change it.".to_owned(),
                );
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                return unexpected
                    .iter()
                    .take(PROBLEM_LIMIT + 1)
                    .map(|key| Mismatch {
                        pointer: child(&pointer, key),
                        at_key: true,
                        problem: Problem::new(Code::LiteralSecret, "a secret is named by `secret: NAME/KEY` and nothing else").remedy(
                            "Write `{ secret: NAME/KEY }`, and seal the value with `mailwright secrets set ENV NAME/KEY`.",
                        ),
                    })
                    .collect();
            }
            _ => {}
        }
    }
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let allowed = allowed_keys(&pointer, kind);
            // One more than are told, so that it shows that there are more.
            unexpected.iter().take(PROBLEM_LIMIT + 1).map(|key| unknown_key(&pointer, key, &allowed)).collect()
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            here(Code::MissingKey, format!("`{key}` is missing"), required_remedy(&pointer, key))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            let written = document.pointer(&pointer).and_then(Json::as_str).unwrap_or_default();
            let remedy = match suggest::nearest(written, options.iter().copied()) {
                Some(meant) => format!("Did you mean `{meant}`?"),
                None => format!("Allowed are: {}.", options.join(", ")),
            };
            let what = if options.contains(&"document-quality") {
                "there is no such function"
            } else {
                "this is not one of the allowed values"
            };
            here(Code::UnknownValue, what.to_owned(), remedy)
        }
        ValidationErrorKind::Type { kind } => type_mismatch(&pointer, kind, document),
        ValidationErrorKind::Pattern { .. } => {
            let (message, remedy) = pattern_words(&pointer);
            let written = document.pointer(&pointer).and_then(Json::as_str).unwrap_or_default();
            match reserved_name(&pointer, written) {
                Some(rule) => here(Code::InvalidName, message, format!("{rule}.")),
                None => here(Code::InvalidValue, message, remedy),
            }
        }
        ValidationErrorKind::PropertyNames { .. } => here(
            Code::InvalidName,
            format!("the name of a {} is not allowed", if last(&pointer) == "labels" { "label" } else { "variable" }),
            match last(&pointer) {
                "labels" => LABEL_RULE.to_owned(),
                _ => {
                    "Names begin with a letter and have letters, digits, dashes and underscores, 64 at most.".to_owned()
                }
            },
        ),
        ValidationErrorKind::MaxLength { limit } => {
            here(Code::TooLong, format!("this has more than {limit} characters"), "Shorten it.".to_owned())
        }
        ValidationErrorKind::MinLength { .. } => {
            here(Code::InvalidValue, "this is empty".to_owned(), "Write the value, or remove the key.".to_owned())
        }
        ValidationErrorKind::MinItems { .. } => {
            here(Code::InvalidValue, "the list is empty".to_owned(), "Name at least one, or remove the key.".to_owned())
        }
        ValidationErrorKind::UniqueItems => {
            here(Code::InvalidValue, "the list has an item twice".to_owned(), "Remove one of them.".to_owned())
        }
        ValidationErrorKind::Minimum { limit } => {
            here(Code::InvalidValue, format!("this is less than {limit}"), "Correct the number.".to_owned())
        }
        ValidationErrorKind::Maximum { limit } => {
            here(Code::InvalidValue, format!("this is more than {limit}"), "Correct the number.".to_owned())
        }
        ValidationErrorKind::MaxProperties { .. } => here(
            Code::InvalidValue,
            format!("there is more than one `{}`", last(&pointer)),
            "Keep one. Where a lower layer says the other, write `null` for that one here.".to_owned(),
        ),
        ValidationErrorKind::MinProperties { .. } => here(
            Code::MissingKey,
            format!("`{}` says nothing", last(&pointer)),
            format!("Allowed are: {}.", allowed_keys(&pointer, kind).join(", ")),
        ),
        other => here(
            Code::InvalidValue,
            format!("this is not allowed here ({})", other.keyword()),
            "`mailwright schema` prints what is.".to_owned(),
        ),
    }
}

fn type_mismatch(pointer: &str, kind: &TypeKind, document: &Json) -> Vec<Mismatch> {
    let wanted: Vec<String> = match kind {
        TypeKind::Single(wanted) => vec![wanted.to_string()],
        TypeKind::Multiple(wanted) => wanted.iter().map(|wanted| wanted.to_string()).collect(),
    };
    let words: Vec<&str> = wanted
        .iter()
        .filter(|name| *name != "null")
        .map(|name| match name.as_str() {
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "a list",
            _ => "a map of keys and values",
        })
        .collect();
    let found = document.pointer(pointer);
    let is = match found {
        Some(Json::Null) | None => "nothing",
        Some(Json::Bool(_)) => "true or false",
        Some(Json::Number(_)) => "a number",
        Some(Json::String(_)) => "text",
        Some(Json::Array(_)) => "a list",
        Some(Json::Object(_)) => "a map",
    };
    let remedy = match found {
        Some(Json::Number(_) | Json::Bool(_)) if words.contains(&"text") => {
            "Put it in quotes if it is meant as text.".to_owned()
        }
        Some(Json::String(_)) if words == ["a list"] => "Write it as a list: [ ... ].".to_owned(),
        Some(Json::String(_)) => "Remove the quotes, if there are any.".to_owned(),
        _ => "`mailwright schema` prints what belongs here.".to_owned(),
    };
    vec![Mismatch {
        pointer: pointer.to_owned(),
        at_key: false,
        problem: Problem::new(Code::WrongType, format!("this is {is}, and {} belongs here", words.join(" or ")))
            .remedy(remedy),
    }]
}

fn unknown_key(pointer: &str, key: &str, allowed: &[String]) -> Mismatch {
    let shown: String = key.chars().take(40).collect::<String>().escape_debug().to_string();
    let remedy = match suggest::nearest(key, allowed.iter().map(String::as_str)) {
        Some(meant) => format!("Did you mean `{meant}`?"),
        None if allowed.is_empty() => "Remove it.".to_owned(),
        None => format!("Allowed are: {}.", allowed.join(", ")),
    };
    Mismatch {
        pointer: child(pointer, key),
        at_key: true,
        problem: Problem::new(Code::UnknownKey, format!("the key `{shown}` means nothing here")).remedy(remedy),
    }
}

/// The keys that the schema has at a pointer, found by walking its `properties`.
fn allowed_keys(pointer: &str, kind: Kind) -> Vec<String> {
    let document = schema(match kind {
        Kind::Environment => "environment",
        Kind::PartialProfile | Kind::Profile => "profile",
        Kind::Rollout => "rollout",
    });
    let resolve = |mut node: Json| {
        for _ in 0..8 {
            let Some(reference) = node.get("$ref").and_then(Json::as_str) else { break };
            node = document.pointer(reference.trim_start_matches('#')).cloned().unwrap_or_default();
        }
        node
    };
    let mut node = resolve(document.clone());
    for segment in pointer.split('/').skip(1) {
        let next = node
            .pointer(&format!("/properties/{segment}"))
            .or_else(|| node.pointer(&format!("/else/properties/{segment}")))
            .or_else(|| node.get("items"))
            .cloned()
            .unwrap_or_default();
        node = resolve(next);
    }
    let properties = node.get("properties").or_else(|| node.pointer("/else/properties"));
    properties.and_then(Json::as_object).map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

fn required_remedy(pointer: &str, key: &str) -> String {
    match (pointer, key) {
        ("", "provider") => {
            "Add `provider: { smtp: { host: ... } }`, or one of the two Microsoft Graph providers.".to_owned()
        }
        ("", "functions") => "Add `functions: [...]`; `mailwright functions` lists them.".to_owned(),
        ("", "appliesTo") => "Add `appliesTo: system-wide`, or `appliesTo: { companies: [...] }`.".to_owned(),
        (_, "credential") => "Add `credential: { clientSecret: { secret: NAME/KEY } }`, or a certificate.".to_owned(),
        (_, "secret") => "Add `secret: NAME/KEY`.".to_owned(),
        _ => format!("Add `{key}`, here or in a layer that this one extends."),
    }
}

/// What a label's name and its value look like.
const LABEL_RULE: &str = "1 to 63 letters, digits, dots, dashes and underscores, with a letter or digit at both ends; in quotes if it looks like a number.";

/// Why Windows does not let a name be that of a file, if that is all that is wrong with it.
fn reserved_name(pointer: &str, written: &str) -> Option<InvalidName> {
    let error = match last(pointer) {
        "secret" => written.parse::<SecretReference>().err(),
        "renamedFrom" | "profile" => written.parse::<ProfileName>().err(),
        _ => None,
    };
    error.filter(InvalidName::is_reserved)
}

fn pattern_words(pointer: &str) -> (String, String) {
    if pointer.starts_with("/labels/") {
        return ("this is not a label's value".to_owned(), LABEL_RULE.to_owned());
    }
    match last(pointer) {
        "secret" => ("this is not the name of a secret".to_owned(), format!("{}.", SecretReference::RULE)),
        "renamedFrom" | "profile" => ("this is not a profile's name".to_owned(), format!("{}.", ProfileName::RULE)),
        "extends" => (
            "this is not the name of a folder under `environments/`".to_owned(),
            "Write the folder's name alone, without a path.".to_owned(),
        ),
        "soak" | "deadline" | "within" | "over" => {
            ("this is no length of time".to_owned(), format!("{}.", Lapse::RULE))
        }
        "below" => ("this is no share".to_owned(), format!("{}.", Share::RULE)),
        "name" => (
            "this is not the name of a wave".to_owned(),
            format!("{}.", RolloutName::RULE.replace("a rollout's", "a wave's")),
        ),
        "companies" => ("this is not a company id".to_owned(), format!("{}.", CompanyId::RULE)),
        "finding" => (
            "this is not the id of a finding".to_owned(),
            "Ids are in capitals, as GRAPH-MAIL-SEND-UNSCOPED; `mailwright explain` lists them.".to_owned(),
        ),
        "expires" => ("this is not a day".to_owned(), "Write it as \"2027-03-31\", in quotes.".to_owned()),
        "dkimSelector" => (
            "this is not a DKIM selector".to_owned(),
            "Write the selector alone, the first label of its name: selector1.".to_owned(),
        ),
        "first" | "longest" | "lifetime" | "delivered" | "failed" => {
            ("this is not a length of time".to_owned(), "Write a whole number and a unit: 30s, 5m, 2h, 3d.".to_owned())
        }
        _ => (
            "this is not in the form that belongs here".to_owned(),
            "`mailwright schema` prints the form, with examples.".to_owned(),
        ),
    }
}

/// Whether a word is a key of some document.
pub(super) fn is_key(word: &str) -> bool {
    static KEYS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let mut keys = HashSet::new();
        collect_keys(&schema("environment"), &mut keys);
        collect_keys(&schema("profile"), &mut keys);
        keys
    });
    KEYS.contains(word)
}

fn collect_keys(schema: &Json, keys: &mut HashSet<String>) {
    match schema {
        Json::Object(map) => {
            keys.extend(
                map.get("properties").and_then(Json::as_object).into_iter().flat_map(|map| map.keys().cloned()),
            );
            map.values().for_each(|value| collect_keys(value, keys));
        }
        Json::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

/// Whether a pointer leads to, or into, the place of a secret.
pub(super) fn is_secret(pointer: &str) -> bool {
    pointer.split('/').any(|segment| matches!(segment, "password" | "clientSecret" | "certificate"))
}

pub(super) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn last(pointer: &str) -> &str {
    let mut segments = pointer.rsplit('/').skip_while(|segment| segment.parse::<usize>().is_ok());
    segments.next().unwrap_or_default()
}
