//! Validates documents by JSON Schema 2020-12, and reports each mismatch with a message and a remedy in Mailwright's own words
//! instead of those of the `jsonschema` crate.
//!
//! [`check`] validates an environment, an access policy, a profile or a rollout, and returns a [`Mismatch`] by JSON pointer; the
//! caller finds the line. [`SCHEMAS`] has every schema that `mailwright schema` prints; they are part of the binary. A message
//! never quotes a value, because a value in the wrong place may be a secret; a remedy quotes only an address or a company id. Reads
//! no files. The caller reports 100. [`check`] reads no further validation error after more than 100 mismatches; one error can have
//! 101, so it returns 201 at most.

use std::{collections::HashSet, sync::LazyLock};

use jsonschema::{
    Draft, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Value as Json, json};

use super::{near_misses, parse::PROBLEM_LIMIT, suggest};
use crate::{
    model::{
        Code, CompanyId, HumanDuration, InvalidName, Problem, ProfileName, RolloutName, SecretReference,
        access::ACCESS_NAME_RULE, renamed::current_name, rollout::Share,
    },
    text::{printable, shortened},
};

/// The schemas by name, as `mailwright schema` prints them.
pub const SCHEMAS: &[(&str, &str)] = &[
    ("access", include_str!("../../schema/access.schema.json")),
    ("environment", include_str!("../../schema/environment.schema.json")),
    ("profile", include_str!("../../schema/profile.schema.json")),
    ("plan", include_str!("../../schema/plan.schema.json")),
    ("diff", include_str!("../../schema/diff.schema.json")),
    ("oidc", include_str!("../../schema/oidc.schema.json")),
    ("rollout", include_str!("../../schema/rollout.schema.json")),
    ("verify-report", include_str!("../../schema/verify-report.schema.json")),
];

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DocumentKind {
    /// `access.yaml`, merged.
    Access,
    /// `environment.yaml`, merged.
    Environment,
    /// A profile of an abstract layer: required keys may be missing.
    PartialProfile,
    /// A profile, merged and interpolated.
    Profile,
    /// A rollout.
    Rollout,
}

impl DocumentKind {
    fn is_profile(self) -> bool {
        matches!(self, Self::PartialProfile | Self::Profile)
    }
}

/// A place that a schema rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// The place, as a JSON pointer.
    pub(super) pointer: String,
    /// True if the key is rejected and not the value.
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

static ACCESS: LazyLock<Validator> = LazyLock::new(|| compile(&schema("access")));
static ENVIRONMENT: LazyLock<Validator> = LazyLock::new(|| compile(&schema("environment")));
static PARTIAL_PROFILE: LazyLock<Validator> = LazyLock::new(|| compile(&schema("profile")));
static ROLLOUT: LazyLock<Validator> = LazyLock::new(|| compile(&schema("rollout")));
static PROFILE: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = schema("profile");
    schema["$ref"] = json!("#/$defs/effective");
    compile(&schema)
});

/// Validates a document. Returns mismatches in order, without duplicates; more than [`PROBLEM_LIMIT`] only to show that there
/// are more.
pub(super) fn check(kind: DocumentKind, document: &Json) -> Vec<Mismatch> {
    let validator = validator(kind);
    if validator.is_valid(document) {
        return Vec::new();
    }
    let mut found: Vec<Mismatch> = Vec::new();
    for error in validator.iter_errors(document) {
        if found.len() > PROBLEM_LIMIT {
            break;
        }
        for mismatch in describe(&error, document, kind, PROBLEM_LIMIT + 1) {
            // A map may lack several keys; any other mismatch of a value is reported once.
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

/// Returns the JSON pointers of all unknown keys, however many there are: their values can be secrets.
pub(super) fn unknown_keys(kind: DocumentKind, document: &Json) -> HashSet<String> {
    let errors = validator(kind).iter_errors(document);
    let mismatches = errors.flat_map(|error| describe(&error, document, kind, usize::MAX));
    mismatches.filter(|mismatch| mismatch.at_key).map(|mismatch| mismatch.pointer).collect()
}

fn validator(kind: DocumentKind) -> &'static Validator {
    match kind {
        DocumentKind::Access => &ACCESS,
        DocumentKind::Environment => &ENVIRONMENT,
        DocumentKind::PartialProfile => &PARTIAL_PROFILE,
        DocumentKind::Profile => &PROFILE,
        DocumentKind::Rollout => &ROLLOUT,
    }
}

/// Describes a validation error. An object with several unknown keys yields one mismatch per key, at most `limit`.
fn describe(error: &ValidationError<'_>, document: &Json, kind: DocumentKind, limit: usize) -> Vec<Mismatch> {
    let pointer = error.instance_path().to_string();
    if is_secret(&pointer)
        && let Some(mismatches) = describe_literal_secret(&pointer, error.kind(), limit)
    {
        return mismatches;
    }
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let allowed = allowed_keys(&pointer, kind);
        let unexpected = unexpected.iter().take(limit);
        let describe = |key: &String| {
            let mut mismatch = describe_unknown_key(&pointer, key, &allowed);
            let known = near_misses::key_of_other_programs(&pointer, key).filter(|_| kind.is_profile());
            let is_access = kind == DocumentKind::Environment && pointer.is_empty() && key == "access";
            let known =
                known.or_else(|| is_access.then_some("Write roles and bindings into access.yaml, next to this file."));
            if let Some(remedy) = known {
                mismatch.problem = mismatch.problem.remedy(remedy);
            }
            mismatch
        };
        return unexpected.map(describe).collect();
    }
    let (code, message, remedy) = match error.kind() {
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            (Code::MissingKey, format!("`{key}` is missing"), required_remedy(&pointer, key))
        }
        ValidationErrorKind::MinProperties { .. } => (
            Code::MissingKey,
            format!("`{}` is empty", last_key(&pointer)),
            format!("Allowed are: {}.", allowed_keys(&pointer, kind).join(", ")),
        ),
        ValidationErrorKind::Enum { options } => {
            let written = string_at(document, &pointer);
            let (code, message, remedy) = describe_enum(options, written);
            let is_meant = remedy.starts_with("Did you mean");
            let is_company = pointer == "/appliesTo" && kind.is_profile() && !is_meant;
            (code, message, if is_company { near_misses::applies_to(written) } else { remedy })
        }
        ValidationErrorKind::Type { kind: wanted } => {
            let (code, message, remedy) = describe_type(wanted, document.pointer(&pointer));
            let written = document.pointer(&pointer).and_then(Json::as_str);
            let better = written.filter(|_| kind.is_profile());
            let better = better.and_then(|written| near_misses::map_instead_of_text(&pointer, written));
            (code, message, better.unwrap_or(remedy))
        }
        ValidationErrorKind::Pattern { .. } => describe_pattern(&pointer, string_at(document, &pointer)),
        ValidationErrorKind::PropertyNames { .. } => describe_name(&pointer),
        other => describe_limit(&pointer, other),
    };
    vec![Mismatch { pointer, at_key: false, problem: Problem::new(code, message).remedy(remedy) }]
}

/// Describes a literal value, or keys other than `secret`, in the field of a secret.
fn describe_literal_secret(pointer: &str, kind: &ValidationErrorKind, limit: usize) -> Option<Vec<Mismatch>> {
    let literal = |pointer: String, at_key: bool, message: &str, remedy: &str| Mismatch {
        pointer,
        at_key,
        problem: Problem::new(Code::LiteralSecret, message).remedy(remedy),
    };
    match kind {
        ValidationErrorKind::Type { .. } => Some(vec![literal(
            pointer.to_owned(),
            false,
            "a literal secret is not allowed here",
            "Write `{ secret: NAME/KEY }`, and seal the value with `mailwright secrets set ENV NAME/KEY`. If the value was ever committed, change it.",
        )]),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let of_key = |key: &String| {
                literal(
                    child_pointer(pointer, key),
                    true,
                    "a reference to a secret has only the key `secret`",
                    "Write `{ secret: NAME/KEY }`, and seal the value with `mailwright secrets set ENV NAME/KEY`.",
                )
            };
            Some(unexpected.iter().take(limit).map(of_key).collect())
        }
        _ => None,
    }
}

/// The code, message and remedy of a mismatch.
type Description = (Code, String, String);

/// Returns the allowed name that was probably meant: the one that replaced it, or the most similar one.
fn meant<'a>(written: &str, allowed: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    current_name(written, allowed.clone()).or_else(|| suggest::nearest(written, allowed))
}

fn describe_enum(options: &Json, written: &str) -> Description {
    let options: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let remedy = match meant(written, options.iter().copied()) {
        Some(meant) => format!("Did you mean `{meant}`?"),
        None => format!("Allowed are: {}.", options.join(", ")),
    };
    let is_function = options.contains(&"document-quality");
    let message = if is_function { "unknown function" } else { "this is not one of the allowed values" };
    (Code::UnknownValue, message.to_owned(), remedy)
}

fn describe_name(pointer: &str) -> Description {
    let (noun, rule) = match last_key(pointer) {
        "labels" => ("label", LABEL_RULE),
        "roles" => ("role", ACCESS_NAME_RULE),
        "bindings" => ("binding", ACCESS_NAME_RULE),
        "groups" => ("group", "Write up to 64 letters, digits, `.`, `_`, `@` and `-`."),
        _ => ("variable", "Names begin with a letter and have letters, digits, dashes and underscores, 64 at most."),
    };
    (Code::InvalidName, format!("the name of a {noun} is not allowed"), rule.to_owned())
}

/// Describes a value that exceeds a limit of length, number or range.
fn describe_limit(pointer: &str, kind: &ValidationErrorKind) -> Description {
    let invalid = |message: &str, remedy: &str| (Code::InvalidValue, message.to_owned(), remedy.to_owned());
    match kind {
        ValidationErrorKind::MaxLength { limit } => {
            (Code::TooLong, format!("this has more than {limit} characters"), "Shorten it.".to_owned())
        }
        ValidationErrorKind::MinLength { .. } => invalid("this is empty", "Write the value, or remove the key."),
        ValidationErrorKind::MinItems { .. } => invalid("the list is empty", "Name at least one, or remove the key."),
        ValidationErrorKind::UniqueItems => invalid("the list has an item twice", "Remove one of them."),
        ValidationErrorKind::Minimum { limit } => invalid(&format!("this is less than {limit}"), "Correct the number."),
        ValidationErrorKind::Maximum { limit } => invalid(&format!("this is more than {limit}"), "Correct the number."),
        ValidationErrorKind::MaxProperties { .. } => invalid(
            &format!("there is more than one `{}`", last_key(pointer)),
            "Keep one. If a lower layer sets the other, write `null` for it here.",
        ),
        other => {
            invalid(&format!("this is not allowed here ({})", other.keyword()), "`mailwright schema` prints what is.")
        }
    }
}

fn describe_type(kind: &TypeKind, found: Option<&Json>) -> Description {
    let wanted: Vec<String> = match kind {
        TypeKind::Single(wanted) => vec![wanted.to_string()],
        TypeKind::Multiple(wanted) => wanted.iter().map(|wanted| wanted.to_string()).collect(),
    };
    let wanted: Vec<&str> = wanted
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
    let is = match found {
        Some(Json::Null) | None => "nothing",
        Some(Json::Bool(_)) => "true or false",
        Some(Json::Number(_)) => "a number",
        Some(Json::String(_)) => "text",
        Some(Json::Array(_)) => "a list",
        Some(Json::Object(_)) => "a map",
    };
    let remedy = match found {
        Some(Json::Number(_) | Json::Bool(_)) if wanted.contains(&"text") => "Put it in quotes if it is text.",
        Some(Json::String(_)) if wanted == ["a list"] => "Write it as a list: [ ... ].",
        Some(Json::String(_)) if wanted == ["a map of keys and values"] => "Write a map: `{ key: value }`.",
        Some(Json::String(_)) => "Remove the quotes, if there are any.",
        _ => "`mailwright schema` prints the format.",
    };
    (Code::WrongType, format!("expected {}, found {is}", wanted.join(" or ")), remedy.to_owned())
}

fn describe_unknown_key(pointer: &str, key: &str, allowed: &[String]) -> Mismatch {
    let shown = printable(&shortened(key, 40)).into_owned();
    let remedy = match meant(key, allowed.iter().map(String::as_str)) {
        Some(meant) => format!("Did you mean `{meant}`?"),
        None if allowed.is_empty() => "Remove it.".to_owned(),
        None => format!("Allowed are: {}.", allowed.join(", ")),
    };
    Mismatch {
        pointer: child_pointer(pointer, key),
        at_key: true,
        problem: Problem::new(Code::UnknownKey, format!("unknown key `{shown}`")).remedy(remedy),
    }
}

fn string_at<'a>(document: &'a Json, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

/// Returns the keys that the schema allows at a pointer, found by walking its `properties`.
fn allowed_keys(pointer: &str, kind: DocumentKind) -> Vec<String> {
    let document = schema(match kind {
        DocumentKind::Access => "access",
        DocumentKind::Environment => "environment",
        DocumentKind::PartialProfile | DocumentKind::Profile => "profile",
        DocumentKind::Rollout => "rollout",
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
            .or_else(|| node.get("additionalProperties").filter(|schema| schema.is_object()))
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

/// The rule for the name and the value of a label.
const LABEL_RULE: &str = "1 to 63 letters, digits, dots, dashes and underscores, with a letter or digit at both ends; in quotes if it looks like a number.";

/// Returns the rule that Windows reserves a file name, if a name breaks no other rule.
fn reserved_name(pointer: &str, written: &str) -> Option<InvalidName> {
    let error = match last_key(pointer) {
        "secret" => written.parse::<SecretReference>().err(),
        "renamedFrom" | "profile" => written.parse::<ProfileName>().err(),
        _ => None,
    };
    error.filter(InvalidName::is_reserved)
}

fn describe_pattern(pointer: &str, written: &str) -> Description {
    let (message, remedy) = pattern_rule(pointer);
    match reserved_name(pointer, written) {
        Some(rule) => (Code::InvalidName, message, format!("{rule}.")),
        None => (Code::InvalidValue, message, remedy),
    }
}

fn pattern_rule(pointer: &str) -> (String, String) {
    if pointer.starts_with("/labels/") {
        return ("this is not a label's value".to_owned(), LABEL_RULE.to_owned());
    }
    match last_key(pointer) {
        "secret" => ("this is not the name of a secret".to_owned(), format!("{}.", SecretReference::RULE)),
        "renamedFrom" | "profile" => ("this is not a profile's name".to_owned(), format!("{}.", ProfileName::RULE)),
        "extends" => (
            "this is not the name of a folder under `environments/`".to_owned(),
            "Write the folder's name alone, without a path.".to_owned(),
        ),
        "soak" | "deadline" | "within" | "over" => {
            ("this is not a duration".to_owned(), format!("{}.", HumanDuration::RULE))
        }
        "below" => ("this is not a share".to_owned(), format!("{}.", Share::RULE)),
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
        "stepUp" | "first" | "longest" | "lifetime" | "delivered" | "failed" => {
            ("this is not a duration".to_owned(), "Write a whole number and a unit: 30s, 5m, 2h, 3d.".to_owned())
        }
        _ => (
            "this does not have the required format".to_owned(),
            "`mailwright schema` prints the format, with examples.".to_owned(),
        ),
    }
}

/// Returns true if a word is a key of some document.
pub(super) fn is_key(word: &str) -> bool {
    static KEYS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let mut keys = HashSet::new();
        collect_keys(&schema("access"), &mut keys);
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

/// Returns true if a pointer leads to the field of a secret, or into it.
pub(super) fn is_secret(pointer: &str) -> bool {
    pointer.split('/').any(|segment| matches!(segment, "password" | "clientSecret" | "certificate"))
}

pub(super) fn child_pointer(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn last_key(pointer: &str) -> &str {
    let mut segments = pointer.rsplit('/').skip_while(|segment| segment.parse::<usize>().is_ok());
    segments.next().unwrap_or_default()
}
