//! Renders configuration files as YAML text: profiles, environments and layers.
//!
//! [`render_profile`] renders a profile without defaults; reading the text returns the same profile. [`render_file`] and
//! [`render_environment`] keep `${name}` as a variable: apply [`escape_variables`] to values that are literal.
//! [`display_scalar`] is for output on a terminal, not for files. The functions return text; the caller writes the file.

use std::fmt::Write as _;

use serde_json::Value;

use crate::model::Profile;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `environments/ENV/environment.yaml`.
    Environment,
    /// `environments/ENV/profiles/NAME.yaml`.
    Profile,
}

impl FileKind {
    /// Returns the comment that names the schema to editors.
    pub(crate) fn modeline(self) -> &'static str {
        match self {
            FileKind::Environment => "# yaml-language-server: $schema=../../schema/environment.schema.json\n",
            FileKind::Profile => "# yaml-language-server: $schema=../../../schema/profile.schema.json\n",
        }
    }

    /// Returns the usual order of keys. Keys that are not listed come last.
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

/// Renders the file of a profile, which `validate` reads back as the same profile. Strings that could be read as another type
/// are quoted; defaults are left out.
pub fn render_profile(profile: &Profile) -> String {
    render_file(FileKind::Profile, &escape_variables(profile_document(profile)))
}

/// Returns a profile as its file states it: without defaults.
pub fn profile_document(profile: &Profile) -> Value {
    let mut document = serde_json::to_value(profile).unwrap_or_default();
    if let Value::Object(map) = &mut document {
        map.retain(|key, value| !value.is_null() && (key != "enabled" || *value != Value::Bool(true)));
    }
    document
}

/// Escapes every `${` in a document, so that it does not begin a variable.
#[must_use]
pub fn escape_variables(document: Value) -> Value {
    match document {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(items) => items.into_iter().map(escape_variables).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, escape_variables(value))).collect(),
        other => other,
    }
}

/// Renders the file of a layer. Strings are not escaped: `${name}` is a variable, see [`escape_variables`].
pub fn render_file(kind: FileKind, document: &Value) -> String {
    let mut out = kind.modeline().to_owned();
    let Value::Object(map) = document else {
        out.push_str(&render_inline(document));
        out.push('\n');
        return out;
    };
    let known = kind.order().iter().filter_map(|key| map.get_key_value(*key));
    let others = map.iter().filter(|(key, _)| !kind.order().contains(&key.as_str()));
    for (key, value) in known.chain(others) {
        write_entry(key, value, 0, &mut out);
    }
    out
}

/// Renders a key with its value on lines of their own.
pub fn render_entry(key: &str, value: &Value) -> String {
    let mut out = String::new();
    write_entry(key, value, 0, &mut out);
    out
}

fn write_entry(key: &str, value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let key = quote_key(key);
    match value {
        Value::Object(map) if !map.is_empty() && !map.keys().eq(["secret"]) => {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{indent}{key}:");
            for (key, value) in map {
                write_entry(key, value, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let _ = writeln!(out, "{indent}{key}:");
            for item in items {
                let _ = writeln!(out, "{indent}  - {}", render_inline(item));
            }
        }
        other => {
            let _ = writeln!(out, "{indent}{key}: {}", render_inline(other));
        }
    }
}

/// Renders a value on one line.
pub fn render_inline(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(render_inline).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries = map.iter().map(|(name, value)| format!("{}: {}", quote_key(name), render_inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        scalar => quote_scalar(scalar),
    }
}

/// Renders an environment's file with keys in the given order. Strings are not escaped: `${name}` is a variable.
pub fn render_environment(entries: &[(&str, Value)]) -> String {
    let mut out = FileKind::Environment.modeline().to_owned();
    for (name, value) in entries {
        match value {
            Value::Object(map) => {
                let _ = writeln!(out, "\n{name}:");
                for (name, value) in map {
                    let _ = writeln!(out, "  {}: {}", quote_key(name), render_inline(value));
                }
            }
            other => {
                let _ = writeln!(out, "{name}: {}", render_inline(other));
            }
        }
    }
    out
}

/// Renders a key, quoted where YAML needs it.
pub fn quote_key(name: &str) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    if is_word && !is_reserved_word(name) { name.to_owned() } else { Value::from(name).to_string() }
}

/// Returns true for a word that some version of YAML reads as another type.
fn is_reserved_word(text: &str) -> bool {
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    reserved.contains(&text.to_ascii_lowercase().as_str())
}

/// Renders a scalar on one line. A string is quoted unless it is a word of lower-case letters that every YAML parser reads as a
/// string.
pub fn quote_scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'/' | b'@'))
        && !is_reserved_word(text);
    if plain { text.clone() } else { Value::from(text.as_str()).to_string() }
}

/// Renders a scalar on one line for display: unquoted wherever YAML reads it as the same string.
pub fn display_scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_safe =
        |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '/' | '@' | '_' | ' ' | ':' | ',' | '\'' | '=' | '+');
    let plain = text.starts_with(char::is_alphabetic)
        && text.chars().all(is_safe)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !is_reserved_word(text);
    if plain { text.clone() } else { Value::from(text.as_str()).to_string() }
}
