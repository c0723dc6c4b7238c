//! Functions that the `secrets` commands share for sealing and opening one secret: its name, its destination, the id of a new
//! value, and errors.
//!
//! [`find_destination`] returns the destination that all profiles with the secret agree on; it is an error if none uses the secret
//! or they differ. The encryption itself is [`crate::secrets`].

use std::path::Path;

use crate::{
    cli::{CliError, environment::Environment},
    config::NoDestination,
    model::{Code, Destination, EnvironmentName, InvalidName, SecretReference},
    secrets::{OpenError, SealError, ValueId},
};

/// Parses a secret's name.
pub(super) fn parse_reference(environment: &EnvironmentName, text: &str) -> Result<SecretReference, CliError> {
    let reference: SecretReference = text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::InvalidName, format!("`{}` is not the name of a secret", text.escape_debug()))
            .remedy(format!("{rule}."))
    })?;
    match reference.next_of() {
        None => Ok(reference),
        Some(own) => Err(CliError::coded(
            Code::ReservedSecretName,
            format!("invalid secret name `{reference}`: its file would be the next value of `{own}`"),
        )
        .remedy(format!("For the next value, run: mailwright secrets rotate {environment} {own}. Otherwise choose a name that does not end in `.next`."))),
    }
}

/// Returns the destination for which a secret is sealed: the common one of all profiles that use it.
pub(super) fn find_destination(
    environment: &Environment,
    reference: &SecretReference,
) -> Result<Destination, CliError> {
    let name = &environment.name;
    let uses = environment.repository.used_secrets(name).remove(reference).unwrap_or_default();
    uses.destination().cloned().map_err(|none| match none {
        NoDestination::Unused => CliError::coded(
            Code::DestinationUnknown,
            format!("cannot seal `{reference}`: no profile of `{name}` uses it, so its destination is unknown"),
        )
        .remedy(format!(
            "Use it in a profile first (`{{ secret: {reference} }}` in environments/{name}/), then seal it."
        )),
        NoDestination::Unclear(user) => CliError::coded(
            Code::DestinationUnknown,
            format!("cannot seal `{reference}`: `{user}` uses it, but its destination is invalid"),
        )
        .remedy(format!("Correct what `mailwright validate {name}` reports, then seal it.")),
        NoDestination::Different(two) => {
            let [(one, first), (other, second)] = *two;
            CliError::coded(
                Code::DestinationsDiffer,
                format!("cannot seal `{reference}`: `{one}` sends it to {first}, and `{other}` to {second}"),
            )
            .remedy("Use a separate secret for each destination, even if the values are equal.")
        }
    })
}

/// Returns the id of a new value.
pub(super) fn fresh_value_id() -> Result<ValueId, CliError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| CliError::new(format!("cannot get random numbers: {error}")))?;
    Ok(ValueId::from_random(random))
}

/// Returns the error for a value that could not be sealed.
pub(super) fn seal_error(reference: &SecretReference, error: &SealError) -> CliError {
    let (code, remedy) = match error {
        SealError::Masked => {
            (Code::MaskedValue, "Pass the real value; this is the placeholder that a web page shows instead.")
        }
        SealError::Empty => {
            (Code::InvalidValue, "Type the value at the prompt, or read it from a file: add `< FILE` to the command.")
        }
        SealError::TooLong => (Code::TooLarge, "A secret is a password, a client secret, or a PEM file."),
        SealError::Incompatible => (
            Code::RecipientsInvalid,
            "Use one kind of recipients in recipients.txt. The service's recipient is a classic one.",
        ),
        SealError::Age(_) => {
            (Code::RecipientsInvalid, "Check recipients.txt, and that the age plugins it needs are installed.")
        }
    };
    CliError::coded(code, format!("cannot seal `{reference}`: {error}")).remedy(remedy)
}

/// Returns the error for the file of a secret that could not be opened.
pub(super) fn open_error(
    environment: &EnvironmentName,
    reference: &SecretReference,
    path: &Path,
    error: &OpenError,
) -> CliError {
    let set = format!("`mailwright secrets set {environment} {reference}`");
    let (code, remedy) = match error {
        OpenError::NotForUs => (
            Code::IdentityMissing,
            format!(
                "Pass the identity of one of the recipients in recipients.txt: `--identity FILE`. If no operator has one, add your recipient to recipients.txt, and set the value again: {set}."
            ),
        ),
        OpenError::NotAge | OpenError::Tampered => {
            (Code::NotAgeFile, format!("Restore the file from Git, or set the value again: {set}."))
        }
        OpenError::Size | OpenError::Masked => (Code::MaskedValue, format!("Set the real value: {set}.")),
        OpenError::Key(_) => (
            Code::IdentityMissing,
            "Run the command on a terminal to type the passphrase, or install the age plugin.".to_owned(),
        ),
        OpenError::Redirected(_) => (Code::SecretRedirected, format!("Set the value again: {set}.")),
    };
    CliError::coded(code, format!("cannot open `{}`: {error}", path.display())).remedy(remedy)
}
