//! `secrets/ENV/recipients.txt`: who an environment's secrets are sealed to.

use std::path::{Path, PathBuf};

use crate::{
    cli::{CliError, environment::Environment, ui::age_prompt::AgePrompt},
    model::{Code, EnvironmentName},
    secrets::{Recipients, RecipientsError, ServiceIdentity, fingerprint},
};

/// Where an environment's recipients stand, relative to the repository.
pub(super) fn recipients_path(environment: &EnvironmentName) -> PathBuf {
    Path::new("secrets").join(environment.as_str()).join("recipients.txt")
}

/// The recipients of an environment's secrets.
pub(super) fn read_recipients(root: &Path, environment: &EnvironmentName) -> Result<Recipients, CliError> {
    let path = recipients_path(environment);
    let wrong = |why: String| CliError::coded(Code::RecipientsInvalid, why);
    let shown = path.display();
    let bytes = std::fs::read(root.join(&path)).map_err(|error| {
        wrong(format!("{shown}: {error}"))
            .remedy(format!("Make it: mailwright secrets init {environment} RECIPIENT..."))
    })?;
    let text = crate::text::decode(&bytes)
        .map_err(|encoding| wrong(format!("{shown}: it is {encoding}")).remedy("Save it as UTF-8."))?;
    Recipients::parse(&text, &AgePrompt).map_err(|error| {
        let message = match &error {
            RecipientsError::Line { line, column, why } => format!("{shown}:{line}:{column}: not a recipient: {why}"),
            RecipientsError::Empty => format!("{shown}:1:1: {error}"),
        };
        wrong(message).remedy("One recipient a line: the service's own (`mailwright status` and the service's first start tell it) and the operators'.")
    })
}

/// Whether the public identity of the examples opens what is sealed to these, without a file beside them that says so.
pub(super) fn is_open_to_all(root: &Path, environment: &EnvironmentName, recipients: &Recipients) -> bool {
    let Ok(demo) = ServiceIdentity::demo() else { return false };
    let public = fingerprint(&demo.recipient());
    recipients.fingerprints().any(|own| own == public)
        && !root.join("secrets").join(environment.as_str()).join("demo-identity.txt").is_file()
}

/// Refuses to seal something to the key that everybody has, where nothing says that it is an example.
pub(super) fn refuse_public(environment: &Environment, recipients: &Recipients) -> Result<(), CliError> {
    if !is_open_to_all(environment.repository.root(), &environment.name, recipients) {
        return Ok(());
    }
    Err(CliError::coded(
        Code::PublicIdentity,
        format!(
            "the recipients of `{}` include the public one of the examples: everybody could open what is sealed",
            environment.name
        ),
    )
    .remedy("Name the recipient of a service that was started without `--demo`. An example says what it is by a copy of demo-identity.txt beside recipients.txt."))
}
