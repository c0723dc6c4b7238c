//! Reads the recipients of an environment's secrets, `secrets/ENV/recipients.txt`, which the service stores with the settings: a
//! page of the console encrypts for them.
//!
//! A file that cannot be used is reported here, and so by `validate`, `plan` and `apply`. An environment without the file has no
//! recipients: whether it needs some is reported by `mailwright secrets check`, which compares the age files with them. No plugin
//! is started.

use std::{collections::BTreeSet, path::Path};

use super::Loader;
use crate::{
    config::{Diagnostic, Repository, sources::display_path},
    model::{Code, SecretRecipient, rules},
    secrets::{NoCallbacks, RECIPIENTS_LIMIT, Recipients, RecipientsError},
    text,
};

const REMEDY: &str =
    "Write one recipient per line: that of the service (printed by its first start) and those of the operators.";

impl Loader<'_> {
    /// Reads the recipients of the environment's secrets; an empty set without a file.
    pub(super) fn read_recipients(&self, problems: &mut Vec<Diagnostic>) -> BTreeSet<SecretRecipient> {
        let path = Repository::recipients_path(self.documents.name);
        if !self.documents.files.exists(&path) {
            return BTreeSet::new();
        }
        let read = self.documents.files.read_bytes(&path, RECIPIENTS_LIMIT).and_then(|bytes| parse(&path, &bytes));
        read.unwrap_or_else(|problem| {
            problems.push(problem);
            BTreeSet::new()
        })
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeSet<SecretRecipient>, Diagnostic> {
    let wrong =
        |message: String, remedy: &str| Diagnostic::file(Code::RecipientsInvalid, &display_path(path), message, remedy);
    let text = text::decode(bytes).map_err(|encoding| wrong(format!("the file is {encoding}"), "Save it as UTF-8."))?;
    let recipients = Recipients::parse(&text, &NoCallbacks).map_err(|error| match error {
        RecipientsError::Line { line, column, why } => {
            Diagnostic { line, column, end_column: column, ..wrong(format!("not a recipient: {why}"), REMEDY) }
        }
        RecipientsError::Empty => wrong(error.to_string(), REMEDY),
    })?;
    let recipients = recipients.to_settings();
    match rules::check_secret_recipients(&recipients).into_iter().next() {
        Some(violation) => Err(wrong(violation.problem.message, &violation.problem.remedy)),
        None => Ok(recipients),
    }
}
