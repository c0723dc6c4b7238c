//! The file `secrets/ENV/recipients.txt`: the recipients to which an environment's secrets are encrypted.
//!
//! [`read_recipients`] reads it; [`check_not_public`] refuses the public identity of the examples in other environments. The format
//! is [`crate::secrets::Recipients`]; `init` and `recipients` write the file. A missing file or an invalid line is an error.

use std::path::Path;

use crate::{
    cli::{CliError, environment::Environment, ui::age_prompt::AgePrompt},
    config::Repository,
    fs::read_ordinary,
    model::{Code, EnvironmentName},
    secrets::{RECIPIENTS_LIMIT, Recipients, RecipientsError, ServiceIdentity, fingerprint},
};

/// Reads the recipients of an environment's secrets.
pub(super) fn read_recipients(root: &Path, environment: &EnvironmentName) -> Result<Recipients, CliError> {
    let path = Repository::recipients_path(environment);
    let wrong = |why: String| CliError::coded(Code::RecipientsInvalid, why);
    let shown = path.display();
    let bytes = read_ordinary(&root.join(&path), RECIPIENTS_LIMIT).map_err(|error| {
        wrong(format!("{shown}: {error}"))
            .remedy(format!("Create it: mailwright secrets init {environment} RECIPIENT..."))
    })?;
    let text = crate::text::decode(&bytes)
        .map_err(|encoding| wrong(format!("{shown}: it is {encoding}")).remedy("Save it as UTF-8."))?;
    Recipients::parse(&text, &AgePrompt).map_err(|error| {
        let message = match &error {
            RecipientsError::Line { line, column, why } => format!("{shown}:{line}:{column}: not a recipient: {why}"),
            RecipientsError::Empty => format!("{shown}:1:1: {error}"),
        };
        wrong(message).remedy("Write one recipient per line: that of the service (printed by its first start) and those of the operators.")
    })
}

/// Returns true if the recipients include the public identity of the examples, and the environment has no demo-identity.txt,
/// which marks it as an example.
pub(super) fn includes_public_identity(root: &Path, environment: &EnvironmentName, recipients: &Recipients) -> bool {
    let Ok(demo) = ServiceIdentity::demo() else { return false };
    let public = fingerprint(&demo.recipient());
    recipients.fingerprints().any(|own| own == public)
        && !root.join("secrets").join(environment.as_str()).join("demo-identity.txt").is_file()
}

/// Returns an error if the recipients include the public identity of the examples, unless the environment is an example.
pub(super) fn check_not_public(environment: &Environment, recipients: &Recipients) -> Result<(), CliError> {
    if !includes_public_identity(environment.repository.root(), &environment.name, recipients) {
        return Ok(());
    }
    Err(CliError::coded(
        Code::PublicIdentity,
        format!(
            "the recipients of `{}` include the public one of the examples: anyone could decrypt the secrets",
            environment.name
        ),
    )
    .remedy("Use the recipient of a service that was started without `--demo`. An example has a copy of demo-identity.txt next to recipients.txt."))
}
