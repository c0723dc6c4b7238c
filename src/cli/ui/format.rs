//! Output formats that most commands share, and the format of errors on standard output.

use serde_json::{Value, json};

/// The format of a command's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for a terminal.
    Human,
    /// One JSON document.
    Json,
    /// Markdown for a comment on a pull request.
    Markdown,
}

/// The version of the JSON documents that commands print. It changes when a key changes its meaning or is removed.
const FORMAT_VERSION: u64 = 1;

/// Returns a JSON document with the version of its form.
pub(crate) fn versioned(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(keys) = document.as_object_mut() {
        keys.entry("formatVersion").or_insert_with(|| FORMAT_VERSION.into());
    }
    document
}

/// Returns the JSON document of a result of one environment. A list gets the key `list_key`.
pub(crate) fn document_of(environment: &str, list_key: &str, result: &impl serde::Serialize) -> Value {
    let mut document = match serde_json::to_value(result).unwrap_or_default() {
        Value::Object(keys) => Value::Object(keys),
        other => json!({ list_key: other }),
    };
    if let Some(keys) = document.as_object_mut() {
        keys.entry("environment").or_insert_with(|| json!(environment));
    }
    document
}

/// The format in which standard output reports an error. Standard error always has it as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorFormat {
    /// Standard output says nothing about errors.
    Text,
    /// One JSON document.
    Json,
    /// One JSON document on one line, after the lines that report progress.
    JsonLine,
}

impl ErrorFormat {
    /// Returns `Json` if the command's result is JSON.
    pub(crate) fn json_if(is_json: bool) -> Self {
        if is_json { Self::Json } else { Self::Text }
    }
}

impl From<Format> for ErrorFormat {
    fn from(format: Format) -> Self {
        Self::json_if(format == Format::Json)
    }
}
