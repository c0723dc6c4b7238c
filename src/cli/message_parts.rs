//! Parts of a message on the command line: addresses, files to attach, texts, and the document that it carries.
//!
//! Used by `send` and `delegate send`. Each function reads or checks one argument; an error names the option or the file. Nothing
//! here composes a message or sends it.

use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::CliError;
use crate::{
    api::messages::{File, SUBMISSION_LIMIT},
    model::{Code, address::NamedAddress, message::Document},
};

/// Parses `type/number`.
pub(crate) fn parse_document(text: &str) -> Result<Document, String> {
    let (kind, number) = text.split_once('/').ok_or("write it as type/number, such as invoice/4711")?;
    if kind.is_empty() || number.is_empty() {
        return Err("write it as type/number, such as invoice/4711".to_owned());
    }
    Ok(Document { kind: kind.to_owned(), number: number.to_owned() })
}

/// Returns an error that names the option of an invalid address.
pub(crate) fn check_addresses(given: &[(&str, &Vec<String>)]) -> Result<(), CliError> {
    for (option, texts) in given {
        for text in *texts {
            if let Err(error) = NamedAddress::parse(text) {
                let shown: String = text.escape_debug().to_string().chars().take(100).collect();
                let message = format!("`{shown}` ({option}) is not an e-mail address: {error}");
                return Err(CliError::coded(Code::InvalidAddress, message).remedy(error.remedy));
            }
        }
    }
    Ok(())
}

/// Reads a file to attach.
pub(crate) fn read_attachment(path: &Path) -> Result<File, CliError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(File {
        media_type: media_type(&name).to_owned(),
        name,
        content: BASE64_STANDARD.encode(read(path)?),
        content_id: None,
    })
}

/// Reads standard input; returns nothing if that is a terminal.
pub(crate) fn read_stdin() -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    if !std::io::stdin().is_terminal() {
        std::io::stdin()
            .take(SUBMISSION_LIMIT as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read standard input: {error}")))?;
    }
    Ok(bytes)
}

/// Returns the text of a message: the argument, or standard input for `-`.
pub(crate) fn read_text(argument: Option<&str>) -> Result<Option<String>, CliError> {
    match argument {
        Some("-") => Ok(Some(decode(&read_stdin()?, "standard input")?)),
        text => Ok(text.map(str::to_owned)),
    }
}

/// Decodes text in UTF-8, or in UTF-16 with a byte order mark.
pub(crate) fn decode(bytes: &[u8], what: &str) -> Result<String, CliError> {
    crate::text::decode(bytes).map_err(|encoding| {
        CliError::coded(Code::Encoding, format!("{what} is {encoding}")).remedy("Save it as UTF-8.")
    })
}

/// Reads a file that is a part of a message.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |why: String| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {why}", path.display()));
    crate::fs::read_given(path, SUBMISSION_LIMIT as u64).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => failed("it is larger than the size limit of a message".to_owned()),
        _ => failed(error.to_string()),
    })
}

/// Returns the media type for a file name.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("pdf") => "application/pdf",
        Some("xml") => "application/xml",
        Some("ics") => "text/calendar",
        Some("json") => "application/json",
        Some("csv") => "text/csv",
        Some("txt" | "log") => "text/plain",
        Some("htm" | "html") => "text/html",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("zip") => "application/zip",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Some("docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _ => "application/octet-stream",
    }
}
