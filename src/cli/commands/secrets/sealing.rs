//! What sealing and opening of one secret share: its name, its destination, a new value's id, and the errors.

use std::path::Path;

use crate::{
    cli::{CliError, environment::Environment},
    config::NoDestination,
    model::{Code, Destination, EnvironmentName, InvalidName, SecretReference},
    secrets::{OpenError, SealError, ValueId},
};

/// A secret's name, well formed or refused.
pub(super) fn parse_reference(environment: &EnvironmentName, text: &str) -> Result<SecretReference, CliError> {
    let reference: SecretReference = text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::InvalidName, format!("`{}` is not the name of a secret", text.escape_debug()))
            .remedy(format!("{rule}."))
    })?;
    match reference.next_of() {
        None => Ok(reference),
        Some(own) => Err(CliError::coded(
            Code::ReservedSecretName,
            format!("no secret can be named `{reference}`: its file would be the next value of `{own}`"),
        )
        .remedy(format!("For the next value: mailwright secrets rotate {environment} {own}. Otherwise give it a name that does not end in `.next`."))),
    }
}

/// The one destination that a secret is sealed for: that of all profiles that name it.
pub(super) fn find_destination(
    environment: &Environment,
    reference: &SecretReference,
) -> Result<Destination, CliError> {
    let name = &environment.name;
    let uses = environment.repository.used_secrets(name).remove(reference).unwrap_or_default();
    uses.destination().cloned().map_err(|none| match none {
        NoDestination::Unused => CliError::coded(
            Code::DestinationUnknown,
            format!(
                "cannot seal `{reference}`: no profile of `{name}` names it, so it is not known where it may be sent"
            ),
        )
        .remedy(format!(
            "First write `{{ secret: {reference} }}` where it belongs in environments/{name}/, then seal it."
        )),
        NoDestination::Unclear(user) => CliError::coded(
            Code::DestinationUnknown,
            format!("cannot seal `{reference}`: `{user}` names it, and does not say soundly where it is sent"),
        )
        .remedy(format!("Correct what `mailwright validate {name}` reports, then seal it.")),
        NoDestination::Different(two) => {
            let [(one, first), (other, second)] = *two;
            CliError::coded(
                Code::DestinationsDiffer,
                format!("cannot seal `{reference}`: `{one}` sends it to {first}, and `{other}` to {second}"),
            )
            .remedy("Give each destination a secret of its own, even if the values are equal.")
        }
    })
}

/// A new value's id.
pub(super) fn fresh_value_id() -> Result<ValueId, CliError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| CliError::new(format!("the machine gives no random numbers: {error}")))?;
    Ok(ValueId::from_random(random))
}

pub(super) fn seal_error(reference: &SecretReference, error: &SealError) -> CliError {
    let (code, remedy) = match error {
        SealError::Masked => {
            (Code::MaskedValue, "Give the real value; what was copied is what a screen shows in its place.")
        }
        SealError::Empty => {
            (Code::InvalidValue, "Type the value, or pipe it in: printf %s VALUE | mailwright secrets set ...")
        }
        SealError::TooLong => (Code::TooLarge, "A secret is a password, a client secret, or a PEM file."),
        SealError::Incompatible => {
            (Code::RecipientsInvalid, "Keep one kind in recipients.txt. The service's recipient is a classic one.")
        }
        SealError::Age(_) => {
            (Code::RecipientsInvalid, "Look at recipients.txt, and whether the plugins that it needs are installed.")
        }
    };
    CliError::coded(code, format!("`{reference}` was not sealed: {error}")).remedy(remedy)
}

pub(super) fn open_error(path: &Path, error: &OpenError) -> CliError {
    let (code, remedy) = match error {
        OpenError::NotForUs => {
            (Code::IdentityMissing, "Use the identity of somebody in recipients.txt: `--identity FILE`.")
        }
        OpenError::NotAge | OpenError::Tampered => {
            (Code::NotAgeFile, "Take the file from Git again, or seal the value once more: mailwright secrets set.")
        }
        OpenError::Size | OpenError::Masked => (Code::MaskedValue, "Seal the real value: mailwright secrets set."),
        OpenError::Key(_) => {
            (Code::IdentityMissing, "A passphrase needs a terminal to be typed on; a plugin must be installed.")
        }
        OpenError::Redirected(_) => (Code::SecretRedirected, "Set the value again: mailwright secrets set."),
    };
    CliError::coded(code, format!("`{}` cannot be opened: {error}", path.display())).remedy(remedy)
}
