//! A profile as the text of a file, and files written whole or not at all.

use std::{fmt::Write as _, fs::File, io::Write as _, path::Path};

use serde_json::Value;

use crate::model::Profile;

/// The text of a profile's file, which `validate` reads back as the same profile. What could be read as anything
/// but text is put in quotes; what is a default is left out.
pub fn profile(profile: &Profile) -> String {
    let mut out = String::from("# yaml-language-server: $schema=../../../schema/profile.schema.json\n");
    let document = serde_json::to_value(profile).unwrap_or_default();
    // The order in which people read a profile.
    for key in ["description", "enabled", "provider", "from", "functions", "appliesTo", "limits"] {
        match document.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(true)) if key == "enabled" => {}
            Some(value) => entry(key, value, 0, &mut out),
        }
    }
    out
}

fn entry(key: &str, value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Object(map) if map.keys().eq(["secret"]) => {
            writeln!(out, "{indent}{key}: {{ secret: {} }}", scalar(&map["secret"]))
        }
        Value::Object(map) => {
            let _ = writeln!(out, "{indent}{key}:");
            for (key, value) in map {
                entry(key, value, depth + 1, out);
            }
            Ok(())
        }
        Value::Array(items) => {
            let _ = writeln!(out, "{indent}{key}:");
            for item in items {
                let _ = writeln!(out, "{indent}  - {}", scalar(item));
            }
            Ok(())
        }
        other => writeln!(out, "{indent}{key}: {}", scalar(other)),
    };
}

/// A scalar in one line. Text stands plain only if it is a word of small letters that nothing reads as anything else.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let text = text.replace("${", "$${");
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'/' | b'@'))
        && !reserved.contains(&text.as_str());
    if plain { text } else { Value::String(text).to_string() }
}

/// Writes a file whole or not at all: beside it first, to disk, then in its place.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As the user's umask has it for any new file; a replaced file keeps its own mode.
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_or(0o666, |metadata| metadata.permissions().mode() & 0o777);
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    let mut file = builder.prefix(".mailwright-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
