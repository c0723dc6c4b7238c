//! Reads a single YAML or JSON file into a Rust type, with the strict parser and the messages of the environments' files.
//!
//! [`read_document`] is for files outside of `environments/`, such as the issuers file and scenarios. It knows neither layers nor
//! variables. A file that cannot be read or parsed, or does not fit the type, is a [`Report`].

use std::{path::Path, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{
    Diagnostic, Report,
    diagnostic::DiagnosticBuilder,
    layer::read_file,
    sources::{FileSource, Sources},
};
use crate::model::Code;

/// Reads a YAML or JSON file as a type. A problem names file, line and column; `remedy` names the documentation of the format.
pub fn read_document<T: DeserializeOwned>(path: &Path, remedy: &str) -> Result<T, Report> {
    let builder = DiagnosticBuilder { sources: Arc::new(Sources::default()) };
    let report = |problems: Vec<Diagnostic>| Report::new(problems, 0, 1);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map_or(path, Path::new);
    let (node, problems) = read_file(&FileSource::Disk(folder.to_owned()), name, &builder);
    let node = node.filter(|_| problems.is_empty()).ok_or_else(|| report(problems))?;
    let document: Json = node.to_json();
    serde_path_to_error::deserialize(document).map_err(|error| {
        let pointer = format!("/{}", error.path().to_string().replace(['.', '['], "/").replace(']', ""));
        let (key_span, found) = node.nearest(&pointer);
        let at = if found.entries().is_empty() { found.span } else { key_span.unwrap_or(found.span) };
        report(vec![builder.diagnostic_at(at, Code::InvalidValue, error.inner().to_string(), remedy.to_owned())])
    })
}
