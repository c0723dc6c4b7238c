//! Writes documents as YAML: profiles and environments as files that `validate` reads back unchanged.

use std::fmt::Write as _;

use serde_json::Value;

use crate::model::Profile;

/// Which file a document becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `environments/ENV/environment.yaml`.
    Environment,
    /// `environments/ENV/profiles/NAME.yaml`.
    Profile,
}

impl FileKind {
    /// Tells editors which schema the file has.
    fn modeline(self) -> &'static str {
        match self {
            FileKind::Environment => "# yaml-language-server: $schema=../../schema/environment.schema.json\n",
            FileKind::Profile => "# yaml-language-server: $schema=../../../schema/profile.schema.json\n",
        }
    }

    /// The order in which people read it. What is not named comes last.
    fn order(self) -> &'static [&'static str] {
        match self {
            FileKind::Environment => &[
                "description",
                "abstract",
                "extends",
                "labels",
                "service",
                "companies",
                "variables",
                "unserved",
                "policy",
                "delivery",
                "verify",
                "watch",
            ],
            FileKind::Profile => &["description", "enabled", "provider", "from", "functions", "appliesTo", "limits"],
        }
    }
}

/// The text of a profile's file, which `validate` reads back as the same profile. What could be read as anything
/// but text is put in quotes; what is a default is left out.
pub fn profile(profile: &Profile) -> String {
    file(FileKind::Profile, &literal(profile_document(profile)))
}

/// A profile as its file has it: without what is a default.
pub fn profile_document(profile: &Profile) -> Value {
    let mut document = serde_json::to_value(profile).unwrap_or_default();
    if let Value::Object(map) = &mut document {
        map.retain(|key, value| !value.is_null() && (key != "enabled" || *value != Value::Bool(true)));
    }
    document
}

/// The document with every text meant as it stands: a `${` in it begins no variable.
#[must_use]
pub fn literal(document: Value) -> Value {
    match document {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(items) => items.into_iter().map(literal).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, literal(value))).collect(),
        other => other,
    }
}

/// The text of a layer's file. Texts are written as they are: `${name}` takes a variable, see [`literal`].
pub fn file(kind: FileKind, document: &Value) -> String {
    let mut out = kind.modeline().to_owned();
    let Value::Object(map) = document else {
        out.push_str(&inline(document));
        out.push('\n');
        return out;
    };
    let known = kind.order().iter().filter_map(|key| map.get_key_value(*key));
    let others = map.iter().filter(|(key, _)| !kind.order().contains(&key.as_str()));
    for (key, value) in known.chain(others) {
        entry(key, value, 0, &mut out);
    }
    out
}

fn entry(key: &str, value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let key = self::key(key);
    match value {
        Value::Object(map) if !map.is_empty() && !map.keys().eq(["secret"]) => {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{indent}{key}:");
            for (key, value) in map {
                entry(key, value, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let _ = writeln!(out, "{indent}{key}:");
            for item in items {
                let _ = writeln!(out, "{indent}  - {}", inline(item));
            }
        }
        other => {
            let _ = writeln!(out, "{indent}{key}: {}", inline(other));
        }
    }
}

/// A value in one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries = map.iter().map(|(name, value)| format!("{}: {}", key(name), inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        scalar => plain(scalar),
    }
}

/// The text of an environment's file. Its keys stand in the order in which they are given; variables in it are taken.
pub fn environment(entries: &[(&str, Value)]) -> String {
    let mut out = FileKind::Environment.modeline().to_owned();
    for (name, value) in entries {
        match value {
            Value::Object(map) => {
                let _ = writeln!(out, "\n{name}:");
                for (name, value) in map {
                    let _ = writeln!(out, "  {}: {}", key(name), inline(value));
                }
            }
            other => {
                let _ = writeln!(out, "{name}: {}", inline(other));
            }
        }
    }
    out
}

/// A key, in quotes where it needs them.
pub fn key(name: &str) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    if is_word && !is_reserved(name) { name.to_owned() } else { Value::from(name).to_string() }
}

/// Whether YAML, or somebody's idea of it, reads a word as anything else.
fn is_reserved(text: &str) -> bool {
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    reserved.contains(&text.to_ascii_lowercase().as_str())
}

/// A scalar in one line, as it is. Text stands plain only if it is a word of small letters that nothing reads as anything
/// else.
pub fn plain(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'/' | b'@'))
        && !is_reserved(text);
    if plain { text.clone() } else { Value::from(text.as_str()).to_string() }
}

/// A scalar in one line for people: plain wherever YAML reads it as the same text.
pub fn readable(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_safe =
        |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '/' | '@' | '_' | ' ' | ':' | ',' | '\'' | '=' | '+');
    let plain = text.starts_with(char::is_alphabetic)
        && text.chars().all(is_safe)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !is_reserved(text);
    if plain { text.clone() } else { Value::from(text.as_str()).to_string() }
}
