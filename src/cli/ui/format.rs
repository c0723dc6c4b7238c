//! Output formats: [`Format`] for results, [`ErrorFormat`] for errors on standard output, and the common keys of JSON
//! documents.
//!
//! The option `--format` is in `args::output`. Formats of single commands, such as SARIF, are defined by them.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

/// The format of a command's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text for a terminal.
    Human,
    /// One JSON document.
    Json,
    /// Markdown for a comment on a pull request.
    Markdown,
}

impl Format {
    /// The name of the default format on the command line.
    pub(crate) const HUMAN: &str = "human";

    /// Parses the format of a command whose result has no form in Markdown.
    pub(crate) fn text_or_json() -> impl TypedValueParser<Value = Self> {
        Self::parser(&[Self::Human, Self::Json])
    }

    /// Parses the format of a command that writes Markdown as well.
    pub(crate) fn any() -> impl TypedValueParser<Value = Self> {
        Self::parser(&[Self::Human, Self::Json, Self::Markdown])
    }

    fn parser(formats: &[Self]) -> impl TypedValueParser<Value = Self> {
        let values = formats.iter().map(|format| {
            let (name, help) = match format {
                Self::Human => (Self::HUMAN, "Text for a terminal"),
                Self::Json => ("json", "One JSON document"),
                Self::Markdown => ("markdown", "Markdown for a comment on a pull request"),
            };
            PossibleValue::new(name).help(help)
        });
        PossibleValuesParser::new(values).map(|name| match name.as_str() {
            "json" => Self::Json,
            "markdown" => Self::Markdown,
            _ => Self::Human,
        })
    }
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

/// Returns the JSON document of a result of one environment. A result that is a list gets the key `list_key`.
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
